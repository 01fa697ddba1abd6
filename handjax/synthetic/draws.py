"""Random numbers of a sample from one call, handed out piece by piece.

Each call of `jax.random` adds its own copy of the generator to the compiled program; a sample that
needs a hundred numbers of ten kinds compiles several times as fast with one call.
"""

import math

import jax.numpy as jnp
from jax import lax, random
from jaxtyping import Array, Float, PRNGKeyArray


class Draws:
    """`count` uniform numbers of a key. The order of the calls decides which number goes where."""

    def __init__(self, key: PRNGKeyArray, count: int):
        self._numbers = lax.optimization_barrier(random.uniform(key, (count,)))
        self._taken = 0

    def uniform(self, *shape: int) -> Array:
        """In [0, 1). Raises ValueError when no numbers are left."""
        size = math.prod(shape)
        start, self._taken = self._taken, self._taken + size
        if self._taken > len(self._numbers):
            raise ValueError(f"{self._taken} numbers drawn of {len(self._numbers)}")
        return self._numbers[start : self._taken].reshape(shape)

    def normal(self, *shape: int) -> Array:
        """From N(0, 1)."""
        return normal(self.uniform(*shape))


def normal(uniform: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """[0, 1) → N(0, 1), at most 4.9 deviations from 0."""
    return math.sqrt(2) * lax.erf_inv(jnp.clip(2.0 * uniform - 1.0, -0.999999, 0.999999))
