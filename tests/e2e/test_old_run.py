"""A run folder with names from the development of version 0.1 works as it is."""

import json
import shutil

import numpy as np
import pytest

from handjax import evaluate, train

pytestmark = pytest.mark.slow


@pytest.fixture
def old(finished, tmp_path):
    """A copy of the finished run with the old names in its config.json."""
    workdir = shutil.copytree(finished, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["task"]["name"] = "voxel"
    config["task"]["sharpness"] = config["task"].pop("beta")
    (workdir / "config.json").write_text(json.dumps(config))
    return workdir


def test_an_old_run_is_evaluated(old, finished):
    evaluate.main(["--workdir", str(old)])
    metrics = [
        json.loads((folder / "metrics.json").read_text())
        for folder in (old / "evaluation", finished)
    ]
    assert metrics[0] == metrics[1]
    with (
        np.load(old / "evaluation" / "predictions.npz") as ours,
        np.load(finished / "predictions.npz") as theirs,
    ):
        np.testing.assert_array_equal(ours["joints_xyz"], theirs["joints_xyz"])


def test_an_old_run_resumes(old, tiny, capsys):
    train.main(tiny(old, "--config.steps=12"))
    assert "resume at step 10 of 12" in capsys.readouterr().out
    assert json.loads((old / "done.json").read_text())["step"] == 12
    config = json.loads((old / "config.json").read_text())
    assert config["task"]["name"] == "v2v" and config["steps"] == 12
