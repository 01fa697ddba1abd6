"""Floating-point precision."""

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


def at_least_float32(dtype: DTypeLike) -> np.dtype:
    """float32 for a float dtype of 16 bits, else the dtype itself.

    Unlike `jnp.promote_types(dtype, jnp.float32)` it works under strict dtype promotion.
    """
    return np.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else np.dtype(dtype)
