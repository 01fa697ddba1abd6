"""Runs that are asked to end by a signal, or to save by the clock, and what they continue as."""

import json
import shutil

import pytest

from handjax.engine.interruption import REQUEUE
from tests.e2e.test_restart import same_run, steps

pytestmark = pytest.mark.slow

# Runs the command and sends itself the signal argv[1] in step argv[2], or, if that is 0, in the
# evaluation after step 5.
SIGNALLED = """
import os, signal, sys
from handjax import train
from handjax.engine import cli, interruption
from handjax.engine.writer import Writer

number, when = getattr(signal, sys.argv.pop(1)), int(sys.argv.pop(1))
plain, evaluate, seen = Writer.step, interruption.Interruption.end_evaluation, []

def step(self, step, parts, record):
    plain(self, step, parts, record)
    seen.append(step)
    if step == when:
        os.kill(os.getpid(), number)

def end_evaluation(self):
    if when == 0 and 5 in seen:
        os.kill(os.getpid(), number)
    evaluate(self)

Writer.step, interruption.Interruption.end_evaluation = step, end_evaluation
cli.run(train.main)
"""


@pytest.mark.parametrize(
    ("name", "when", "saved"), [("SIGTERM", 2, 3), ("SIGUSR1", 7, 8), ("SIGTERM", 0, 5)]
)
def test_a_run_that_is_asked_to_end(tmp_path, tiny, command, finished, name, when, saved):
    """It saves within a step, also from within an evaluation, and continues bit for bit."""
    workdir = tmp_path / "run"
    ended = command("-c", SIGNALLED, name, when, *tiny(workdir))
    assert ended.returncode == REQUEUE, ended.stdout + ended.stderr
    said = f"asked to end ({name}): saved step {saved} of 10; the same command continues"
    assert said in ended.stdout.splitlines()[-1] and "rror" not in ended.stderr
    assert (workdir / "checkpoints" / str(saved)).is_dir()
    assert not (workdir / "done.json").exists()
    done = command("-m", "handjax.train", *tiny(workdir))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"resume at step {saved} of 10" in done.stdout
    same_run(finished, workdir)
    best = [
        json.loads((folder / "done.json").read_text())["best_step"]
        for folder in (finished, workdir)
    ]
    assert best[0] == best[1]


def test_the_clock_saves_too(tmp_path, tiny, command, finished):
    workdir = tmp_path / "run"
    flags = ("--config.save_every=100", "--config.save_minutes=1e-9", "--config.keep=20")
    done = command("-m", "handjax.train", *tiny(workdir, *flags))
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {*map(str, range(1, 11))}
    assert steps(workdir) == steps(finished)
    shutil.rmtree(workdir / "checkpoints" / "10")
    (workdir / "done.json").unlink()
    done = command("-m", "handjax.train", *tiny(workdir, "--config.keep=20"))
    assert done.returncode == 0 and "resume at step 9 of 10" in done.stdout
    same_run(finished, workdir)
