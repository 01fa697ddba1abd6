"""scripts/reproduce.py from fake raw files to a number, killed in between."""

import importlib
import os
import runpy
import signal
import subprocess
import sys
import time
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

RECIPES = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "reproduce.py"))["RECIPES"]
# All pairs take ten minutes of a core; HANDJAX_REPRODUCE=all runs them.
SOME = {("v2v", "itop"), ("posenet2d", "stb")}

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
        *("--config.model.layers=18", "--config.model.width=8", "--config.model.depth=8"),
        *("--config.model.deconvolutions=(8,8,8)", "--config.crop.size=(64,64)"),
    ],
    "posenet2d": [
        *_CROP,
        *("--config.model.refinements=1", "--config.model.widths=(4,4,4,4,4)"),
        "--config.model.pools=2",
    ],
    "cpm": [*_CROP, "--config.model.stages=2"],
    "spherehand": [
        *("--config.eval_batch_size=64", "--config.model.width=32"),
        "--config.data.image_size=32",
    ],
}
FRAMES = {"hands2017": 12, "human36m": 1}  # a tenth of the first is evaluated
NO_CENTERS = ("msra_hand",)  # in their fake files


def written(recipe, folder):
    """The folder, with fake raw files of the recipe's sets."""
    several = len({name for name, _ in recipe.prepared}) > 1
    for name, config in recipe.prepared:
        fake = importlib.import_module(f"handjax.data.sets.{name}.fake")
        root = folder / name if several else folder
        root.mkdir(parents=True, exist_ok=True)
        of_config = {"config": config} if "config" in signature(fake.write).parameters else {}
        fake.write(root, FRAMES.get(name, 2), 0, **of_config)
        for centers in root.glob("center_*_refined.txt"):  # evaluated frames need theirs
            lines = centers.read_text().splitlines()
            whole = [lines[0] if line == "invalid" else line for line in lines]
            centers.write_text("\n".join(whole) + "\n")
    return folder


@pytest.mark.parametrize("pair", RECIPES, ids=" ".join)
def test_killed_and_resumed(repo, tmp_path, pair):
    """The first training is killed after a checkpoint; the same command goes on to the number."""
    if pair not in SOME and os.environ.get("HANDJAX_REPRODUCE") != "all":
        pytest.skip("long; HANDJAX_REPRODUCE=all runs every pair")
    pytest.importorskip("tensorflow_datasets", reason="handjax[data] is not installed")
    recipe, run = RECIPES[pair], tmp_path / "run"
    more = [*_RUN, *TINY[pair[0]]]
    if recipe.prepared[0][0] in NO_CENTERS:
        more.append("--config.data.center=depth")
    command = [sys.executable, "scripts/reproduce.py", *pair, "--workdir", str(run)]
    command += ["--raw", str(written(recipe, tmp_path / "raw")), "--", *more]
    checkpoint = run / recipe.trainings[0].name / "checkpoints" / "2"
    _kill(command, repo, checkpoint)
    prepared = sorted((run / "data").glob("**/dataset_info.json"))
    when = [path.stat().st_mtime_ns for path in (*prepared, checkpoint)]
    for again in (False, True)[: 1 + (pair == ("v2v", "itop"))]:  # all is done before the second
        done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        value, _, told = done.stdout.splitlines()[-1].partition(" here; published: ")
        assert value.startswith(f"{recipe.metric}: ") and np.isfinite(float(value.split()[1]))
        known = "unknown" if recipe.published is None else f"{recipe.published:g}"
        assert told.startswith(f"{recipe.metric} {known}")
        assert "handjax.prepare" not in done.stdout
        assert ("handjax.evaluate" not in done.stdout) == again
    assert [path.stat().st_mtime_ns for path in (*prepared, checkpoint)] == when
    assert len(prepared) == len(recipe.prepared)
    assert len(list(run.glob("report*/report.html"))) == recipe.runs


def _kill(command, repo, checkpoint):
    """Start the command, and kill it with all of its processes once it has saved a checkpoint."""
    first = subprocess.Popen(command, cwd=repo, start_new_session=True)
    try:
        limit = time.monotonic() + 600
        while not checkpoint.is_dir():
            assert first.poll() is None and time.monotonic() < limit
            time.sleep(0.1)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


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
