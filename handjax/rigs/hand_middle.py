"""Where a hand's middle is if only some of its joints are labelled, and its joints below the skin.

A label on the skin, as one clicks it on a depth image, is compared with the point of the skin above
a joint.
"""

from functools import cache
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from handjax.pose.align import kabsch
from handjax.pose.skeleton import Skeleton
from handjax.pose.skeleton_file import NAME as OWN
from handjax.rigs import hand, poses

HAND_SIZE = 0.9  # of an average adult's hand, relative to the rig
_SAMPLED = 4000  # hands that unlabelled joints are estimated from
_LABEL_MM = 5.0  # deviation of labels from the hand rig, per joint
_SIZES = (0.75, 1.05)  # of the sampled hands
MOST_UNCERTAIN_MM = 25.0  # a middle with a larger standard deviation is not used


def skin_points(
    joints: Float[np.ndarray, "*b p 3"], radii: Float[np.ndarray, " p"]
) -> Float[np.ndarray, "*b p 3"]:
    """The point of the skin in front of each joint, on its way to the camera; camera mm."""
    far = np.linalg.norm(joints, axis=-1, keepdims=True)
    return joints * (1 - radii[:, None] / np.maximum(far, 1.0))


def inner_points(
    skin: Float[np.ndarray, "*b p 3"], radii: Float[np.ndarray, " p"]
) -> Float[np.ndarray, "*b p 3"]:
    """Joints under points of the skin: the inverse of `skin_points`."""
    return skin_points(skin, -radii)


class Middle(NamedTuple):
    """Mean of the 21 joints of a hand, camera mm, and the standard deviation of its place."""

    xyz: Float[np.ndarray, "3"]
    std_mm: float


def hand_middle(
    joints: Float[np.ndarray, "j 3"],
    labelled: Bool[np.ndarray, " j"],
    skeleton: Skeleton,
    side: str = "unknown",
) -> Middle | None:
    """The middle of a hand of which some joints are labelled, camera mm; None for less than three.

    With all 21 joints, or all of users' own, it is their mean. Otherwise 4,000 sampled hands are
    moved onto the labelled joints (Kabsch 1976); the mean of their middles, each weighted by how
    well it fits, is the middle, and their spread its standard deviation. None for some of users'
    own joints.
    """
    if labelled.all() and skeleton.name in ("hand21", OWN):
        return Middle(joints.mean(0), 0.0)
    if labelled.sum() < 3 or skeleton.name == OWN:
        return None
    wanted = joints[labelled]
    middle = wanted.mean(0)
    sampled, middles = _sampled_hands(skeleton.name)
    sides = {"right": (1,), "left": (-1,)}.get(side, (1, -1))
    misfits, found = [], []
    for sign in sides:
        mirror = np.array([sign, 1, 1])
        own = sampled[:, labelled]
        own_middle = own.mean(1, keepdims=True)
        target = np.broadcast_to((wanted - middle) * mirror, own.shape)
        rotation, _ = kabsch(own - own_middle, target)
        moved = (own - own_middle) @ np.swapaxes(rotation, -1, -2)
        misfits.append(((moved - target) ** 2).sum((1, 2)))
        arms = ((middles - own_middle[:, 0])[:, None] @ np.swapaxes(rotation, -1, -2))[:, 0]
        found.append(arms * mirror)
    misfit, arms = np.concatenate(misfits), np.concatenate(found)
    weights = np.exp((misfit.min() - misfit) / (2 * _LABEL_MM**2))
    weights /= weights.sum()
    arm = weights @ arms
    return Middle(middle + arm, float(np.sqrt(weights @ ((arms - arm) ** 2).sum(1))))


@cache
def _sampled_hands(
    skeleton: str,
) -> tuple[Float[np.ndarray, "n j 3"], Float[np.ndarray, "n 3"]]:
    """Joints of sampled right hands in the order of the skeleton, and their middles, mm."""
    pose_key, size_key = jax.random.split(jax.random.key(0))
    pose = jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(pose_key, _SAMPLED))
    size = np.asarray(jax.random.uniform(size_key, (_SAMPLED, 1, 1), None, *_SIZES), np.float64)

    def drawn(name: str) -> np.ndarray:
        return np.asarray(jax.jit(hand.JOINTS[name])(pose), np.float64) * size

    return drawn(skeleton), drawn("hand21").mean(1)
