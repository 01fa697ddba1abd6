"""Rendered depth images for the fake depth sets: a hand of 41 spheres, seen by several cameras."""

from typing import NamedTuple

import numpy as np

from handjax.data.sets import fake_hand

# Spheres at the joints of one finger, from tip to base (rigs/hand.py), and at the palm's center.
FINGER_SPHERES = {
    "thumb": (39, 40, 37, 38, 35, 36),
    "index": (15, 16, 13, 14, 11, 12),
    "middle": (21, 22, 19, 20, 17, 18),
    "ring": (27, 28, 25, 26, 23, 24),
    "little": (33, 34, 31, 32, 29, 30),
}
PALM_SPHERE = 2


class DepthHand(NamedTuple):
    """One right hand seen by v cameras, in the mm of each: x right, y down, z forward."""

    depth: np.ndarray  # uint16 [v, h, w], whole mm along z, 0 = missing
    spheres_xyz: np.ndarray  # float32 [v, 41, 3], centers; the depth is smaller than their z
    joints_xyz: np.ndarray  # float32 [v, 21, 3], skeleton "hand21"


def render_hand(
    seed: tuple[int, ...],
    k: tuple[tuple[float, ...], ...],
    height: int,
    width: int,
    *,
    distance_mm: tuple[float, float],
    turns: tuple[float, ...] = (0.0,),
    wall_mm: float = 0.0,
) -> DepthHand:
    """A random hand whose palm faces the first camera.

    Camera i is rotated about the hand by `turns[i]` rad. A wall stands `wall_mm` behind the hand,
    none for 0. `k` in px.
    """
    rng = np.random.default_rng(seed)
    z = rng.uniform(*distance_mm)
    position = np.asarray([*rng.uniform(-0.08 * z, 0.08 * z, 2), z], np.float32)
    centers, radii, joints = fake_hand.hands(
        int(rng.integers(1 << 31)), position[None], np.zeros(1, bool)
    )
    views = []
    for turn in turns:
        c, s = np.cos(turn), np.sin(turn)
        rotation = np.asarray([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
        spheres_xyz, joints_xyz = (
            (points[0] - position) @ rotation.T + position for points in (centers, joints)
        )
        k32 = np.asarray(k, np.float32)
        depth, _ = fake_hand.render_spheres(spheres_xyz, radii[0], k32, height, width)
        depth = np.where(depth > 0, depth, z + wall_mm if wall_mm else 0)
        views.append((np.rint(depth).astype(np.uint16), spheres_xyz, joints_xyz))
    return DepthHand(*map(np.stack, zip(*views, strict=True)))
