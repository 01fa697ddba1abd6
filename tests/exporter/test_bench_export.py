"""handjax bench export: times of a small run in handjax and in onnxruntime, and what is refused."""

import json
import os

import cv2
import numpy as np
import pytest

from handjax import bench, run
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.exporter import latency

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'handjax[export]'")
pytest.importorskip("onnxruntime")
SMALL = (
    "config.model.widths=(4,4,4,4,4)",
    "config.crop.size=32",
    "config.data.image_size=48",
    "config.compile_cache=False",
)


@pytest.fixture(scope="module")
def small_run(repo, tmp_path_factory):
    """The folder of an untrained PoseNet2D."""
    folder = tmp_path_factory.mktemp("run")
    config = configs.load(f"{repo}/configs/posenet2d.py:quick,dsnt", [*SMALL])
    (folder / "config.json").write_text(configs.to_json(config))
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(run.open_run(folder).init_state())
    checkpoints.close()
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux binds processes to cores")
def test_times_of_two_runtimes(small_run, tmp_path, capfd):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    cv2.imwrite(str(pictures / "one.png"), pixels)
    output = tmp_path / "times.json"
    argv = ["export", str(small_run), "--runtimes", "handjax,onnxruntime", "--threads", "1"]
    bench.main(
        [*argv, "--batch", "1,2", "--rounds", "3", "--check", str(pictures)]
        + ["--output", str(output)]
    )
    times = json.loads(output.read_text())["times"]
    rows = [(row["threads"], row["batch"], row["runtime"]) for row in times]
    assert rows == [(1, n, name) for n in (1, 2) for name in ("handjax", "onnxruntime")]
    for row in times:
        parts = [row[f"{part}_ms"] for part in ("read", "joints", "draw")]
        assert min(parts) > 0 and row["whole_ms"] > max(parts) and row["joints_ratio"] > 0
        assert row["joints_ratio"] == 1 or row["runtime"] == "onnxruntime"
    table = capfd.readouterr().out.splitlines()
    assert "joints / handjax" in table[0] and len(table) == 1 + len(times)


def test_invalid_flags(small_run, tmp_path):
    (tmp_path / "there.json").write_text("mine")
    for flags, message in (
        (["--threads", "0"], "--threads 0: expected numbers of 1 or more"),
        (["--threads", "4096"], "--threads 4096: this process may use"),
        (["--batch", "1,x"], "--batch 1,x: expected numbers"),
        (["--rounds", "0"], "--rounds 0: expected 1 or more"),
        (["--runtimes", "tensorrt"], "--runtimes tensorrt: expected some of handjax,"),
        (["--size", "12"], "--size 12: expected WIDTHxHEIGHT"),
        (["--output", str(tmp_path / "there.json")], "is there already: use --overwrite"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            bench.main(["export", str(small_run), "--threads", "1", *flags])
    assert (tmp_path / "there.json").read_text() == "mine"


def test_encoded_frames_are_read_as_they_were():
    rgb = np.random.default_rng(1).integers(0, 256, (2, 5, 7, 3), np.uint8)
    read = [latency.decoded(file) for file in latency.encoded({"image": rgb})]
    np.testing.assert_array_equal(read, rgb)
    depth = np.array([[[0, 400.04, 6553.5], [np.nan, 7000, 123.45]]], np.float32)
    (found,) = (latency.decoded(file) for file in latency.encoded({"depth": depth}))
    np.testing.assert_allclose(found, [[0, 400, 6553.5], [0, 0, 123.4]], atol=0.06)
