"""Pictures of depth for `Task.visualize`."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def from_the_side(
    part: Float[Array, "b h w"], shown: Bool[Array, "b h w"]
) -> Float[Array, "b h w"]:
    """The `shown` pixels of a depth image from the side: rows y, columns z. `part` is how far each
    pixel is between the near and the far edge of the picture, 0 to 1; 1 where there is one."""
    size = part.shape[-1]
    cell = jnp.where(shown, jnp.floor(part * size), -1)
    columns = jnp.arange(size, dtype=cell.dtype)[None, None, None]
    return (cell[..., None] == columns).any(2).astype(part.dtype)
