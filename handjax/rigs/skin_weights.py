"""Skinning weights from the spheres of a rig, for meshes that come without any.

Neighbouring spheres are joined into round cones and the cones blended smoothly: a distance field of
the hand in its bind pose, whose parts say which bones move a point. NumPy in float64.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from handjax.rigs import kinematics


class Links(NamedTuple):
    """Pairs of spheres joined into cones in the palm, and spheres of each finger, root to tip."""

    palm: tuple[tuple[int, int], ...]
    fingers: tuple[tuple[int, ...], ...]


# fmt: off
HAND_LINKS = Links(
    palm=(
        (0, 5), (1, 5), (0, 7), (1, 6), (5, 6), (5, 7), (6, 7), (0, 6), (1, 10), (6, 10), (4, 6),
        (4, 7), (7, 8), (6, 8), (4, 8), (4, 10), (2, 4), (2, 9), (9, 10), (4, 9), (2, 10), (3, 8),
        (2, 3), (3, 4), (2, 8),
        # to the roots of the fingers
        (2, 18), (9, 12), (2, 12), (9, 18), (2, 24), (3, 24), (3, 30), (3, 18), (8, 30),
        (1, 36), (6, 36), (10, 36), (10, 35), (9, 35), (4, 35),  # to the ball of the thumb
    ),
    fingers=(
        (12, 11, 14, 13, 16, 15), (18, 17, 20, 19, 22, 21), (24, 23, 26, 25, 28, 27),
        (30, 29, 32, 31, 34, 33), (36, 35, 38, 37, 40, 39),
    ),
)
# fmt: on

_PALM_BLEND_MM, _FINGER_BLEND_MM, _ROOT_BLEND_MM = 4.0, 2.0, 4.0
_BEND = 0.75  # half the length over which a joint bends, in radii of the finger there
_CLEFT_MM = 2.0  # width of a cleft whose skin follows both fingers
_PALM_MM = 10.0  # depth below the palm's surface at which the influence of a finger ends


class DistanceField(NamedTuple):
    """Signed distance, mm, to a rig in its bind pose: negative inside."""

    centers: Float64[np.ndarray, "s 3"]
    radii: Float64[np.ndarray, " s"]
    joints: Float64[np.ndarray, "n 3"]  # origins of the bones
    links: Links

    def palm(self, points: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, " p"]:
        return _smooth_minimum(self._cones(points, self.links.palm), _PALM_BLEND_MM)

    def fingers(self, points: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, "p f"]:
        chains = [tuple(itertools.pairwise(chain)) for chain in self.links.fingers]
        return np.stack(
            [_smooth_minimum(self._cones(points, pairs), _FINGER_BLEND_MM) for pairs in chains],
            axis=-1,
        )

    def distance(self, points: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, " p"]:
        """Distance to all parts, blended: in the bind pose fingers only meet in their clefts."""
        return _smooth_minimum(
            np.concatenate([self.palm(points)[:, None], self.fingers(points)], axis=-1),
            _ROOT_BLEND_MM,
        )

    def _cones(
        self, points: Float64[np.ndarray, "p 3"], pairs: tuple[tuple[int, int], ...]
    ) -> Float64[np.ndarray, "p l"]:
        """Distances to round cones, the volumes swept by a sphere that moves from one to another.

        The distance to a cone is that to the nearest sphere of the sweep, whose center is where
        the derivative along the axis vanishes: `aside · tan` before the foot of the point, with
        `slope` the sine of that angle.
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


def distance_field(
    rig: kinematics.Rig, transforms: Float64[np.ndarray, "n 4 4"], links: Links
) -> DistanceField:
    """Field of a rig whose bones are moved by `transforms`, rest model → bind pose."""

    def moved(bones: np.ndarray, points: np.ndarray) -> np.ndarray:
        return (
            np.sum(transforms[bones, :3, :3] * points[:, None], axis=-1) + transforms[bones, :3, 3]
        )

    centers = moved(np.asarray(rig.sphere_bones), np.asarray(rig.sphere_centers))
    joints = moved(np.arange(len(rig.bones)), np.asarray(rig.rest)[:, :3, 3])
    return DistanceField(centers, np.asarray(rig.sphere_radii), joints, links)


def skin_weights(
    rig: kinematics.Rig, field: DistanceField, points: Float64[np.ndarray, "v 3"]
) -> Float64[np.ndarray, "v n"]:
    """Weights of the bones at points of the skin in the bind pose: at most four, summing to 1.

    A point belongs to the finger whose cones are nearest; in a cleft, some mm wide, it belongs to
    both neighbours, so that the skin there stays in one piece. The palm has the remaining points.

    Along a finger one bone after another takes over, each about the plane through its joint that
    bisects its direction and that of the bone before.
    """
    palm, fingers = field.palm(points)[:, None], field.fingers(points)
    near = np.exp((np.min(fingers, axis=-1, keepdims=True) - fingers) / _CLEFT_MM)
    shares = near / np.sum(near, axis=-1, keepdims=True) * _ramp(1 - (fingers - palm) / _PALM_MM)
    weights = np.zeros((len(points), len(rig.bones)))
    for chain, share in zip(field.links.fingers, shares.T, strict=True):
        # bone → its sphere next to the root
        first = {rig.sphere_bones[s]: s for s in reversed(chain)}
        bones = list(first)[::-1]
        knots = np.stack(
            [field.joints[rig.parents[bones[0]]], *field.joints[bones], field.centers[chain[-1]]]
        )
        along = _unit(np.diff(knots, axis=0))
        past = np.sum((points[:, None] - knots[1:-1]) * _unit(along[:-1] + along[1:]), axis=-1)
        reach = 2 * _BEND * field.radii[[first[bone] for bone in bones]]
        reached = share[:, None] * np.cumprod(_ramp(0.5 + past / reach), axis=-1)
        weights[:, bones] += reached - np.pad(reached[:, 1:], ((0, 0), (0, 1)))
    weights[:, rig.parents.index(-1)] += 1 - np.sum(weights, axis=-1)
    fifth = np.sort(weights, axis=-1)[:, -5:-4]
    weights = np.where(weights > np.maximum(fifth, 1e-3), weights, 0.0)
    return weights / np.sum(weights, axis=-1, keepdims=True)


def _smooth_minimum(
    distances: Float64[np.ndarray, "*p n"], over_mm: float
) -> Float64[np.ndarray, "*p"]:
    """Minimum over the last axis, rounded where the two smallest differ by less than `over_mm`.

    However many parts meet, the result is at most a quarter of `over_mm` below their minimum.
    """
    least, second = np.moveaxis(np.partition(distances, 1, axis=-1)[..., :2], -1, 0)
    return least - np.maximum(over_mm - (second - least), 0.0) ** 2 / (4 * over_mm)


def _unit(v: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def _ramp(x: Float64[np.ndarray, "*s"]) -> Float64[np.ndarray, "*s"]:
    """Smoothstep: 0 up to 0, 1 from 1 on, level at both ends."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)
