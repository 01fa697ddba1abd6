"""Points and joints ↔ voxels by both rules, compared with references and with plain loops."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handjax.data.batch import pack_voxels
from handjax.data.formats.voxel_h5 import VoxelH5
from handjax.targets import voxel
from handjax.targets.voxel import RULES, VoxelGrid

# Compiled, as in use; running them operation by operation is slow.
occupancy_paper = jax.jit(voxel.occupancy_paper, static_argnums=2)
occupancy_hpoes = jax.jit(voxel.occupancy_hpoes, static_argnums=2)
warp_voxels = jax.jit(voxel.warp_voxels, static_argnums=3)
resize_voxels = jax.jit(voxel.resize_voxels, static_argnums=1)
encode = jax.jit(voxel.encode, static_argnums=(1, 2))
SIGMA = 1.7
SHARPNESS = 20.0
TO_XYZ = {
    "paper": (2, 1, 0),
    "hpoes": (1, 0, 2),
}  # which axis of the volume is x, y, z; written out independently
properties = settings(max_examples=15, deadline=None, derandomize=True, database=None)


def cells_of(volume, rule):
    """Occupied cells as a set of (x, y, z)."""
    return {tuple(cell) for cell in np.argwhere(np.asarray(volume))[:, TO_XYZ[rule]].tolist()}


def volume_of(cells, rule, size):
    """The volume in which exactly these (x, y, z) are occupied."""
    volume = np.zeros((size,) * 3, bool)
    for cell in cells:
        index = [0, 0, 0]
        for axis, value in zip(TO_XYZ[rule], cell, strict=True):
            index[axis] = value
        volume[tuple(index)] = True
    return jnp.asarray(volume)


# --- the paper's rule, compared with another implementation ---


@pytest.fixture(scope="module")
def reference(real_data):
    with np.load(real_data / "voxel" / "voxel_rule_200_250.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.slow
@pytest.mark.parametrize("cube", [200, 250])
@pytest.mark.parametrize("double", [False, True])
def test_paper_rule_agrees_with_the_reference(reference, cube, double):
    dtype = jnp.float64 if double else jnp.float32
    grid = VoxelGrid("paper", 88, 44)

    @jax.jit
    def run(points, joints, center):
        place = (center, jnp.full(3, cube, dtype), 88)
        volume = voxel.voxelize(
            voxel.xyz_to_grid(points, *place), jnp.ones(len(points), bool), grid
        )
        heat = voxel.encode(voxel.xyz_to_grid(joints, *place), grid, SIGMA)
        return volume, heat, voxel.grid_to_xyz(voxel.decode(heat, grid, "argmax"), *place)

    with jax.enable_x64(double):
        volume, heat, decoded = run(
            *(jnp.asarray(reference[name], dtype) for name in ("points", "keypoints", "refpoint"))
        )
    found = cells_of(volume, "paper")
    expected = {tuple(cell) for cell in reference[f"occ_{cube}"].tolist()}
    if double:
        assert found == expected
    else:
        # float32 resolves 700 mm to 3e-5 mm: a point so close to a face may be on its other side.
        exact = ((reference["points"] - reference["refpoint"]) / cube + 0.5) * 88
        near = np.abs(exact - np.rint(exact)).min(-1) < 3e-5
        assert near.sum() <= 5
        uncertain = {
            tuple(np.trunc(p + s).astype(int).tolist()) for p in exact[near] for s in (-3e-5, 3e-5)
        }
        assert found ^ expected <= uncertain
    # The reference's volumes are indexed [x, y, z].
    np.testing.assert_allclose(
        np.transpose(heat[..., 0], (2, 1, 0)),
        reference[f"heatmap0_{cube}"],
        atol=1e-6 if double else 4e-6,
    )
    np.testing.assert_allclose(decoded, reference[f"decoded_{cube}"], atol=1e-4)


def test_paper_rule_moves_points_like_the_reference(reference):
    """The reference cuts 88 of 96 cells at T: our shift is 4 - T."""
    points, center = (jnp.asarray(reference[name], jnp.float32) for name in ("points", "refpoint"))
    cells = np.asarray(voxel.xyz_to_grid(points, center, jnp.full(3, 250.0), 88))
    cos, sin = np.cos(0.4), np.sin(0.4)
    matrix = 112.5 / 100 * np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    moved = (cells - 44) @ matrix.T + 44 + (4 - np.array([2, 5, 6.5]))
    np.testing.assert_allclose(moved, reference["aug_coord_250_ns112.5_a0.4_t2_5_6.5"], atol=1e-4)


def test_paper_rule_by_hand():
    points = [
        [0, 0, 0],
        [7.99, 3, 5.5],
        [-0.9, 2, 2],
        [-1.0, 4, 4],
        [8, 4, 4],
        [4, 4, 4],
        [1, 1, 1],
    ]
    valid = jnp.asarray([True] * 6 + [False])
    volume = occupancy_paper(jnp.asarray(points), valid, 8)
    # -0.9 is truncated to 0, as in the reference; -1 and 8 are outside.
    assert cells_of(volume, "paper") == {(0, 0, 0), (7, 3, 5), (0, 2, 2), (4, 4, 4)}
    assert volume[5, 3, 7]  # z, y, x


# --- hpoes' rule ---


def test_hpoes_rule_by_hand():
    """Rounded columns, the nearest point of a column, bin rint((d + 1) · 43) of d in [-1, .99)."""
    points = [
        [3.4, 10.6, 0.0],  # d = -1: bin 0
        [20.0, 30.0, 44.0],  # d = 0: bin 43, not 44
        [20.3, 29.6, 60.0],  # the same column, behind
        [87.4, 50.0, 87.1],  # d = .9795: rint(85.12)
        [87.6, 55.0, 44.0],  # the column 88: outside
        [-0.4, 60.0, 22.0],  # the column 0, d = -.5: rint(21.5), even
        [-0.6, 65.0, 22.0],  # outside
        [40.0, 70.0, 87.6],  # d = .9909: outside
        [40.0, 75.0, -0.1],  # in front of the near face
        [40.0, 80.0, 44.0],  # not measured
    ]
    valid = jnp.asarray([True] * 9 + [False])
    volume = occupancy_hpoes(jnp.asarray(points), valid, 88)
    assert cells_of(volume, "hpoes") == {(3, 11, 0), (20, 30, 43), (87, 50, 85), (0, 60, 22)}
    assert volume[30, 20, 43]  # y, x, z


def test_hpoes_rule_fills_holes_by_the_median():
    """A slope with holes: each gets the 13th smallest of its 25 neighbours, if there are any."""
    rng = np.random.default_rng(0)
    size = 24
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    depth = 4 + 0.3 * x + 0.2 * y
    there = rng.random((size, size)) < 0.7
    there[:6, :6] = False  # too large to fill
    points = jnp.asarray(np.stack([x, y, depth], -1)[there], jnp.float32)
    volume = np.asarray(occupancy_hpoes(points, jnp.ones(len(points), bool), size))
    assert (volume.sum(-1) <= 1).all()
    filled = 0
    for row in range(size):
        for column in range(size):
            around = [
                depth[i, j] if there[i, j] else np.inf
                for i in range(max(row - 2, 0), min(row + 3, size))
                for j in range(max(column - 2, 0), min(column + 3, size))
            ]
            around = sorted(around + [np.inf] * (25 - len(around)))
            z = depth[row, column] if there[row, column] else around[12]
            expected = [] if np.isinf(z) else [round(z / (size / 2) * (size // 2 - 1))]
            assert np.flatnonzero(volume[row, column]).tolist() == expected
            filled += bool(expected) and not there[row, column]
    assert filled > 50 and not volume[:3, :3].any()


def test_hpoes_axes_are_those_of_the_real_file(real_data):
    """Labels are joints inside a hand: with the axes (y, x, z) they are close to its surface, with
    others they are not."""
    rows = VoxelH5(real_data / "voxel" / "nyu_voxels_6frames.h5").rows(np.arange(6))
    volumes = np.asarray(voxel.unpack_voxels(jnp.asarray(rows["voxels"])))
    assert (volumes.sum(-1) <= 1).all() and volumes.sum() > 6 * 1500
    place = (jnp.asarray(rows[name]) for name in ("joints_xyz", "center_xyz", "cube_mm"))
    joints = np.asarray(voxel.xyz_to_grid(*place, 88))

    def distance(order):
        occupied = [np.argwhere(volume)[:, order] for volume in volumes]
        return np.mean(
            [
                np.linalg.norm(j[:, None] - o, axis=-1).min(1)
                for j, o in zip(joints, occupied, strict=True)
            ]
        )

    assert VoxelGrid("hpoes").axes == (1, 0, 2)
    assert distance((1, 0, 2)) < 3.5
    assert (
        min(distance(order) for order in ((0, 1, 2), (0, 2, 1), (1, 2, 0), (2, 0, 1), (2, 1, 0)))
        > 6.5
    )


# --- encode and decode ---

GRIDS = [VoxelGrid(rule, size, heat) for rule in RULES for size, heat in ((88, 44), (24, 24))]


@cache
def _round_trip(grid, method):
    def error(joints):
        """Error in cells of the heat map."""
        found = voxel.decode(voxel.encode(joints, grid, SIGMA), grid, method, SHARPNESS)
        return (found - joints) * (grid.heatmap_size / grid.size)

    return jax.jit(error)


@pytest.mark.slow
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("method", ["argmax", "centroid", "soft_argmax"])
def test_encode_and_decode_are_inverse(grid, method):
    """The error of the argmax is up to half a cell. The centroid of 3³ cells of so wide a Gaussian
    removes a fifth of it, the soft-argmax nearly all; both are biased inwards at the rim."""
    best = {"argmax": 0.5, "centroid": 0.4, "soft_argmax": 0.1}[method] + 1e-4
    rim = {"argmax": 0.5, "centroid": 0.95, "soft_argmax": 0.55}[method] + 1e-4
    # The cells cover [0, size] by the paper's rule, and are half a cell lower by hpoes'.
    low = grid.cell_center - 0.5

    @properties
    @given(hnp.arrays(np.float32, (4, 3), elements=st.floats(0, 1, width=32)))
    def check(share):
        cells = low + share * grid.heatmap_size
        joints = jnp.asarray(cells * (grid.size / grid.heatmap_size))
        error = np.abs(_round_trip(grid, method)(joints))
        inner = np.all(
            (share > 3 / grid.heatmap_size) & (share < 1 - 3 / grid.heatmap_size),
            axis=-1,
            keepdims=True,
        )
        assert (error <= np.where(inner, best, rim)).all()

    check()


@pytest.mark.slow
def test_mean_error_of_the_argmax():
    """The mean distance of a point in a cube from its middle is √3/8 + ln(2 + √3)/4 - π/48 = .4803
    edges: the error in mm of a perfect network at 44³."""
    grid = VoxelGrid("paper", 88, 44)
    joints = np.random.default_rng(0).uniform(0, 88, (800, 4, 3)).astype(np.float32)
    run = _round_trip(grid, "argmax")
    cells = np.concatenate([run(jnp.asarray(row)) for row in joints])
    error = np.linalg.norm(cells, axis=-1).mean()
    np.testing.assert_allclose(
        [error * cube / 44 for cube in (200, 250, 300)], [2.183, 2.729, 3.275], rtol=0.02
    )


@pytest.mark.parametrize("rule", RULES)
def test_heat_lies_where_the_points_lie(rule):
    """A joint and a point at one position: the highest heat is in the occupied cell."""
    grid = VoxelGrid(rule, 16, 16)
    joint = jnp.asarray([[3.2, 9.1, 12.3]])
    heat = encode(joint, grid, SIGMA)
    volume = jax.jit(voxel.voxelize, static_argnums=2)(joint, jnp.ones(1, bool), grid)
    highest = np.unravel_index(np.argmax(heat[..., 0]), (16,) * 3)
    # hpoes' depth bins are (size/2 - 1) per unit: off by one at most.
    np.testing.assert_allclose(np.argwhere(volume)[0], highest, atol=0 if rule == "paper" else 1)
    assert len(set(highest)) == 3


@properties
@given(
    hnp.arrays(np.float32, (5, 3), elements=st.floats(-500, 500, width=32)),
    hnp.arrays(np.float32, 3, elements=st.floats(-1000, 1000, width=32)),
    hnp.arrays(np.float32, 3, elements=st.floats(100, 2000, width=32)),
)
def test_xyz_to_grid_and_back(offset, center, cube):
    xyz, center, cube = jnp.asarray(center + offset), jnp.asarray(center), jnp.asarray(cube)
    there = voxel.xyz_to_grid(xyz, center, cube, 88)
    np.testing.assert_allclose(voxel.grid_to_xyz(there, center, cube, 88), xyz, atol=2e-3)
    batched = voxel.xyz_to_grid(xyz[None, None], center[None, None], cube[None, None], 88)
    np.testing.assert_allclose(batched[0, 0], there, rtol=1e-6, atol=1e-5)


def test_xyz_to_grid_by_hand():
    center, cube = jnp.asarray([10.0, -20.0, 700.0]), jnp.asarray([200.0, 240.0, 300.0])
    xyz = jnp.asarray(
        [[10.0, -20.0, 700.0], [-90.0, -140.0, 550.0], [110.0, 100.0, 850.0], [60.0, -20.0, 775.0]]
    )
    expected = [[44, 44, 44], [0, 0, 0], [88, 88, 88], [66, 44, 66]]
    np.testing.assert_allclose(voxel.xyz_to_grid(xyz, center, cube, 88), expected, atol=1e-4)


# --- volumes ---


@properties
@given(
    st.sampled_from([(1, 1, 8), (3, 5, 16), (2, 4, 3, 24)]).flatmap(
        lambda shape: hnp.arrays(bool, shape)
    )
)
def test_unpack_is_the_inverse_of_pack(volume):
    np.testing.assert_array_equal(
        jax.jit(voxel.unpack_voxels)(jnp.asarray(pack_voxels(volume))), volume
    )


ROTATION = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x → y, 90° in the x-y plane


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "matrix, shift",
    [
        (np.eye(3), (0, 0, 0)),
        (np.eye(3), (2, -1, 3)),
        (ROTATION, (0, 0, 0)),
        (ROTATION, (1, 0, -2)),
        (np.diag([-1.0, 1, 1]), (0, 0, 0)),
    ],
)
def test_warping_moves_the_centers_of_the_cells(rule, matrix, shift):
    """By maps from centers to centers, every cell moves with its center, or out of the grid."""
    size = 8
    volume = np.random.default_rng(0).random((size,) * 3) < 0.2
    grid = VoxelGrid(rule, size, size)
    offset = 0.5 if rule == "paper" else 0.0
    centres = np.array(sorted(cells_of(volume, rule))) + offset
    moved = np.rint((centres - size / 2) @ matrix.T + size / 2 + np.array(shift) - offset).astype(
        int
    )
    expected = {tuple(cell) for cell in moved.tolist() if min(cell) >= 0 and max(cell) < size}
    ours = warp_voxels(
        jnp.asarray(volume), jnp.asarray(matrix, jnp.float32), jnp.asarray(shift, jnp.float32), grid
    )
    assert len(expected) > 20 and cells_of(ours, rule) == expected


def test_warping_by_two_doubles_the_middle():
    volume = np.random.default_rng(0).random((8, 8, 8)) < 0.3
    ours = warp_voxels(jnp.asarray(volume), 2 * jnp.eye(3), jnp.zeros(3), VoxelGrid("paper", 8, 8))
    expected = volume[2:6, 2:6, 2:6]
    for axis in range(3):
        expected = expected.repeat(2, axis)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("rule", RULES)
def test_warping_moves_the_points_along(rule):
    """A ball of cells around a joint stays around it under rotation, scale and shift."""
    size = 32
    grid = VoxelGrid(rule, size, size)
    index = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), -1) + (
        0.5 if rule == "paper" else 0.0
    )
    joint = np.array([12.3, 18.2, 15.1])
    ball = volume_of(np.argwhere(np.linalg.norm(index - joint, axis=-1) < 4).tolist(), rule, size)
    rng = np.random.default_rng(1)
    for _ in range(10):
        angle, scale = rng.uniform(-0.7, 0.7), np.diag(rng.uniform(0.8, 1.2, 3))
        turn = np.array(
            [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
        )
        shift = rng.uniform(-4, 4, 3)
        warped = warp_voxels(
            ball, jnp.asarray(turn @ scale, jnp.float32), jnp.asarray(shift, jnp.float32), grid
        )
        middle = np.mean(sorted(cells_of(warped, rule)), 0) + (0.5 if rule == "paper" else 0.0)
        expected = turn @ scale @ (joint - size / 2) + size / 2 + shift
        np.testing.assert_allclose(middle, expected, atol=0.35)
        np.testing.assert_allclose(np.sum(warped) / np.sum(ball), np.linalg.det(scale), rtol=0.15)


@pytest.mark.parametrize("old, new", [(88, 48), (88, 24), (16, 8), (24, 16)])
def test_resizing_marks_the_cell_with_the_nearest_center(old, new):
    """Cells of hpoes have their centers at i · cube / size."""
    volume = np.random.default_rng(0).random((old,) * 3) < 4 / old**2
    cells = np.argwhere(volume)
    nearest = np.abs(cells[..., None] * (new / old) - np.arange(new)).argmin(-1)
    ours = np.asarray(resize_voxels(jnp.asarray(volume), new))
    ties = cells * (new / old) % 1 == 0.5
    for cell, tie in zip(nearest, ties, strict=True):
        around = tuple(slice(i, min(i + 1 + t, new)) for i, t in zip(cell, tie, strict=True))
        assert ours[around].any()
    assert ours.sum() <= len(cells)
    np.testing.assert_array_equal(resize_voxels(jnp.asarray(volume), old), volume)


def test_resizing_keeps_surfaces_closed():
    """Every column of a wall is occupied on a coarser grid."""
    wall = jnp.zeros((88, 88, 88), bool).at[:, :, 30].set(True)
    for new in (80, 48, 44, 24):
        smaller = resize_voxels(wall, new)
        np.testing.assert_array_equal(np.asarray(smaller).sum(-1), 1)


# --- invalid options ---


def test_invalid_options_are_reported():
    with pytest.raises(ValueError, match="voxel rule 'mine' is unknown: use one of paper, hpoes"):
        VoxelGrid("mine")
    for size, heat in ((90, 45), (0, 0), (88, 22), (4, 4)):
        with pytest.raises(
            ValueError,
            match=f"voxel grid {size} with heat maps {heat}: the grid must be divisible by 8",
        ):
            VoxelGrid("paper", size, heat)
    with pytest.raises(
        ValueError, match="decode 'guess' is unknown: use argmax, centroid or soft_argmax"
    ):
        voxel.decode(jnp.zeros((4, 4, 4, 1)), VoxelGrid("paper", 8, 4), "guess")
