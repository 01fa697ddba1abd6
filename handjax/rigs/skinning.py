"""A skin for the hand: one closed surface made from the figure's own spheres, carried along by its bones.

Neighbouring spheres are joined to round cones, the cones melt into one another, and the surface of that flesh is cut
into triangles in a spread, slightly bent pose, where no finger touches another. Nothing of it is a modelled or scanned
hand's. Tables and making are NumPy in float64; what runs at every step is `skin_vertices`.
"""

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Float64, Int, Int32

from handjax.pose import geometry
from handjax.rigs import hand, kinematics


@dataclass(
    frozen=True, eq=False
)  # hashes by identity, so that it may be closed over or be static under jit
class Skin:
    """Triangles bound to bones. Vertices in mm, in the figure's model frame and in the pose they were bound in.

    A face (a, b, c) runs counter-clockwise seen from outside: (b - a) x (c - a) points outward. A vertex's weights sum
    to 1. `unbind` undoes each bone's motion in the bind pose, the inverse of what `kinematics.bone_transforms` gives
    there; it is the identity for a mesh bound at rest.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    weights: Float32[np.ndarray, "v n"]
    unbind: Float32[np.ndarray, "n 4 4"]


class Links(NamedTuple):
    """Which spheres a skin is stretched over: pairs in the palm, and every finger's spheres from root to tip."""

    palm: tuple[tuple[int, int], ...]
    fingers: tuple[tuple[int, ...], ...]


# fmt: off
HAND_LINKS = Links(
    palm=(
        (0, 5), (1, 5), (0, 7), (1, 6), (5, 6), (5, 7), (6, 7), (0, 6), (1, 10), (6, 10), (4, 6), (4, 7), (7, 8), (6, 8),
        (4, 8), (4, 10), (2, 4), (2, 9), (9, 10), (4, 9), (2, 10), (3, 8), (2, 3), (3, 4), (2, 8),
        (2, 18), (9, 12), (2, 12), (9, 18), (2, 24), (3, 24), (3, 30), (3, 18), (8, 30),  # to the roots of the fingers
        (1, 36), (6, 36), (10, 36), (10, 35), (9, 35), (4, 35),  # and to the ball of the thumb
    ),
    fingers=(
        (12, 11, 14, 13, 16, 15), (18, 17, 20, 19, 22, 21), (24, 23, 26, 25, 28, 27), (30, 29, 32, 31, 34, 33),
        (36, 35, 38, 37, 40, 39),
    ),
)

# The pose the hand is bound in: spread, so that no finger touches another, and bent more than at rest, since what linear
# blending loses at a knuckle grows with the angle from here.
BIND_POSE = (
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    0.45, 0.1, 0.15, 0.15,  0.1, 0.1, 0.15, 0.15,  -0.3, 0.1, 0.15, 0.15,  -0.8, 1.1, 0.15, 0.15,  0.0, 0.1, 0.0, -0.5,
)
# fmt: on
CELL_MM = 6.5  # some 5,000 triangles

_PALM_MELT_MM, _FINGER_MELT_MM, _ROOT_MELT_MM = 4.0, 2.0, 4.0
_ROUNDS = 20  # of evening out the triangles
_BEND = 0.75  # half the length over which a joint bends, in radii of the finger there
_CLEFT_MM = 2.0  # how far the skin of a cleft follows both fingers
_PALM_MM = 10.0  # how far under the palm's skin the pull of a finger ends


def skin_vertices(skin: Skin, transforms: Float[Array, "*b n 4 4"]) -> Float[Array, "*b v 3"]:
    """Vertices under the bones' `transforms` (rest model → posed model), mm: linear blend skinning, v' = Σ w T U v.

    One product of what is fixed, w · (v, 1) [v, 4 n], with what moves, T U [4 n, 3].
    """
    moves = geometry.matmul(
        transforms, jnp.broadcast_to(jnp.asarray(skin.unbind, transforms.dtype), transforms.shape)
    )
    columns = jnp.swapaxes(moves[..., :3, :], -1, -2).reshape(*transforms.shape[:-3], -1, 3)
    bound = np.pad(skin.vertices, ((0, 0), (0, 1)), constant_values=1.0)
    shares = jnp.asarray(
        (skin.weights[:, :, None] * bound[:, None, :]).reshape(len(bound), -1), columns.dtype
    )
    return jnp.einsum("vk,...kc->...vc", shares, columns, precision=lax.Precision.HIGHEST)


def hand_vertices(
    skin: Skin,
    pose: Float[Array, "*b 26"],
    scale: Float[Array, "*b 3"] | float = 1.0,
    fingers: hand.Fingers = 1.0,
) -> Float[Array, "*b v 3"]:
    """The skin of a posed right hand in camera axes, mm, its model origin at 0 as in `hand.spheres`.

    The mirror that makes it a right hand turns the faces inside out: these vertices go with `right_hand_faces(skin)`.
    A left hand is their mirror image (x negated) and goes with `skin.faces`.
    """
    return hand.right_hand(skin_vertices(skin, hand.bone_transforms(pose, fingers)), scale)


@functools.cache
def vertex_normals(skin: Skin) -> Float32[np.ndarray, "v 3"]:
    """Unit normals outward in the bind pose: the mean of the faces around each vertex, large ones counting more."""
    a, b, c = (skin.vertices[skin.faces[:, i]] for i in range(3))
    normals = np.zeros(skin.vertices.shape)
    for i in range(3):
        np.add.at(normals, skin.faces[:, i], np.cross(b - a, c - a))
    return (normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)).astype(
        np.float32
    )


def hand_normals(
    skin: Skin,
    pose: Float[Array, "*b 26"],
    scale: Float[Array, "*b 3"] | float = 1.0,
    fingers: hand.Fingers = 1.0,
) -> Float[Array, "*b v 3"]:
    """Unit normals outward at `hand_vertices`: those of the bind pose, turned by the bones that move the vertex.

    Not quite those of the bent surface at a knuckle, and no face's area or neighbour is needed.
    """
    turns = hand.bone_transforms(pose, fingers).at[..., :3, 3].set(0.0)
    unbind = np.array(skin.unbind)
    unbind[:, :3, 3] = 0.0
    turned = skin_vertices(Skin(vertex_normals(skin), skin.faces, skin.weights, unbind), turns)
    scales = jnp.broadcast_to(jnp.asarray(scale, turned.dtype), (*pose.shape[:-1], 3))
    normals = hand.right_hand(turned, 1 / scales)
    return normals / (geometry.safe_norm(normals)[..., None] + 1e-12)


def right_hand_faces(skin: Skin) -> Int32[np.ndarray, "f 3"]:
    """Faces that run counter-clockwise seen from outside on `hand_vertices`."""
    return skin.faces[:, [1, 0, 2]]


@functools.cache
def hand_skin() -> Skin:
    """The hand's own skin, from the file that scripts/make_skin.py writes with `build_hand_skin`."""
    with np.load(Path(__file__).with_name("hand_skin.npz"), allow_pickle=False) as file:
        return Skin(file["vertices"], file["faces"], file["weights"], file["unbind"])


def skin_from(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    weights: Float[np.ndarray, "v n"] | None = None,
    unbind: Float[np.ndarray, "n 4 4"] | None = None,
    figure: kinematics.Figure = hand.HAND,
    links: Links = HAND_LINKS,
) -> Skin:
    """A mesh of one's own in the figure's model frame, mm, as `Skin`.

    Without `unbind` it is bound in the rest pose. Without `weights` it gets those that our own skin would have at the
    same places, which asks that it lies about the figure's spheres.
    """
    unbind = (
        np.tile(np.eye(4), (len(figure.bones), 1, 1))
        if unbind is None
        else np.asarray(unbind, np.float64)
    )
    if weights is None:
        weights = _weights(
            figure, _bound(figure, np.linalg.inv(unbind), links), np.asarray(vertices, np.float64)
        )
    return _as_skin(vertices, faces, weights, unbind)


def build_hand_skin(cell_mm: float = CELL_MM) -> Skin:
    """The hand's own skin, made anew, in some ten seconds."""
    with jax.enable_x64(True):  # so that another machine's or version's rounding moves no triangle
        transforms = np.asarray(hand.bone_transforms(jnp.asarray(BIND_POSE, jnp.float64)))
    return build_skin(hand.HAND, transforms, HAND_LINKS, cell_mm)


def build_skin(
    figure: kinematics.Figure,
    transforms: Float64[np.ndarray, "n 4 4"],
    links: Links,
    cell_mm: float,
) -> Skin:
    """Cuts the skin of a figure whose bones were moved by `transforms` (rest model → bind pose), in cells of `cell_mm`.

    To even out the raw triangles, vertices go half way to the middle of their neighbours and back onto the surface, and
    edges turn that would cross a crease or leave a sliver, round after round. The same bits on the same machine.
    """
    flesh = _bound(figure, transforms, links)
    vertices, faces = _surface_nets(flesh, cell_mm)
    for _ in range(_ROUNDS):
        vertices = _onto(flesh, _evened(vertices, faces))
        faces = _turned(flesh, vertices, faces)
    return _as_skin(vertices, faces, _weights(figure, flesh, vertices), np.linalg.inv(transforms))


def _as_skin(
    vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray, unbind: np.ndarray
) -> Skin:
    return Skin(
        np.asarray(vertices, np.float32),
        np.asarray(faces, np.int32),
        np.asarray(weights, np.float32),
        np.asarray(unbind, np.float32),
    )


class _Flesh(NamedTuple):
    """The figure in its bind pose as a distance field, mm, below 0 inside."""

    centers: Float64[np.ndarray, "s 3"]
    radii: Float64[np.ndarray, " s"]
    joints: Float64[np.ndarray, "n 3"]  # where each bone starts
    links: Links

    def palm(self, points: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, " p"]:
        return _melted(self._cones(points, self.links.palm), _PALM_MELT_MM)

    def fingers(self, points: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, "p f"]:
        chains = [tuple(itertools.pairwise(chain)) for chain in self.links.fingers]
        return np.stack(
            [_melted(self._cones(points, pairs), _FINGER_MELT_MM) for pairs in chains], axis=-1
        )

    def distance(self, points: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, " p"]:
        """To all parts melted together; where they are bound, fingers are near one another in their clefts only."""
        return _melted(
            np.concatenate([self.palm(points)[:, None], self.fingers(points)], axis=-1),
            _ROOT_MELT_MM,
        )

    def _cones(
        self, points: Float64[np.ndarray, "p 3"], pairs: tuple[tuple[int, int], ...]
    ) -> Float64[np.ndarray, "p l"]:
        """Distances to round cones, each the sweep of a sphere from one to another, as those to their nearest sphere.

        Its centre is where the distance along the axis is stationary: `aside · tan` before the foot of the point,
        with `slope` the sine of that angle.
        """
        a, b = np.asarray(pairs).T
        axis = self.centers[b] - self.centers[a]
        length = np.sqrt(np.sum(axis**2, axis=-1))
        slope = (self.radii[a] - self.radii[b]) / length
        offset = points[:, None] - self.centers[a]
        along = np.sum(offset * axis, axis=-1) / length
        aside = np.sqrt(np.maximum(np.sum(offset**2, axis=-1) - along**2, 0.0))
        at = np.clip(along - aside * slope / np.sqrt(1 - slope**2), 0.0, length)
        return np.sqrt((along - at) ** 2 + aside**2) - self.radii[a] + slope * at


def _bound(
    figure: kinematics.Figure, transforms: Float64[np.ndarray, "n 4 4"], links: Links
) -> _Flesh:
    def carried(bones, points):
        return (
            np.sum(transforms[bones, :3, :3] * np.asarray(points)[:, None], axis=-1)
            + transforms[bones, :3, 3]
        )

    centers = carried(np.asarray(figure.sphere_bones), figure.sphere_centers)
    joints = carried(np.arange(len(figure.bones)), np.asarray(figure.rest)[:, :3, 3])
    return _Flesh(centers, np.asarray(figure.sphere_radii), joints, links)


def _melted(distances: Float64[np.ndarray, "*p n"], over_mm: float) -> Float64[np.ndarray, "*p"]:
    """A smooth minimum over the last axis: of the two least, rounded where they differ by less than `over_mm`.

    However many parts meet, it is a quarter of that below their minimum at most.
    """
    least, second = np.moveaxis(np.partition(distances, 1, axis=-1)[..., :2], -1, 0)
    return least - np.maximum(over_mm - (second - least), 0.0) ** 2 / (4 * over_mm)


def _surface_nets(
    flesh: _Flesh, cell_mm: float
) -> tuple[Float64[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Where the distance is 0 (naive surface nets, Gibson 1998): a vertex in each cell of a grid that the surface passes
    through, amid the crossings of its edges, and for each edge that is cut a square of the four cells around it."""
    low = np.min(flesh.centers - flesh.radii[:, None], axis=0) - 3 * cell_mm
    high = np.max(flesh.centers + flesh.radii[:, None], axis=0) + 3 * cell_mm
    shape = tuple(np.ceil((high - low) / cell_mm).astype(int))
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    values = _without_pinches(flesh.distance(low + cell_mm * grid).reshape(shape))
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
    names = np.zeros(shape, int)
    names[crossed] = np.arange(len(crossed[0]))
    a, b, c, d = names[tuple(np.moveaxis(np.concatenate(squares), -1, 0))].T
    vertices = low + cell_mm * total[crossed] / count[crossed][:, None]
    return vertices, np.concatenate([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)])


def _without_pinches(values: Float64[np.ndarray, "x y z"]) -> Float64[np.ndarray, "x y z"]:
    """Fills clefts finer than the grid until each cell holds one piece of surface, which makes all of it a manifold.

    A cell does when its inner corners hang together along its edges, and its outer ones too.
    """
    from scipy import ndimage  # for making skins alone; a quarter of a second

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


def _evened(
    vertices: Float64[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float64[np.ndarray, "v 3"]:
    """Every vertex half way to the mean centre of its triangles, weighted by their area."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1, keepdims=True)
    pull = np.zeros((len(vertices), 4))
    for corner in faces.T:
        np.add.at(pull, corner, np.concatenate([(a + b + c) / 3 * area, area], axis=-1))
    return (vertices + pull[:, :3] / pull[:, 3:]) / 2


def _onto(flesh: _Flesh, points: Float64[np.ndarray, "v 3"]) -> Float64[np.ndarray, "v 3"]:
    """Points of the surface next to the given ones: Newton's method along the gradient, in steps of 2 mm at most."""
    h = 1e-3
    for _ in range(3):
        ends = flesh.distance(
            np.concatenate([points + s * e for e in np.eye(3) for s in (h, -h)])
        ).reshape(3, 2, -1)
        gradient = (ends[:, 0] - ends[:, 1]).T / (2 * h)
        square = np.maximum(
            np.sum(gradient**2, axis=-1), 0.25
        )  # 1 but in a crease, where it may all but vanish
        points = points - (np.clip(flesh.distance(points), -2.0, 2.0) / square)[:, None] * gradient
    return points


def _turned(
    flesh: _Flesh, vertices: Float64[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Int[np.ndarray, "f 3"]:
    """Turns edges to the other diagonal of their two triangles where its middle is nearer to the surface, in mm, or the
    triangles are fatter; the best first, no triangle twice."""
    start, end, tip = (np.concatenate([faces[:, (i + j) % 3] for i in range(3)]) for j in range(3))
    edges = np.stack([np.minimum(start, end), np.maximum(start, end)])
    one, two = np.lexsort((start < end, *edges)).reshape(-1, 2).T  # the two sides of every edge
    a, b, c, d = start[one], end[one], tip[one], tip[two]
    middles = np.concatenate([vertices[a] + vertices[b], vertices[c] + vertices[d]]) / 2
    off, off_turned = np.abs(flesh.distance(middles)).reshape(2, -1)
    fat = np.minimum(_fatness(vertices, a, b, c), _fatness(vertices, b, a, d))
    fat_turned = np.minimum(_fatness(vertices, a, d, c), _fatness(vertices, d, b, c))
    gain = np.where(fat_turned > 0.35, off - off_turned + fat_turned - fat, 0.0)
    faces, touched, known = faces.copy(), set(), set(zip(*edges.tolist(), strict=True))
    for i in np.argsort(-gain, kind="stable")[: np.sum(gain > 0.05)]:
        f, g = one[i] % len(faces), two[i] % len(faces)
        edge = (min(c[i], d[i]), max(c[i], d[i]))
        if edge not in known and not touched & {f, g}:
            touched |= {f, g}
            known.add(edge)
            faces[f], faces[g] = (a[i], d[i], c[i]), (d[i], b[i], c[i])
    return faces


def _fatness(
    vertices: Float64[np.ndarray, "v 3"], *corners: Int[np.ndarray, " t"]
) -> Float64[np.ndarray, " t"]:
    """1 for an equilateral triangle, 0 for a sliver: its area over that which its edges could hold."""
    a, b, c = (vertices[corner] for corner in corners)
    edges = np.sum((b - a) ** 2 + (c - b) ** 2 + (a - c) ** 2, axis=-1)
    return 12**0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1) / edges


def _weights(
    figure: kinematics.Figure, flesh: _Flesh, points: Float64[np.ndarray, "v 3"]
) -> Float64[np.ndarray, "v n"]:
    """How much each bone pulls at points of the bound skin: four bones at most.

    A point is the finger's whose cones it is nearest to; in a cleft, within some mm, it is both neighbours', so that the
    skin there stays in one piece. Along a finger one bone after another takes over, each about the plane through its
    joint half way between its direction and that of the one before. What no finger has is the palm's.
    """
    palm, fingers = flesh.palm(points)[:, None], flesh.fingers(points)
    near = np.exp((np.min(fingers, axis=-1, keepdims=True) - fingers) / _CLEFT_MM)
    shares = near / np.sum(near, axis=-1, keepdims=True) * _ramp(1 - (fingers - palm) / _PALM_MM)
    weights = np.zeros((len(points), len(figure.bones)))
    for chain, share in zip(flesh.links.fingers, shares.T, strict=True):
        first = {
            figure.sphere_bones[s]: s for s in reversed(chain)
        }  # bone → its sphere next to the root
        bones = list(first)[::-1]
        knots = np.stack(
            [flesh.joints[figure.parents[bones[0]]], *flesh.joints[bones], flesh.centers[chain[-1]]]
        )
        along = _unit(np.diff(knots, axis=0))
        past = np.sum((points[:, None] - knots[1:-1]) * _unit(along[:-1] + along[1:]), axis=-1)
        reach = 2 * _BEND * flesh.radii[[first[bone] for bone in bones]]
        reached = share[:, None] * np.cumprod(_ramp(0.5 + past / reach), axis=-1)
        weights[:, bones] += reached - np.pad(reached[:, 1:], ((0, 0), (0, 1)))
    weights[:, figure.parents.index(-1)] += 1 - np.sum(weights, axis=-1)
    fifth = np.sort(weights, axis=-1)[:, -5:-4]
    weights = np.where(weights > np.maximum(fifth, 1e-3), weights, 0.0)
    return weights / np.sum(weights, axis=-1, keepdims=True)


def _unit(v: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def _ramp(x: Float64[np.ndarray, "*s"]) -> Float64[np.ndarray, "*s"]:
    """From 0 at 0 to 1 at 1, level at both ends and beyond."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)
