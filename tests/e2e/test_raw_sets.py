"""V2V-PoseNet from raw files (fakes of the data sets) to metrics and a report."""

import importlib
import json

import numpy as np
import pytest

from handjax import evaluate, train

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

FULL_NAMES = {"nyu": "nyu_hand", "icvl": "icvl", "msra": "msra_hand"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """prepared("nyu", n) → the prepared folder of `n` fake frames per split or per person."""
    tfds = pytest.importorskip(
        "tensorflow_datasets", reason="tensorflow_datasets is not installed; handjax[data] has it"
    )

    def prepare(variant: str, n: int) -> str:
        name, root = FULL_NAMES[variant], tmp_path_factory.mktemp(variant)
        importlib.import_module(f"handjax.data.sets.{name}.fake").write(root / "raw", n, seed=1)
        builder = importlib.import_module(
            f"handjax.data.sets.{name}.{name}_dataset_builder"
        ).Builder(data_dir=str(root))
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=str(root / "raw"))
        )
        return str(builder.data_path)

    return prepare


def figures(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


# Variant → evaluated frames (two per split, test sequence or person), joints, name of the first.
SETS = {
    "nyu": (2, 14, "test/depth_1_0000001"),
    "icvl": (4, 16, "test/test_seq_1/image_0000"),
    "msra": (2, 21, "P4/1/000000"),
}


@pytest.mark.parametrize("variant", SETS)
def test_trained_and_evaluated(variant, prepared, repo, tiny, tmp_path):
    _, _, *small = tiny(tmp_path / "run")
    small = [flag for flag in small if not flag.startswith("--config.data.")]
    more = [
        f"--config.data.path={prepared(variant, 2)}",
        "--config.steps=2",
        "--config.eval_every=2",
        "--config.save_every=2",
    ]
    more += ["--config.batch_size=2", "--config.eval_batch_size=3"] + [
        "--config.data.subject=4"
    ] * (variant == "msra")
    train.main(["--config", f"{repo / 'configs' / 'v2v.py'}:{variant},quick", *small, *more])
    frames, joints, first = SETS[variant]
    trained = figures(tmp_path / "run")
    assert (trained["frames"], trained["joints"]) == (frames, joints) and 0 < trained[
        "mpjpe_mm"
    ] < 300
    assert "crop center from the depth: center of mass" in trained["evaluated"]

    evaluate.main(["--workdir", str(tmp_path / "run")])
    again = tmp_path / "run" / "evaluation"
    assert figures(again) == trained
    with np.load(again / "predictions.npz") as saved:
        assert first in saved["ids"].tolist() and len(set(saved["ids"].tolist())) == frames
    # Another crop center changes the metrics, and the report names it.
    for center, words in (
        ("label", "from the label"),
        ("refined", "from the file of refined centers"),
    ):
        other = [
            "--workdir",
            str(tmp_path / "run"),
            "--output",
            str(tmp_path / center),
            f"--config.data.center={center}",
        ]
        if (variant, center) == ("icvl", "refined"):  # every third frame of the fake has none
            with pytest.raises(ValueError, match="test_seq_2/image_0000 has no refined center"):
                evaluate.main(other)
        if variant != "nyu":
            continue
        evaluate.main(other)
        assert figures(tmp_path / center)["mpjpe_mm"] != trained["mpjpe_mm"]
        assert f"crop center {words}" in figures(tmp_path / center)["evaluated"]
        assert f"crop center {words}" in (tmp_path / center / "report.html").read_text()
