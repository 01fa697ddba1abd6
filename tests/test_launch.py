"""The launcher, with tiny modules instead of a training."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parent.parent / "scripts" / "launch.py"
READ_FLAGS = """
import argparse, os, sys, time
p = argparse.ArgumentParser()
p.add_argument("--coordinator"); p.add_argument("--num_processes", type=int)
p.add_argument("--process_id", type=int); p.add_argument("--join_seconds", type=float)
p.add_argument("--folder", default=".")
f = p.parse_args()
rank = f.process_id
"""


@pytest.fixture
def start(tmp_path):
    """start(body, *launcher arguments) → the launcher of a module with this body and flags `f`."""
    started = []

    def run(body: str, *argv: str, path: str = "") -> subprocess.Popen:
        (tmp_path / "tiny.py").write_text(READ_FLAGS + body)
        # A user has neither of the two.
        env = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
        env |= {"PYTHONPATH": str(tmp_path), "PATH": path + os.pathsep + os.environ["PATH"]}
        command = [sys.executable, str(LAUNCH), *argv]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(subprocess.Popen(command, env=env, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def ended(pid: int, seconds: float = 10) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if (
            Path(f"/proc/{pid}/stat").exists()
            and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        ):
            return True  # a zombie: dead, but not yet reaped
        time.sleep(0.05)
    return False


def test_every_process_gets_its_rank_and_is_shown(start):
    body = "print(f.coordinator, f.num_processes, rank); print('to stderr', file=sys.stderr)"
    launcher = start(body, "local", "-n", "3", "--module", "tiny")
    out, err = launcher.communicate(timeout=20)
    assert launcher.returncode == 0, err
    said = re.findall(r"^\[(\d)\] (127\.0\.0\.1:\d+) 3 (\d)$", out, re.MULTILINE)
    assert sorted(rank for rank, _, _ in said) == ["0", "1", "2"]
    assert all(shown == own for shown, _, own in said)
    assert len({coordinator for _, coordinator, _ in said}) == 1
    assert out.count("to stderr") == 3


def test_the_first_failure_ends_all_with_its_exit_code(start, tmp_path):
    body = """
import subprocess
if rank == 1:
    while not os.path.exists(f.folder + "/child"): time.sleep(0.05)
    print("the reason"); sys.exit(7)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(f.folder + "/part", "w").write(f"{os.getpid()} {child.pid}")
os.rename(f.folder + "/part", f.folder + "/child")
child.wait()
"""
    launcher = start(body, "local", "-n", "2", "--module", "tiny", "--", "--folder", str(tmp_path))
    out, err = launcher.communicate(timeout=20)
    assert launcher.returncode == 7
    assert "[1] the reason" in out
    assert "process 1 ended with 7" in err
    assert all(ended(int(pid)) for pid in (tmp_path / "child").read_text().split())


def test_killed_process_is_a_failure(start):
    body = "import signal\nos.kill(os.getpid(), signal.SIGKILL) if rank == 0 else time.sleep(60)"
    launcher = start(body, "local", "-n", "2", "--module", "tiny")
    launcher.communicate(timeout=20)
    assert launcher.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_the_launcher_stops_all(start, number):
    launcher = start("print(os.getpid()); time.sleep(60)", "local", "-n", "2", "--module", "tiny")
    pids = [int(launcher.stdout.readline().split()[1]) for _ in range(2)]
    launcher.send_signal(number)
    launcher.communicate(timeout=20)
    assert launcher.returncode == 128 + number
    assert all(ended(pid) for pid in pids)


def test_a_training_that_is_asked_to_end_saves(start):
    """The launcher waits for it, and its exit code is that of a run that can be continued."""
    body = """
import signal
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5 * rank), print("saved"), sys.exit(75)))
print("ready"); time.sleep(60)
"""
    launcher = start(body, "local", "-n", "2", "--module", "tiny")
    for _ in range(2):
        assert "ready" in launcher.stdout.readline()
    launcher.send_signal(signal.SIGUSR1)
    out, err = launcher.communicate(timeout=20)
    assert launcher.returncode == 75, err
    assert sorted(out.splitlines()) == ["[0] saved", "[1] saved"]


def test_a_signal_while_the_others_are_stopped_does_not_wait(start):
    body = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("asked"))
print(os.getpid())
while rank == 0: time.sleep(0.05)
time.sleep(0.5); sys.exit(7)
"""
    launcher = start(body, "local", "-n", "2", "--module", "tiny")
    pids = [int(launcher.stdout.readline().split()[1]) for _ in range(2)]
    assert "[0] asked" in launcher.stdout.readline()
    launcher.send_signal(signal.SIGINT)
    _, err = launcher.communicate(timeout=8)  # less than a process gets that was asked to end
    assert launcher.returncode == 7 and "process 1 ended with 7" in err and "Traceback" not in err
    assert all(ended(pid) for pid in pids)


def test_the_one_that_the_others_miss_is_named(start):
    body = "time.sleep(0.3 * rank); sys.exit(76) if rank < 2 else os.kill(os.getpid(), 9)"
    launcher = start(body, "local", "-n", "3", "--module", "tiny")
    _, err = launcher.communicate(timeout=20)
    assert launcher.returncode == 137 and "process 2 ended with 137; the others" in err


def test_an_abort_is_explained(start):
    body = "time.sleep(0 if rank else 60); os.abort()"
    launcher = start(body, "local", "-n", "2", "--module", "tiny")
    _, err = launcher.communicate(timeout=20)
    assert launcher.returncode == 134
    assert "process 1 ended with 134 (JAX ended it, as it does when another process" in err


def test_every_process_gets_one_gpu(start):
    body = "print(os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ.get('JAX_PLATFORMS'))"
    out, _ = start(body, "local", "-n", "2", "--gpus", "--module", "tiny").communicate(timeout=20)
    assert sorted(out.splitlines()) == ["[0] 0 None", "[1] 1 None"]
    out, _ = start(body, "local", "-n", "1", "--module", "tiny").communicate(timeout=20)
    assert out.split()[-1] == "cpu"


@pytest.mark.slow
def test_two_processes_compute_together(start):
    body = """
import jax
jax.distributed.initialize(f.coordinator, f.num_processes, rank)
from jax.experimental.multihost_utils import process_allgather
print(process_allgather(jax.numpy.float32(rank + 1)).tolist(), jax.process_count())
"""
    launcher = start(body, "local", "-n", "2", "--module", "tiny")
    out, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, out + err
    assert "[0] [1.0, 2.0] 2" in out
    assert "[1] [1.0, 2.0] 2" in out


@pytest.mark.parametrize(
    ("how", "starter", "expected"),
    [
        (
            ["slurm"],
            "srun",
            "--label --kill-on-bad-exit=1 PYTHON -u -m tiny --folder x --distributed",
        ),
        (
            ["slurm", "-n", "4"],
            "srun",
            "--label --kill-on-bad-exit=1 -n 4 PYTHON -u -m tiny --folder x --distributed",
        ),
        (
            ["mpi", "-n", "4"],
            "mpirun",
            "--tag-output -n 4 PYTHON -u -m tiny --folder x --distributed",
        ),
    ],
)
def test_batch_systems_are_called_and_keep_their_exit_code(start, tmp_path, how, starter, expected):
    fake = tmp_path / starter
    fake.write_text('#!/bin/sh\necho "$@"\nexit 5\n')
    fake.chmod(0o755)
    launcher = start("", *how, "--module", "tiny", "--", "--folder", "x", path=str(tmp_path))
    out, err = launcher.communicate(timeout=20)
    assert (out.strip(), launcher.returncode) == (expected.replace("PYTHON", sys.executable), 5), (
        err
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["local"], "local needs the number of processes: -n N"),
        (["local", "-n", "0"], "-n 0: at least one process is needed"),
        (["slurm"], "srun is not on PATH"),
    ],
)
def test_user_errors_are_one_line(tmp_path, argv, said):
    run = subprocess.run(
        [sys.executable, str(LAUNCH), *argv],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert run.returncode == 2
    assert said in run.stderr.splitlines()[-1]
