"""Each section of the cost measurements runs, on a small task. The numbers are not tested."""

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

from benchmarks import cost as command
from benchmarks import growth, memory, startup, training_step
from handjax import run, sources, tasks, train
from handjax.pose.skeleton import SKELETONS
from handjax.sources import Source
from handjax.tasks.base import Task

pytestmark = pytest.mark.slow


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


def toy_source(config, train: bool = True) -> Source:
    def rows(indices):
        return {"mask": np.ones(len(indices), bool), "index": indices.astype(np.int32)}

    def materialize(batch, keys=None):
        joints = jnp.broadcast_to(
            batch["index"][:, None, None].astype(jnp.float32) * 0.01, (len(batch["index"]), 21, 3)
        )
        return {**batch, "joints_xyz": joints}

    names = partial(map, str)
    return Source(
        SKELETONS["hand21"], None, config.data.eval_size, rows, rows, materialize, names, "toy"
    )


@pytest.fixture
def cost(monkeypatch):
    """benchmarks/cost.py with a toy task and source, running its child processes in this one."""
    for name in ("v2v", "keypoints2d"):
        monkeypatch.setitem(tasks.TASKS, name, toy_task)
    for name in ("hand_world", "hand_rgb_world"):
        monkeypatch.setitem(sources.SOURCES, name, toy_source)
    for owner, name in (
        (run, "create_state"),
        (train.feed, "train_batches"),
        (train.Recorder, "record"),
        (train.runtime, "keep_memory"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # restores what first_step replaces
    monkeypatch.setattr(train.runtime, "keep_memory", lambda: None)
    monkeypatch.setattr(train.runtime, "use_compile_cache", lambda: None)
    found = {}

    def child(*arguments, env, flags=()):
        if arguments[1] not in found:
            found[arguments[1]] = startup.first_step(*arguments)
        return found[
            arguments[1]
        ], "import time: 2000000 | 2500000 |   numpy.linalg\nimport time: 500000 | 500000 | numpy\n"

    monkeypatch.setattr(startup, "child", child)
    growth.built_step.cache_clear()
    jax.config.update("jax_disable_most_optimizations", True)
    yield command
    jax.config.update("jax_disable_most_optimizations", False)


def test_tables_and_json(cost, tmp_path, capsys):
    file = tmp_path / "cost.json"
    cost.main(["--tiny", "--gigabytes", "1e-3", "--json", str(file)])
    said, written = capsys.readouterr(), json.loads(file.read_text())
    assert (
        set(written) == {"machine", "commands", "startup", "memory", "growth"}
        and written["machine"]["cores"] > 0
    )

    for run_of_it in written["commands"]["runs"]:
        assert run_of_it["command"] == "prepare --help"
        assert 0 < run_of_it["line"] <= run_of_it["answer"] <= run_of_it["end"]
        assert run_of_it["cpu"] > 0
    empty, filled = written["startup"]["runs"]
    assert (empty["cache"], filled["cache"]) == ("empty", "filled")
    assert (
        all(empty[stage] >= 0 for stage in startup.STAGES)
        and empty["compiling"] > 0
        and empty["peak_gigabytes"] > 0.05
    )
    assert math.isclose(sum(empty[stage] for stage in startup.STAGES), empty["seconds"])
    assert written["startup"]["imports_seconds"] == {"numpy": 2.5}

    rows = written["memory"]
    assert [row["remat"] for row in rows] == [False, True]
    for row in rows:
        assert row["config"] == "configs/v2v.py:quick" and row["accumulate"] == 1
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
    assert growth.built_step.cache_info().hits > 0  # steps shared by two series are built once
    assert (
        "| v2v | grid | 16, 24 |" in said.out
        and "growth: configs/v2v.py:quick, grid 24" in said.err
    )

    with pytest.raises(SystemExit):
        cost.main(["growth", "--tiny", "--json", str(file)])
    assert (
        "exists; choose another" in capsys.readouterr().err
        and json.loads(file.read_text()) == written
    )


@pytest.mark.parametrize("power", [-1.0, 0.0, 2.0, 3.0])
def test_exponents_of_exact_powers(power):
    sizes = (44, 64, 88, 112)
    assert abs(growth.exponent(sizes, [0.7 * n**power for n in sizes]) - power) < 1e-9


def test_smallest_accumulate_that_fits():
    tried = []

    def measure(slices):
        tried.append(slices)
        return 1.0 + 30 / slices

    assert memory.fit_into(8.0, 16, measure) == (31.0, (8, 4.75))  # four slices: 8.5
    assert tried == [1, 4, 8]
    assert memory.fit_into(31.0, 16, measure) == (31.0, (1, 31.0))
    assert memory.fit_into(2.0, 16, measure) == (31.0, (None, None))


def test_fewer_and_more_joints(repo):
    source = toy_source(toy_config(repo))
    row = source.train_rows(np.arange(2))
    for count in (14, 42):
        changed = training_step.with_joints(source, count)
        assert (
            len(set(changed.skeleton.joints))
            == count
            == changed.materialize(row)["joints_xyz"].shape[1]
        )


def toy_config(repo):
    return train.configs.load(str(repo / "configs" / "v2v.py:quick"))


def test_first_step_is_that_of_the_command(cost, tmp_path):
    found = startup.first_step(time.time(), "configs/v2v.py:quick", str(tmp_path / "run"))
    assert found["step"] > 0 and (tmp_path / "run" / "config.json").exists()
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps[0] == 0  # the evaluation before the first step, and nothing after it
    assert max(steps) <= 1


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("nonsense",), "nonsense: expected one of commands"),
        (("--turns", "0"), "--turns 0: expected more than 0"),
        (("--json", "/nowhere/x.json"), "there is no folder /nowhere"),
    ],
)
def test_invalid_arguments_print_one_line(repo, arguments, what):
    done = subprocess.run(
        [sys.executable, repo / "benchmarks" / "cost.py", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (
        done.returncode == 2
        and what in done.stderr.splitlines()[-1]
        and "Traceback" not in done.stderr
    )
