"""The CUDA source, compiled for the host and run with real threads under sanitizers.

It must equal the reference implementation, and the checks are those of a GPU's compute-sanitizer:
reads and writes out of bounds, and races, so that a missing __syncthreads is always an error.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rasterize import AWKWARD, MODES, flat, random_screen

from handjax.ops import rasterize

pytestmark = pytest.mark.optimized

HERE = Path(__file__).parent
FLAGS = (
    "-std=c++17",
    "-O0",
    "-ffp-contract=off",
    "-fno-sanitize-recover=all",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-pthread",
)


def host_source(cuda: str) -> str:
    """Translate what macros cannot: the CUDA header, and launches."""
    header = cuda.replace("#include <cuda_runtime.h>", '#include "cuda_on_host.h"')
    launch = r"(\w+)<<<(.*?), (\w+), 0, stream>>>\("
    host, launches = re.subn(launch, r"on_host::Launch(\1, \2, \3, ", header)
    assert header != cuda and launches == 2
    return host


@pytest.fixture(scope="module")
def build(repo, tmp_path_factory):
    """build(sanitizers) → the program that draws scenes with the CUDA source."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the CUDA source for the host")

    def build(sanitizers: str) -> Path:
        folder = tmp_path_factory.mktemp("host")
        (folder / "rasterize_on_host.h").write_text(
            host_source((repo / "custom_ops" / "rasterize.cu").read_text())
        )
        includes = [
            "-I",
            repo / "custom_ops",
            "-I",
            HERE,
            "-I",
            folder,
            "-isystem",
            jax.ffi.include_dir(),
        ]
        command = [
            "g++",
            *FLAGS,
            f"-fsanitize={sanitizers}",
            *includes,
            HERE / "cuda_on_host.cc",
            "-o",
            folder / "program",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and not done.stderr, done.stderr[-4000:]
        return folder / "program"

    return build


class Scene(NamedTuple):
    name: str
    screen: np.ndarray  # [b v 4]
    faces: np.ndarray  # [f 3] or [b f 3]
    height: int
    width: int
    culled: int = 0
    near: float = -np.inf
    background: float = 0.0

    def image_shape(self) -> tuple[int, int, int]:
        return len(self.screen), self.height, self.width


def run(program: Path, scenes: list[Scene], *words: str) -> subprocess.CompletedProcess:
    parts = []
    for s in scenes:
        sizes = [
            *s.screen.shape[:2],
            s.faces.shape[-2],
            s.faces.ndim == 2,
            s.height,
            s.width,
            s.culled,
        ]
        parts += [
            np.int64(sizes),
            np.float32([s.near, s.background]),
            np.float32(s.screen),
            np.int32(s.faces),
        ]
    written = b"".join(part.tobytes() for part in parts)
    return subprocess.run([program, *words], input=written, capture_output=True, timeout=120)


def images(program: Path, scenes: list[Scene]):
    """(scene, depth, face) for each scene."""
    done = run(program, scenes)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    at = 0
    for scene in scenes:
        count = int(np.prod(scene.image_shape()))
        depth, face = (
            np.frombuffer(done.stdout, kind, count, at + 4 * count * i)
            for i, kind in enumerate((np.float32, np.int32))
        )
        yield scene, depth.reshape(scene.image_shape()), face.reshape(scene.image_shape())
        at += 8 * count
    assert at == len(done.stdout)


draw_reference = jax.jit(rasterize.reference, static_argnames="viewport")


def assert_references(program: Path, scenes: list[Scene]):
    for scene, depth, face in images(program, scenes):
        viewport = (scene.height, scene.width, scene.culled, scene.near, scene.background)
        reference_depth, reference_face = draw_reference(
            jnp.asarray(scene.screen), jnp.asarray(scene.faces), viewport=viewport
        )
        np.testing.assert_array_equal(face, reference_face, err_msg=scene.name)
        np.testing.assert_array_equal(depth, reference_depth, err_msg=scene.name)
        assert (face >= 0).any() or "nothing" in scene.name, scene.name


def awkward() -> list[Scene]:
    """All as one batch, padded with vertices and faces that are not drawn, and some alone."""
    vertices, count = (max(len(case[i]) for case in AWKWARD.values()) for i in range(2))
    screens, lists = [], []
    for screen, faces in AWKWARD.values():
        faces = np.int32(faces).reshape(-1, 3)
        screens.append(
            np.pad(screen, ((0, vertices - len(screen)), (0, 0)), constant_values=np.nan)
        )
        lists.append(np.pad(faces, ((0, count - len(faces)), (0, 0)), constant_values=-1))
    alone = [
        Scene(name, AWKWARD[name][0][None], np.int32(AWKWARD[name][1]), 33, 47)
        for name in ("indices of nothing",)
    ]
    nothing = Scene(
        "no face, nothing",
        AWKWARD["no face"][0][None],
        np.zeros((0, 3), np.int32),
        33,
        47,
        background=7.0,
    )
    return [Scene("awkward", np.stack(screens), np.stack(lists), 33, 47), *alone, nothing]


def soup(
    seed: int,
    batch: int,
    faces: int,
    height: int,
    width: int,
    *,
    shared: bool,
    size: float,
    **options,
) -> Scene:
    """Triangles of up to `size` px, so that few or all of them are drawn by a single thread."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform((-5, -5, 0), (width + 5, height + 5, 0), (batch, faces, 1, 3))
    spread = rng.uniform((-size, -size, 200), (size, size, 400), (batch, faces, 3, 3))
    u, v, depth = np.moveaxis((middle + spread).reshape(batch, 3 * faces, 3), -1, 0)
    screen = np.stack([u * depth, v * depth, depth, depth], axis=-1).astype(np.float32)
    index = np.arange(3 * faces, dtype=np.int32).reshape(faces, 3)
    return Scene(
        f"soup {seed}",
        screen,
        index if shared else np.stack([rng.permutation(index) for _ in range(batch)]),
        height,
        width,
        **options,
    )


@pytest.mark.slow
def test_cuda_source_equals_the_reference(build):
    scenes = awkward()
    rng = np.random.default_rng(20)
    for i, (projection, interpolation) in enumerate(
        MODES
    ):  # large triangles, some behind the camera, many of equal depth
        screen = random_screen(
            rng,
            30,
            2,
            depth=(-60.0, 400.0),
            projection=projection,
            interpolation=interpolation,
            grid=20.0,
        )
        faces = rng.integers(0, 30, (2, 40, 3)).astype(np.int32)
        scenes.append(
            Scene(
                f"random {i}",
                np.asarray(screen),
                faces,
                48,
                64,
                (0, 1, -1, 0)[i],
                (30.0, 0.0, -40.0, -np.inf)[i],
                1000.0,
            )
        )
    scenes += [
        soup(
            0, 2, 2500, 70, 65, shared=True, size=4
        ),  # three rounds of the lists, an image of partial tiles
        soup(1, 1, 1025, 33, 31, shared=False, size=30),  # one face in its second round
        soup(2, 1, 1400, 32, 32, shared=True, size=1.5),  # the list of small faces nearly full
        soup(
            8, 1, 1024, 32, 32, shared=True, size=30
        ),  # one full round, the list of large faces full
        soup(3, 3, 60, 1, 97, shared=False, size=12, culled=1, background=-1.0),
        soup(4, 1, 30, 65, 1, shared=True, size=12, near=250.0),
        soup(5, 2, 3, 0, 8, shared=True, size=9)._replace(name="nothing: no row"),
        soup(6, 0, 3, 8, 8, shared=True, size=9)._replace(name="nothing: no sample"),
        Scene(
            "nothing: depth overflows",
            flat((0, 0, 3e38), (20, 0, 3e38), (0, 20, 3e38))[None],
            np.int32([[0, 1, 2]]),
            8,
            8,
        ),
        Scene(
            "nothing: no vertex",
            np.zeros((2, 0, 4)),
            np.zeros((2, 5, 3), np.int32),
            8,
            8,
            background=3.0,
        ),
    ]
    assert_references(build("address,undefined"), scenes)


@pytest.mark.slow
def test_threads_do_not_race(build):
    program = build("thread")
    scenes = [soup(7, 1, 1100, 40, 33, shared=True, size=6)]
    done = run(program, scenes)
    if b"unexpected memory mapping" in done.stderr:
        pytest.skip(
            "this system lays out memory in a way that g++'s thread sanitizer does not know"
        )
    assert_references(program, scenes)
    # Without barriers the race is found.
    assert b"data race" in run(program, scenes, "no-barriers").stderr
