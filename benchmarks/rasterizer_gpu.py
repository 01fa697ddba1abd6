"""The rasterizer on a GPU, compared with the straightforward CUDA kernel."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Case, device_copy_rate
from benchmarks.scenes import PINHOLE, camera, posed_skin
from handjax.ops import library, rasterize

# Calls in one program, each with other hands, so that the time to launch a program does not count.
CALLS = 20


def case(
    device: jax.Device, options: dict[str, str], name: str, batch: int, height: int, width: int
) -> Case:
    """Depth images by our kernel and by the straightforward one."""
    vertices, faces = posed_skin(batch, 500.0 if options is PINHOLE else 0.0)
    ks = jnp.broadcast_to(jnp.asarray(camera(options, height, width)), (batch, 3, 3))
    screens = [
        jax.device_put(
            rasterize.to_screen(jnp.asarray(np.roll(vertices, i, axis=0)), ks, **options), device
        )
        for i in range(CALLS)
    ]

    def all_of(draw):
        program = jax.jit(lambda *screens: [draw(screen) for screen in screens])
        return lambda: program(*screens)

    runs = {
        "CUDA kernel": all_of(
            lambda s: rasterize.rasterize(s, faces, height, width, cull="back", background=1000.0)
        )
    }
    if "cuda" not in library.platforms():
        runs = {"CUDA kernel": "not built: no nvcc where handjax was installed"}
    naive = naive_rasterizer()
    if callable(naive):
        runs["one thread per triangle, compare-and-swap"] = all_of(
            lambda s: naive(s, faces, height, width)
        )
    else:
        runs["one thread per triangle, compare-and-swap"] = naive

    def notes(seconds: dict[str, float]) -> list[str]:
        if "CUDA kernel" not in seconds:
            return []
        rate = device_copy_rate(device)
        floor = 8 * batch * height * width / rate
        mine = seconds["CUDA kernel"] / CALLS
        return [
            f"a call of {batch} hands: {1e6 * mine:.1f} µs; floor: 8 bytes per pixel take "
            f"{1e6 * floor:.1f} µs at the {rate / 1e9:.0f} GB/s of a copy, "
            f"{100 * floor / mine:.1f} %",
        ]

    return Case(
        f"{name}, {height} x {width}, {CALLS} calls of {batch} hands on {device.device_kind}",
        CALLS * batch,
        "hand",
        runs,
        notes,
    )


@functools.cache
def naive_rasterizer() -> Callable | str:
    """Compile `naive_rasterizer.cu`: the function that draws with it, or why there is none."""
    if shutil.which("nvcc") is None:
        return "not compiled: no nvcc here"
    source = Path(__file__).with_name("naive_rasterizer.cu")
    file = Path(tempfile.mkdtemp(prefix="handjax-bench-")) / "naive.so"
    flags = [
        "-shared",
        "-O3",
        "-std=c++17",
        "-Xcompiler",
        "-fPIC",
        "-isystem",
        jax.ffi.include_dir(),
    ]
    done = subprocess.run(["nvcc", *flags, source, "-o", file], capture_output=True, text=True)
    if done.returncode:
        return f"not compiled: {(done.stderr.strip() or 'nvcc failed').splitlines()[0]}"
    jax.ffi.register_ffi_target(
        "naive_rasterizer",
        jax.ffi.pycapsule(ctypes.CDLL(str(file)).naive_rasterizer),
        platform="CUDA",
    )
    shutil.rmtree(file.parent)

    def draw(screen, faces, height, width):
        shape = jax.ShapeDtypeStruct((screen.shape[0], height, width), jnp.float32)
        return jax.ffi.ffi_call("naive_rasterizer", shape)(
            screen, jnp.asarray(faces), background=np.float32(1000)
        )

    return draw
