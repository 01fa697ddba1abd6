"""The CUDA kernel on a GPU: the same images as the CPU's, and the same bits from run to run.

    JAX_PLATFORMS=cuda,cpu pytest tests/gpu

Out-of-bounds accesses and races (each takes minutes; XLA's own memory pool would hide the first):

    export XLA_PYTHON_CLIENT_ALLOCATOR=platform JAX_PLATFORMS=cuda,cpu
    compute-sanitizer --tool memcheck python -m pytest tests/gpu
    compute-sanitizer --tool racecheck python -m pytest tests/gpu

Without a GPU, tests/kernels/test_cuda_on_host.py runs the same source under the host's sanitizers.
"""

import itertools
import runpy
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.ops import library, rasterize

pytestmark = pytest.mark.gpu
KERNEL_TESTS = runpy.run_path(str(Path(__file__).parents[1] / "kernels" / "test_rasterize.py"))
AWKWARD, MODES, random_screen = (
    KERNEL_TESTS[name] for name in ("AWKWARD", "MODES", "random_screen")
)


@pytest.fixture(scope="module")
def gpu():
    try:
        return jax.devices("gpu")[0]
    except RuntimeError:
        pytest.skip("JAX sees no NVIDIA GPU; with one: JAX_PLATFORMS=cuda,cpu pytest tests/gpu")


def on_both(gpu, function, *arguments):
    """Results of `function` on the GPU and on the CPU, as NumPy arrays."""
    assert "cuda" in library.platforms(), "the CUDA kernel was not built"
    results = []
    for device in (gpu, jax.devices("cpu")[0]):
        result = jax.jit(function)(*jax.device_put(arguments, device))
        assert all(x.devices() == {device} for x in jax.tree.leaves(result))
        results.append(jax.tree.map(np.asarray, result))
    return results


def assert_same_images(gpu, screen, faces, height, width, what, **options):
    draw = partial(rasterize.rasterize, height=height, width=width, **options)
    ours, cpu = on_both(gpu, draw, jnp.asarray(screen), jnp.asarray(faces, jnp.int32))
    np.testing.assert_array_equal(ours[1], cpu[1], err_msg=str(what))
    np.testing.assert_array_equal(ours[0], cpu[0], err_msg=str(what))
    return ours


def test_degenerate_triangles(gpu):
    for name, (screen, faces) in AWKWARD.items():
        assert_same_images(gpu, screen, faces, 33, 47, name)


def test_random_triangles(gpu):
    depths = (((200.0, 400.0), None), ((-100.0, 100.0), None), ((40.0, 400.0), 20.0))
    for case in itertools.product(MODES, depths, ("none", "back", "front")):
        (projection, interpolation), (depth, grid), cull = case
        rng = np.random.default_rng(0)
        screen = random_screen(
            rng, 40, 2, depth=depth, projection=projection, interpolation=interpolation, grid=grid
        )
        faces = rng.integers(0, 40, (2, 60, 3)).astype(np.int32)
        near = -20.0 if projection == "orthographic" else 30.0
        _, face = assert_same_images(
            gpu, screen, faces, 48, 64, case, cull=cull, near=near, background=1000.0
        )
        assert 0.02 < (face >= 0).mean(), case


def test_any_size(gpu):
    sizes = (
        (1, 480, 640, 5000),
        (48, 64, 64, 5000),
        (3, 1, 300, 40),
        (5, 70, 33, 1025),
        (2, 0, 8, 5),
        (2, 8, 8, 0),
    )
    for case in itertools.product(sizes, (True, False)):
        (batch, height, width, faces), shared = case
        rng = np.random.default_rng(1)
        screen = random_screen(rng, 300, batch)
        lists = rng.integers(0, 300, (faces, 3) if shared else (batch, faces, 3)).astype(np.int32)
        assert_same_images(gpu, screen, lists, height, width, case)


def test_gradient(gpu):
    rng = np.random.default_rng(2)
    screen = random_screen(rng, 200, 4)
    faces = jnp.asarray(rng.integers(0, 200, (400, 3)), jnp.int32)
    weight = jnp.asarray(rng.normal(size=(4, 48, 64)), jnp.float32)

    def slope(screen, faces, weight):
        return jax.grad(lambda s: jnp.sum(rasterize.rasterize(s, faces, 48, 64)[0] * weight))(
            screen
        )

    ours, cpu = on_both(gpu, slope, screen, faces, weight)
    assert np.abs(cpu).max() > 0
    np.testing.assert_allclose(ours, cpu, atol=2e-4 * np.abs(cpu).max())


def test_two_runs_give_the_same_bits(gpu):
    rng = np.random.default_rng(3)
    screen = random_screen(rng, 500, 8, grid=10.0)  # many of equal depth
    faces = jnp.asarray(rng.integers(0, 500, (3000, 3)), jnp.int32)
    weight = jnp.asarray(rng.normal(size=(8, 64, 64)), jnp.float32)
    arguments = jax.device_put((screen, faces, weight), gpu)

    @jax.jit
    def run(screen, faces, weight):
        def loss(screen):
            images = rasterize.rasterize(screen, faces, 64, 64)
            return jnp.sum(images[0] * weight), images

        return jax.value_and_grad(loss, has_aux=True)(screen)

    first = run(*arguments)
    for _ in range(5):
        jax.tree.map(np.testing.assert_array_equal, run(*arguments), first)
