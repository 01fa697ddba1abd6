"""Real processes of a tiny training: agreed with, interrupted, killed, refused, and resumed by
another number of processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from handjax.engine import feed
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.interruption import REQUEUE
from tests.devices import xla_flags
from tests.multiprocess import tiny_train

pytestmark = pytest.mark.slow

PAUSE = "--config.data.pause=0.02"


@pytest.fixture(scope="module", autouse=True)
def compile_cache(shared_compile_cache):
    with shared_compile_cache():
        yield


@pytest.fixture
def start(repo, compile_cache, tmp_path):
    """start(workdir, *flags, processes, devices) → the running training, whose lines are in
    `process.log`."""
    started = []

    def run(workdir, *flags, processes=1, devices=1):
        module = "tests.multiprocess.tiny_train"
        many = ["scripts/launch.py", "local", "-n", str(processes), "--module", module, "--"]
        command = [sys.executable, *(many if processes > 1 else ["-m", module])]
        config = ["--config", "tests/multiprocess/tiny_config.py", "--config.compile_cache=true"]
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": xla_flags(devices),
        }
        log = tmp_path / f"{len(started)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*command, *config, *flags, "--workdir", str(workdir)],
                cwd=repo,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        process.log = log
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def train(start):
    """train(…) → the exit code and the output of a training."""

    def run(*args, **kwargs):
        process = start(*args, **kwargs)
        code = process.wait(120)
        return code, process.log.read_text(errors="replace")

    return run


def until(process, found, seconds=180):
    limit = time.monotonic() + seconds
    while not found():
        text = process.log.read_text(errors="replace")
        assert process.poll() is None and time.monotonic() < limit, text
        time.sleep(0.05)


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def lines(workdir):
    """Those of the steps: a run that ends earlier evaluates there."""
    return [line for line in records(workdir) if "loss" in line]


def state(workdir):
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    try:
        return checkpoints.tree(checkpoints.steps()[-1])
    finally:
        checkpoints.close()


def same(one, other, atol):
    ours, theirs = lines(one), lines(other)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, abs=atol, rel=atol)
    import jax

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), state(one), state(other)
    )


@pytest.fixture(scope="module")
def layouts():
    """The runs of `test_the_layout_does_not_matter`, by processes and devices of each."""
    return {}


@pytest.mark.parametrize(("processes", "devices"), [(1, 4), (2, 2), (4, 1)])
def test_the_layout_does_not_matter(train, tmp_path_factory, layouts, processes, devices):
    workdir = tmp_path_factory.mktemp("layout") / "run"
    code, text = train(workdir, "--config.steps=20", processes=processes, devices=devices)
    assert code == 0, text
    layouts[processes, devices] = workdir
    same(layouts[1, 4], workdir, 1e-5)
    # Before the first step all have the same weights, and so the same metrics.
    first, theirs = (records(folder)[0] for folder in (workdir, layouts[1, 4]))
    assert first["step"] == 0 and first["eval_loss"] == pytest.approx(theirs["eval_loss"], 1e-5)
    assert first["eval_mpjpe_mm"] == theirs["eval_mpjpe_mm"] > 0


def test_interrupted_and_resumed_by_another_number(start, train, tmp_path, layouts):
    """Two processes save at the same step when one signal comes; one process resumes, then two."""
    workdir = tmp_path / "run"
    flags = (PAUSE, "--config.steps=20000")
    two = start(workdir, *flags, processes=2, devices=2)
    until(two, (workdir / "checkpoints" / "5").is_dir)
    pid = re.search(r"\[1\] pid (\d+)", two.log.read_text())[1]
    os.kill(int(pid), signal.SIGUSR1)  # not process 0, and not the launcher
    text = two.wait(60) or two.log.read_text(errors="replace")
    assert two.returncode == REQUEUE, two.log.read_text(errors="replace")
    said = re.search(r"saved step (\d+) of 20000", two.log.read_text(errors="replace"))
    saved = int(said[1])
    assert (workdir / "checkpoints" / str(saved)).is_dir(), text
    code, text = train(workdir, PAUSE, f"--config.steps={saved + 5}", devices=4)
    assert code == 0 and f"resume at step {saved} of {saved + 5} on 4 device(s)" in text
    code, text = train(workdir, PAUSE, f"--config.steps={saved + 10}", processes=2, devices=1)
    assert code == 0 and f"resume at step {saved + 5} of {saved + 10} on 2 device(s)" in text
    assert "warning" not in text  # the states of both processes were equal at every save
    whole = tmp_path / "whole"
    code, text = train(whole, PAUSE, f"--config.steps={saved + 10}", devices=4)
    assert code == 0, text
    same(whole, workdir, 1e-5)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other(start, train, tmp_path, killed):
    workdir = tmp_path / "run"
    flags = (PAUSE, "--config.steps=20000")
    two = start(workdir, *flags, processes=2)
    until(two, (workdir / "checkpoints" / "5").is_dir)
    pid = re.search(rf"\[{killed}\] pid (\d+)", two.log.read_text())[1]
    began = time.monotonic()
    os.kill(int(pid), signal.SIGKILL)
    assert two.wait(30) == 128 + signal.SIGKILL and time.monotonic() - began < 30
    text = two.log.read_text(errors="replace")
    assert f"launch: process {killed} ended with 137; the others were stopped" in text
    assert "Traceback" not in text
    # The other says so itself, if it was not stopped before: on a slow machine.
    for line in re.findall(rf"\[{1 - killed}\] (error: .*)", text):
        assert line.startswith("error: another process of the run failed or is gone")
    newest = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    code, text = train(workdir, PAUSE, f"--config.steps={newest + 5}", processes=2)
    assert code == 0 and f"resume at step {newest} of {newest + 5}" in text, text


def test_another_config_is_refused_by_all(start, train, tmp_path):
    """Two processes, of which one was started with another seed."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--coordinator", f"127.0.0.1:{port}", "--num_processes", "2", "--process_id"]
    other = start(tmp_path / "run", *place, "1", "--config.seed=1")
    code, text = train(tmp_path / "run", *place, "0")
    said = "error: process 1 has another config.seed (1) than process 0 (0)"
    assert code == 2 and said in text
    assert other.wait(60) == 2 and said in other.log.read_text()
    assert not (tmp_path / "run").exists()


def test_a_second_run_in_the_folder_is_refused(start, train, tmp_path):
    flags = (PAUSE, "--config.steps=20000")
    first = start(tmp_path / "run", *flags)
    until(first, (tmp_path / "run" / "metrics.jsonl").exists)
    code, text = train(tmp_path / "run", *flags)
    assert code == 2 and "is used by handjax train, process " in text.splitlines()[-1]
    assert first.poll() is None


@pytest.mark.parametrize(
    ("flag", "part", "processes"),
    [
        ("bad=17", "center_xyz of sample 17 in the batch", 1),
        ("bad_label=17", "joints_xyz of sample 17 in the batch", 1),
        ("bad_label=17", "joints_xyz of sample 17 in the batch", 2),  # which one of them reads
        ("bad_weights=4", "the weights: params/BatchNorm_0/bias is not finite", 1),
    ],
)
def test_what_is_not_finite_ends_the_run(train, tmp_path, flag, part, processes):
    """At that step, which is named, as is the part; the checkpoint before it loads."""
    workdir = tmp_path / "run"
    flags = (f"--config.data.{flag}", "--config.save_every=1")
    code, text = train(workdir, *flags, processes=processes)
    assert code == 2, text
    said = [line for line in text.splitlines() if "error: " in line]
    expected = 4 if "weights" in flag else 1 + first_step_of(17)
    for line in said:
        assert f"error: step {expected} is not finite (" in line
        assert f"): {part}" in line and "; its update was withheld; the newest checkpoint" in line
        assert line.endswith(str(workdir / "checkpoints" / str(expected - 1)))
    assert len(said) == processes and "Traceback" not in text
    saved = state(workdir)
    assert saved["step"] == expected - 1 and np.isfinite(saved["params"]["Dense_0"]["bias"]).all()


def first_step_of(sample):
    """The step of the tiny training, from 0, that first sees a sample."""
    steps = (feed.train_indices(step, 8, tiny_train.SAMPLES, 0) for step in range(5))
    return next(number for number, indices in enumerate(steps) if sample in indices)


def test_some_steps_may_be_skipped_and_no_evaluation_is_bad(train, tmp_path):
    code, text = train(tmp_path / "b", "--config.data.bad_eval=7")
    assert code == 2
    assert "output is not finite for 1 of 11 samples, first for frame_7" in text.splitlines()[-1]
    code, text = train(tmp_path / "c", "--config.data.bad=17", "--config.skip_nonfinite=40")
    assert code == 0 and "skipped 1 of at most 40 such steps" in text


def test_a_folder_that_vanishes_is_said(start, tmp_path):
    import shutil

    run = start(tmp_path / "run", PAUSE, "--config.steps=20000")
    until(run, (tmp_path / "run" / "checkpoints" / "5").is_dir)
    (tmp_path / "run").rename(tmp_path / "away")
    code = run.wait(60)
    text = run.log.read_text(errors="replace")
    # Tensorstore's threads may add lines about a loop that is closed before they are done.
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and str(tmp_path / "run") in errors[0], text
    shutil.rmtree(tmp_path / "away")


def test_killed_again_and_again(repo, compile_cache, tmp_path):
    """A few turns of scripts/endure.py; twenty kills are for a night."""
    command = [sys.executable, "scripts/endure.py", "--workdir", str(tmp_path / "runs")]
    command += ["--kills", "3", "--terms", "1", "--module", "tests.multiprocess.tiny_train", "--"]
    command += ["--config", "tests/multiprocess/tiny_config.py", "--config.compile_cache=true"]
    environment = os.environ | {"XLA_FLAGS": xla_flags(1), "PYTHONPATH": str(repo)}
    done = subprocess.run(
        [*command, PAUSE, "--config.steps=80"],
        cwd=repo,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 arrays differ" in done.stdout
