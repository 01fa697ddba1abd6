"""Synthetic hands in front of a depth or colour camera: a random key in, one labelled sample out.

Samples are drawn on the device without limit, and no file is read.
"""

from typing import Literal

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from handjax.ops.rasterize import rasterize, to_screen
from handjax.pose import geometry, pinhole
from handjax.rigs import hand, poses, skinning, spheres
from handjax.synthetic import render, sensors, shade

Surface = Literal["spheres", "skin"]

_COARSE_SIZE = 32  # px of the coarse image that locates the hand
_WINDOW_MARGIN = 1.02  # the mean point of the fine image differs slightly from the coarse one's


def sample_key(
    stream: UInt32[Array, ""] | int, heldout: Bool[Array, ""] | bool, index: Int[Array, ""] | int
) -> PRNGKeyArray:
    """Key of one sample of an endless stream. Held-out samples have streams of their own, so that
    none is ever trained on."""
    return random.fold_in(random.fold_in(random.fold_in(random.key(0), heldout), stream), index)


def depth_sample(
    key: PRNGKeyArray,
    *,
    joints: Literal["hand21", "nyu14"] = "hand21",
    surface: Surface = "spheres",
    skin: skinning.Skin | None = None,
    image_size: int = 64,
    cube_mm: float = 300.0,
    center: Literal["depth", "label"] = "depth",
    distance_mm: poses.Range = (500.0, 900.0),
    offset: float = 0.2,
    scale: poses.Range = (0.85, 0.95),
    fingers: poses.Range = (1.0, 1.0),
    left: float = 0.0,
    rotation: poses.Ranges = poses.ROTATION_ANY,
    modes: tuple[str, ...] = poses.ALL_MODES,
    depth_noise_mm: float = 1.5,
    shift_px: float = 0.3,
) -> dict[str, Array]:
    """A hand in front of a depth camera, as one row of a Batch; a function of the key.

    depth [h, w] mm and k [3, 3] are those of the square crop window (`render.crop_intrinsics`);
    joints_xyz [j, 3], visible [j], center_xyz [3] and cube_mm [3] are in camera mm. The crop center
    is the mean of the points of the depth image (`center="depth"`), which needs no label, or the
    mean of the joints (`center="label"`). A cube of 300 mm around it contains all joints of 99.7 %
    of hands with any rotation, one of 250 mm those of 94 %.

    The surface is the 41 spheres or the skin over them (`skin`: your own mesh instead of ours), and
    `visible` are joints it does not occlude; those of a skin are also inside the image. `fingers`
    is the range of the size of each finger relative to the palm, `left` the fraction of left hands.

    The hand is off the optical axis by up to `offset` of its distance, horizontally and vertically.
    It has no forearm and no background. Noise: `sensors.add_noise`. Poses and `scale`, drawn per
    axis: sphereHand (Wan et al. 2019), which renders along parallel rays; here the camera is
    perspective and need not face the hand.
    """
    pose_key, place_key, noise_key = random.split(key, 3)
    # --- hand
    pose = poses.sample_pose(pose_key, modes=modes, rotation=rotation)
    shift = (-offset, offset)
    ranges = [scale, scale, scale, shift, shift, distance_mm]
    *scales, x, y, z = poses.uniform(place_key, ranges)
    sizes, side = poses.sample_fingers_and_side(random.fold_in(place_key, 1), fingers, left)
    build, position = (jnp.stack(scales), sizes, side), jnp.stack([x * z, y * z, z])
    centers, radii, joints_xyz = render.hand_in_camera(pose, position, joints, *build)

    # --- window
    labelled = jnp.mean(joints_xyz, axis=0)
    window = labelled if center == "label" else _locate(centers, radii)
    k = render.crop_intrinsics(window, jnp.asarray(_WINDOW_MARGIN * cube_mm), image_size)

    # --- depth
    own = hand.JOINT_SPHERES[joints]
    if surface == "skin":
        skin = skin or skinning.hand_skin()
        vertices = render.skin_in_camera(skin, pose, position, *build)
        clean, _ = render.mesh_depth(
            vertices, skin.faces, k, image_size, image_size, projection="pinhole"
        )
        uvd = pinhole.xyz_to_uvd(joints_xyz, k)
        visible = render.visible_in_depth(uvd, clean, clean > 0, radii[jnp.asarray(own)])
    else:
        clean, _ = spheres.sphere_depth_pinhole(centers, radii, k, image_size, image_size)
        visible = render.visible_among_spheres(joints_xyz, centers, radii, own)
    depth = sensors.add_noise(noise_key, clean, depth_noise_mm, shift_px)
    return {
        "depth": depth,
        "k": k,
        "joints_xyz": joints_xyz,
        "visible": visible,
        "center_xyz": labelled if center == "label" else _mean_point(depth, k),
        "cube_mm": jnp.full(3, cube_mm),
    }


def rgb_sample(
    key: PRNGKeyArray,
    *,
    skin: skinning.Skin | None = None,
    image_size: int = 256,
    supersampling: int = 2,
    fraction: poses.Range = (0.6, 1.0),
    distance_mm: poses.Range = (300.0, 900.0),
    offset: float = 0.2,
    scale: poses.Range = (0.85, 0.95),
    fingers: poses.Range = (0.9, 1.1),
    left: float = 0.5,
    rotation: poses.Ranges = poses.ROTATION_ANY,
    modes: tuple[str, ...] = poses.ALL_MODES,
    blur_px: poses.Range = (0.0, 1.2),
    noise: poses.Range = (0.0, 0.04),
) -> dict[str, Array]:
    """A hand in an RGB image, with the labels of all RGB systems; a function of the key.

    image [h, w, 3] sRGB bytes; depth [h, w] mm of the hand, 0 elsewhere; mask [h, w]; k [3, 3];
    joints_xyz [21, 3] camera mm, wrist first; joints_uv [21, 2] px; visible [21]: inside the image
    and not occluded by the hand itself; left [].

    The ball around the hand takes `fraction` of the edge of the image, anywhere in it. Looks and
    backgrounds: synthetic/shade.py. The hand has no forearm, casts no shadow and holds nothing.
    """
    pose_key, place_key, look_key, background_key, camera_key = random.split(key, 5)
    # --- hand
    pose = poses.sample_pose(pose_key, modes=modes, rotation=rotation)
    shift = (-offset, offset)
    ranges = [scale, scale, scale, shift, shift, distance_mm, fraction, (-1.0, 1.0), (-1.0, 1.0)]
    *scales, x, y, z, part, du, dv = poses.uniform(place_key, ranges)
    sizes, side = poses.sample_fingers_and_side(random.fold_in(place_key, 1), fingers, left)
    build, position = (jnp.stack(scales), sizes, side), jnp.stack([x * z, y * z, z])
    centers, radii, joints_xyz = render.hand_in_camera(pose, position, "hand21", *build)

    # --- camera: the window around the hand, zoomed out and placed somewhere in the image
    at = (1 - part) * (image_size - 1 + jnp.stack([du, dv]) * image_size) / 2
    zoom = jnp.diag(jnp.stack([part, part, jnp.ones(())])).at[:2, 2].set(at)
    k = geometry.matmul(zoom, _window_around(centers, radii, image_size))

    # --- image
    skin = skin or skinning.hand_skin()
    vertices = render.skin_in_camera(skin, pose, position, *build)
    normals = render.skin_normals_in_camera(skin, pose, *build)
    look = shade.random_look(look_key, blur_px, noise)
    background = shade.random_background(background_key, image_size, image_size)
    palm = shade.palm_side(skin)
    linear = shade.hand_image(
        look, background, vertices, normals, skin.faces, skin.vertices, palm, k, supersampling
    )
    screen = to_screen(vertices, k, projection="pinhole", interpolation="perspective")
    depth, face = rasterize(screen, skin.faces, image_size, image_size, near=1.0)
    joints_uvd = pinhole.xyz_to_uvd(joints_xyz, k)
    own = radii[jnp.asarray(hand.JOINT_SPHERES["hand21"])]
    return {
        "image": shade.photograph(camera_key, look, linear),
        "depth": depth,
        "mask": face >= 0,
        "k": k,
        "joints_xyz": joints_xyz,
        "joints_uv": joints_uvd[:, :2],
        "visible": render.visible_in_depth(joints_uvd, depth, face >= 0, own),
        "left": side < 0,
    }


def _window_around(
    centers: Float[Array, "s 3"], radii: Float[Array, " s"], pixels: int
) -> Float[Array, "3 3"]:
    """Intrinsics of the window around all spheres."""
    around = jnp.mean(centers, axis=0)
    reach = 2 * jnp.max(geometry.safe_norm(centers - around[None]) + radii)
    return render.crop_intrinsics(around, reach, pixels)


def _locate(centers: Float[Array, "s 3"], radii: Float[Array, " s"]) -> Float[Array, "3"]:
    """Mean point of a coarse depth image of the whole hand, however large, camera mm."""
    k = _window_around(centers, radii, _COARSE_SIZE)
    depth, _ = spheres.sphere_depth_pinhole(centers, radii, k, _COARSE_SIZE, _COARSE_SIZE)
    return _mean_point(depth, k)


def _mean_point(depth: Float[Array, "h w"], k: Float[Array, "3 3"]) -> Float[Array, "3"]:
    """Mean of the measured points, camera mm. At least one pixel must be measured."""
    points, valid = pinhole.depth_to_points(depth, k)
    count = jnp.sum(valid).astype(points.dtype)
    return jnp.sum(jnp.where(valid[:, None], points, 0.0), axis=0) / count
