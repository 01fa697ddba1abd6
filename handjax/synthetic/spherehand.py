"""Synthetic hands for the sphere hand: depth cubes along parallel rays, in one or more views.

After the synthesis of sphereHand (Wan et al. 2019, github.com/melonwan/sphereHand).
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from handjax.pose import geometry
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.rigs import hand, poses, skinning, spheres
from handjax.synthetic import render, sensors
from handjax.synthetic.hands import Surface


def spherehand_sample(
    key: PRNGKeyArray,
    *,
    surface: Surface = "skin",
    skin: skinning.Skin | None = None,
    image_size: int = 64,
    extent_mm: float = EXTENT_MM,
    background: float = BACKGROUND_MM,
    supersampling: int = 2,
    scale: poses.Range = (0.85, 0.95),
    focal: poses.Range = (0.9, 1.1),
    fingers: poses.Range = (1.0, 1.0),
    rotation: poses.Ranges = poses.ROTATION_ANY,
    modes: tuple[str, ...] = poses.ALL_MODES,
    depth_noise_mm: float = 5.0,
    shift_px: float = 0.5,
    resample: Literal[0, 3, 5] = 0,
) -> dict[str, Array]:
    """A right hand as the input and targets of the sphere hand; a function of the key.

    depth [h, w] mm from the middle of a cube of `extent_mm`, along parallel rays, `background`
    where there is no hand; mask [h, w] where the hand covers at least half of a pixel, in front of
    the background; centers [41, 3] and radii [41] of the spheres and joints_xyz [21, 3], mm from
    the middle of the cube; visible_centers [41] and visible [21]; pose [26]. Pixel u is at
    x = (u - size/2) · extent/size.

    Poses, scales, focal ratio (stretches x and y of image and labels, not z), noise (5 mm) and
    `--depth_resample` (`resample`) are those of Wan et al. 2019. A pixel averages `supersampling` x
    `supersampling` rays, with depth `background` for those that miss; the original averages four
    of a hundred, and its images are half a pixel off relative to its labels.
    """
    pose_key, build_key, noise_key, drop_key = random.split(key, 4)
    # --- hand
    pose = poses.sample_pose(pose_key, modes=modes, rotation=rotation)
    build = _sample_build(build_key, scale, focal, fingers)
    centers, radii, joints_xyz = render.hand_in_camera(pose, jnp.zeros(3), "hand21", *build)
    k = render.orthographic_intrinsics(image_size, extent_mm)

    # --- depth
    if surface == "skin":
        skin = skin or skinning.hand_skin()
        vertices = render.skin_in_camera(skin, pose, jnp.zeros(3), *build)
        clean, mean, covered = _skin_depth(vertices, skin, k, image_size, supersampling, background)
        mask = (covered >= 0.5) & (mean < background)

        def visible(points: Array, own: tuple[int, ...]) -> Bool[Array, " p"]:
            uvd = jnp.concatenate([points[:, :2] * k[0, 0] + k[0, 2], points[:, 2:]], axis=-1)
            return render.visible_in_depth(uvd, mean, mask, radii[jnp.asarray(own)])

    else:
        clean, winner = spheres.sphere_depth_orthographic(
            centers, radii, image_size, extent_mm, background
        )
        mask = winner >= 0

        def visible(points: Array, own: tuple[int, ...]) -> Bool[Array, " p"]:
            return render.visible_among_spheres(points, centers, radii, own, "orthographic")

    depth = sensors.add_noise(noise_key, clean, depth_noise_mm, shift_px, background)
    if resample:
        depth = sensors.resample(drop_key, depth, resample, background)

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


def spherehand_views(
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
    supersampling: int = 2,
    scale: poses.Range = (0.85, 0.95),
    focal: poses.Range = (1.0, 1.0),
    fingers: poses.Range = (1.0, 1.0),
    rotation: poses.Ranges = poses.ROTATION_ANY,
    modes: tuple[str, ...] = poses.ALL_MODES,
    depth_noise_mm: float = 5.0,
    shift_px: float = 0.5,
    holes: float = 0.0,
) -> dict[str, Array]:
    """A right hand of `spherehand_sample` in the cubes of several cameras of parallel rays.

    depth [v, h, w] mm; cameras [v, 4, 4] from mm of each view to those of the first; centers
    [v, 41, 3], mm of each view, and radii [41] of the spheres.

    The cameras are those of the first view rotated by `turns_deg` about x, then y, similar to NYU's
    three Kinects; all cubes but the first are shifted by up to `offset_mm` per axis. `thickness_mm`
    is a layer of flesh over hand and spheres, `holes` the fraction of pixels the sensor loses.
    """
    pose_key, build_key, noise_key, camera_key = random.split(key, 4)
    # --- hand
    pose = poses.sample_pose(pose_key, modes=modes, rotation=rotation)
    build = _sample_build(build_key, scale, focal, fingers)
    thickness = random.uniform(
        random.fold_in(build_key, 2), minval=thickness_mm[0], maxval=thickness_mm[1]
    )
    centers, radii, _ = render.hand_in_camera(pose, jnp.zeros(3), "hand21", *build)
    radii = radii + thickness

    # --- cameras
    views = len(turns_deg)
    rotations, offsets = _sample_cameras(camera_key, turns_deg, offset_mm)

    def to_views(points: Float[Array, "p 3"]) -> Float[Array, "v p 3"]:
        # Row vectors times R are column vectors times R's inverse.
        return geometry.matmul(points[None] - offsets[:, None], rotations)

    # --- depth
    if surface == "skin":
        skin = skin or skinning.hand_skin()
        k = render.orthographic_intrinsics(image_size, extent_mm)
        flesh = thickness * render.skin_normals_in_camera(skin, pose, *build)
        vertices = to_views(render.skin_in_camera(skin, pose, jnp.zeros(3), *build) + flesh)
        clean, _, _ = jax.vmap(
            lambda v: _skin_depth(v, skin, k, image_size, supersampling, background)
        )(vertices)
    else:
        all_radii = jnp.broadcast_to(radii[None], (views, len(radii)))
        clean, _ = spheres.sphere_depth_orthographic(
            to_views(centers), all_radii, image_size, extent_mm, background
        )

    def measure(key: PRNGKeyArray, depth: Float[Array, "h w"]) -> Float[Array, "h w"]:
        noisy = sensors.add_noise(key, depth, depth_noise_mm, shift_px, background)
        return sensors.drop_pixels(random.fold_in(key, 1), noisy, holes, background)

    return {
        "depth": jax.vmap(measure)(random.split(noise_key, views), clean),
        "cameras": geometry.homogeneous(rotations, offsets),
        "centers": to_views(centers),
        "radii": radii,
    }


def _sample_build(
    key: PRNGKeyArray, scale: poses.Range, focal: poses.Range, fingers: poses.Range
) -> tuple[Float[Array, "3"], Float[Array, "5"]]:
    """Scale of the axes, x and y multiplied by the focal ratio, and sizes of the fingers."""
    *scales, stretch = poses.uniform(key, [scale, scale, scale, focal])
    sizes, _ = poses.sample_fingers_and_side(random.fold_in(key, 1), fingers, left=0.0)
    return jnp.stack([stretch, stretch, jnp.ones(())]) * jnp.stack(scales), sizes


def _sample_cameras(
    key: PRNGKeyArray, turns_deg: tuple[tuple[float, float], ...], offset_mm: float
) -> tuple[Float[Array, "v 3 3"], Float[Array, "v 3"]]:
    """Rotations of the views, and offsets of their cubes in mm; the first has none."""
    about_x, about_y = jnp.deg2rad(jnp.asarray(turns_deg)).T
    rotations = geometry.matmul(geometry.rotation_y(about_y), geometry.rotation_x(about_x))
    shape = (len(turns_deg), 3)
    offsets = random.uniform(key, shape, minval=-offset_mm, maxval=offset_mm)
    return rotations, offsets.at[0].set(0.0)


def _skin_depth(
    vertices: Float[Array, "v 3"],
    skin: skinning.Skin,
    k: Float[Array, "3 3"],
    image_size: int,
    supersampling: int,
    background: float,
) -> tuple[Float[Array, "h w"], Float[Array, "h w"], Float[Array, "h w"]]:
    """Depth with outlines blended into the background, depth of the skin alone, and the covered
    fraction of each pixel."""
    mean, covered = render.mesh_depth(
        vertices,
        skin.faces,
        k,
        image_size,
        image_size,
        projection="orthographic",
        supersampling=supersampling,
    )
    return jnp.minimum(covered * mean + (1 - covered) * background, background), mean, covered
