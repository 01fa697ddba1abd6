"""A run that is killed after five of ten steps and resumed is bit-identical to one that is not."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from handjax import run as runs
from handjax import train
from handjax.engine import lock

pytestmark = [pytest.mark.slow, pytest.mark.newest]

# Runs the command and kills itself (signal 9) as soon as step argv[1] is recorded and the path
# argv[2], if any, exists.
KILLED = """
import os, signal, sys, time
from handjax import train
from handjax.engine import cli
from handjax.engine.writer import Writer

last, wanted, plain = int(sys.argv.pop(1)), sys.argv.pop(1), Writer.step

def step(self, step, parts, record):
    plain(self, step, parts, record)
    if step == last:
        while wanted and not os.path.exists(wanted):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

Writer.step = step
cli.run(train.main)
"""


def state(workdir: Path, step: int) -> dict:
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(workdir / "checkpoints" / str(step) / "default")


def same_run(one: Path, other: Path):
    """Both folders hold bit-identical runs."""
    for step in (5, 10):
        jax.tree.map(np.testing.assert_array_equal, state(one, step), state(other, step))
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert (one / "metrics.json").read_text() == (other / "metrics.json").read_text()
    with np.load(one / "predictions.npz") as a, np.load(other / "predictions.npz") as b:
        assert set(a) == set(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def steps(workdir: Path) -> list[int]:
    return [
        json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()
    ]


def test_a_run_writes_the_documented_files(finished):
    names = {
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "tensorboard",
        "metrics.json",
        "predictions.npz",
        "report.html",
        "model.stablehlo",
        "model.stablehlo.json",
        "done.json",
    }
    assert {path.name for path in finished.iterdir()} == names
    assert steps(finished) == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
    assert json.loads((finished / "done.json").read_text())["step"] == 10
    first, last = (state(finished, step)["params"]["out"]["kernel"] for step in (5, 10))
    assert np.abs(first - last).max() > 1e-3


@pytest.mark.parametrize("source", ["h5", pytest.param("world", marks=pytest.mark.slow)])
def test_a_killed_run_resumes_bit_for_bit(tmp_path, tiny, command, finished, source):
    if source == "h5":
        whole = finished
    else:
        whole = tmp_path / "whole"
        assert command("-m", "handjax.train", *tiny(whole, source=source)).returncode == 0
    broken = tmp_path / "broken"
    # Before the first checkpoint, and between the first and the second.
    for last, wanted in ((2, ""), (7, broken / "checkpoints" / "5"))[source == "world" :]:
        killed = command("-c", KILLED, last, wanted, *tiny(broken, source=source))
        assert killed.returncode == -9, killed.stdout + killed.stderr
        assert "start at step 0 of 10" in killed.stdout
        assert steps(broken)[-1] == last and not (broken / "done.json").exists()
    done = command("-m", "handjax.train", *tiny(broken, source=source))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resume at step 5 of 10" in done.stdout and "error" not in done.stderr
    same_run(whole, broken)
    assert {path.name for path in (broken / "checkpoints").iterdir()} == {"5", "10"}


@pytest.mark.parametrize("writable", [True, False])
def test_a_finished_run_is_left_alone(finished, tiny, snapshot, capsys, monkeypatch, writable):
    if not writable:
        monkeypatch.setattr(os, "access", lambda *_: False)
        monkeypatch.setattr(lock, "hold", None)
    before = snapshot(finished)
    train.main(tiny(finished))
    assert f"{finished} is finished at step 10" in capsys.readouterr().out
    assert snapshot(finished) == before


def test_a_finished_run_can_be_extended(finished, tiny, tmp_path, capsys, monkeypatch):
    workdir, traced, step = shutil.copytree(finished, tmp_path / "run"), [], runs.train_step
    monkeypatch.setattr(runs, "train_step", lambda *a, **k: traced.append(1) or step(*a, **k))
    train.main(tiny(workdir, "--config.steps=12"))
    assert len(traced) == 1  # the check by shapes and the compilation share it
    assert "resume at step 10 of 12" in capsys.readouterr().out
    assert steps(workdir) == [*steps(finished), 11, 12, 12]
    assert json.loads((workdir / "done.json").read_text())["step"] == 12
    assert (workdir / "metrics.1.json").read_text() == (finished / "metrics.json").read_text()


def test_a_missing_report_is_written_on_resume(finished, tiny, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    for name in ("done.json", "metrics.json", "predictions.npz", "report.html"):
        (workdir / name).unlink()
    train.main(tiny(workdir))
    same_run(finished, workdir)
    assert (workdir / "report.html").is_file() and (workdir / "done.json").is_file()


def test_a_truncated_checkpoint_is_skipped_with_a_warning(tmp_path, tiny, command, finished):
    workdir = shutil.copytree(finished, tmp_path / "run")
    data = max(
        (workdir / "checkpoints" / "10").rglob("*"),
        key=lambda path: path.stat().st_size if path.is_file() else 0,
    )
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    done = command("-m", "handjax.train", *tiny(workdir))
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line for line in done.stdout.splitlines() if "warning" in line]
    assert len(warnings) == 1 and f"{workdir / 'checkpoints' / '10'} cannot be read" in warnings[0]
    assert (
        "using the checkpoint of step 5" in warnings[0] and "resume at step 5 of 10" in done.stdout
    )
    assert "Traceback" not in done.stderr and "error" not in done.stderr.lower()
    same_run(finished, workdir)
    assert data.name in {path.name for path in (workdir / "unreadable" / "10").rglob("*")}
    # The results of the first run are kept.
    assert (workdir / "metrics.1.json").read_text() == (finished / "metrics.json").read_text()
