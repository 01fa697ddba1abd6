"""The synthetic world: a key in, one labelled sample out. Endless, on the device, nothing read from disk."""

from typing import Literal

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, PRNGKeyArray

from handjax.figures import hand, poses, render
from handjax.ops import spheres
from handjax.pose import geometry

_FINDER_SIZE = 32  # px of the coarse first look that finds where the hand is
_WINDOW_MARGIN = 1.02  # the second, fine look sees a slightly different mean point than the first


def hand_sample(
    key: PRNGKeyArray,
    *,
    joints: Literal["hand21", "nyu14"] = "hand21",
    image_size: int = 64,
    cube_mm: float = 300.0,
    center: Literal["depth", "label"] = "depth",
    distance_mm: poses.Range = (500.0, 900.0),
    aside: float = 0.2,
    scale: poses.Range = (0.85, 0.95),
    rotation: poses.Ranges = poses.ROTATION_ANY,
    modes: tuple[str, ...] = poses.ALL_MODES,
    depth_noise_mm: float = 1.5,
    shift_px: float = 0.3,
) -> dict[str, Array]:
    """One right hand alone before a depth camera, as one row of a Batch: a function of the key, for jit and vmap.

    depth [h, w] mm and k [3, 3] are those of the square crop window (`render.crop_intrinsics`); joints_xyz [j, 3],
    visible [j], center_xyz [3] and cube_mm [3] are in camera mm. The crop's center is the mean of the depth image's
    points, which needs no label (`center="depth"`), or the mean of the joints (`center="label"`). About it a cube of
    300 mm holds all joints of 99.7 % of hands with any rotation, one of 250 mm of 94 %.

    The hand is up to `aside` of its distance off the optical axis, to each side and up and down. It has no forearm and
    nothing is behind it. Noise: `render.sensor_noise`. Poses and `scale`, drawn for each axis: sphereHand (Wan et al.
    2019), which looks along parallel rays; this is a perspective camera that need not look straight at the hand.
    """
    pose_key, place_key, noise_key = random.split(key, 3)
    pose = poses.sample_pose(pose_key, modes=modes, rotation=rotation)
    low, high = jnp.asarray([scale, scale, scale, (-aside, aside), (-aside, aside), distance_mm]).T
    *scales, x, y, z = random.uniform(place_key, (6,), minval=low, maxval=high)
    centers, radii, joints_xyz = render.hand_in_camera(pose, jnp.stack([x * z, y * z, z]), joints, jnp.stack(scales))
    cube = jnp.full(3, cube_mm)

    # A first coarse look at all of the hand, however large, tells where to put the window.
    around = jnp.mean(centers, axis=0)
    reach = 2 * jnp.max(geometry.safe_norm(centers - around[None]) + radii)
    coarse_k = render.crop_intrinsics(around, reach, _FINDER_SIZE)
    coarse, _ = spheres.sphere_depth_pinhole(centers, radii, coarse_k, _FINDER_SIZE, _FINDER_SIZE)
    labelled = jnp.mean(joints_xyz, axis=0)
    window = labelled if center == "label" else _mean_point(coarse, coarse_k)

    k = render.crop_intrinsics(window, jnp.asarray(_WINDOW_MARGIN * cube_mm), image_size)
    clean, _ = spheres.sphere_depth_pinhole(centers, radii, k, image_size, image_size)
    depth = render.sensor_noise(noise_key, clean, depth_noise_mm, shift_px)
    return {
        "depth": depth,
        "k": k,
        "joints_xyz": joints_xyz,
        "visible": render.visible_joints(joints_xyz, centers, radii, hand.JOINT_SPHERES[joints]),
        "center_xyz": labelled if center == "label" else _mean_point(depth, k),
        "cube_mm": cube,
    }


def _mean_point(depth: Array, k: Array) -> Array:
    """The mean of the measured points, camera mm. Some pixel must be measured."""
    points, valid = geometry.depth_to_points(depth, k)
    return jnp.sum(jnp.where(valid[:, None], points, 0.0), axis=0) / jnp.sum(valid)
