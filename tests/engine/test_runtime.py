import argparse
import ctypes
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine import cli, runtime


def test_implicit_transfers_raise():
    x = jnp.ones(3)
    with runtime.no_implicit_transfers():
        y = jax.device_put(np.ones(3, np.float32))
        np.testing.assert_array_equal(jax.device_get(x + y), 2)
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            x + np.ones(3, np.float32)
    np.testing.assert_array_equal(x + np.ones(3, np.float32), 2)


@pytest.mark.parametrize(
    "given",
    [["--coordinator", "h:1"], ["--num_processes", "2"], ["--process_id", "0", "--distributed"]],
)
def test_distributed_flags_belong_together(given):
    parser = cli.Parser()
    cli.add_distributed(parser)
    with pytest.raises(ValueError, match="give all three, or --distributed"):
        runtime.start_distributed(parser.parse_args(given))


def test_one_process_is_the_default():
    runtime.start_distributed(
        argparse.Namespace(coordinator=None, num_processes=None, process_id=None, distributed=False)
    )


FAULTS = """
import resource, sys
from handjax.engine.runtime import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
import jax, jax.numpy as jnp
more = jax.jit(lambda x: x + 1)  # allocates 64 MB per call; glibc keeps up to 32 by itself
x = jnp.ones((4096, 4096))
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    more(x).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(sorted(faults() for _ in range(15))[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
@pytest.mark.skipif(
    os.path.exists("/dev/nvidiactl"), reason="with an NVIDIA GPU memory is not kept"
)
def test_kept_memory_causes_no_page_faults(repo):
    def fewest(how):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how],
            cwd=repo,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return int(done.stdout or done.stderr)

    assert fewest("keep") < fewest("plain") / 10  # of 16,384 pages of 4 KB, or 32 large ones
