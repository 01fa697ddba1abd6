"""The sphere hand's input seen from elsewhere: rendered from the surface that its depth shows."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.pose.geometry import map_points, matmul, rotation_x, rotation_y, rotation_z
from handjax.targets import virtual_views


def seen_from(
    depth: Float[Array, "n n"], rotations: Float[Array, "v 3 3"]
) -> Float[Array, "v n n"]:
    """The depth of a cube from each direction, `BACKGROUND_MM` where nothing is seen."""
    is_hand, size = depth < BACKGROUND_MM - 1, depth.shape[-1]
    points = virtual_views.parallel_points(depth, EXTENT_MM)
    faces = virtual_views.surface(depth, is_hand)

    def one(rotation: Float[Array, "3 3"]) -> Array:
        seen, covered = virtual_views.seen_from(points, faces, rotation, size, EXTENT_MM)
        return jnp.where(covered & (seen < BACKGROUND_MM), seen, BACKGROUND_MM)

    return jax.lax.map(one, rotations)


def turned_hands(
    key: Key[Array, ""],
    depth: Float[Array, "m n n"],
    centers: Float[Array, "m s 3"],
    turn_deg: float,
) -> tuple[Float[Array, "m n n"], Float[Array, "m s 3"]]:
    """Each hand turned about x, y and z by U(±turn_deg) of its own, with its labels."""
    count = depth.shape[0]
    angles = jnp.deg2rad(jax.random.uniform(key, (count, 3), minval=-turn_deg, maxval=turn_deg))
    about_z = rotation_z(angles[:, 2])
    rotations = matmul(about_z, matmul(rotation_y(angles[:, 1]), rotation_x(angles[:, 0])))
    turned = jax.vmap(lambda one, rotation: seen_from(one, rotation[None])[0])(depth, rotations)
    return turned, map_points(rotations, centers)
