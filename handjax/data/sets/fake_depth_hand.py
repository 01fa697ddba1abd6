"""Hands before depth cameras, for the fakes of the depth hand sets: one hand of 41 spheres as each of several cameras sees it."""

from typing import NamedTuple

import numpy as np

from handjax.data.sets import fake_hand

# Spheres that stand for the joints of one finger, from tip to base (rigs/hand.py), and for the middle of the palm.
FINGER_SPHERES = {
    "thumb": (39, 40, 37, 38, 35, 36),
    "index": (15, 16, 13, 14, 11, 12),
    "middle": (21, 22, 19, 20, 17, 18),
    "ring": (27, 28, 25, 26, 23, 24),
    "little": (33, 34, 31, 32, 29, 30),
}
PALM_SPHERE = 2


class Hand(NamedTuple):
    """One right hand seen by v cameras, each in camera mm: x right, y down, z forward."""

    depth: np.ndarray  # uint16 [v, h, w], whole mm along z, 0 = missing
    spheres_xyz: np.ndarray  # float32 [v, 41, 3], where depth is always nearer than z
    joints_xyz: np.ndarray  # float32 [v, 21, 3], skeleton "hand21"


def hand(
    seed: tuple[int, ...],
    k: tuple[tuple[float, ...], ...],
    height: int,
    width: int,
    *,
    distance_mm: tuple[float, float],
    turns: tuple[float, ...] = (0.0,),
    wall_mm: float = 0.0,
) -> Hand:
    """A random hand, palm to the first camera; the others stand `turns` rad about it. A wall may be `wall_mm` behind it."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(*distance_mm)
    place = np.asarray([*rng.uniform(-0.08 * z, 0.08 * z, 2), z], np.float32)
    centers, radii, joints = fake_hand.hands(
        int(rng.integers(1 << 31)), place[None], np.zeros(1, bool)
    )
    views = []
    for turn in turns:
        c, s = np.cos(turn), np.sin(turn)
        rotation = np.asarray([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
        seen, found = ((points[0] - place) @ rotation.T + place for points in (centers, joints))
        depth, _ = fake_hand.look(seen, radii[0], np.asarray(k, np.float32), height, width)
        depth = np.where(depth > 0, depth, z + wall_mm if wall_mm else 0)
        views.append((np.rint(depth).astype(np.uint16), seen, found))
    return Hand(*map(np.stack, zip(*views, strict=True)))
