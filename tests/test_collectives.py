"""benchmarks/collectives.py and scaling.py: what a compiled program says, as bytes and seconds."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from benchmarks.collectives import Exchanged, Step, exchanged, summed
from benchmarks.scaling import step_seconds, transfer_seconds
from handjax.engine import sharding

HLO = """
  %all-reduce.1 = (f32[3,4]{1,0}, f32[]) all-reduce(%a, %b), replica_groups={{0,1}}
  %all-gather = s32[8]{0} all-gather(%c), dimensions={0}
  %start = bf16[10]{0} all-reduce-start(%d)
  %done = bf16[10]{0} all-reduce-done(%start)
  %fusion = f32[100]{0} fusion(%all-reduce.1), calls=%f
  %l = (f32[1]{0}, f32[2]{0}, f32[3]{0}, f32[4]{0}, f32[5]{0}, /*index=5*/f32[6]{0}) all-reduce(%g)
"""


def test_bytes_of_collectives():
    assert exchanged(HLO) == {
        "all-reduce": Exchanged(3, 4 * 13 + 20 + 4 * 21),
        "all-gather": Exchanged(1, 32),
    }


def test_bytes_of_sums_before_compiling():
    """As of a psum in bfloat16 of two arrays, and one of float32 statistics."""
    mesh = sharding.make_mesh(1)
    rows = jax.ShapeDtypeStruct((4, 3), jnp.float32)

    def local(x):
        halves = x.astype(jnp.bfloat16), x[0].astype(jnp.bfloat16)
        return jax.lax.psum(halves, "data"), jax.lax.psum(x.mean(), "data")

    step = jax.shard_map(
        local, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec()
    )
    found = summed(jax.jit(step).lower(rows).as_text())
    assert found["all-reduce"].bytes == 2 * (12 + 3) + 4


def test_transfers_within_and_between_hosts():
    """100 MB among two of a host: each sends 100 MB. Among two hosts each GPU also sends its
    eighth."""
    assert transfer_seconds(1e8, 2, 25.0, 1.0) == pytest.approx(4e-3)
    inside = 2 * 7 / 8 * 1e8 / 25e9
    assert transfer_seconds(1e8, 16, 25.0, 1.0) == pytest.approx(inside + 1e8 / 8 / 1e9)
    assert transfer_seconds(1e8, 1, 25.0, 1.0) == 0


def test_seconds_of_a_step():
    links = (25.0, 1.0, 10.0)
    kinds = {"all-reduce": Exchanged(100, 10**8), "all-gather": Exchanged(1, 10**8)}
    step = Step(kinds, 1, 1, 1, flops=1e11)
    assert step_seconds(step, 1, links, 1.0) == pytest.approx(0.1)
    assert step_seconds(step, 2, links, 1.0) == pytest.approx(0.1 + 101e-5 + 4e-3 + 2e-3)
