"""The rasterizer: the kernel equals its reference bit for bit.

Also images worked out by hand, properties, gradients, transformations and sharding.
"""

import inspect
import os
import re
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from handjax.ops import gather, library, rasterize
from handjax.ops.rasterize import barycentrics, interpolate, to_screen

pytestmark = pytest.mark.optimized

CAMERA = np.float32([[100, 0, 32], [0, 90, 24], [0, 0, 1]])
PARALLEL = np.float32([[0.25, 0, 32], [0, 0.25, 24], [0, 0, 1]])
MODES = [(p, i) for p in ("pinhole", "orthographic") for i in ("linear", "perspective")]


def flat(*corners, scale=1.0):
    """Screen vertices of (u, v, depth), interpolated linearly."""
    return np.float32([(scale * u, scale * v, scale, d) for u, v, d in corners])


# Compiled once per image size and set of options.
OPTIONS = ("height", "width", "cull", "near", "background")
draw = jax.jit(rasterize.rasterize, static_argnames=OPTIONS)
draw_reference = jax.jit(rasterize.reference, static_argnames="viewport")


def both(screen, faces, height=48, width=64, *, cull="none", near=-np.inf, background=0.0):
    """Images by the kernel and by the reference."""
    screen, faces = jnp.asarray(screen), jnp.asarray(faces, jnp.int32)
    kernel = draw(screen, faces, height, width, cull=cull, near=near, background=background)
    batched = screen if screen.ndim == 3 else screen[None]
    reference = draw_reference(
        batched,
        faces,
        viewport=(height, width, {"none": 0, "back": 1, "front": -1}[cull], near, background),
    )
    return kernel, tuple(x.reshape(kernel[0].shape) for x in reference)


def assert_same(kernel, reference):
    np.testing.assert_array_equal(kernel[1], reference[1])
    np.testing.assert_array_equal(kernel[0], reference[0])  # ties must not depend on rounding


def random_screen(
    rng,
    vertices,
    batch,
    *,
    depth=(200.0, 400.0),
    projection="pinhole",
    interpolation="perspective",
    grid=None,
):
    xyz = np.concatenate(
        [rng.uniform(-120, 120, (batch, vertices, 2)), rng.uniform(*depth, (batch, vertices, 1))],
        axis=-1,
    )
    if grid:
        xyz = np.round(xyz / grid) * grid
    k = np.broadcast_to(CAMERA if projection == "pinhole" else PARALLEL, (batch, 3, 3))
    return to_screen(
        jnp.asarray(xyz, jnp.float32),
        jnp.asarray(k),
        projection=projection,
        interpolation=interpolation,
    )


def test_kernels_are_available():
    assert "cpu" in library.platforms()


# ---- images worked out by hand -------------------------------------------------------------------


def test_an_image_worked_out_by_hand():
    # A triangle with corners on pixel centers. Its left edge x = 1 and its top edge y = 1 belong to
    # it, the slanted edge x + y = 5 (a right edge) does not. Its depth is 10x + y.
    screen = jnp.asarray(flat((1, 1, 11), (4, 1, 41), (1, 4, 14)))
    depth, face = draw(screen, np.array([[0, 1, 2]]), 5, 6, background=-1.0)
    np.testing.assert_array_equal(
        depth,
        [
            [-1, -1, -1, -1, -1, -1],
            [-1, 11, 21, 31, -1, -1],
            [-1, 12, 22, -1, -1, -1],
            [-1, 13, -1, -1, -1, -1],
            [-1, -1, -1, -1, -1, -1],
        ],
    )
    np.testing.assert_array_equal(face, np.where(depth > 0, 0, -1))


def test_perspective_depth_is_that_of_the_plane():
    # The plane z = 200 + x: along the ray (a, b, 1) it is at z = 200 / (1 - a).
    xyz = np.float32([[-100, -100, 100], [100, -100, 300], [0, 300, 200]])
    screen = to_screen(
        jnp.asarray(xyz), jnp.asarray(CAMERA), projection="pinhole", interpolation="perspective"
    )
    depth, face = draw(screen, np.array([[0, 1, 2]]), 48, 64)
    a = np.broadcast_to((np.arange(64) - 32) / 100, (48, 64))
    seen = np.asarray(face) == 0
    assert seen.sum() > 500
    np.testing.assert_allclose(depth[seen], (200 / (1 - a))[seen], rtol=1e-6)


def test_linear_depth_crosses_zero():
    # Parallel rays and z centered on 0: the original's 1/Σ(w/z) diverges here, Σ w z does not.
    screen = jnp.asarray(flat((0, 0, -50), (40, 0, 50), (0, 40, -50)))
    depth, face = draw(screen, np.array([[0, 1, 2]]), 48, 48, background=100.0)
    x = np.broadcast_to(np.arange(48), (48, 48))
    np.testing.assert_allclose(depth[face == 0], (2.5 * x - 50)[face == 0], atol=1e-4)
    assert np.all(depth[face == -1] == 100)


def test_a_wall_through_the_camera_ends_at_the_near_plane():
    # The plane x = 50, from behind the camera to far in front of it, visible to the right of the
    # middle, at z = 50 / a.
    xyz = np.float32([[50, -4000, -1000], [50, 4000, -1000], [50, 0, 5000]])
    screen = to_screen(
        jnp.asarray(xyz), jnp.asarray(CAMERA), projection="pinhole", interpolation="perspective"
    )
    depth, face = draw(screen, np.array([[0, 1, 2]]), 48, 264, near=40.0)
    a = (np.arange(264) - 32) / 100
    row = np.asarray(depth[24])
    expected = np.divide(50, a, out=np.zeros_like(a), where=a > 0)
    drawn = (expected > 40) & (expected < 4999)
    np.testing.assert_allclose(row[drawn], expected[drawn], rtol=1e-5)
    assert not row[expected < 40].any() and drawn.sum() > 100


def test_a_fragment_at_the_near_plane_is_not_drawn():
    screen = jnp.asarray(flat((0, 0, 10), (8, 0, 18), (0, 8, 10)))  # depth 10 + x
    depth, _ = draw(screen, np.array([[0, 1, 2]]), 1, 8, near=12.0)
    np.testing.assert_array_equal(depth[0], [0, 0, 0, 13, 14, 15, 16, 17])


def test_front_faces_have_normals_to_the_camera():
    xyz = jnp.asarray([[-50, -50, 300], [-50, 50, 300], [50, -50, 300]], jnp.float32)
    # (b - a) × (c - a) = (0, 100, 0) × (100, 0, 0) = (0, 0, -10⁴): towards the camera.
    for projection, k in (("pinhole", CAMERA), ("orthographic", PARALLEL)):
        screen = to_screen(xyz, jnp.asarray(k), projection=projection, interpolation="linear")
        seen = {
            (cull, order): bool((draw(screen, np.array([order]), 48, 64, cull=cull)[1] == 0).any())
            for cull in ("none", "back", "front")
            for order in ((0, 1, 2), (0, 2, 1))
        }
        assert seen == {
            ("none", (0, 1, 2)): True,
            ("none", (0, 2, 1)): True,
            ("back", (0, 1, 2)): True,
            ("back", (0, 2, 1)): False,
            ("front", (0, 1, 2)): False,
            ("front", (0, 2, 1)): True,
        }


def test_a_tie_goes_to_the_lowest_face():
    screen = flat((0, 0, 5), (20, 0, 5), (0, 20, 5))
    (_, face), reference = both(screen, [[0, 1, 2], [1, 2, 0], [2, 0, 1]], 16, 16)
    assert set(np.unique(face)) == {-1, 0}
    np.testing.assert_array_equal(face, reference[1])


# ---- the kernel equals the reference -------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("cull", ["none", "back", "front"])
@pytest.mark.parametrize(("projection", "interpolation"), MODES)
@pytest.mark.parametrize(
    ("depth", "grid"), [((200.0, 400.0), None), ((-100.0, 100.0), None), ((40.0, 400.0), 20.0)]
)
def test_kernel_is_reference(projection, interpolation, depth, grid, cull):
    rng = np.random.default_rng(0)
    screen = random_screen(
        rng, 40, 2, depth=depth, projection=projection, interpolation=interpolation, grid=grid
    )
    faces = rng.integers(0, 40, (2, 60, 3)).astype(np.int32)
    kernel, reference = both(
        screen,
        faces,
        cull=cull,
        near=-20.0 if projection == "orthographic" else 30.0,
        background=1000.0,
    )
    assert_same(kernel, reference)
    assert 0.02 < (kernel[1] >= 0).mean()


AWKWARD = {
    "no face": (flat((0, 0, 1)), np.zeros((0, 3), np.int32)),
    "a point": (flat((3, 3, 1), (3, 3, 1), (3, 3, 1)), [[0, 1, 2]]),
    "one vertex thrice": (flat((3, 3, 1)), [[0, 0, 0]]),
    "a line along a row": (flat((2, 3, 1), (9, 3, 1), (5, 3, 1)), [[0, 1, 2], [0, 2, 1]]),
    "a slanted line": (flat((0, 0, 1), (10, 10, 1), (30, 30, 1)), [[0, 1, 2], [2, 1, 0]]),
    "nearly a line": (
        flat((0.1, 0.1, 1), (10.3, 10.3, 1), (30.7, 30.700001, 1)),
        [[0, 1, 2], [2, 1, 0]],
    ),
    "a sliver": (flat((0, 5, 1), (60, 5.0001, 1), (60, 5, 1)), [[0, 1, 2]]),
    "a sliver over a centre": (flat((0, 4.9999, 1), (60, 4.9999, 1), (60, 5.0001, 1)), [[0, 1, 2]]),
    "between the centres": (flat((5.2, 5.2, 1), (5.8, 5.2, 1), (5.2, 5.8, 1)), [[0, 1, 2]]),
    "one pixel": (flat((4.9, 4.9, 1), (5.3, 4.9, 1), (4.9, 5.3, 1)), [[0, 1, 2]]),
    "off the screen": (flat((-50, -50, 1), (-10, -50, 1), (-50, -10, 1), (500, 9, 1)), [[0, 1, 2]]),
    "all of the screen": (flat((-1e4, -1e4, 1), (1e5, -1e4, 2), (-1e4, 1e5, 3)), [[0, 1, 2]]),
    "far beyond float32's pixels": (
        flat((-1e20, -1e20, 1), (1e20, 0, 2), (0, 1e20, 3)),
        [[0, 1, 2]],
    ),
    "overflow": (flat((-1e38, -1e38, 1), (3e38, 0, 2), (0, 3e38, 3)), [[0, 1, 2]]),
    "not a number": (
        flat((0, 0, 1), (np.nan, 0, 1), (0, 20, 1), (20, 0, 2)),
        [[0, 1, 2], [0, 3, 2]],
    ),
    "depth not a number": (
        flat((0, 0, 1), (20, 0, np.nan), (0, 20, 1), (20, 0, 2)),
        [[0, 1, 2], [0, 3, 2]],
    ),
    "infinite": (
        flat((0, 0, 1), (np.inf, 0, 1), (0, -np.inf, 1), (20, 0, np.inf)),
        [[0, 1, 2], [0, 3, 2]],
    ),
    "indices of nothing": (
        flat((0, 0, 1), (20, 0, 1), (0, 20, 1)),
        [[0, 1, 3], [-1, 1, 2], [0, 1, 2]],
    ),
    "behind": (flat((0, 0, 1), (20, 0, 1), (0, 20, 1), scale=-1.0), [[0, 1, 2]]),
    "a corner in the camera's plane": (
        np.float32([(0, 0, 1, 1), (20, 0, 0, 1), (0, 20, 1, 1)]),
        [[0, 1, 2]],
    ),
    "all corners in the camera's plane": (
        np.float32([(0, 0, 0, 1), (20, 0, 0, 1), (0, 20, 0, 1)]),
        [[0, 1, 2]],
    ),
    "zero of both signs": (
        flat((0, 0, -0.0), (20, 0, 0.0), (0, 20, 0.0), (20, 20, -0.0)),
        [[0, 1, 2], [1, 3, 2], [0, 1, 3]],
    ),
    "all zero": (np.zeros((3, 4), np.float32), [[0, 1, 2]]),
    "denormal": (flat((0, 0, 1e-39), (20, 0, 1e-39), (0, 20, 1e-39)), [[0, 1, 2]]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AWKWARD)
def test_kernel_is_reference_on_degenerate_triangles(name):
    screen, faces = AWKWARD[name]
    kernel, reference = both(screen, faces, 33, 47)
    assert_same(kernel, reference)
    assert np.all(np.isfinite(kernel[0]))
    nothing = {
        "no face",
        "a point",
        "one vertex thrice",
        "a line along a row",
        "between the centres",
        "off the screen",
        "behind",
    }
    if name in nothing | {
        "overflow",
        "infinite",
        "all zero",
        "all corners in the camera's plane",
        "a slanted line",
    }:
        assert not (kernel[1] >= 0).any()
    if name in ("not a number", "depth not a number"):
        assert set(np.unique(kernel[1])) == {-1, 1}
    if name == "indices of nothing":
        assert set(np.unique(kernel[1])) == {-1, 2}
    if name == "one pixel":
        assert (kernel[1] == 0).sum() == 1 and kernel[1][5, 5] == 0


numbers = st.one_of(
    st.integers(-8, 40).map(float),
    st.floats(-60, 120, width=32),
    st.sampled_from([0.5, 1e-6, -1e9, np.inf]),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(numbers, numbers, st.sampled_from([1.0, -1.0, 3.5, 0.0]), numbers),
        min_size=9,
        max_size=9,
    )
)
def test_kernel_is_reference_on_anything(vertices):
    faces = np.int32([[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 4, 8], [2, 4, 6], [0, 0, 1]])
    assert_same(*both(np.float32(vertices), faces, 32, 32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "height", "width"),
    [(1, 1, 1), (1, 300, 7), (5, 64, 64), (1, 0, 8), (0, 8, 8), (2, 70, 129)],
)
def test_kernel_is_reference_for_any_size(batch, height, width):
    rng = np.random.default_rng(1)
    screen = random_screen(rng, 30, batch)
    faces = rng.integers(0, 30, (50, 3)).astype(np.int32)
    assert_same(*both(screen, faces, height, width))


# ---- properties ----------------------------------------------------------------------------------


def test_neighbours_leave_no_gap_and_share_no_pixel():
    # A fan of triangles over the whole image, with corners anywhere and on pixel centers: every
    # pixel is in exactly one triangle.
    rng = np.random.default_rng(2)
    angles = np.linspace(0, 2 * np.pi, 33)[:-1]
    for center in ((20.0, 20.0), (17.3, 25.8), tuple(rng.uniform(10, 30, 2))):
        rim = np.stack([20 + 90 * np.cos(angles), 20 + 90 * np.sin(angles)], axis=-1)
        corners = np.concatenate([[center], np.round(rim)])
        screen = jnp.asarray(flat(*((u, v, 1.0) for u, v in corners)))
        faces = np.int32([[0, i + 1, (i + 1) % 32 + 1] for i in range(32)])
        of_one = jax.vmap(partial(draw, height=40, width=40), in_axes=(None, 0))
        alone = of_one(screen, jnp.asarray(faces)[:, None])[1] == 0
        np.testing.assert_array_equal(np.sum(np.asarray(alone), axis=0), 1)


def test_order_of_faces_does_not_change_depth():
    rng = np.random.default_rng(3)
    screen = random_screen(rng, 40, 1)
    faces = rng.integers(0, 40, (80, 3)).astype(np.int32)
    order = rng.permutation(80)
    depth, face = draw(screen, faces, 48, 64)
    shuffled_depth, shuffled_face = draw(screen, faces[order], 48, 64)
    np.testing.assert_array_equal(depth, shuffled_depth)
    renamed = np.where(np.asarray(shuffled_face) >= 0, order[np.asarray(shuffled_face)], -1)
    assert (renamed != np.asarray(face)).mean() < 0.01  # only where two faces have the same depth


def test_winding_does_not_change_depth():
    rng = np.random.default_rng(4)
    screen = random_screen(rng, 40, 1, grid=5.0)
    faces = rng.integers(0, 40, (60, 3)).astype(np.int32)
    forward, backward = (draw(screen, f, 48, 64) for f in (faces, faces[:, ::-1].copy()))
    np.testing.assert_array_equal(forward[0] > 0, backward[0] > 0)
    np.testing.assert_allclose(forward[0], backward[0], rtol=1e-5)


def test_two_runs_give_the_same_bits():
    rng = np.random.default_rng(5)
    screen = random_screen(rng, 200, 4)
    faces = rng.integers(0, 200, (400, 3)).astype(np.int32)
    weight = jnp.asarray(rng.normal(size=(4, 48, 64)), jnp.float32)

    @jax.jit
    def run(screen):
        def loss(screen):
            return jnp.sum(draw(screen, faces, 48, 64)[0] * weight)

        return draw(screen, faces, 48, 64), jax.grad(loss)(screen)

    first, second = run(screen), run(screen)
    jax.tree.map(np.testing.assert_array_equal, first, second)


# ---- barycentrics, attributes, gradients ---------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("projection", "interpolation"), [("pinhole", "perspective"), ("orthographic", "linear")]
)
def test_weights_and_attributes_agree_with_depth(projection, interpolation):
    rng = np.random.default_rng(6)
    screen = random_screen(rng, 40, 3, projection=projection, interpolation=interpolation)
    faces = rng.integers(0, 40, (50, 3)).astype(np.int32)
    depth, face = draw(screen, faces, 48, 64)
    weights = barycentrics(screen, faces, face)
    seen = np.asarray(face) >= 0
    assert np.all(np.asarray(weights) >= -1e-6)
    np.testing.assert_allclose(np.sum(weights, axis=-1), np.where(seen, 1.0, 0.0), atol=1e-5)
    np.testing.assert_allclose(
        interpolate(screen[..., 3:], faces, face, weights)[..., 0], depth, rtol=1e-5
    )
    # The interpolated position is that of the pixel.
    at = interpolate(screen, faces, face, weights)
    v, u = np.meshgrid(np.arange(48), np.arange(64), indexing="ij")
    np.testing.assert_allclose(
        (at[..., 0] / at[..., 2])[seen], np.broadcast_to(u, face.shape)[seen], atol=1e-3
    )
    np.testing.assert_allclose(
        (at[..., 1] / at[..., 2])[seen], np.broadcast_to(v, face.shape)[seen], atol=1e-3
    )
    per_sample = np.broadcast_to(faces, (3, *faces.shape))
    np.testing.assert_array_equal(barycentrics(screen, per_sample, face), weights)


@pytest.mark.slow
@pytest.mark.parametrize(("projection", "interpolation"), MODES)
def test_gradient_is_that_of_the_reference(projection, interpolation):
    rng = np.random.default_rng(7)
    xyz = np.concatenate(
        [rng.uniform(-120, 120, (2, 40, 2)), rng.uniform(200, 400, (2, 40, 1))], axis=-1
    ).astype(np.float32)
    k = jnp.broadcast_to(jnp.asarray(CAMERA if projection == "pinhole" else PARALLEL), (2, 3, 3))
    faces = jnp.asarray(rng.integers(0, 40, (50, 3)), jnp.int32)
    weight = jnp.asarray(rng.normal(size=(2, 48, 64)), jnp.float32)

    def loss(draw, xyz, k):
        screen = to_screen(xyz, k, projection=projection, interpolation=interpolation)
        return jnp.sum(draw(screen) * weight)

    kernel = jax.grad(partial(loss, lambda s: draw(s, faces, 48, 64)[0]), argnums=(0, 1))
    reference = jax.grad(
        partial(loss, lambda s: rasterize.reference(s, faces, (48, 64, 0, -np.inf, 0.0))[0]),
        argnums=(0, 1),
    )
    for ours, theirs in zip(
        jax.jit(kernel)(jnp.asarray(xyz), k), jax.jit(reference)(jnp.asarray(xyz), k), strict=True
    ):
        assert np.all(np.isfinite(ours)) and np.abs(ours).max() > 0
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * float(np.abs(theirs).max()))


def test_gradient_is_the_finite_difference_off_edges():
    rng = np.random.default_rng(8)
    xyz = np.float64([[-90, -70, 260], [110, -80, 340], [10, 120, 300], [-40, 20, 400]])
    faces = np.int32([[0, 1, 2], [0, 3, 2]])

    def depths(xyz):
        screen = to_screen(
            jnp.asarray(xyz, jnp.float32),
            jnp.asarray(CAMERA),
            projection="pinhole",
            interpolation="perspective",
        )
        return draw(screen, faces, 48, 64)

    _, face = depths(xyz)
    seen = np.asarray(face) >= 0
    inner = seen.copy()
    for axis in (0, 1):  # pixels whose neighbours all see the same face
        for step in (-1, 1):
            inner &= np.roll(np.asarray(face), step, axis) == np.asarray(face)
    weight = jnp.asarray(np.where(inner, rng.normal(size=inner.shape), 0), jnp.float32)
    depths = jax.jit(depths)
    gradient = jax.jit(jax.grad(lambda xyz: jnp.sum(depths(xyz)[0] * weight)))(
        jnp.asarray(xyz, jnp.float32)
    )
    step = 0.05
    for i in range(4):
        for j in range(3):
            ahead, behind = xyz.copy(), xyz.copy()
            ahead[i, j] += step
            behind[i, j] -= step
            slope = np.sum(
                (np.float64(depths(ahead)[0]) - np.float64(depths(behind)[0])) * np.float64(weight)
            ) / (2 * step)
            assert abs(slope - gradient[i, j]) < 0.02 * max(1.0, float(jnp.abs(gradient).max())), (
                i,
                j,
            )


@pytest.mark.slow
def test_gradient_is_finite_where_triangles_are_not():
    screen = jnp.asarray(np.concatenate([screen for screen, _ in AWKWARD.values()]))
    starts = np.cumsum([0] + [len(screen) for screen, _ in AWKWARD.values()])
    faces = np.concatenate(
        [
            np.asarray(f, np.int32).reshape(-1, 3) + s
            for (_, f), s in zip(AWKWARD.values(), starts, strict=False)
        ]
    )
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(draw(s, faces, 33, 47)[0])))(screen)
    finite = np.isfinite(np.asarray(screen)).all(axis=1)
    assert np.isfinite(np.asarray(gradient)[finite]).all()


@pytest.mark.slow
def test_affine_gradients_are_finite_behind_the_camera():
    xyz = jnp.asarray([[0.0, 0, 0], [10, 0, -5], [0, 10, 300], [40, 0, 300], [0, -30, 300]])
    faces = np.int32([[0, 1, 2], [2, 3, 4]])

    def loss(xyz):
        screen = to_screen(xyz, jnp.asarray(CAMERA), projection="pinhole", interpolation="linear")
        return jnp.sum(draw(screen, faces, 48, 64)[0])

    gradient = jax.grad(loss)(xyz)
    assert np.isfinite(gradient).all() and np.abs(gradient[2:]).max() > 0 and not gradient[:2].any()


@pytest.mark.slow
@pytest.mark.parametrize("rows", [0, 1, 2, 97])
def test_sums_in_a_tree_are_sums(rows):
    # As on a GPU, instead of atomic additions.
    rng = np.random.default_rng(9)
    index = jnp.asarray(rng.integers(0, 12, rows), jnp.int32)
    values = jnp.asarray(rng.normal(size=(rows, 4)), jnp.float32)
    add_sorted = jax.jit(gather._add_sorted(15))
    one_by_one, tree = gather._add_one_by_one(15)(index, values), add_sorted(index, values)
    np.testing.assert_allclose(tree, one_by_one, atol=1e-5)
    batched = jax.vmap(add_sorted)(jnp.stack([index, index]), jnp.stack([values, 2 * values]))
    np.testing.assert_allclose(batched[1], 2 * tree, atol=1e-5)


# ---- composition ---------------------------------------------------------------------------------


def scene(batch=8):
    rng = np.random.default_rng(10)
    return random_screen(rng, 40, batch), rng.integers(0, 40, (batch, 50, 3)).astype(np.int32)


def test_any_leading_batch():
    screen, faces = scene(6)
    flat_images = rasterize.rasterize(screen, faces, 20, 24)
    nested = rasterize.rasterize(screen.reshape(2, 3, 40, 4), faces.reshape(2, 3, 50, 3), 20, 24)
    alone = rasterize.rasterize(screen[4], faces[4], 20, 24)
    for one, many, last in zip(flat_images, nested, alone, strict=True):
        np.testing.assert_array_equal(many.reshape(6, 20, 24), one)
        np.testing.assert_array_equal(one[4], last)


@pytest.mark.slow
def test_other_dtypes_are_drawn_in_float32():
    screen, faces = scene(2)
    half = screen.astype(jnp.bfloat16)
    depth, face = draw(half, faces, 20, 24)
    assert (
        jax.jit(jax.grad(lambda s: jnp.sum(draw(s, faces, 20, 24)[0])))(half).dtype == jnp.bfloat16
    )
    expected = draw(half.astype(jnp.float32), faces, 20, 24)
    assert depth.dtype == jnp.float32
    np.testing.assert_array_equal(depth, expected[0])
    np.testing.assert_array_equal(face, expected[1])


def test_vmap_in_every_way():
    screen, faces = scene(6)
    draw = jax.jit(partial(rasterize.rasterize, height=20, width=24))
    each = [draw(screen[i], faces[i]) for i in range(6)]
    shared = [draw(screen[i], faces[0]) for i in range(6)]
    many_lists = [draw(screen[0], faces[i]) for i in range(6)]

    def same(images, expected):
        for at in range(2):
            np.testing.assert_array_equal(
                images[at].reshape(-1, 20, 24), np.stack([e[at] for e in expected])
            )

    same(jax.vmap(draw)(screen, faces), each)
    same(jax.jit(jax.vmap(draw))(screen, faces), each)
    same(jax.vmap(draw, in_axes=(0, None))(screen, faces[0]), shared)
    same(jax.vmap(draw, in_axes=(None, 0))(screen[0], faces), many_lists)
    same(jax.vmap(jax.vmap(draw))(screen.reshape(2, 3, 40, 4), faces.reshape(2, 3, 50, 3)), each)
    same(
        jax.vmap(jax.vmap(draw, in_axes=(0, None)), in_axes=(0, None))(
            screen.reshape(2, 3, 40, 4), faces[0]
        ),
        shared,
    )
    # An inner batch with a shared list; a new axis over the lists only, or over both.
    outer = jax.vmap(draw, in_axes=(None, 0))(screen[:3], faces[:2])
    for i in range(2):
        same([x[i] for x in outer], [draw(screen[j], faces[i]) for j in range(3)])
    outer = jax.vmap(draw)(screen.reshape(2, 3, 40, 4), faces[:2])
    for i in range(2):
        same([x[i] for x in outer], [draw(screen[3 * i + j], faces[i]) for j in range(3)])
    same(jax.vmap(draw, in_axes=(1, 0))(jnp.swapaxes(screen, 0, 1), faces), each)


@pytest.mark.slow
def test_gradients_compose():
    screen, faces = scene(4)
    weight = jnp.asarray(np.random.default_rng(11).normal(size=(20, 24)), jnp.float32)

    def loss(screen, faces):
        return jnp.sum(rasterize.rasterize(screen, faces, 20, 24)[0] * weight)

    slope = jax.jit(jax.grad(loss))
    each = np.stack([slope(screen[i], faces[i]) for i in range(4)])
    scale = float(np.abs(each).max())
    np.testing.assert_allclose(jax.vmap(slope)(screen, faces), each, atol=1e-6 * scale)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(jax.grad(jax.checkpoint(loss))))(screen, faces), each, atol=1e-6 * scale
    )
    rows = jax.jit(jax.jacrev(lambda s: jnp.sum(draw(s, faces[0], 20, 24)[0] * weight, axis=1)))(
        screen[0]
    )
    np.testing.assert_allclose(np.sum(rows, axis=0), each[0], atol=1e-5 * scale)
    inside_scan = jax.lax.scan(lambda c, x: (c, slope(*x)), 0, (screen, jnp.asarray(faces)))[1]
    np.testing.assert_allclose(inside_scan, each, atol=1e-6 * scale)
    shape = jax.eval_shape(
        partial(rasterize.rasterize, height=20, width=24), screen, jnp.asarray(faces)
    )
    assert [s.shape for s in shape] == [(4, 20, 24)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("shared", [True, False])
def test_sharded_without_a_collective(shared, axis_type):
    screen, faces = scene(8)
    faces = jnp.asarray(faces[0] if shared else faces)
    weight = jnp.asarray(np.random.default_rng(12).normal(size=(8, 20, 24)), jnp.float32)

    def run(screen, faces, weight):
        def loss(screen):
            depth, face = rasterize.rasterize(screen, faces, 20, 24)
            return jnp.sum(depth * weight, axis=(1, 2)), (depth, face)

        sums, pull, images = jax.vjp(loss, screen, has_aux=True)
        return pull(jnp.ones_like(sums))[0], images

    expected = jax.jit(run)(screen, faces, weight)
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(axis_type,))
    by_sample, whole = (
        NamedSharding(mesh, PartitionSpec("data")),
        NamedSharding(mesh, PartitionSpec()),
    )
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(x, whole if x is faces and shared else by_sample)
            for x in (screen, faces, weight)
        ]
        compiled = jax.jit(run).lower(*placed).compile()
        got = compiled(*placed)
    text = compiled.as_text()
    assert "handjax_rasterize" in text
    assert not re.findall(
        r"all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter", text
    )
    for ours, single in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert ours.sharding.is_equivalent_to(by_sample, ours.ndim)
        np.testing.assert_allclose(ours, single, atol=1e-6 * float(np.abs(single).max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vertices", "count", "height"), [(40, 50, 20), (40, 0, 20), (0, 50, 20), (40, 50, 0)]
)
def test_inside_shard_map(vertices, count, height):
    screen, faces = scene(8)
    screen, faces = screen[:, :vertices], faces[:, :count]
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    draw = jax.shard_map(
        partial(rasterize.rasterize, height=20, width=24),
        mesh=mesh,
        in_specs=PartitionSpec("data"),
        out_specs=PartitionSpec("data"),
    )
    for ours, plain in zip(
        jax.jit(draw)(screen, jnp.asarray(faces)),
        rasterize.rasterize(screen, faces, 20, 24),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, plain)


def test_lowers_for_cuda_without_a_gpu():
    if "cuda" not in library.platforms():
        pytest.skip("the CUDA kernel was not built: no nvcc where handjax was installed")
    screen, faces = scene(2)

    def loss(screen):
        return jnp.sum(rasterize.rasterize(screen, faces, 20, 24)[0])

    lowered = (
        jax.jit(jax.value_and_grad(loss))
        .trace(screen)
        .lower(lowering_platforms=("cuda",))
        .as_text()
    )
    assert "handjax_rasterize" in lowered and "platform_index" not in lowered


def test_the_kernel_rejects_invalid_ranks():
    def call(screen, faces, out=(2, 4, 4)):
        shapes = (jax.ShapeDtypeStruct(out, jnp.float32), jax.ShapeDtypeStruct(out, jnp.int32))
        attributes = dict(culled=np.int32(0), near=np.float32(0), background=np.float32(0))
        library.platforms()
        op = jax.ffi.ffi_call("handjax_rasterize", shapes)
        return jax.block_until_ready(
            op(jnp.zeros(screen), jnp.zeros(faces, jnp.int32), **attributes)
        )

    call((2, 5, 4), (7, 3))
    for screen, faces, what in [
        ((5, 4), (7, 3), "screen is"),
        ((2, 5, 3), (7, 3), "screen is"),
        ((2, 5, 4), (1, 7, 3), "faces are"),  # as with vmap_method="expand_dims"
        ((2, 5, 4), (7, 4), "faces are"),
        ((2, 5, 4), (3,), "faces are"),
        ((3, 5, 4), (7, 3), "depth is"),
    ]:
        with pytest.raises(Exception, match=f"INVALID_ARGUMENT: {what}"):
            call(screen, faces)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (dict(height=20000), "expected 0 to 16384 a side"),
        (dict(faces=np.zeros((3, 5, 3), np.int32)), "one list for all samples"),
        (dict(screen=jnp.zeros((2, 9, 3))), "as returned by to_screen"),
    ],
)
def test_invalid_arguments_are_reported(change, what):
    screen, _ = scene(2)
    arguments = dict(screen=screen, faces=np.zeros((5, 3), np.int32), height=8, width=8) | change
    with pytest.raises((ValueError, TypeError), match=what):
        inspect.unwrap(rasterize.rasterize)(
            **arguments
        )  # as called by users, without the tests' type checks


# ---- the library ---------------------------------------------------------------------------------

PROBE = """
import warnings
from handjax.ops import library, rasterize
import jax.numpy as jnp, numpy as np
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    {change}
    screen = jnp.asarray([[0, 0, 1, 5], [9, 0, 1, 5], [0, 9, 1, 5]], jnp.float32)
    for _ in range(2):
        depth, face = rasterize.rasterize(screen, np.int32([[0, 1, 2]]), 8, 8)
messages = [str(w.message) for w in said if w.category is RuntimeWarning]
print(library.platforms(), int((face == 0).sum()), messages)
"""


def probe(change="pass", **environment):
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(change=change)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return run.stdout.strip() if run.returncode == 0 else run.stderr


@pytest.mark.slow
def test_switched_off_the_reference_runs_silently():
    assert probe(HANDJAX_OPS="off") == "() 43 []"


def test_an_invalid_switch_is_reported():
    assert "HANDJAX_OPS=no: expected on or off" in probe(HANDJAX_OPS="no")


@pytest.mark.slow
def test_missing_kernels_are_reported_once():
    said = probe("library._FOLDER = library.Path('/nowhere')")
    assert (
        said.startswith("() 43 [")
        and said.count("no compiled kernels for cpu") == 1
        and "C++ compiler" in said
    )


@pytest.mark.slow
def test_kernels_for_a_newer_jaxlib_are_not_registered():
    said = probe("library.metadata.version = lambda name: '0.9.9'")
    assert (
        said.startswith("() 43 [")
        and "was built for jaxlib 0.10.2 or newer, and 0.9.9 is installed" in said
    )


def test_versions_compare_as_numbers():
    order = ["0.9.10", "0.10.2", "0.10.10", "0.11.0", "0.12.0.dev20261101", "1.0.0"]
    assert sorted(order, key=library._version) == order
