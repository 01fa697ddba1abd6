#!/usr/bin/env python3
"""Measures what there is against its peers, in turns in one run: python scripts/bench.py [SYSTEM …] [--json FILE]

Who is measured takes turns, A B C A B C …, after a warm-up of each, so that a machine that slows down does so for all. Given
are the median over the turns, the range of the middle half of them, and how many times as long as the first it took (the
median over the turns of that ratio). Networks are measured against their references in PyTorch on the CPU. Peers that are not
installed are named: `pip install open3d` (in an environment of its own: it brings much along), `pip install torch`.

On a machine with a GPU the CUDA kernel is measured as well, the straightforward one beside it where there is nvcc; and every
network there, too, computing in bfloat16, against its reference under torch.compile, autocast and channels last.
"""

import argparse
import ctypes
import functools
import importlib
import importlib.util
import json
import multiprocessing
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from handjax.engine.optimizer import make_optimizer
from handjax.engine.runtime import keep_memory
from handjax.models.body import HEADS, BodyNet
from handjax.models.cpm import CPM
from handjax.models.posenet2d import PoseNet2D
from handjax.models.resnet import ResNet
from handjax.models.spherenet import SphereNet
from handjax.models.v2v import V2V
from handjax.ops import library, rasterize
from handjax.pose.augment import random_affine
from handjax.pose.geometry import depth_to_points, map_points
from handjax.rigs import hand, poses, spheres
from handjax.rigs import skinning
from handjax.synthetic import hands as world
from handjax.targets import voxel

TURN_SECONDS = 0.02  # what is quicker is called several times a turn
WARM_UP = 3  # calls before a case's turns: kept memory grows in the first ones, and each new page of it costs microseconds


@dataclass(frozen=True)
class Effort:
    """How much to measure: seconds a case and turns at the least; `tiny` scenes only to see that everything runs."""

    seconds: float
    turns: int
    tiny: bool

    def batch(self, n: int) -> int:
        return min(n, 2) if self.tiny else n

    def size(self, pixels: int) -> int:
        return pixels // 8 if self.tiny else pixels


@dataclass
class Case:
    """Who does the same work, and what one piece of it is called. A text in place of a function says why it was not measured."""

    title: str
    pieces: int
    unit: str
    runs: dict[str, Callable[[], object] | str]
    notes: Callable[[dict[str, float]], list[str]] = lambda seconds: []  # from the medians


@dataclass
class Row:
    name: str
    missing: str | None = None
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    turns: int = 0
    ratio: float | None = None


@dataclass
class Result:
    system: str
    title: str
    pieces: int
    unit: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


# ---- measuring -----------------------------------------------------------------------------------------------------


def seconds_of(run: Callable[[], object], calls: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(run())
    return (time.perf_counter() - start) / calls


def measure(system: str, case: Case, effort: Effort) -> Result:
    runs = {name: run for name, run in case.runs.items() if callable(run)}
    for run in runs.values():
        for _ in range(1 if effort.tiny else WARM_UP):
            seconds_of(run)
    warm = {name: seconds_of(run) for name, run in runs.items()}
    calls = {name: 1 if effort.tiny else max(1, int(TURN_SECONDS / warm[name])) for name in runs}
    turns = int(effort.seconds / sum(warm[name] * calls[name] for name in runs))
    times = {name: [] for name in runs}
    for _ in range(max(effort.turns, min(turns, 100))):
        for name, run in runs.items():
            times[name].append(seconds_of(run, calls[name]))
    rows = []
    for name in case.runs:
        if name not in runs:
            rows.append(Row(name, missing=case.runs[name]))
            continue
        low, middle, high = np.quantile(times[name], [0.25, 0.5, 0.75])
        ratio = statistics.median(np.divide(times[name], next(iter(times.values()))))
        rows.append(
            Row(name, None, float(middle), float(low), float(high), len(times[name]), float(ratio))
        )
    return Result(
        system,
        case.title,
        case.pieces,
        case.unit,
        rows,
        case.notes({r.name: r.seconds for r in rows if r.seconds}),
    )


def table(result: Result) -> str:
    lines = [f"{result.system}: {result.title}"]
    width = max(len(row.name) for row in result.rows)
    lines.append(
        f"  {'':{width}}  {'ms':>10}  {'middle half':>19}  {'µs a ' + result.unit:>14}  {'times':>7}"
    )
    for row in result.rows:
        if row.missing:
            lines.append(f"  {row.name:{width}}  {row.missing}")
            continue
        spread = f"{1e3 * row.low:.3f} – {1e3 * row.high:.3f}"
        each = 1e6 * row.seconds / result.pieces
        lines.append(
            f"  {row.name:{width}}  {1e3 * row.seconds:10.3f}  {spread:>19}  {each:14.1f}  {row.ratio:7.2f}"
        )
    return "\n".join(lines + [f"  {note}" for note in result.notes])


# ---- the machine ---------------------------------------------------------------------------------------------------


@functools.cache
def machine(effort: Effort) -> dict:
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        names = [
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ]
        cpu = names[0] if names else cpu
    with jax.default_device(jax.devices("cpu")[0]):
        n = 64 if effort.tiny else 2048
        a = jnp.ones((n, n), jnp.float32)
        product = jax.jit(jnp.matmul)
        seconds_of(lambda: product(a, a))
        matmul = (
            2
            * n**3
            / min(seconds_of(lambda: product(a, a)) for _ in range(1 if effort.tiny else 50))
        )
    return {
        "cpu": cpu,
        "cores": cores(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "devices": ", ".join(sorted({d.device_kind for d in jax.devices()})),
        "kernels": ", ".join(library.platforms()) or "none",
        "matmul_gflops": round(matmul / 1e9, 1),
        "copy_gbytes": round(copy_rate(effort.tiny) / 1e9, 2),
    }


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def copy_rate(tiny: bool) -> float:
    """Bytes a second, read and written together, of copying large arrays on all cores."""
    n = 2**12 if tiny else 2**25
    source, target = np.ones((cores(), n), np.float32), np.zeros((cores(), n), np.float32)
    with ThreadPoolExecutor(cores()) as pool:
        best = min(seconds_of(lambda: list(pool.map(np.copyto, target, source))) for _ in range(5))
    return 2 * source.nbytes / best


def gpu() -> jax.Device | None:
    try:
        return jax.devices("gpu")[0]
    except RuntimeError:
        return None


# ---- rasterizer ----------------------------------------------------------------------------------------------------

ORTHOGRAPHIC = dict(projection="orthographic", interpolation="linear")
PINHOLE = dict(projection="pinhole", interpolation="perspective")


def posed_skin(batch: int, distance_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [b, v, 3] of sampled hands, camera mm, and their faces."""
    skin = skinning.hand_skin()
    pose = jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(jax.random.key(0), batch))
    vertices = jax.jit(functools.partial(skinning.hand_vertices, skin))(pose)
    return np.asarray(vertices) + np.float32([0, 0, distance_mm]), skinning.right_hand_faces(skin)


def hands(count: int) -> str:
    return f"{count} hand{'s' * (count != 1)}"


def camera(view: dict, height: int, width: int) -> np.ndarray:
    """300 mm across the image at the hand: along parallel rays, or through a pinhole half a metre before it."""
    scale = min(height, width) / 300 * (500 if view is PINHOLE else 1)
    return np.float32([[scale, 0, (width - 1) / 2], [0, scale, (height - 1) / 2], [0, 0, 1]])


def rasterizer(effort: Effort) -> Iterator[Case]:
    cpu = jax.devices("cpu")[0]
    small, large = effort.size(64), (effort.size(480), effort.size(640))
    with jax.default_device(cpu):
        for batch in (1, 48):
            yield rasterizer_case(
                ORTHOGRAPHIC,
                "parallel rays",
                effort.batch(batch),
                small,
                small,
                effort,
                with_reference=True,
            )
        for batch in (1, 8):
            yield rasterizer_case(
                PINHOLE, "pinhole", effort.batch(batch), *large, effort, with_reference=batch == 1
            )
        yield gradient_case(effort.batch(48), small)
    if (device := gpu()) is not None:
        for view, name, batch, size in (
            (ORTHOGRAPHIC, "parallel rays", 48, (64, 64)),
            (PINHOLE, "pinhole", 32, (480, 640)),
        ):
            yield gpu_case(device, view, name, batch, *size)


def rasterizer_case(
    view: dict, name: str, batch: int, height: int, width: int, effort: Effort, with_reference: bool
) -> Case:
    vertices, faces = posed_skin(batch, 500.0 if view is PINHOLE else 0.0)
    k = camera(view, height, width)
    ks = jnp.broadcast_to(jnp.asarray(k), (batch, 3, 3))
    placed, far = jnp.asarray(vertices), 1000.0

    @jax.jit
    def ours(vertices):
        return rasterize.rasterize(
            rasterize.to_screen(vertices, ks, **view), faces, height, width, background=far
        )

    @jax.jit
    def reference(vertices):
        return rasterize.reference(
            rasterize.to_screen(vertices, ks, **view),
            jnp.asarray(faces),
            (height, width, 0, -np.inf, far),
        )

    runs = {"CPU kernel": functools.partial(ours, placed)}
    if with_reference:
        runs["plain JAX, one face after the other"] = functools.partial(reference, placed)
    depth, face = (np.asarray(x) for x in ours(placed))
    peers, agreement = open3d_runs(view, vertices, faces, k, depth, face)

    def notes(seconds: dict[str, float]) -> list[str]:
        mine, pixels, covered = seconds["CPU kernel"], depth.size, int((face >= 0).sum())
        moved = 8 * pixels + vertices.nbytes + faces.nbytes
        floor = moved / copy_rate(effort.tiny)
        return [
            *agreement,
            f"{len(faces):,} faces a hand, {covered / batch:,.0f} of {height * width:,} pixels covered: "
            f"{batch * len(faces) / mine / 1e6:.1f} million faces/s, {covered / mine / 1e6:.1f} million covered pixels/s",
            f"floor: {moved / 1e6:.2f} MB (8 bytes a pixel, vertices, faces) take {1e3 * floor:.3f} ms at the copy's rate, "
            f"{100 * floor / mine:.1f} % of the kernel's time",
        ]

    return Case(
        f"{name}, {height} x {width}, {hands(batch)} on the CPU", batch, "hand", runs | peers, notes
    )


def open3d_runs(
    view: dict,
    vertices: np.ndarray,
    faces: np.ndarray,
    k: np.ndarray,
    depth: np.ndarray,
    face: np.ndarray,
):
    """Open3D's RaycastingScene, a scene a hand, on all cores: building it, casting rays, both; and how well it agrees."""
    try:
        import open3d
    except ImportError:
        return {"Open3D": "not installed: pip install open3d"}, []
    height, width = depth.shape[1:]
    v, u = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    slopes = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]], axis=-1)
    start, zero, one = -1000.0, np.zeros((height, width, 1)), np.ones((height, width, 1))
    if view is PINHOLE:  # directions (x, y, 1), so that distances along them are depths
        start, rays = 0.0, np.concatenate([zero, zero, zero, slopes, one], axis=-1)
    else:
        rays = np.concatenate([slopes, start * one, zero, zero, one], axis=-1)
    tensor = functools.partial(open3d.core.Tensor.from_numpy)
    rays = tensor(np.ascontiguousarray(rays, np.float32))
    one_ray, list_of_faces = rays[:1, :1].clone(), tensor(np.ascontiguousarray(faces, np.uint32))
    meshes = [tensor(np.ascontiguousarray(each)) for each in vertices]

    def build():
        scenes = []
        for each in meshes:
            scene = open3d.t.geometry.RaycastingScene()
            scene.add_triangles(each, list_of_faces)
            scene.cast_rays(one_ray)  # it is built when it is first asked
            scenes.append(scene)
        return scenes

    def cast(scenes):
        return [scene.cast_rays(rays) for scene in scenes]

    ready = build()
    peers = {
        "Open3D: build and cast": lambda: cast(build()),
        "Open3D: build": build,
        "Open3D: cast": lambda: cast(ready),
    }
    answers = cast(ready)
    theirs = np.stack([each["t_hit"].numpy() for each in answers]) + start
    same = np.stack([each["primitive_ids"].numpy().astype(np.int64) for each in answers]) == face
    hit = face >= 0
    off = np.abs(theirs - depth, where=same & hit, out=np.zeros_like(depth)).max()
    also = 100 * same[hit].mean() if hit.any() else 100.0
    edges = int((np.isfinite(theirs) != hit).sum())
    return peers, [
        f"Open3D sees the same face at {also:.2f} % of covered pixels, at most {off:.1g} mm off there; "
        f"outlines differ at {edges} of {depth.size:,} pixels"
    ]


def gradient_case(batch: int, size: int) -> Case:
    vertices, faces = posed_skin(batch, 0.0)
    ks = jnp.broadcast_to(jnp.asarray(camera(ORTHOGRAPHIC, size, size)), (batch, 3, 3))
    weight = jax.random.normal(jax.random.key(1), (batch, size, size))
    placed = jnp.asarray(vertices)

    def loss(vertices):
        return jnp.sum(
            rasterize.rasterize(
                rasterize.to_screen(vertices, ks, **ORTHOGRAPHIC), faces, size, size
            )[0]
            * weight
        )

    runs = {
        "forward": functools.partial(jax.jit(loss), placed),
        "forward and gradient": functools.partial(jax.jit(jax.value_and_grad(loss)), placed),
    }
    return Case(
        f"gradient, parallel rays, {size} x {size}, {hands(batch)} on the CPU", batch, "hand", runs
    )


CALLS = 20  # in one program, each of its own hands, so that starting a program does not count


def gpu_case(
    device: jax.Device, view: dict, name: str, batch: int, height: int, width: int
) -> Case:
    vertices, faces = posed_skin(batch, 500.0 if view is PINHOLE else 0.0)
    ks = jnp.broadcast_to(jnp.asarray(camera(view, height, width)), (batch, 3, 3))
    screens = [
        jax.device_put(
            rasterize.to_screen(jnp.asarray(np.roll(vertices, i, axis=0)), ks, **view), device
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
        runs["a thread a triangle, compare-and-swap"] = all_of(
            lambda s: naive(s, faces, height, width)
        )
    else:
        runs["a thread a triangle, compare-and-swap"] = naive

    def notes(seconds: dict[str, float]) -> list[str]:
        if "CUDA kernel" not in seconds:
            return []
        rate = device_copy_rate(device)
        floor = 8 * batch * height * width / rate
        mine = seconds["CUDA kernel"] / CALLS
        return [
            f"a call of {batch} hands: {1e6 * mine:.1f} µs; floor: 8 bytes a pixel take {1e6 * floor:.1f} µs at the device copy's "
            f"{rate / 1e9:.0f} GB/s, {100 * floor / mine:.1f} %",
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
    """The straightforward CUDA kernel beside this file, compiled now; or why not."""
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


@functools.cache
def device_copy_rate(device: jax.Device) -> float:
    x = jax.device_put(jnp.ones(2**28, jnp.float32), device)
    copy = jax.jit(lambda x: x + 1)
    seconds_of(lambda: copy(x))
    return 2 * x.nbytes / min(seconds_of(lambda: copy(x), 10) for _ in range(5))


# ---- spheres -------------------------------------------------------------------------------------------------------


def ball_renderer(effort: Effort) -> Iterator[Case]:
    batch, size = effort.batch(48), effort.size(64)
    pose = jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(jax.random.key(0), batch))
    centers, radii = jax.jit(hand.spheres)(pose)
    weight = jax.random.normal(jax.random.key(1), (batch, size, size))

    def draw(centers):
        return spheres.sphere_depth_orthographic(centers, radii, size)[0]

    forward, backward = (
        jax.jit(draw),
        jax.jit(jax.value_and_grad(lambda c: jnp.sum(draw(c) * weight))),
    )
    peers = torch_spheres(np.asarray(centers), np.asarray(radii), np.asarray(weight), size)
    where = f"{size} x {size}, {centers.shape[1]} spheres, {hands(batch)}"
    yield Case(
        f"forward, {where}",
        batch,
        "hand",
        {"handjax": lambda: forward(centers), "PyTorch": peers[0]},
    )
    yield Case(
        f"forward and gradient, {where}",
        batch,
        "hand",
        {"handjax": lambda: backward(centers), "PyTorch": peers[1]},
    )


def torch_spheres(centers: np.ndarray, radii: np.ndarray, weight: np.ndarray, size: int):
    """The image as the least of one image a sphere, which is how the original's has it; forward, and with gradient."""
    try:
        import torch
    except ImportError:
        return ["not installed: pip install torch"] * 2
    at = (torch.arange(size) - size / 2) * (300.0 / size)
    y, x = at[None, None, :, None], at[None, None, None, :]
    centers, radii, weight = (torch.tensor(a) for a in (centers, radii, weight))
    centers.requires_grad_()
    r2 = (radii * radii)[..., None, None]

    def draw():
        cx, cy, cz = (centers[..., i, None, None] for i in range(3))
        chord = r2 - (x - cx) ** 2 - (y - cy) ** 2
        depth = cz - torch.sqrt(torch.clamp(chord, min=0.01))
        return torch.where(chord > 0, depth, 100.0).amin(dim=1).clamp(max=100.0)

    def forward():
        with torch.no_grad():
            draw()

    def backward():
        centers.grad = None
        (draw() * weight).sum().backward()

    return forward, backward


# ---- the synthetic world -------------------------------------------------------------------------------------------

# What is drawn → one sample from a key, and how many at once.
WORLD = {
    "depth 64 x 64, spheres": (world.hand_sample, 64),
    "depth 64 x 64, skin": (functools.partial(world.hand_sample, surface="skin"), 64),
    "fitting 64 x 64, skin": (world.fitting_sample, 64),
    "colour 256 x 256": (world.rgb_sample, 8),
}


def synthetic_world(effort: Effort) -> Iterator[Case]:
    for name, (sample, batch) in WORLD.items():
        batch = effort.batch(batch)
        draw = jax.jit(jax.vmap(sample))
        keys = jax.random.split(jax.random.key(0), batch)

        def notes(seconds, batch=batch):
            return [f"{batch / seconds['handjax']:,.0f} samples/s"]

        yield Case(
            f"{name}, {batch} samples",
            batch,
            "sample",
            {"handjax": functools.partial(draw, keys)},
            notes,
        )


# ---- networks ------------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Network:
    """A network, its reference's class in tests/parity and how both are called, and what goes in: [b, *shape]. Of several
    outputs the first counts."""

    title: str
    module: Callable
    reference: tuple[str, str]
    options: dict  # of both
    small: dict
    shape: tuple[int, ...]
    small_shape: tuple[int, ...]
    batch: int


NETWORKS = {
    "v2v": Network(
        "V2V-PoseNet",
        V2V,
        ("v2v_reference", "Reference"),
        dict(joints=21),
        dict(widths=(2, 3, 4, 5)),
        (88, 88, 88, 1),
        (16, 16, 16, 1),
        2,
    ),
    "cpm": Network(
        "CPM",
        CPM,
        ("cpm_reference", "Reference"),
        dict(joints=21),
        dict(stages=2, widths=(4, 4, 4)),
        (368, 368, 4),
        (32, 32, 4),
        1,
    ),
    "posenet2d": Network(
        "PoseNet2D",
        PoseNet2D,
        ("posenet2d_reference", "Reference"),
        {},
        dict(widths=(2, 2, 2, 2, 2)),
        (256, 256, 3),
        (32, 32, 3),
        4,
    ),
    "resnet": Network(
        "ResNet-50",
        ResNet,
        ("resnet_reference", "ResNet"),
        dict(layers=50),
        dict(width=2),
        (256, 256, 3),
        (32, 32, 3),
        4,
    ),
    "fit": Network(
        "the sphere hand's network",
        SphereNet,
        ("spherenet_reference", "Reference"),
        {},
        dict(width=32),
        (64, 64, 1),
        (16, 16, 1),
        48,
    ),
    **{
        f"body, {head} head": Network(
            f"ResNet-50 and {head} head",
            BodyNet,
            ("body_reference", "Reference"),
            dict(head=head, layers=50),
            dict(layers=18, width=2, depth=4, deconvolutions=(2, 2, 2)),
            (256, 256, 3),
            (32, 32, 3),
            8,
        )
        for head in HEADS
    },
}


def bodies(effort: Effort) -> Iterator[Case]:
    for head in HEADS:
        yield from network(f"body, {head} head", effort)


def fitting(effort: Effort) -> Iterator[Case]:
    yield from network("fit", effort)
    yield from ball_renderer(effort)


GPU_BATCH = 4  # times a CPU's


def network(name: str, effort: Effort) -> Iterator[Case]:
    yield from network_on(jax.devices("cpu")[0], name, effort, half=False)
    if name == "v2v":
        yield from voxel_data(effort)
    if (device := gpu()) is not None:
        yield from network_on(device, name, effort, half=True)


def network_on(device: jax.Device, name: str, effort: Effort, half: bool) -> Iterator[Case]:
    """Inference and a training step: mean squared error to something, RMSprop. Random weights: they do not change the time. `half`:
    as on a GPU, computing in bfloat16, with larger batches, PyTorch compiling."""
    net = NETWORKS[name]
    options = net.options | (net.small if effort.tiny else {})
    batch = effort.batch(net.batch * (GPU_BATCH if half else 1))
    shape = (batch, *(net.small_shape if effort.tiny else net.shape))
    with jax.default_device(device):
        x = occupancy(shape) if name == "v2v" else jax.random.uniform(jax.random.key(0), shape)
        model = net.module(**options, **({"dtype": jnp.bfloat16} if half else {}))
        variables = jax.jit(model.init)(jax.random.key(1), x[:1])
        target = jax.random.normal(
            jax.random.key(2), first(jax.eval_shape(model.apply, variables, x)).shape
        )
        runs, floors = our_runs(model, variables, x, target)
        peers = (torch_gpu_runs if half else torch_runs)(
            net, options, np.asarray(x), np.asarray(target), effort
        )
        size = (
            " x ".join(map(str, shape[1:]))
            + f", batch {batch}"
            + (f", bfloat16 on {device.device_kind}" if half else "")
        )
        for kind, our in runs.items():

            def notes(seconds, kind=kind):
                return [floors[kind](seconds["handjax"], *rates(device, effort))]

            yield Case(
                f"{net.title}, {kind}, {size}",
                batch,
                "sample",
                {"handjax": our} | peers[kind],
                notes,
            )


@functools.cache
def rates(device: jax.Device, effort: Effort) -> tuple[float, float]:
    """Operations a second of a matrix product, on a GPU of bfloat16, and bytes of a copy."""
    if device.platform == "cpu":
        about = machine(effort)
        return 1e9 * about["matmul_gflops"], 1e9 * about["copy_gbytes"]
    n = 8192
    a = jax.device_put(jnp.ones((n, n), jnp.bfloat16), device)
    product = jax.jit(jnp.matmul)
    seconds_of(lambda: product(a, a))
    return 2 * n**3 / min(
        seconds_of(lambda: product(a, a), 10) for _ in range(5)
    ), device_copy_rate(device)


def first(outputs):
    return outputs[0] if isinstance(outputs, tuple) else outputs


def occupancy(shape: tuple[int, ...]) -> jax.Array:
    """Voxels of sampled hands, as the network is trained with."""
    grid = voxel.VoxelGrid(size=shape[1], heatmap_size=shape[1] // 2)

    def one(key):
        sample = world.hand_sample(key, image_size=2 * shape[1])
        points, valid = depth_to_points(sample["depth"], sample["k"])
        cells = voxel.xyz_to_grid(points, sample["center_xyz"], sample["cube_mm"], grid.size)
        return voxel.voxelize(cells, valid, grid)[..., None].astype(jnp.float32)

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), shape[0]))


def our_runs(model, variables: dict, x: jax.Array, target: jax.Array):
    """Calls, and what to say of the time they took."""
    sys.path.insert(0, str(ROOT))
    common = importlib.import_module("configs.common").common
    optimizer = make_optimizer(common().optimizer, 100)
    params, rest = (
        variables["params"],
        {name: tree for name, tree in variables.items() if name != "params"},
    )
    kept = [params, rest, optimizer.init(params)]

    def infer(params, rest, x):
        return first(model.apply({"params": params, **rest}, x, train=False))

    def update(params, rest, state, x, target):
        def loss_of(params):
            outputs, changed = model.apply(
                {"params": params, **rest}, x, train=True, mutable=list(rest)
            )
            return jnp.mean((first(outputs) - target) ** 2), changed

        (loss, changed), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, updates), {**rest, **changed}, state, loss

    inference, step = jax.jit(infer), jax.jit(update, donate_argnums=(0, 1, 2))

    def train():
        *kept[:], loss = step(*kept, x, target)
        return loss

    floors = {
        "inference": functools.partial(floor, *work(inference, params, rest, x)),
        "training step": functools.partial(floor, *work(step, *kept, x, target)),
    }
    variables = jax.tree.map(jnp.copy, (params, rest))  # the step overwrites its own
    return {"inference": lambda: inference(*variables, x), "training step": train}, floors


def work(program, *arguments) -> tuple[float, float]:
    """Floating-point operations of a program in plain XLA, and bytes that its convolutions and matrix products read and write if
    each number moves once."""
    lowered = program.trace(*arguments).lower(lowering_platforms=("cuda",))
    types = re.findall(
        r"stablehlo\.(?:convolution|dot_general).*: \((.*)\) -> (.*)", lowered.as_text()
    )
    arrays = re.findall(r"tensor<([\dx]+)x(f32|bf16)>", " ".join(f"{a} {b}" for a, b in types))
    size = {"f32": 4.0, "bf16": 2.0}
    moved = sum(
        size[kind] * np.prod([int(n) for n in shape.split("x")], dtype=float)
        for shape, kind in arrays
    )
    return lowered.cost_analysis()["flops"], moved


def floor(flops: float, moved: float, seconds: float, rate: float, copied: float) -> str:
    least = max(flops / rate, moved / copied)
    return (
        f"{flops / 1e9:.1f} GFLOP, {flops / seconds / 1e9:.0f} a second, and {moved / 1e6:.0f} MB through the convolutions. "
        f"At the rates of matmul and copy {1e3 * flops / rate:.0f} and {1e3 * moved / copied:.0f} ms: "
        f"{100 * least / seconds:.0f} % of the time taken"
    )


KINDS = ("inference", "training step")


def torch_runs(
    net: Network, options: dict, x: np.ndarray, target: np.ndarray, effort: Effort
) -> dict[str, dict]:
    """The same of the reference, in both of PyTorch's layouts; in a process whose memory is managed as PyTorch's users have it, and in
    one that keeps what it freed, as ours does."""
    if importlib.util.find_spec("torch") is None:
        return dict.fromkeys(KINDS, {"PyTorch": "not installed: pip install torch"})
    arguments = (net.reference, options, x, target, 1 if effort.tiny else cores())
    references = {
        how: Elsewhere(kept, *arguments) for how, kept in (("", False), (", memory kept", True))
    }
    return {
        kind: {
            f"{way}{how}": functools.partial(reference.run, kind, way)
            for how, reference in references.items()
            for way in TorchReference.WAYS
        }
        for kind in KINDS
    }


def torch_gpu_runs(
    net: Network, options: dict, x: np.ndarray, target: np.ndarray, effort: Effort
) -> dict[str, dict]:
    """The same of the reference on the GPU, as fast as PyTorch goes."""
    if importlib.util.find_spec("torch") is None:
        return dict.fromkeys(KINDS, {TorchReference.COMPILED: "not installed: pip install torch"})
    if not torch_sees_a_gpu():
        return dict.fromkeys(
            KINDS, {TorchReference.COMPILED: "this PyTorch sees no GPU: install one built for CUDA"}
        )
    reference = Elsewhere(False, net.reference, options, x, target, cores(), "cuda", True)
    return {
        kind: {
            TorchReference.COMPILED: functools.partial(reference.run, kind, TorchReference.COMPILED)
        }
        for kind in KINDS
    }


@functools.cache
def torch_sees_a_gpu() -> bool:
    command = [
        sys.executable,
        "-c",
        "import torch; print(torch.cuda.is_available())",
    ]  # apart: two libraries, one GPU
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() == "True"


class TorchReference:
    """A network's reference, ready to run: in both of PyTorch's layouts, or compiled, in bfloat16, channels last."""

    WAYS = ("PyTorch", "PyTorch, channels last")
    COMPILED = "PyTorch, compiled, bfloat16, channels last"

    def __init__(
        self,
        reference: tuple[str, str],
        options: dict,
        x: np.ndarray,
        target: np.ndarray,
        threads: int,
        device: str = "cpu",
        compiled: bool = False,
    ):
        import torch

        sys.path.insert(0, str(ROOT / "tests" / "parity"))
        reference_of = getattr(importlib.import_module(reference[0]), reference[1])
        torch.set_num_threads(threads)  # after the import: the references' own tests ask for one
        last = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
        ways = (
            [(self.COMPILED, last)]
            if compiled
            else zip(self.WAYS, (torch.contiguous_format, last), strict=True)
        )
        half = functools.partial(torch.autocast, device, torch.bfloat16, enabled=compiled)
        self._runs = {}
        for name, layout in ways:
            net = reference_of(**options).to(device)
            optimizer = torch.optim.RMSprop(net.parameters(), lr=2.5e-4)
            net = net.to(memory_format=layout)
            if compiled:
                net = torch.compile(net)
            inputs = torch.tensor(np.moveaxis(x, -1, 1).copy(), device=device).contiguous(
                memory_format=layout
            )
            maps = target.ndim >= x.ndim  # others have no channels to move
            wanted = torch.tensor(
                np.moveaxis(target, -1, target.ndim - x.ndim + 1).copy() if maps else target,
                device=device,
            )

            def infer(net=net, inputs=inputs):
                net.eval()
                with torch.inference_mode(), half():
                    return first(net(inputs)).sum().item()

            def train(net=net, inputs=inputs, wanted=wanted, optimizer=optimizer):
                net.train()
                optimizer.zero_grad()
                with half():
                    loss = torch.nn.functional.mse_loss(first(net(inputs)), wanted)
                loss.backward()
                optimizer.step()
                return loss.item()

            self._runs[name] = {"inference": infer, "training step": train}

    def run(self, kind: str, way: str) -> float:
        return self._runs[way][kind]()


class Elsewhere:
    """A TorchReference in another process, one for all networks, which works only while it is asked to."""

    def __init__(self, kept: bool, *arguments):
        self._pipe = _process(kept)
        self._pipe.send(arguments)

    def run(self, *what: str) -> float:
        self._pipe.send(what)
        return self._pipe.recv()


@functools.cache
def _process(kept: bool):
    spawn = multiprocessing.get_context("spawn")
    pipe, other = spawn.Pipe()
    spawn.Process(target=_serve, args=(other, kept), daemon=True).start()
    return pipe


def _serve(pipe, kept: bool) -> None:
    if kept:
        keep_memory()
    reference = None
    while True:
        asked = pipe.recv()
        if len(asked) == 2:
            pipe.send(reference.run(*asked))
        else:
            reference = TorchReference(*asked)


# ---- what a voxel network is fed -----------------------------------------------------------------------------------

AUGMENT = dict(scale=(0.8, 1.2), rotation_deg=40.0, shift=4.0, probability=1.0, isotropic=True)
SIGMA = 1.7


def voxel_data(effort: Effort) -> Iterator[Case]:
    """Depth image → augmented occupancy and heat maps: in one program, and as the originals have it, sample by sample in NumPy."""
    batch, size = effort.batch(8), 16 if effort.tiny else 88
    keys = jax.random.split(jax.random.key(0), batch)
    names = ("depth", "k", "center_xyz", "cube_mm", "joints_xyz")
    draw = jax.jit(jax.vmap(functools.partial(world.hand_sample, image_size=2 * size)))
    samples = {name: value for name, value in draw(keys).items() if name in names}

    def one(key, sample):
        return voxels_in_jax(random_affine(key, **AUGMENT), sample, size)

    ours = jax.jit(jax.vmap(one))
    host = {name: np.asarray(value) for name, value in samples.items()}
    random = np.random.default_rng(0)

    def theirs():
        return [
            voxels_in_numpy(affine_in_numpy(random), {name: x[i] for name, x in host.items()}, size)
            for i in range(batch)
        ]

    def notes(seconds):
        return [f"{batch / seconds['handjax']:,.0f} samples/s; drawing the samples is world's row"]

    runs = {"handjax": lambda: ours(keys, samples), "NumPy, sample by sample": theirs}
    yield Case(
        f"voxels, augmentation and heat maps, {size}³ and {size // 2}³, {batch} samples",
        batch,
        "sample",
        runs,
        notes,
    )


def voxels_in_jax(affine: tuple, sample: dict, size: int) -> tuple[jax.Array, jax.Array]:
    """Occupancy [n, n, n] and heat maps [n/2, n/2, n/2, j]."""
    grid = voxel.VoxelGrid(size=size, heatmap_size=size // 2)
    cube = (sample["center_xyz"], sample["cube_mm"], size)
    matrix, shift = affine

    def move(cells):
        return map_points(matrix, cells - size / 2) + size / 2 + shift[None]

    points, valid = depth_to_points(sample["depth"], sample["k"])
    volume = voxel.voxelize(move(voxel.xyz_to_grid(points, *cube)), valid, grid)
    return volume.astype(jnp.float32), voxel.encode(
        move(voxel.xyz_to_grid(sample["joints_xyz"], *cube)), grid, SIGMA
    )


def affine_in_numpy(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    angle, scale = np.deg2rad(random.uniform(-40, 40)), random.uniform(0.8, 1.2)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, scale]]), random.uniform(-4, 4, 3)


def voxels_in_numpy(affine: tuple, sample: dict, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same for one sample as dragonbook/V2V-PoseNet-pytorch goes about it: points by NumPy, a map over the whole grid for
    every joint; heat maps [j, n/2, n/2, n/2]."""
    depth, k, half, (matrix, shift) = sample["depth"], sample["k"], size // 2, affine
    v, u = np.nonzero(depth > 0)
    z = depth[v, u]
    points = np.stack([(u - k[0, 2]) * z / k[0, 0], (v - k[1, 2]) * z / k[1, 1], z], axis=1)

    def cells(xyz):
        return (
            ((xyz - sample["center_xyz"]) / sample["cube_mm"] * size) @ matrix.T + size / 2 + shift
        )

    index = cells(points).astype(np.int32)
    x, y, z = index[((index >= 0) & (index < size)).all(axis=1)].T
    volume = np.zeros((size, size, size), np.float32)
    volume[z, y, x] = 1
    cell = _cells(half)
    maps = np.zeros((len(sample["joints_xyz"]), half, half, half))
    for heat, joint in zip(maps, cells(sample["joints_xyz"]) / 2, strict=True):
        parts = [
            np.power((index + 0.5 - at) / SIGMA, 2) / 2
            for index, at in zip(cell, joint[::-1], strict=True)
        ]
        heat[:] = np.exp(-(parts[0] + parts[1] + parts[2]))
    return volume, maps.astype(np.float32)


@functools.cache
def _cells(size: int) -> list[np.ndarray]:
    return np.meshgrid(*[np.arange(size)] * 3, indexing="ij")


# ---- the command ---------------------------------------------------------------------------------------------------

SYSTEMS: dict[str, Callable[[Effort], Iterator[Case]]] = {
    "rasterizer": rasterizer,
    "spheres": ball_renderer,
    "world": synthetic_world,
    **{name: functools.partial(network, name) for name in ("v2v", "cpm", "posenet2d", "resnet")},
    "body": bodies,
    "fit": fitting,
}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)} (default: all)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write what was measured here"
    )
    parser.add_argument("--force", action="store_true", help="write over an earlier FILE")
    parser.add_argument(
        "--seconds",
        type=float,
        default=8.0,
        help="to spend on a case, warm-up apart (default: %(default)s)",
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="small scenes and one turn: shows that all runs, measures nothing",
    )
    args = parser.parse_args(argv)
    unknown = [name for name in args.systems if name not in SYSTEMS]
    if unknown:
        parser.error(f"{unknown[0]}: expected one of {', '.join(SYSTEMS)}")
    if not args.seconds > 0:
        parser.error(f"--seconds {args.seconds:g}: expected more than 0")
    if args.json and args.json.exists() and not args.force:
        parser.error(f"--json {args.json} exists; give another, or --force to write over it")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: there is no folder {args.json.parent}")

    effort = Effort(0.0, 1, True) if args.tiny else Effort(args.seconds, 3, False)
    about = machine(effort)
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    results = []
    for system in dict.fromkeys(args.systems or SYSTEMS):
        for case in SYSTEMS[system](effort):
            print(f"measuring {system}: {case.title}", file=sys.stderr, flush=True)
            results.append(measure(system, case, effort))
            print("\n" + table(results[-1]), flush=True)
    if args.json:
        args.json.write_text(
            json.dumps(
                {"machine": about, "results": [asdict(result) for result in results]}, indent=1
            )
            + "\n"
        )


if __name__ == "__main__":
    os.environ.setdefault(
        "XLA_PYTHON_CLIENT_PREALLOCATE", "false"
    )  # PyTorch needs some of a GPU's memory as well
    keep_memory()
    main(sys.argv[1:])
