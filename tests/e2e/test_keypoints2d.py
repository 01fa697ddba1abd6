"""CPM and PoseNet2D from raw files (fakes of the data sets) to metrics and a report."""

import importlib
import json

import numpy as np
import pytest

from handjax import evaluate, train

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SMALL = """
--config.crop.size=32 --config.batch_size=4 --config.eval_batch_size=4 --config.steps=60
--config.eval_every=60 --config.devices=1 --config.save_every=60 --config.data.image_size=(96,128)
--config.data.eval_split=train --config.augment.enabled=False --config.optimizer.lr=0.01
""".split()
# Variant → the config with a small network, and the sets to prepare: RHD and STB for the mixture of
# hand_pose.
RUNS = {
    "rs": (
        [
            "posenet2d.py:rs,dsnt,quick",
            "--config.model.widths=(8,8,8,8,8)",
            "--config.model.kernel=3",
        ],
        {"rhd": None, "stb": "bb"},
    ),
    "handdb": (
        [
            "cpm.py:handdb,quick",
            "--config.model.widths=(8,8,8)",
            "--config.model.kernels=(3,3,3)",
            "--config.model.stages=2",
        ],
        {"panoptic_hand": "manual"},
    ),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """prepared({"stb": "bb"}) → the folder of sets prepared from fake raw files."""
    tfds = pytest.importorskip(
        "tensorflow_datasets", reason="tensorflow_datasets is not installed; handjax[data] has it"
    )

    def prepare(sets: dict) -> str:
        root = tmp_path_factory.mktemp("prepared")
        for name, config in sets.items():
            importlib.import_module(f"handjax.data.sets.{name}.fake").write(
                root / "raw" / name, 2, seed=1
            )
            module = importlib.import_module(f"handjax.data.sets.{name}.{name}_dataset_builder")
            there = tfds.download.DownloadConfig(manual_dir=str(root / "raw" / name))
            module.Builder(data_dir=str(root), config=config).download_and_prepare(
                download_config=there
            )
        return str(root)

    return prepare


@pytest.mark.parametrize("variant", RUNS)
def test_trained_evaluated_and_reported(variant, prepared, repo, tmp_path):
    (config, *network), sets = RUNS[variant]
    run, path = tmp_path / "run", f"--config.data.path={prepared(sets)}"
    train.main(
        ["--config", f"{repo / 'configs' / config}", "--workdir", str(run), path, *SMALL, *network]
    )
    trained = json.loads((run / "metrics.json").read_text())
    assert (
        trained["joints"] == 21
        and trained["frames"] >= 2
        and all(name in trained["evaluated"] for name in sets)
    )
    assert 0 < trained["auc"] <= 1 and 0 < trained["visible"]["counted"] <= trained["counted"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    errors = [line["eval_epe_px"] for line in lines if "eval_epe_px" in line]
    assert len(errors) == 2 and errors[1] == pytest.approx(trained["epe_px"])
    assert errors[1] < 0.8 * errors[0]  # it memorizes the few images

    # The network is not symmetric, so the flip test changes the result.
    evaluate.main(["--workdir", str(run), "--config.task.flip_test=True"])
    again = run / "evaluation"
    assert json.loads((again / "metrics.json").read_text())["epe_px"] != trained["epe_px"]
    with np.load(again / "predictions.npz") as saved:
        assert len(saved["ids"]) == trained["frames"]
    page = (again / "report.html").read_text()
    assert "Best and worst frames" in page and "Learning" in page
