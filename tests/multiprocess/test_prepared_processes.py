"""A prepared set read by one process, by three of which one is killed, and by two that resume."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip(
    "tensorflow",
    reason="tensorflow is not installed: pip install 'handjax[data]'",
    exc_type=ImportError,
)

import tensorflow_datasets as tfds  # noqa: E402

from handjax.data.sets.keypoint_list.keypoint_list_dataset_builder import Builder  # noqa: E402
from handjax.engine import sharding  # noqa: E402
from tests.devices import xla_flags  # noqa: E402
from tests.multiprocess import read_prepared  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

TRAIN, TEST = 14, 10  # neither is a multiple of a batch
KILLED_AT, STOP, ENOUGH = 4, 12, 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    features = Builder(data_dir=str(root)).info.features

    def samples(first, count):
        for n in range(first, first + count):
            uv = np.random.default_rng(n).uniform(4, 28, (21, 2)).astype(np.float32)
            hand = dict(joints_uv=uv, visible=np.ones(21, bool), root="wrist")
            yield f"{n}", {"image": np.full((32, 32, 3), n, np.uint8), "id": f"{n}", **hand}

    tfds.dataset_builders.store_as_tfds_dataset(
        name="keypoint_list",
        version="1.0.0",
        features=features,
        split_datasets={"train": list(samples(0, TRAIN)), "test": list(samples(100, TEST))},
        data_dir=str(root),
        download_config=tfds.download.DownloadConfig(num_shards=2),
    )
    return root


@pytest.fixture(scope="module")
def alone(folder):
    """One process: what it evaluates, and the images of each step."""
    mesh, source = sharding.make_mesh(1), read_prepared.source(str(folder))
    return read_prepared.held(source, mesh), list(read_prepared.steps(source, mesh, 0, ENOUGH))


def launch(repo, folder, processes, start, stop):
    environment = os.environ | {
        "XLA_FLAGS": xla_flags(1),
        "JAX_PLATFORMS": "cpu",
    }
    command = [
        sys.executable,
        "scripts/launch.py",
        "local",
        "-n",
        f"{processes}",
        "--module",
        "tests.multiprocess.read_prepared",
    ]
    command += ["--", str(folder), f"{start}", f"{stop}"]
    return subprocess.Popen(
        command,
        cwd=repo,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Heard:
    """The lines of several processes: rank → step → images."""

    def __init__(self, processes):
        self.steps = {rank: {} for rank in range(processes)}
        self.held, self.pids, self.lines = {}, {}, []

    def listen(self, line):
        self.lines.append(line)
        if said := re.match(r"\[(\d)\] (\w+) ?(.*)", line):
            rank, what, words = int(said[1]), said[2], said[3].split()
            if what == "pid":
                self.pids[rank] = int(words[0])
            elif what == "held":
                self.held[rank] = words
            elif what == "step":
                self.steps[rank][int(words[0])] = words[1:]

    def union(self, step):
        """The images of a step by rank; None if a process has not reached it."""
        parts = [mine.get(step) for mine in self.steps.values()]
        return None if None in parts else sum(parts, [])


def check(heard, alone, start, processes):
    """Shares are equal, disjoint and complete; an evaluation sees each image once."""
    held, steps = alone
    assert all(heard.held[rank] == held for rank in range(processes)), heard.lines
    step = start
    while (union := heard.union(step)) is not None:
        assert union == steps[step], step
        assert all(
            len(mine[step]) == read_prepared.BATCH // processes for mine in heard.steps.values()
        )
        step += 1
    return step


def test_one_process_reads_each_once(alone):
    held, steps = alone
    assert sorted(held) == [f"{n}={n}" for n in range(100, 100 + TEST)]
    images = sum(steps, [])
    for epoch in range(len(images) // TRAIN):
        assert sorted(images[TRAIN * epoch : TRAIN * (epoch + 1)]) == sorted(
            str(n) for n in range(TRAIN)
        )


def test_a_killed_run_resumes_with_fewer_processes(repo, folder, alone):
    three = Heard(3)
    process = launch(repo, folder, 3, 0, 10**6)
    try:
        for line in process.stdout:
            three.listen(line)
            if line.startswith(f"[1] step {KILLED_AT}"):
                os.kill(three.pids[1], signal.SIGKILL)
        assert process.wait(60) == 128 + signal.SIGKILL, three.lines
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    assert KILLED_AT <= check(three, alone, 0, 3) < ENOUGH

    two = Heard(2)
    process = launch(repo, folder, 2, KILLED_AT, STOP)
    output, _ = process.communicate(timeout=120)
    for line in output.splitlines():
        two.listen(line)
    assert process.returncode == 0, output
    assert check(two, alone, KILLED_AT, 2) == STOP
    assert "[0] end []" in output and "[1] end []" in output
