"""Random affine transforms of a sample, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from handjax.pose.geometry import matmul, rotation_x, rotation_y


def random_affine(
    key: Key[Array, ""],
    *,
    scale: tuple[float, float],
    rotation_deg: float,
    shift: float,
    probability: float,
    isotropic: bool,
    tilt_deg: float = 0.0,
) -> tuple[Float[Array, "3 3"], Float[Array, " 3"]]:
    """Matrix and offset of g → matrix · (g - c) + c + offset, about a center c.

    Scales first, then rotates in the x-y plane, then shifts. The scale is drawn from U(scale), once
    or, if not `isotropic`, per axis; the angle from U(±rotation_deg); each component of the offset
    from U(±shift), in the unit of g. Each is applied with `probability`, independently.

    With `tilt_deg` it is also rotated out of the plane, about x and y by U(±tilt_deg), together
    with the rotation in the plane. Points that the camera did not see stay missing.

    Moon et al. 2018, as released: always, isotropic, U(.8, 1.2), 40°, 4 of 88 cells.
    mhruz/hpoes_pytorch: with probability 1/2, anisotropic, 8 of 88 cells.
    """
    keys = jax.random.split(key, 4)
    applied = jax.random.bernoulli(keys[0], probability, (3,))
    factors = jax.random.uniform(keys[1], (3,), minval=scale[0], maxval=scale[1])
    factors = jnp.where(isotropic, jnp.broadcast_to(factors[:1], (3,)), factors)
    factors = jnp.where(applied[0], factors, 1.0)
    angle = jnp.deg2rad(
        jax.random.uniform(keys[2], minval=-rotation_deg, maxval=rotation_deg)
    ) * applied[1].astype(jnp.float32)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rotation = jnp.eye(3).at[0, 0].set(cos).at[0, 1].set(-sin).at[1, 0].set(sin).at[1, 1].set(cos)
    if tilt_deg:
        tilts = jax.random.uniform(
            jax.random.fold_in(key, 4), (2,), minval=-tilt_deg, maxval=tilt_deg
        )
        about_x, about_y = jnp.deg2rad(tilts) * applied[1].astype(jnp.float32)
        tilted = matmul(rotation_x(about_x), rotation_y(about_y))
        rotation = matmul(tilted, rotation)
    offset = jax.random.uniform(keys[3], (3,), minval=-shift, maxval=shift)
    offset = offset * applied[2].astype(offset.dtype)
    return rotation * factors[None, :], offset
