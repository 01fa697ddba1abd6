"""A checkpoint of eight devices is read by one device, by two processes and by eight again."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from handjax.engine import checksums, feed
from handjax.engine.checkpoint import Checkpoints
from tests.devices import xla_flags
from tests.multiprocess.resave import metrics, resave, save, tiny_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def compile_cache(shared_compile_cache):
    with shared_compile_cache():
        yield


@pytest.fixture
def two_processes(repo, compile_cache):
    """two_processes(source, to, split) → what they say: of two devices each, they save again."""

    def run(source, to, split):
        command = [sys.executable, "scripts/launch.py", "local", "-n", "2"]
        command += ["--module", "tests.multiprocess.resave", "--", str(source), str(to)]
        command += ["--shard_optimizer", str(split)]
        environment = os.environ | {"XLA_FLAGS": xla_flags(2)}
        done = subprocess.run(
            command, cwd=repo, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("split", [False, True])
def test_eight_devices_one_two_processes_and_back(tmp_path, two_processes, split):
    """Bit for bit; with `split` the optimizer's state is in parts on eight devices and on those of
    the two processes, and whole on the one."""
    eight = tiny_run(f"config.shard_optimizer={split}")
    assert eight.mesh.size == 8
    state = eight.init_state()
    config = eight.config
    for batch in feed.train_batches(eight.source, eight.mesh, config.batch_size, 0, 0, 3):
        state, _ = eight.train_step(state, batch)
    expected = checksums.take(state)
    save(tmp_path / "eight", state)

    one = tiny_run("config.devices=1")
    alone = resave(one, tmp_path / "eight", tmp_path / "one")
    assert checksums.take(alone) == expected
    said = two_processes(tmp_path / "one", tmp_path / "two", split)
    assert ("4 devices, 0 arrays in parts" not in said) == split and "[1] 4 devices" in said
    # On as many devices the metrics are the same to the last digit, whosever they are; on others
    # batches are of other sizes, and sums are rounded in another order.
    four = tiny_run("config.devices=4")
    measured = metrics(four, resave(four, tmp_path / "one", tmp_path / "four"))
    assert f"[0] metrics {measured}" in said and f"[1] metrics {measured}" in said
    for other in (metrics(eight, state), metrics(one, alone)):
        assert json.loads(other) == pytest.approx(json.loads(measured), rel=1e-6)
    back = resave(eight, tmp_path / "two", tmp_path / "back")
    assert checksums.take(back) == expected
    for array, wanted in zip(*map(jax.tree.leaves, (back, eight.target)), strict=True):
        assert array.sharding.is_equivalent_to(wanted.sharding, array.ndim)

    trees = []
    for name in ("eight", "one", "two", "back"):
        checkpoints = Checkpoints(tmp_path / name, read_only=True)
        trees.append(checkpoints.tree(3))
        checkpoints.close()
    for tree in trees[1:]:
        jax.tree.map(np.testing.assert_array_equal, tree, trees[0])
