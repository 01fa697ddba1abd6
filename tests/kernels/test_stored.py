"""Arrays that are stored: the same numbers, in place, on each device its own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from handjax.ops import library
from handjax.ops.stored import stored

pytestmark = [
    pytest.mark.optimized,
    pytest.mark.skipif("cpu" not in library.platforms(), reason="no kernels"),
]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_numbers_and_gradients_are_those_of_the_operand(dtype):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((8, 3, 5)), dtype)
    for run in (stored, jax.jit(stored), jax.vmap(stored)):
        np.testing.assert_array_equal(run(x), x)
    slope = jax.jit(jax.grad(lambda x: (stored(x) * x).astype(jnp.float32).sum()))(x)
    np.testing.assert_array_equal(slope, 2 * x)
    assert stored(x[:0]).shape == (0, 3, 5)


def test_in_place():
    """And once: without it XLA computes y in both of its uses."""

    def both(x):
        y = stored(x + 1.0)
        return y * 2.0, y - 3.0

    text = jax.jit(both).lower(jnp.ones((2, 64))).compile().as_text()
    assert text.count('custom_call_target="handjax_stored"') == 1
    assert "output_to_operand_aliasing" in text
    np.testing.assert_array_equal(jax.jit(both)(jnp.ones((2, 64)))[0], 4.0)


def test_each_device_stores_its_own_samples():
    x = jnp.arange(24.0).reshape(8, 3)
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh):
        placed = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        compiled = jax.jit(stored).lower(placed).compile()
        np.testing.assert_array_equal(compiled(placed), x)
    text = compiled.as_text()
    assert "handjax_stored" in text and not re.findall(r"all-gather|all-reduce|permute", text)
    each = PartitionSpec("data")
    mapped = jax.jit(jax.shard_map(stored, mesh=mesh, in_specs=each, out_specs=each))
    np.testing.assert_array_equal(mapped(x), x)
