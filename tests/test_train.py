"""Parts of the command that need no network; entire runs are in tests/e2e."""

import json
from pathlib import Path

import pytest

from handjax import train
from handjax.engine import config as configs


@pytest.fixture
def config(repo):
    return configs.load(str(repo / "configs" / "v2v.py"))


def changed(config, **values):
    return configs.override(
        type(config)(config.to_dict()), [f"config.{key}={value}" for key, value in values.items()]
    )


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_workdir_is_claimed_and_found_again(config, tmp_path):
    workdir = tmp_path / "a" / "run"
    train.check_workdir(workdir, config)
    assert not workdir.parent.exists()
    train.claim_workdir(workdir, config)
    assert files(workdir) == {"config.json": (configs.to_json(config) + "\n").encode()}
    train.check_workdir(workdir, config)
    longer = changed(config, steps=20_000, log_every=7)
    train.check_workdir(workdir, longer)
    assert (
        json.loads((workdir / "config.json").read_text())["steps"] == config.steps
    )  # checking changes nothing
    train.claim_workdir(workdir, longer)
    assert json.loads((workdir / "config.json").read_text())["steps"] == 20_000


def test_a_resumed_run_is_not_done(config, tmp_path):
    train.claim_workdir(tmp_path, config)
    (tmp_path / "done.json").write_text("{}")
    train.check_workdir(tmp_path, config)
    assert (tmp_path / "done.json").exists()
    train.claim_workdir(tmp_path, changed(config, steps=20_000))
    assert not (tmp_path / "done.json").exists()


def test_without_a_checkpoint_the_config_may_change(config, tmp_path):
    train.claim_workdir(tmp_path, config)
    other = changed(config, seed=1)
    train.check_workdir(tmp_path, other)
    train.claim_workdir(tmp_path, other)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 1
    assert (
        json.loads((tmp_path / "config.1.json").read_text())["seed"] == 0
    )  # the other one is kept
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    with pytest.raises(ValueError, match="seed: 1 → 0"):
        train.check_workdir(tmp_path, config)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="checkpoints but no config.json"):
        train.check_workdir(tmp_path, config)


def test_many_differences_are_counted(config, tmp_path):
    train.claim_workdir(tmp_path, config)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    other = changed(
        config,
        seed=1,
        batch_size=16,
        **{"optimizer.lr": 1.0, "task.sigma": 2.0, "task.grid": 48, "data.cube_mm": 250},
    )
    words = r"batch_size: 8 → 16; .*; and 2 more\): .*--config.init=.* and another --workdir"
    with pytest.raises(ValueError, match=words) as caught:
        train.check_workdir(tmp_path, other)
    assert "\n" not in str(caught.value)


class Checkpoints:
    """What `_record` needs of checkpoints."""

    def __init__(self, folder, steps):
        self.folder, self.steps, self.wait = folder, lambda: steps, lambda: None


@pytest.mark.parametrize(
    ("steps", "where"),
    [([5, 10], "the newest checkpoint is c/10"), ([], "there is no checkpoint yet")],
)
def test_non_finite_terms_are_named(config, tmp_path, steps, where):
    parts = {
        "loss": float("nan"),
        "heatmap": float("inf"),
        "joints": 1.0,
        "grad_norm": 2.0,
        "finite": False,
    }
    with pytest.raises(ValueError) as caught:
        train._record(None, (12, parts), config, Checkpoints(Path("c"), steps))
    assert (
        str(caught.value)
        == f"step 12 is not finite (heatmap inf, loss nan); its update was withheld; {where}"
    )


@pytest.mark.parametrize(("step", "record"), [(7, False), (10, True), (10_000, True)])
def test_terms_are_written_every_few_steps_and_at_the_end(config, step, record):
    seen = []

    class Writer:
        @staticmethod
        def step(*args, **options):
            seen.append((*args, options))

    train._record(Writer, None, config, None)
    train._record(Writer, (step, {"loss": 1, "finite": True}), config, None)
    assert seen == [(step, {"loss": 1.0, "finite": 1.0}, {"record": record})]
