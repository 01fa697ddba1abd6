"""Training on unlabelled views from the weights of a labelled run, and scripts/selfsup.py."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from handjax.engine import config as configs
from handjax.engine import sharding
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.optimizer import make_optimizer
from handjax.engine.step import state_target
from handjax.pose.skeleton import SKELETONS
from handjax.tasks import TASKS

pytestmark = pytest.mark.slow

TINY = (
    "steps=2",
    "batch_size=2",
    "eval_batch_size=2",
    "devices=1",
    "data.image_size=32",
    "data.synthetic.count=0",
)
TINY += (
    "data.eval_size=2",
    "data.surface=spheres",
    "optimizer.warmup=0",
    "augment.enabled=False",
    "compile_cache=False",
)


@pytest.fixture(scope="module")
def script(repo):
    spec = importlib.util.spec_from_file_location("selfsup", repo / "scripts" / "selfsup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_from_labelled_weights_to_unlabelled_views(tmp_path, script):
    overrides = [f"config.{setting}" for setting in TINY]
    config = configs.load(f"{script.CONFIG}:selfsup,quick", overrides)
    task, mesh = TASKS["spherehand"](config, SKELETONS["nyu14"]), sharding.make_mesh(1)
    optimizer = make_optimizer(config.optimizer, 2)
    rng = np.random.default_rng(0)
    begun = jax.tree.map(
        lambda s: jax.device_put(rng.normal(0, 0.05, s.shape).astype(s.dtype), s.sharding),
        state_target(task, optimizer, mesh),
    )
    checkpoints = Checkpoints(tmp_path / "synthetic" / "checkpoints", 1)
    checkpoints.save(begun, None)
    checkpoints.wait()
    checkpoints.close()

    folder = tmp_path / "selfsup"
    script.run(folder, "selfsup,quick", [*overrides, f"config.init={tmp_path / 'synthetic'}"])
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    learnt = checkpoints.weights(2)["params"]
    checkpoints.close()
    # A step of Adam is hardly longer than the learning rate.
    moved = [
        np.abs(a - np.asarray(b)).max()
        for a, b in zip(*map(jax.tree.leaves, (learnt, begun.params)), strict=True)
    ]
    assert 0 < max(moved) < 3 * config.optimizer.lr
    assert json.loads((folder / "metrics.json").read_text())["mpjpe_12_mm"] > 0
    script.write(tmp_path)
    (row,) = json.loads((tmp_path / "table.json").read_text())
    assert (
        row["run"] == "selfsup"
        and row["steps"] == 2
        and min(row["before_mm"], row["after_mm"]) > 10
    )
    assert (
        f"| after 2 steps without labels | {row['after_mm']:.1f} |"
        in (tmp_path / "table.md").read_text()
    )


def test_an_unknown_run_is_named(script, tmp_path):
    with pytest.raises(
        ValueError,
        match="--runs without_glove: expected none, all, or of all terms, without mv_projection",
    ):
        script.main(["--workdir", str(tmp_path), "--runs", "without_glove"])
