"""Random affine transforms of a sample, on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def random_affine(
    key: Key[Array, ""],
    *,
    scale: tuple[float, float],
    rotation_deg: float,
    shift: float,
    probability: float,
    isotropic: bool,
) -> tuple[Float[Array, "3 3"], Float[Array, " 3"]]:
    """Matrix and offset of g → matrix · (g - c) + c + offset, about a center c.

    Scales first, then rotates in the x-y plane, then shifts. The scale is drawn from U(scale), once
    or, if not `isotropic`, per axis; the angle from U(±rotation_deg); each component of the offset
    from U(±shift), in the unit of g. Each is applied with `probability`, independently.

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
    offset = jax.random.uniform(keys[3], (3,), minval=-shift, maxval=shift)
    offset = offset * applied[2].astype(offset.dtype)
    return rotation * factors[None, :], offset
