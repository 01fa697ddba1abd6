"""Arrays that XLA stores once instead of computing them again wherever they are used.

XLA's CPU backend fuses elementwise operations into each of their uses, through any number of sums
of residual blocks. All operands of such a chain are then kept in memory for the last use, although
the result is there as well. It does not look through a call (custom_ops/stored.cc), which costs
nothing: the result is in the place of the operand.
"""

import jax
from jax import lax
from jaxtyping import Array, Float

from handjax.ops import library
from handjax.ops.batching import per_sample, pvary


@jax.custom_vjp
def stored(x: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    """x; on CPUs with our kernels an array of its own."""
    if "cpu" not in library.platforms() or not x.size:
        return x
    return lax.platform_dependent(x, cpu=_call, default=lambda x: x)


stored.defvjp(lambda x: (stored(x), None), lambda _, gradient: (gradient,))


def _call(x):
    return per_sample(_same, (x.ndim,), x)


def _same(x):
    call = jax.ffi.ffi_call(
        "handjax_stored", jax.ShapeDtypeStruct(x.shape, x.dtype), input_output_aliases={0: 0}
    )
    return pvary(call(x), like=x[(slice(1),) * x.ndim])
