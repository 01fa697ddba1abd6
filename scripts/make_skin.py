"""Computes the skin of the hand: python scripts/make_skin.py [--out FILE.npz] [--force]

The spheres of the hand rig are joined into round cones, the cones blended (rigs/skin_weights.py),
and the surface cut into triangles in a spread, slightly bent pose in which no finger touches
another. Bits are reproducible on the same machine, and equal up to rounding on others.
"""

import argparse
import itertools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, Int

from handjax.engine import cli
from handjax.rigs import hand, kinematics, skinning
from handjax.rigs.skin_weights import HAND_LINKS, DistanceField, Links, distance_field, skin_weights

OUT = Path(skinning.__file__).with_name("hand_skin.npz")
# The pose the hand is bound in: spread, so that no finger touches another, and bent more than at
# rest, since the volume that linear blending loses at a knuckle grows with the angle from here.
# fmt: off
BIND_POSE = (
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    0.45, 0.1, 0.15, 0.15,  0.1, 0.1, 0.15, 0.15,  -0.3, 0.1, 0.15, 0.15,  -0.8, 1.1, 0.15, 0.15,
    0.0, 0.1, 0.0, -0.5,
)
# fmt: on
CELL_MM = 6.5  # some 5,000 triangles
ROUNDS = 20  # of smoothing the triangles


def build_hand_skin(cell_mm: float = CELL_MM) -> skinning.Skin:
    """Our own skin of the hand, in some ten seconds."""
    with jax.enable_x64(True):  # rounding on other machines or versions must not move triangles
        transforms = np.asarray(hand.bone_transforms(jnp.asarray(BIND_POSE, jnp.float64)))
    return build_skin(hand.HAND, transforms, HAND_LINKS, cell_mm)


def build_skin(
    rig: kinematics.Rig, transforms: Float64[np.ndarray, "n 4 4"], links: Links, cell_mm: float
) -> skinning.Skin:
    """Cut the skin of a rig in cells of `cell_mm`; `transforms` move its bones to the bind pose.

    Each round of smoothing moves vertices half-way to the mean of their neighbours and back onto
    the surface, and flips edges that cross a crease or leave a sliver.
    """
    field = distance_field(rig, transforms, links)
    vertices, faces = surface_nets(field, cell_mm)
    for _ in range(ROUNDS):
        vertices = project(field, smooth(vertices, faces))
        faces = flip_edges(field, vertices, faces)
    weights = skin_weights(rig, field, vertices)
    return skinning.bind_mesh(vertices, faces, weights, np.linalg.inv(transforms), rig, links)


# --- from the distance field to triangles


def surface_nets(
    field: DistanceField, cell_mm: float
) -> tuple[Float64[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Triangles of the zero level (naive surface nets, Gibson 1998).

    Each grid cell that the surface passes through has a vertex at the mean of the crossings of its
    edges, and each crossed edge gives a quad of the four cells around it.
    """
    low = np.min(field.centers - field.radii[:, None], axis=0) - 3 * cell_mm
    high = np.max(field.centers + field.radii[:, None], axis=0) + 3 * cell_mm
    shape = tuple(np.ceil((high - low) / cell_mm).astype(int))
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    values = fill_pinches(field.distance(low + cell_mm * grid).reshape(shape))
    total, count, squares = np.zeros((*shape, 3)), np.zeros(shape), []
    for axis in range(3):
        here, there = values, np.roll(values, -1, axis)
        cut = np.argwhere((here < 0) != (there < 0))
        here, there = here[tuple(cut.T)], there[tuple(cut.T)]
        crossing = cut.astype(np.float64)
        crossing[:, axis] += here / (here - there)
        u, v = np.eye(3, dtype=int)[[(axis + 1) % 3, (axis + 2) % 3]]
        around = np.stack([cut, cut - u, cut - u - v, cut - v], axis=1)
        for cells in np.moveaxis(around, 1, 0):
            np.add.at(total, tuple(cells.T), crossing)
            np.add.at(count, tuple(cells.T), 1)
        squares.append(np.where((here < 0)[:, None, None], around, around[:, ::-1]))
    crossed = tuple(np.argwhere(count).T)
    numbers = np.zeros(shape, int)
    numbers[crossed] = np.arange(len(crossed[0]))
    a, b, c, d = numbers[tuple(np.moveaxis(np.concatenate(squares), -1, 0))].T
    vertices = low + cell_mm * total[crossed] / count[crossed][:, None]
    return vertices, np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)])


def fill_pinches(values: Float64[np.ndarray, "x y z"]) -> Float64[np.ndarray, "x y z"]:
    """Fill clefts finer than the grid until each cell holds one piece of surface: a manifold.

    A cell does when both its inner and its outer corners are connected along its edges.
    """
    from scipy import ndimage  # takes a quarter of a second to import

    corners = np.asarray(list(itertools.product((0, 1), repeat=3)))
    patterns = (np.arange(256)[:, None] >> np.arange(8) & 1).reshape(-1, 2, 2, 2)
    pinched = np.array([max(ndimage.label(p)[1], ndimage.label(1 - p)[1]) > 1 for p in patterns])
    while True:
        around = np.stack(
            [np.roll(values, tuple(-corner), (0, 1, 2)) for corner in corners], axis=-1
        )
        bad = np.argwhere(pinched[np.sum((around < 0) << np.arange(8), axis=-1)])
        if not len(bad):
            return values
        outside = np.where(around < 0, np.inf, around)[tuple(bad.T)]
        values = values.copy()
        values[tuple((bad + corners[np.argmin(outside, axis=-1)]).T)] = -1e-3


# --- better triangles


def smooth(
    vertices: Float64[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float64[np.ndarray, "v 3"]:
    """Move vertices half-way to the mean center of their triangles, weighted by area."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1, keepdims=True)
    pull = np.zeros((len(vertices), 4))
    for corner in faces.T:
        np.add.at(pull, corner, np.concatenate([(a + b + c) / 3 * area, area], axis=-1))
    return (vertices + pull[:, :3] / pull[:, 3:]) / 2


def project(field: DistanceField, points: Float64[np.ndarray, "v 3"]) -> Float64[np.ndarray, "v 3"]:
    """Project points onto the surface: Newton's method along the gradient, steps of up to 2 mm."""
    h = 1e-3
    for _ in range(3):
        ends = field.distance(
            np.concatenate([points + s * e for e in np.eye(3) for s in (h, -h)])
        ).reshape(3, 2, -1)
        gradient = (ends[:, 0] - ends[:, 1]).T / (2 * h)
        # 1 everywhere but in a crease, where it may almost vanish.
        square = np.maximum(np.sum(gradient**2, axis=-1), 0.25)
        points = points - (np.clip(field.distance(points), -2.0, 2.0) / square)[:, None] * gradient
    return points


def flip_edges(
    field: DistanceField, vertices: Float64[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Int[np.ndarray, "f 3"]:
    """Flip edges where the other diagonal is nearer to the surface (mm) or gives fatter triangles.

    The best flips come first, and no triangle takes part in two.
    """
    start, end, tip = (np.concatenate([faces[:, (i + j) % 3] for i in range(3)]) for j in range(3))
    edges = np.stack([np.minimum(start, end), np.maximum(start, end)])
    one, two = np.lexsort((start < end, *edges)).reshape(-1, 2).T  # the two sides of every edge
    a, b, c, d = start[one], end[one], tip[one], tip[two]
    middles = np.concatenate([vertices[a] + vertices[b], vertices[c] + vertices[d]]) / 2
    off, off_flipped = np.abs(field.distance(middles)).reshape(2, -1)
    fat = np.minimum(fatness(vertices, a, b, c), fatness(vertices, b, a, d))
    fat_flipped = np.minimum(fatness(vertices, a, d, c), fatness(vertices, d, b, c))
    gain = np.where(fat_flipped > 0.35, off - off_flipped + fat_flipped - fat, 0.0)
    faces, touched, known = faces.copy(), set(), set(zip(*edges.tolist(), strict=True))
    for i in np.argsort(-gain, kind="stable")[: np.sum(gain > 0.05)]:
        f, g = one[i] % len(faces), two[i] % len(faces)
        edge = (min(c[i], d[i]), max(c[i], d[i]))
        if edge not in known and not touched & {f, g}:
            touched |= {f, g}
            known.add(edge)
            faces[f], faces[g] = (a[i], d[i], c[i]), (d[i], b[i], c[i])
    return faces


def fatness(
    vertices: Float64[np.ndarray, "v 3"], *corners: Int[np.ndarray, " t"]
) -> Float64[np.ndarray, " t"]:
    """Area of triangles relative to that of an equilateral one with the same sum of squared edges:
    1 for an equilateral triangle, 0 for a sliver."""
    a, b, c = (vertices[corner] for corner in corners)
    edges = np.sum((b - a) ** 2 + (c - b) ** 2 + (a - c) ** 2, axis=-1)
    return 12**0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1) / edges


# --- the command


def corner_angles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[f, 3] degrees."""
    corners = vertices[faces].astype(np.float64)
    before, after = np.roll(corners, 1, axis=1) - corners, np.roll(corners, -1, axis=1) - corners
    cosine = np.sum(before * after, axis=-1) / (
        np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    )
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """mm³, positive where faces look outward."""
    a, b, c = np.moveaxis(vertices[faces].astype(np.float64), 1, 0)
    return float(np.sum(np.cross(a, b) * c) / 6)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Compute the skin of the hand and save it as npz.")
    parser.add_argument(
        "--out", type=cli.path, default=OUT, help="file to write (default: %(default)s)"
    )
    parser.add_argument(
        "--cell-mm",
        type=float,
        default=CELL_MM,
        help="approximate edge of a triangle (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    args = parser.parse_args(argv)
    if args.out.exists() and not args.force:
        parser.error(f"{args.out} exists; choose another --out, or overwrite it with --force")
    if args.out.suffix != ".npz" or not args.out.parent.is_dir():
        parser.error(
            f"--out {args.out}: expected a file name ending in .npz, in a folder that exists"
        )
    if not 2.0 <= args.cell_mm <= 10.0:
        parser.error(f"--cell-mm {args.cell_mm:g}: expected 2 to 10 mm")
    print(f"computing the skin in cells of {args.cell_mm:g} mm, some seconds ...", flush=True)
    skin = build_hand_skin(args.cell_mm)
    np.savez_compressed(
        args.out, vertices=skin.vertices, faces=skin.faces, weights=skin.weights, unbind=skin.unbind
    )
    angles = corner_angles(skin.vertices, skin.faces)
    print(
        f"{args.out}: {len(skin.vertices)} vertices, {len(skin.faces)} faces, "
        f"{volume(skin.vertices, skin.faces) / 1e3:.1f} cm³, angles {angles.min():.1f} to "
        f"{angles.max():.1f} degrees, {args.out.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
