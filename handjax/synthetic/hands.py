"""The synthetic world: a key in, one labelled sample out. Endless, on the device, nothing read from disk."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from handjax.ops.rasterize import rasterize, to_screen
from handjax.pose import geometry
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.rigs import hand, poses, spheres
from handjax.rigs import skinning
from handjax.synthetic import render, shade

Surface = Literal["spheres", "skin"]

_FINDER_SIZE = 32  # px of the coarse first look that finds where the hand is
_WINDOW_MARGIN = 1.02  # the second, fine look sees a slightly different mean point than the first


def sample_key(
    stream: UInt32[Array, ""] | int, heldout: Bool[Array, ""] | bool, index: Int[Array, ""] | int
) -> PRNGKeyArray:
    """The key of one sample of an endless stream. Held-out samples come from streams of their own: none is ever trained on."""
    return random.fold_in(random.fold_in(random.fold_in(random.key(0), heldout), stream), index)


def hand_sample(
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
    """One hand alone before a depth camera, as one row of a Batch: a function of the key, for jit and vmap.

    depth [h, w] mm and k [3, 3] are those of the square crop window (`render.crop_intrinsics`); joints_xyz [j, 3],
    visible [j], center_xyz [3] and cube_mm [3] are in camera mm. The crop's center is the mean of the depth image's
    points, which needs no label (`center="depth"`), or the mean of the joints (`center="label"`). About it a cube of
    300 mm holds all joints of 99.7 % of hands with any rotation, one of 250 mm of 94 %.

    What is seen is the 41 spheres or the skin over them (`skin`: a mesh of one's own in place of ours), and `visible` are
    joints that it does not hide; those of a skin are also in the picture. `fingers` is the range of their size beside the
    palm's, each on its own; `left` is the part of left hands. The hand is up to `offset` of its distance off the optical
    axis, to each side and up and down. It has no forearm and nothing is behind it. Noise: `render.sensor_noise`. Poses and
    `scale`, drawn for each axis: sphereHand (Wan et al. 2019), which looks along parallel rays; this is a perspective
    camera that need not look straight at the hand.
    """
    pose_key, place_key, noise_key = random.split(key, 3)
    pose = poses.sample_pose(pose_key, modes=modes, rotation=rotation)
    low, high = jnp.asarray([scale, scale, scale, (-offset, offset), (-offset, offset), distance_mm]).T
    *scales, x, y, z = random.uniform(place_key, (6,), minval=low, maxval=high)
    build = (jnp.stack(scales), *_fingers_and_side(random.fold_in(place_key, 1), fingers, left))
    position = jnp.stack([x * z, y * z, z])
    centers, radii, joints_xyz = render.hand_in_camera(pose, position, joints, *build)
    cube = jnp.full(3, cube_mm)

    # A first coarse look at all of the hand, however large, tells where to put the window.
    around = jnp.mean(centers, axis=0)
    reach = 2 * jnp.max(geometry.safe_norm(centers - around[None]) + radii)
    coarse_k = render.crop_intrinsics(around, reach, _FINDER_SIZE)
    coarse, _ = spheres.sphere_depth_pinhole(centers, radii, coarse_k, _FINDER_SIZE, _FINDER_SIZE)
    labelled = jnp.mean(joints_xyz, axis=0)
    window = labelled if center == "label" else _mean_point(coarse, coarse_k)

    k = render.crop_intrinsics(window, jnp.asarray(_WINDOW_MARGIN * cube_mm), image_size)
    if surface == "skin":
        skin = skin or skinning.hand_skin()
        vertices = _skin_in_camera(skin, pose, position, *build)
        clean, _ = render.mesh_depth(
            vertices, skin.faces, k, image_size, image_size, projection="pinhole"
        )
        own = radii[jnp.asarray(hand.JOINT_SPHERES[joints])]
        visible = render.joints_seen(geometry.xyz_to_uvd(joints_xyz, k), clean, clean > 0, own)
    else:
        clean, _ = spheres.sphere_depth_pinhole(centers, radii, k, image_size, image_size)
        visible = render.visible_joints(joints_xyz, centers, radii, hand.JOINT_SPHERES[joints])
    depth = render.sensor_noise(noise_key, clean, depth_noise_mm, shift_px)
    return {
        "depth": depth,
        "k": k,
        "joints_xyz": joints_xyz,
        "visible": visible,
        "center_xyz": labelled if center == "label" else _mean_point(depth, k),
        "cube_mm": cube,
    }


def fitting_sample(
    key: PRNGKeyArray,
    *,
    surface: Surface = "skin",
    skin: skinning.Skin | None = None,
    image_size: int = 64,
    extent_mm: float = EXTENT_MM,
    background: float = BACKGROUND_MM,
    samples: int = 2,
    scale: poses.Range = (0.85, 0.95),
    focal: poses.Range = (0.9, 1.1),
    fingers: poses.Range = (1.0, 1.0),
    rotation: poses.Ranges = poses.ROTATION_ANY,
    modes: tuple[str, ...] = poses.ALL_MODES,
    depth_noise_mm: float = 5.0,
    shift_px: float = 0.5,
    resample: Literal[0, 3, 5] = 0,
) -> dict[str, Array]:
    """One right hand as sphereHand's network sees it: the depth of an `extent_mm` cube along parallel rays, z from its middle.

    depth [h, w] mm, `background` where nothing is; mask [h, w] where the hand, before the background, covers half of a
    pixel or more; centers [41, 3] and radii [41] of the spheres, joints_xyz [21, 3], mm about the middle of the cube;
    visible_centers [41] and visible [21]; pose [26]. Pixel u stands for x = (u - size/2) · extent/size.

    Synthesis of Wan et al. 2019: their poses, scales, focal ratio (it stretches x and y of image and labels alike, not z),
    noise (5 mm) and `--depth_resample` (`resample`). A pixel is the mean of `samples` x `samples` rays, those that miss
    with the depth `background`, where the original takes four of a hundred and is half a pixel beside its own labels.
    """
    pose_key, build_key, noise_key, drop_key = random.split(key, 4)
    pose = poses.sample_pose(pose_key, modes=modes, rotation=rotation)
    build = _fitting_build(build_key, scale, focal, fingers)
    centers, radii, joints_xyz = render.hand_in_camera(pose, jnp.zeros(3), "hand21", *build)
    k = render.orthographic_intrinsics(image_size, extent_mm)
    if surface == "skin":
        skin = skin or skinning.hand_skin()
        vertices = _skin_in_camera(skin, pose, jnp.zeros(3), *build)
        clean, mean, covered = _along_parallel_rays(
            vertices, skin.faces, k, image_size, samples, background
        )
        mask = (covered >= 0.5) & (mean < background)

        def visible(points, own):
            uvd = jnp.concatenate([points[:, :2] * k[0, 0] + k[0, 2], points[:, 2:]], axis=-1)
            return render.joints_seen(uvd, mean, mask, radii[jnp.asarray(own)])

    else:
        clean, winner = spheres.sphere_depth_orthographic(
            centers, radii, image_size, extent_mm, background
        )
        mask = winner >= 0

        def visible(points, own):
            return render.visible_joints(points, centers, radii, own, "orthographic")

    depth = render.sensor_noise(noise_key, clean, depth_noise_mm, shift_px, background)
    if resample:
        depth = render.resample(drop_key, depth, resample, background)

    return {
        "depth": depth,
        "mask": mask,
        "centers": centers,
        "radii": radii,
        "joints_xyz": joints_xyz,
        "visible_centers": visible(centers, tuple(range(len(hand.HAND.sphere_bones)))),
        "visible": visible(joints_xyz, hand.JOINT_SPHERES["hand21"]),
        "pose": pose,
    }


def fitting_views(
    key: PRNGKeyArray,
    *,
    turns_deg: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.0, 40.0), (0.0, -40.0)),
    offset_mm: float = 10.0,
    thickness_mm: poses.Range = (0.0, 0.0),
    surface: Surface = "skin",
    skin: skinning.Skin | None = None,
    image_size: int = 64,
    extent_mm: float = EXTENT_MM,
    background: float = BACKGROUND_MM,
    samples: int = 2,
    scale: poses.Range = (0.85, 0.95),
    focal: poses.Range = (1.0, 1.0),
    fingers: poses.Range = (1.0, 1.0),
    rotation: poses.Ranges = poses.ROTATION_ANY,
    modes: tuple[str, ...] = poses.ALL_MODES,
    depth_noise_mm: float = 5.0,
    shift_px: float = 0.5,
    holes: float = 0.0,
) -> dict[str, Array]:
    """One right hand of `fitting_sample` before several cameras of parallel rays, each with a cube of its own.

    depth [v, h, w] mm; cameras [v, 4, 4] take each view's mm to those of the first; centers [v, 41, 3], mm of each view, and
    radii [41] of the spheres. A camera is turned by `turns_deg` about x, then y, of the first, as NYU's three Kinects stand
    about a hand, and all cubes but the first are up to `offset_mm` beside it. `thickness_mm` of flesh lies on hand and spheres;
    `holes` is the part of the pixels that a sensor loses.
    """
    pose_key, build_key, noise_key, camera_key = random.split(key, 4)
    pose = poses.sample_pose(pose_key, modes=modes, rotation=rotation)
    build = _fitting_build(build_key, scale, focal, fingers)
    thickness = random.uniform(
        random.fold_in(build_key, 2), minval=thickness_mm[0], maxval=thickness_mm[1]
    )
    centers, radii, _ = render.hand_in_camera(pose, jnp.zeros(3), "hand21", *build)
    radii = radii + thickness

    views = len(turns_deg)
    about_x, about_y = jnp.deg2rad(jnp.asarray(turns_deg)).T
    turns = geometry.matmul(geometry.rotation_y(about_y), geometry.rotation_x(about_x))
    offset = random.uniform(camera_key, (views, 3), minval=-offset_mm, maxval=offset_mm).at[0].set(0.0)

    def seen(points):
        # Rows times R are columns times R's inverse.
        return geometry.matmul(points[None] - offset[:, None], turns)

    k = render.orthographic_intrinsics(image_size, extent_mm)
    if surface == "skin":
        skin = skin or skinning.hand_skin()
        flesh = thickness * _normals_in_camera(skin, pose, *build)
        vertices = seen(_skin_in_camera(skin, pose, jnp.zeros(3), *build) + flesh)
        clean, _, _ = jax.vmap(
            lambda v: _along_parallel_rays(v, skin.faces, k, image_size, samples, background)
        )(vertices)
    else:
        every = jnp.broadcast_to(radii[None], (views, len(radii)))
        clean, _ = spheres.sphere_depth_orthographic(
            seen(centers), every, image_size, extent_mm, background
        )

    def noisy(key, depth):
        seen = render.sensor_noise(key, depth, depth_noise_mm, shift_px, background)
        return jnp.where(
            random.bernoulli(random.fold_in(key, 1), holes, depth.shape), background, seen
        )

    return {
        "depth": jax.vmap(noisy)(random.split(noise_key, views), clean),
        "cameras": geometry.homogeneous(turns, offset),
        "centers": seen(centers),
        "radii": radii,
    }


def rgb_sample(
    key: PRNGKeyArray,
    *,
    skin: skinning.Skin | None = None,
    image_size: int = 256,
    samples: int = 2,
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
    """One hand in a colour picture, with the labels of all RGB systems.

    image [h, w, 3] sRGB bytes; depth [h, w] mm of the hand, 0 where it is not; mask [h, w]; k [3, 3]; joints_xyz [21, 3]
    camera mm, wrist first; joints_uv [21, 2] px; visible [21]: in the picture and not hidden by the hand itself; left [].

    The ball about the hand takes `fraction` of the picture's side and may be anywhere in it. Looks and backgrounds:
    synthetic/shade.py. It has no forearm, casts no shadow and holds nothing.
    """
    pose_key, place_key, look_key, background_key, camera_key = random.split(key, 5)
    pose = poses.sample_pose(pose_key, modes=modes, rotation=rotation)
    low, high = jnp.asarray(
        [scale, scale, scale, (-offset, offset), (-offset, offset), distance_mm, fraction, (-1, 1), (-1, 1)]
    ).T
    *scales, x, y, z, part, du, dv = random.uniform(place_key, (9,), minval=low, maxval=high)
    sizes, side = _fingers_and_side(random.fold_in(place_key, 1), fingers, left)
    build, position = (jnp.stack(scales), sizes, side), jnp.stack([x * z, y * z, z])
    centers, radii, joints_xyz = render.hand_in_camera(pose, position, "hand21", *build)

    around = jnp.mean(centers, axis=0)
    reach = 2 * jnp.max(geometry.safe_norm(centers - around[None]) + radii)
    # The window that just holds the hand, seen from further off and put somewhere in the picture.
    at = (1 - part) * (image_size - 1 + jnp.stack([du, dv]) * image_size) / 2
    zoom = jnp.diag(jnp.stack([part, part, jnp.ones(())])).at[:2, 2].set(at)
    k = geometry.matmul(zoom, render.crop_intrinsics(around, reach, image_size))

    skin = skin or skinning.hand_skin()
    vertices, normals = (
        _skin_in_camera(skin, pose, position, *build),
        _normals_in_camera(skin, pose, *build),
    )
    look = shade.random_look(look_key, blur_px, noise)
    background = shade.random_background(background_key, image_size, image_size)
    palm = shade.palm_side(skin)
    linear = shade.hand_image(
        look, background, vertices, normals, skin.faces, skin.vertices, palm, k, samples
    )
    screen = to_screen(vertices, k, projection="pinhole", interpolation="perspective")
    depth, face = rasterize(screen, skin.faces, image_size, image_size, near=1.0)
    joints_uvd = geometry.xyz_to_uvd(joints_xyz, k)
    return {
        "image": shade.photograph(camera_key, look, linear),
        "depth": depth,
        "mask": face >= 0,
        "k": k,
        "joints_xyz": joints_xyz,
        "joints_uv": joints_uvd[:, :2],
        "visible": render.joints_seen(
            joints_uvd, depth, face >= 0, radii[jnp.asarray(hand.JOINT_SPHERES["hand21"])]
        ),
        "left": side < 0,
    }


def _fitting_build(
    key: PRNGKeyArray, scale: poses.Range, focal: poses.Range, fingers: poses.Range
) -> tuple[Array, Array]:
    """Scale of the hand's axes, x and y stretched by the focal ratio, and the fingers' sizes."""
    low, high = jnp.asarray([scale, scale, scale, focal]).T
    *scales, stretch = random.uniform(key, (4,), minval=low, maxval=high)
    sizes, _ = _fingers_and_side(random.fold_in(key, 1), fingers, left=0.0)
    return jnp.stack([stretch, stretch, jnp.ones(())]) * jnp.stack(scales), sizes


def _along_parallel_rays(
    vertices, faces, k, image_size, samples, background
) -> tuple[Array, Array, Array]:
    """Depth in which an outline is mixed with the background; without it; and the part of each pixel that is covered."""
    mean, covered = render.mesh_depth(
        vertices, faces, k, image_size, image_size, projection="orthographic", samples=samples
    )
    return jnp.minimum(covered * mean + (1 - covered) * background, background), mean, covered


def _fingers_and_side(
    key: PRNGKeyArray, fingers: poses.Range, left: float
) -> tuple[Float[Array, "5"], Float[Array, ""]]:
    sizes_key, side_key = random.split(key)
    sizes = random.uniform(sizes_key, (5,), minval=fingers[0], maxval=fingers[1])
    return sizes, jnp.where(random.bernoulli(side_key, left), -1.0, 1.0)


def _skin_in_camera(skin, pose, position, scale, fingers, side: Array | float = 1.0) -> Array:
    return render.in_camera(skinning.hand_vertices(skin, pose, scale, fingers), position, side)


def _normals_in_camera(skin, pose, scale, fingers, side: Array | float = 1.0) -> Array:
    return render.in_camera(skinning.hand_normals(skin, pose, scale, fingers), jnp.zeros(3), side)


def _mean_point(depth: Array, k: Array) -> Array:
    """The mean of the measured points, camera mm. Some pixel must be measured."""
    points, valid = geometry.depth_to_points(depth, k)
    return jnp.sum(jnp.where(valid[:, None], points, 0.0), axis=0) / jnp.sum(valid)
