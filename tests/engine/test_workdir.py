"""The folder of a run: claimed, found again, refused."""

import json

import pytest

from handjax.engine import config as configs
from handjax.engine import workdir as workdirs


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
    workdirs.check(workdir, config)
    assert not workdir.parent.exists()
    workdirs.claim(workdir, config)
    assert files(workdir) == {"config.json": (configs.to_json(config) + "\n").encode()}
    workdirs.check(workdir, config)
    longer = changed(config, steps=20_000, log_every=7)
    workdirs.check(workdir, longer)
    assert (
        json.loads((workdir / "config.json").read_text())["steps"] == config.steps
    )  # checking changes nothing
    workdirs.claim(workdir, longer)
    assert json.loads((workdir / "config.json").read_text())["steps"] == 20_000


@pytest.mark.parametrize("name", ["metrics.json", "report.html"])
def test_a_folder_of_other_results_is_no_run(config, tmp_path, name):
    """Nothing of theirs is replaced; what else lies there does not matter."""
    (tmp_path / "slurm-1.out").touch()
    assert not workdirs.check(tmp_path, config)
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"holds {name} but no config.json: it is no run's folder"):
        workdirs.check(tmp_path, config)


def test_a_resumed_run_is_not_done(config, tmp_path):
    workdirs.claim(tmp_path, config)
    (tmp_path / "done.json").write_text("{}")
    workdirs.check(tmp_path, config)
    assert (tmp_path / "done.json").exists()
    workdirs.claim(tmp_path, changed(config, steps=20_000))
    assert not (tmp_path / "done.json").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"step": 10}', True), ('{"step": 9}', False), ("{}", False), ("[]", False), ("{", False)],
)
def test_whether_a_run_is_finished(tmp_path, text, expected):
    assert not workdirs.finished(tmp_path, 10)
    (tmp_path / "done.json").write_text(text)
    assert workdirs.finished(tmp_path, 10) == expected


def test_without_a_checkpoint_the_config_may_change(config, tmp_path):
    workdirs.claim(tmp_path, config)
    other = changed(config, seed=1)
    workdirs.check(tmp_path, other)
    workdirs.claim(tmp_path, other)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 1
    assert (
        json.loads((tmp_path / "config.1.json").read_text())["seed"] == 0
    )  # the other one is kept
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    with pytest.raises(ValueError, match="seed: 1 → 0"):
        workdirs.check(tmp_path, config)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="checkpoints but no config.json"):
        workdirs.check(tmp_path, config)


def test_many_differences_are_counted(config, tmp_path):
    workdirs.claim(tmp_path, config)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    other = changed(
        config,
        seed=1,
        batch_size=16,
        **{"optimizer.lr": 1.0, "task.sigma": 2.0, "task.grid": 48, "data.cube_mm": 250},
    )
    words = r"batch_size: 8 → 16; .*; and 2 more\): .*--config.init=.* and another --workdir"
    with pytest.raises(ValueError, match=words) as caught:
        workdirs.check(tmp_path, other)
    assert "\n" not in str(caught.value)
