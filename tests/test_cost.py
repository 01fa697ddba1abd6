"""What a run costs: each section runs, on a task that compiles in a moment, and says what it found. Its figures are not tested."""

import json
import math
import subprocess
import sys
import time
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax import run, sources, tasks, train
from handjax.pose.skeleton import SKELETONS
from handjax.sources import Source
from handjax.tasks.base import Task


class Net(nn.Module):
    joints: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.Dense(3 * self.joints)(nn.tanh(nn.Dense(8)(x))).reshape(-1, self.joints, 3)


def toy_task(config, skeleton) -> Task:
    side = config.task.grid if "grid" in config.task else config.crop.size

    def prepare(keys, batch, train):
        x = jnp.broadcast_to(batch["joints_xyz"][:, :1, 0], (len(keys), side))
        return {"x": x, "y": batch["joints_xyz"], "mask": batch["mask"]}

    def loss(outputs, inputs):
        return jnp.mean((outputs - inputs["y"]) ** 2), {}

    return Task(
        title="toy",
        kind="joints3d",
        model=Net(len(skeleton.joints)),
        prepare=prepare,
        loss=loss,
        predict=lambda outputs, inputs: {"joints_xyz": outputs},
        ground_truth=lambda batch: {"joints_xyz": batch["joints_xyz"]},
        postprocess=lambda rows: rows,
        score=lambda rows: {
            "mpjpe_mm": float(np.abs(rows["joints_xyz"] - rows["true_joints_xyz"]).mean())
        },
        visualize=lambda inputs: None,
        dummy_inputs=lambda n: {"x": jnp.zeros((n, side))},
    )


def toy_source(config) -> Source:
    def rows(indices):
        return {"mask": np.ones(len(indices), bool), "index": indices.astype(np.int32)}

    def materialize(batch, keys=None):
        joints = jnp.broadcast_to(
            batch["index"][:, None, None] * 0.01, (len(batch["index"]), 21, 3)
        )
        return {**batch, "joints_xyz": joints}

    names = partial(map, str)
    return Source(
        SKELETONS["hand21"], None, config.data.eval_size, rows, rows, materialize, names, "toy"
    )


@pytest.fixture
def cost(repo, monkeypatch):
    """scripts/cost.py in this process, with toys in the place of hands; what its children would measure is measured here."""
    monkeypatch.syspath_prepend(repo / "scripts")
    import cost

    for name in ("voxel", "keypoints2d"):
        monkeypatch.setitem(tasks.TASKS, name, toy_task)
    for name in ("hand_world", "hand_rgb_world"):
        monkeypatch.setitem(sources.SOURCES, name, toy_source)
    for owner, name in (
        (run, "create_state"),
        (train.feed, "train_batches"),
        (train, "_record"),
        (train.runtime, "keep_memory"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back what first_step replaces
    monkeypatch.setattr(train.runtime, "keep_memory", lambda: None)
    monkeypatch.setattr(train.runtime, "use_compile_cache", lambda: None)
    found = {}

    def child(*arguments, env, flags=()):
        if arguments[1] not in found:
            found[arguments[1]] = cost.first_step(*arguments)
        return found[
            arguments[1]
        ], "import time: 2000000 | 2500000 |   numpy.linalg\nimport time: 500000 | 500000 | numpy\n"

    monkeypatch.setattr(cost, "child", child)
    cost.built_step.cache_clear()
    jax.config.update("jax_disable_most_optimizations", True)
    yield cost
    jax.config.update("jax_disable_most_optimizations", False)


def test_tables_and_json(cost, tmp_path, capsys):
    file = tmp_path / "cost.json"
    cost.main(["--tiny", "--gigabytes", "1e-3", "--json", str(file)])
    said, written = capsys.readouterr(), json.loads(file.read_text())
    assert (
        set(written) == {"machine", "startup", "memory", "growth"}
        and written["machine"]["cores"] > 0
    )

    empty, filled = written["startup"]["runs"]
    assert (empty["cache"], filled["cache"]) == ("empty", "filled")
    assert (
        all(empty[stage] >= 0 for stage in cost.STAGES)
        and empty["compiling"] > 0
        and empty["peak_gigabytes"] > 0.05
    )
    assert math.isclose(sum(empty[stage] for stage in cost.STAGES), empty["seconds"])
    assert written["startup"]["imports_seconds"] == {"numpy": 2.5}

    (row,) = written["memory"]
    assert (
        row["config"] == "configs/v2v.py:quick" and row["remat"] is None and row["accumulate"] == 1
    )
    assert 0 < row["gigabytes_then"] == row["gigabytes"] < 1e-3

    assert [row["against"] for row in written["growth"]] == [
        "batch",
        "grid",
        "joints",
        "image side",
        "devices",
    ]
    for row in written["growth"]:
        assert len(row["sizes"]) == len(row["seconds"]) == len(row["gigabytes"]) == 2
        assert min(row["seconds"]) > 0 and math.isclose(
            row["memory_exponent"],
            math.log(row["gigabytes"][1] / row["gigabytes"][0], row["sizes"][1] / row["sizes"][0]),
        )
    grid, joints, devices = (
        next(r for r in written["growth"] if r["against"] == a)
        for a in ("grid", "joints", "devices")
    )
    assert (
        grid["memory_exponent"] > 0
        and joints["memory_exponent"] > 0
        and devices["gigabytes"][0] == grid["gigabytes"][0]
    )
    assert cost.built_step.cache_info().hits > 0  # what two series share is built once
    assert (
        "| v2v | grid | 16, 24 |" in said.out
        and "growth: configs/v2v.py:quick, grid 24" in said.err
    )

    with pytest.raises(SystemExit):
        cost.main(["growth", "--tiny", "--json", str(file)])
    assert (
        "exists; give another" in capsys.readouterr().err
        and json.loads(file.read_text()) == written
    )


@pytest.mark.parametrize("power", [-1.0, 0.0, 2.0, 3.0])
def test_exponents_of_exact_powers(cost, power):
    sizes = (44, 64, 88, 112)
    assert abs(cost.exponent(sizes, [0.7 * n**power for n in sizes]) - power) < 1e-9


def test_the_least_accumulation_that_fits(cost):
    tried = []

    def measure(slices):
        tried.append(slices)
        return 1.0 + 30 / slices

    assert cost.fit_into(8.0, 16, measure) == (31.0, (8, 4.75))  # four slices: 8.5
    assert tried == [1, 4, 8]
    assert cost.fit_into(31.0, 16, measure) == (31.0, (1, 31.0))
    assert cost.fit_into(2.0, 16, measure) == (31.0, (None, None))


def test_a_part_of_the_joints_or_more(cost, repo):
    source = toy_source(cost_config(repo))
    row = source.train_rows(np.arange(2))
    for count in (14, 42):
        changed = cost.with_joints(source, count)
        assert (
            len(set(changed.skeleton.joints))
            == count
            == changed.materialize(row)["joints_xyz"].shape[1]
        )


def cost_config(repo):
    return train.configs.load(str(repo / "configs" / "v2v.py:quick"))


def test_the_first_step_is_the_door_s_own(cost, tmp_path):
    found = cost.first_step(time.time(), "configs/v2v.py:quick", str(tmp_path / "run"))
    assert found["step"] > 0 and (tmp_path / "run" / "config.json").exists()
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps[0] == 0  # evaluated before, and nothing after the first step
    assert max(steps) <= 1


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("nonsense",), "nonsense: expected one of startup"),
        (("--turns", "0"), "--turns 0: expected more than 0"),
        (("--json", "/nowhere/x.json"), "there is no folder /nowhere"),
    ],
)
def test_mistakes_are_said(repo, arguments, what):
    done = subprocess.run(
        [sys.executable, repo / "scripts" / "cost.py", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (
        done.returncode == 2
        and what in done.stderr.splitlines()[-1]
        and "Traceback" not in done.stderr
    )
