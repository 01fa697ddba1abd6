"""handjax report: several results on one page."""

import json

import numpy as np
import pytest

from handjax import report
from handjax.data.formats.predictions_npz import Predictions3d, write_predictions
from handjax.metrics import joints3d
from handjax.pose.skeleton import SKELETONS

JOINTS = SKELETONS["hand21"].joints
RNG = np.random.default_rng(0)
TRUE = RNG.normal(0, 50, (60, 21, 3))


def result(folder, error_mm, lr, ids=range(60)):
    """A finished training whose joints are off by some `error_mm`."""
    folder.mkdir(parents=True)
    pred = TRUE + np.random.default_rng(1).normal(0, error_mm, TRUE.shape)
    metrics = joints3d.summarize(pred, TRUE, JOINTS)
    (folder / "metrics.json").write_text(json.dumps({**metrics, "evaluated": "hands"}))
    config = {"optimizer": {"lr": lr, "name": "adam"}, "seed": 0}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [{"step": 0, "eval_mpjpe_mm": 60.0, "loss": 2.0}, {"step": 9, "loss": 1.0}]
    lines.append({"step": 10, "eval_mpjpe_mm": metrics["mpjpe_mm"]})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    names = tuple(f"f{number}" for number in ids)
    write_predictions(folder / "predictions.npz", Predictions3d(names, pred, TRUE, JOINTS))
    return metrics["mpjpe_mm"]


def test_two_runs_on_a_page(tmp_path, capsys):
    means = [result(tmp_path / "runs" / name, mm, lr) for name, mm, lr in RUNS]
    folders = [str(tmp_path / "runs" / name) for name, *_ in RUNS]
    report.main([*folders, "--output", str(tmp_path / "out")])
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [content[name]["mpjpe_mm"] for name, *_ in RUNS] == means
    gap = content["b"]["difference"]
    assert content["a"]["difference"] is None and gap["frames"] == 60
    assert gap["mean"] == pytest.approx(means[1] - means[0])
    assert gap["low"] < gap["mean"] < gap["high"] < 0 and gap["better"] == 1
    text = (tmp_path / "out" / "report.html").read_text()
    for words in ("optimizer.lr", "Learning", "Difference from a", "index tip", "Summary"):
        assert words in text
    assert "optimizer.name" not in text and "different frames" not in text
    assert f"{means[0]:.3f} mm" in capsys.readouterr().out


RUNS = (("a", 9.0, 0.1), ("b", 6.0, 0.2))


def test_other_frames_are_not_compared_one_by_one(tmp_path):
    result(tmp_path / "a", 9.0, 0.1)
    result(tmp_path / "b" / "evaluation", 6.0, 0.1, range(1, 61))
    argv = [f"first={tmp_path / 'a'}", f"second={tmp_path / 'b' / 'evaluation'}"]
    report.main([*argv, "--output", str(tmp_path / "out")])
    text = (tmp_path / "out" / "report.html").read_text()
    assert "frame by frame" not in text and "All configs are the same" in text
    assert [*json.loads((tmp_path / "out" / "comparison.json").read_text())] == ["first", "second"]
    with pytest.raises(FileExistsError, match="use --overwrite"):
        report.main([*argv, "--output", str(tmp_path / "out")])
    report.main([*argv, "--output", str(tmp_path / "out"), "--overwrite"])


def test_what_cannot_be_compared(tmp_path):
    result(tmp_path / "a", 9.0, 0.1)
    (tmp_path / "px").mkdir()
    (tmp_path / "px" / "metrics.json").write_text('{"epe_px": 1.5, "frames": 3}')
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "metrics.json").write_text('{"sets": {}}')
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "metrics.json").write_text('{"epe_px": ')
    for others, words in (
        ((), "name two or more"),
        (("px",), "one page compares results of one kind"),
        (("else",), "none of mpjpe_mm and epe_px"),
        (("torn",), "not JSON"),
        (("gone",), "no such folder"),
        (("a",), "two results are called a: give names"),
    ):
        folders = [str(tmp_path / name) for name in ("a", *others)]
        with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
            report.main([*folders, "--output", str(tmp_path / "out")])
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
