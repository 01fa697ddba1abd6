"""A trained run is restored and evaluated."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from handjax import evaluate

pytestmark = pytest.mark.slow


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def predictions(folder: Path) -> dict:
    with np.load(folder / "predictions.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def run(tmp_path_factory, finished) -> Path:
    return shutil.copytree(finished, tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture(scope="module")
def last(run) -> Path:
    """Results of the last checkpoint."""
    evaluate.main(["--workdir", str(run)])
    return run / "evaluation"


def test_the_last_checkpoint_has_the_results_of_training(run, last, finished):
    assert {path.name for path in last.iterdir()} == {
        "metrics.json",
        "predictions.npz",
        "report.html",
    }
    assert metrics_of(last) == metrics_of(finished)
    for name, value in predictions(finished).items():
        np.testing.assert_array_equal(predictions(last)[name], value)


def test_metrics_follow_from_the_predictions(last):
    saved, metrics = predictions(last), metrics_of(last)
    errors = np.linalg.norm(saved["joints_xyz"] - saved["truth"], axis=-1)
    assert errors.shape == (11, 14) and metrics["frames"] == 11
    assert metrics["mpjpe_mm"] == pytest.approx(errors.mean(), abs=1e-4)
    assert metrics["median_mm"] == pytest.approx(np.median(errors), abs=1e-4)
    assert metrics["success_max_percent"]["50"] == pytest.approx(100 * (errors.max(1) <= 50).mean())
    assert saved["ids"].tolist() == [f"frame_{n}" for n in range(11)]


def test_batch_size_and_devices_do_not_change_metrics(run, last, tmp_path):
    evaluate.main(
        [
            "--workdir",
            str(run),
            "--output",
            str(tmp_path),
            "--config.eval_batch_size=6",
            "--config.devices=8",
        ]
    )
    np.testing.assert_allclose(
        predictions(tmp_path)["joints_xyz"], predictions(last)["joints_xyz"], atol=1e-2
    )
    assert metrics_of(tmp_path)["mpjpe_mm"] == pytest.approx(metrics_of(last)["mpjpe_mm"], abs=1e-3)


def test_checkpoints_are_averaged_and_old_results_kept(run, last, tmp_path, capsys):
    first = {path.name: path.read_bytes() for path in last.iterdir()}
    ten = predictions(last)["joints_xyz"]
    evaluate.main(["--workdir", str(run), "--checkpoint", "5", "--output", str(tmp_path)])
    five = predictions(tmp_path)["joints_xyz"]
    assert np.abs(five - ten).max() > 1
    evaluate.main(["--workdir", str(run), "--checkpoint", "all"])
    assert "kept the earlier metrics.json as metrics.1.json" in capsys.readouterr().out
    np.testing.assert_allclose(predictions(last)["joints_xyz"], (five + ten) / 2, atol=1e-3)
    assert metrics_of(last)["checkpoint"] == "mean of 2 checkpoints"
    for name, content in first.items():
        stem, end = name.split(".")
        assert (last / f"{stem}.1.{end}").read_bytes() == content


ERRORS = {
    "--checkpoint 7": "there is none of step 7; there are 5, 10",
    "--checkpoint first": "expected last, best, all",
    "--ensemble median": "invalid choice: 'median'",
    "--config.eval_batch=1": "did you mean config.eval_batch_size",
    "--config.data.path=none.h5": "none.h5: no such file",
    "--config.model.widths=(2,4,4,8)": "checkpoints/10 cannot be read",
    "--dataset nyu": "--predictions and --groundtruth missing",
    "--submission none": "--submission needs people; this run predicts joints of nyu14",
}


@pytest.mark.parametrize("flags", ERRORS)
def test_user_errors(flags, run, tmp_path, snapshot):
    before = snapshot(run)
    with pytest.raises((ValueError, OSError)) as caught:
        evaluate.main(["--workdir", str(run), "--output", str(tmp_path / "out"), *flags.split(" ")])
    assert ERRORS[flags] in str(caught.value) and "\n" not in str(caught.value)
    assert snapshot(run) == before and not (tmp_path / "out").exists()


def test_a_folder_without_a_run(tmp_path, run):
    with pytest.raises(
        FileNotFoundError,
        match="config.json: no such file; --workdir names the folder of a trained run",
    ):
        evaluate.main(["--workdir", str(tmp_path)])
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json: not a config"):
        evaluate.main(["--workdir", str(tmp_path)])
    shutil.copy(run / "config.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoints: no checkpoint there"):
        evaluate.main(["--workdir", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
