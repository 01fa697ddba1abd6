"""People from raw files (fakes of Human3.6M, MPII and COCO) to metrics, in one run."""

import importlib
import json

import numpy as np
import pytest

from handjax import train

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SETS = {"human36m": "validact02", "mpii": None, "coco_person": None}
SMALL = """
--config.model.layers=18 --config.model.width=2 --config.model.depth=8
--config.model.deconvolutions=(4,) --config.crop.size=(32,32) --config.batch_size=8
--config.eval_batch_size=8 --config.steps=2 --config.eval_every=2 --config.save_every=2
--config.log_every=1 --config.devices=1 --config.data.image_size=(64,64)
--config.data.train_split=validation --config.data.sets=('human36m/validact02','mpii','coco_person')
--config.data.eval_sets=('human36m/validact02','mpii')
""".split()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of the sets that the builders prepare from fake raw files."""
    tfds = pytest.importorskip(
        "tensorflow_datasets", reason="tensorflow_datasets is not installed; handjax[data] has it"
    )
    root = tmp_path_factory.mktemp("prepared")
    for name, config in SETS.items():
        options = {"config": config} if config else {}
        importlib.import_module(f"handjax.data.sets.{name}.fake").write(
            root / "raw" / name, 1, seed=1, **options
        )
        module = importlib.import_module(f"handjax.data.sets.{name}.{name}_dataset_builder")
        there = tfds.download.DownloadConfig(manual_dir=str(root / "raw" / name))
        module.Builder(data_dir=str(root), config=config).download_and_prepare(
            download_config=there
        )
    return root


def test_a_mixture_is_trained_and_evaluated_in_3d_and_2d(prepared, repo, tmp_path):
    config = f"{repo / 'configs' / 'body.py'}:integral,mixed,quick"
    train.main(
        ["--config", config, "--workdir", str(tmp_path), f"--config.data.path={prepared}", *SMALL]
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "xy" in line]
    assert len(steps) == 2 and all(
        0 < line["z"] < line["loss"] == pytest.approx(line["xy"] + line["z"]) for line in steps
    )
    errors = [line["eval_mpjpe_mm"] for line in lines if "eval_mpjpe_mm" in line]
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert (
        errors[0] != errors[1] == pytest.approx(figures["mpjpe_mm"]) and figures["mpjpe_mm"] < 2000
    )
    assert (
        figures["frames_3d"] == 16
        and figures["frames_2d"] == figures["frames"] == 18
        and figures["frames_pckh"] == 2
    )
    assert (
        figures["per_action_mm"].keys() == {"directions"}
        and 0 <= figures["pckh_percent"]["mean"] <= 100
    )
    assert "depth of the pelvis as labelled" in (tmp_path / "report.html").read_text()
    with np.load(tmp_path / "predictions.npz") as saved:
        assert saved["joints_xyz"].shape == (18, 18, 3) and set(saved["subject"]) == {-1, 9, 11}
