"""benchmarks/collectives.py: what a compiled program says, as bytes."""

import pytest

from benchmarks.collectives import efficiency, exchanged

HLO = """
  %all-reduce.1 = (f32[3,4]{1,0}, f32[]) all-reduce(%a, %b), replica_groups={{0,1}}
  %all-gather = s32[8]{0} all-gather(%c), dimensions={0}
  %start = bf16[10]{0} all-reduce-start(%d)
  %done = bf16[10]{0} all-reduce-done(%start)
  %fusion = f32[100]{0} fusion(%all-reduce.1), calls=%f
"""


def test_bytes_of_collectives():
    assert exchanged(HLO) == {"all-reduce": 4 * 13 + 20, "all-gather": 32}


def test_efficiency_of_a_ring():
    """100 MB among two: each sends 100 MB, 4 ms at 25 GB/s."""
    assert efficiency(10**8, 2, 25.0, 96.0) == pytest.approx(0.96)
    assert efficiency(10**8, 256, 25.0, 96.0) < 0.96
