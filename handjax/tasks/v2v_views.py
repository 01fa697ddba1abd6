"""A test sample of V2V-PoseNet, seen several times."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from handjax.pose.geometry import map_points
from handjax.pose.pinhole import depth_to_points
from handjax.targets import virtual_views, voxel


def volumes_seen(
    sample: dict[str, Any],
    own: Float[Array, "n n n 1"],
    views: virtual_views.Views,
    grid: voxel.VoxelGrid,
) -> Float[Array, "v n n n 1"]:
    """The volume of every view; `own` is that of the camera's. ValueError for voxels of a file,
    which have no depth to render."""
    center, cube_mm, size = sample["center_xyz"], sample["cube_mm"], grid.size
    if "voxels" in sample and any(views.rendered):
        raise ValueError("config.task.views: voxels of a file have no depth to render; use 1")
    if "voxels" in sample:
        volume = voxel.resize_voxels(voxel.unpack_voxels(sample["voxels"]), size)
        turned = [
            voxel.warp_voxels(volume, jnp.asarray(rotation), jnp.zeros(3), grid)
            for rotation in views.rotations[1:]
        ]
        return jnp.stack([own, *(one[..., None].astype(own.dtype) for one in turned)])
    points, valid = depth_to_points(sample["depth"], sample["k"])
    points = points - center[None]
    faces, extent = virtual_views.surface(sample["depth"], sample["depth"] > 0), cube_mm.max()
    pixels = 2 * size  # so that no cell of a slanted surface is left out

    def volume_of(points: Float[Array, "p 3"], valid: Bool[Array, " p"]) -> Array:
        cells = voxel.xyz_to_grid(points, jnp.zeros(3), cube_mm, size)
        return voxel.voxelize(cells, valid, grid)[..., None].astype(own.dtype)

    def rendered(rotation: Float[Array, "3 3"]) -> Array:
        depth, covered = virtual_views.seen_from(points, faces, rotation, pixels, extent)
        return volume_of(virtual_views.parallel_points(depth, extent), covered.reshape(-1))

    turned = [
        volume_of(map_points(jnp.asarray(rotation), points), valid)
        for rotation, drawn in zip(views.rotations[1:], views.rendered[1:], strict=True)
        if not drawn
    ]
    volumes = jnp.stack([own, *turned])
    if not any(views.rendered):
        return volumes
    others = jnp.asarray(views.rotations[1 + len(turned) :])
    return jnp.concatenate([volumes, jax.lax.map(rendered, others)])
