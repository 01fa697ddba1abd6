"""benchmarks/rounding.py: its figures, and a small run in some formats."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks import rounding
from handjax import run
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.exporter.samples import Samples

HAND = SimpleNamespace(system="v2v", skeleton=SimpleNamespace(root=0))
BODY = SimpleNamespace(system="body", skeleton=SimpleNamespace(root=0))
SMALL = (
    *("config.crop.size=32", "config.data.image_size=48", "config.data.supersampling=1"),
    *("config.model.widths=(16,16,16,16,16)", "config.data.eval_size=3", "config.devices=1"),
    *("config.eval_batch_size=2", "config.compile_cache=False"),
)


def test_error_against_the_labels():
    true = np.zeros((1, 3, 3))
    joints = true + [3, 4, 0]
    joints[0, 1] += [0, 0, 12]
    assert rounding.error(HAND, joints, {"xyz": true}) == pytest.approx((5 + 13 + 5) / 3)
    labelled = np.array([[True, False, True]])
    assert rounding.error(HAND, joints, {"xyz": true, "labelled": labelled}) == pytest.approx(5)
    assert rounding.error(BODY, joints, {"xyz": true}) == pytest.approx(12 / 3)
    assert np.isnan(rounding.error(HAND, joints, {"uv": true[..., :2]}))


def test_distances_from_handjax():
    ours, given = np.zeros((2, 2, 2)), Samples({}, "", {})
    theirs = ours + [[[3, 4]], [[0, 1]]]
    found = rounding.compared(HAND, ours, theirs, given)
    assert (found["mean"], found["largest"]) == (3, 5)
    ours[1] = theirs[1] = np.nan  # neither found a hand
    found = rounding.compared(HAND, ours, theirs, given)
    assert (found["mean"], found["largest"]) == (2.5, 5)
    ours[1] = 0
    assert rounding.compared(HAND, ours, theirs, given)["largest"] == np.inf


def test_files_of_a_small_run(repo, tmp_path, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'handjax[export]'")
    pytest.importorskip("onnxruntime")
    folder, output = tmp_path / "run", tmp_path / "found.json"
    folder.mkdir()
    config = configs.load(f"{repo}/configs/posenet2d.py:quick,dsnt", [*SMALL])
    (folder / "config.json").write_text(configs.to_json(config))
    checkpoints = Checkpoints(folder / "checkpoints")
    state = run.open_run(folder).init_state()  # whose maps are too flat for roundings to be seen
    checkpoints.save(state.replace(params=jax.tree.map(lambda array: 1.5 * array, state.params)))
    checkpoints.close()
    argv = [str(folder), "--formats", "onnx,stablehlo", "--weights", "float32,int8"]
    rounding.main([*argv, "--samples", "8", "--json", str(output)])
    (model,) = json.loads(output.read_text())["models"]
    assert (model["system"], model["unit"]) == ("posenet2d", "px")
    assert model["samples"] == "3 held-out samples of the run" and 1 < model["error"] < 48
    rows = {(row["format"], row["weights"]): row for row in model["rows"]}
    exact, rounded = rows["onnx", "float32"], rows["onnx", "int8"]
    assert rounded["mb"] < 0.5 * exact["mb"]
    assert exact["largest"] < 1e-3 < rounded["mean"] < rounded["largest"] < 10
    assert exact["error"] == pytest.approx(model["error"], abs=1e-3)
    assert 1e-4 < abs(rounded["error"] - model["error"]) < 5
    assert rows["stablehlo", "float32"]["largest"] < 1e-3
    assert rows["stablehlo", "int8"]["refused"] == "--weights int8 is for --to onnx and litert"
    said = capsys.readouterr().out
    assert f"3 held-out samples of the run; error of handjax {model['error']:.3f} px" in said
    assert "| stablehlo | int8 | --weights int8 is for --to onnx and litert |" in said


def test_unknown_formats_are_refused(capsys):
    with pytest.raises(SystemExit):
        rounding.main(["run", "--formats", "onnx,coreml"])
    assert "coreml: expected some of onnx,stablehlo,litert,savedmodel" in capsys.readouterr().err
