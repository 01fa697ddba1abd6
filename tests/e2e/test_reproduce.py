"""scripts/reproduce.py from fake raw files to a number, killed in between."""

import importlib
import os
import runpy
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

_RUN = """
--config.steps=4 --config.eval_every=4 --config.save_every=2 --config.batch_size=2
--config.eval_batch_size=2 --config.devices=1 --config.log_every=1 --config.export=False
""".split()
_V2V = """
--config.model.widths=(2,4,4,4) --config.task.grid=16 --config.task.heatmap_grid=8
""".split()
_CROP = ["--config.crop.size=32"]
# Flags that make a training of each system tiny.
TINY = {
    "v2v": _V2V,
    "integral": [
        *("--config.model.layers=18", "--config.model.width=4", "--config.model.depth=8"),
        *("--config.model.deconvolutions=(4,4,4)", "--config.crop.size=(64,64)"),
    ],
    "posenet2d": [
        *_CROP,
        *("--config.model.refinements=1", "--config.model.widths=(4,4,4,4,4)"),
        "--config.model.pools=2",
    ],
    "cpm": [*_CROP, "--config.model.stages=2"],
    "spherehand": ["--config.eval_batch_size=64"],
}


@pytest.fixture
def raw(tmp_path):
    """raw(recipe) → a folder of fake raw files."""

    def write(recipe):
        pytest.importorskip("tensorflow_datasets", reason="handjax[data] is not installed")
        names = dict.fromkeys(name for name, _ in recipe.prepared)
        for name in names:
            fake = importlib.import_module(f"handjax.data.sets.{name}.fake")
            fake.write(tmp_path / "raw" / (name if len(names) > 1 else ""), 2, seed=0)
        return tmp_path / "raw"

    return write


def test_killed_and_gone_on_with(repo, raw, tmp_path):
    recipes = runpy.run_path(str(repo / "scripts" / "reproduce.py"))["RECIPES"]
    folder, run = raw(recipes["v2v", "nyu"]), tmp_path / "run"
    command = [sys.executable, "scripts/reproduce.py", "v2v", "nyu", "--raw", str(folder)]
    command += ["--workdir", str(run), "--", *_RUN, *TINY["v2v"], "--config.data.center=depth"]
    first = subprocess.Popen(command, cwd=repo, start_new_session=True)
    try:
        limit = time.monotonic() + 240
        while not (run / "train" / "checkpoints" / "2").is_dir():
            assert first.poll() is None and time.monotonic() < limit
            time.sleep(0.1)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    prepared = next((run / "data").glob("**/dataset_info.json"))
    when = prepared.stat().st_mtime_ns
    for _ in range(2):  # all is done before the second
        done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        last = done.stdout.splitlines()[-1]
        assert last.startswith("mpjpe_mm: ") and "published: mpjpe_mm 8.42 (Moon" in last
    assert prepared.stat().st_mtime_ns == when
    assert "handjax.evaluate" not in done.stdout and (run / "report" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("v2v",), "expected SYSTEM DATASET --raw FOLDER --workdir DIR, or --list"),
        (("v2v", "rhd", "--raw", ".", "--workdir", "x"), "v2v rhd: no such pair; expected one of"),
        (("v2v", "nyu", "--raw", "nowhere", "--workdir", "x"), "--raw nowhere: no such folder"),
    ],
)
def test_invalid_arguments_are_one_line(repo, arguments, message):
    command = [sys.executable, "scripts/reproduce.py", *arguments]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
