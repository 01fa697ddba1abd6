"""A tiny training by `scripts/launch.py` under the real Open MPI and Slurm, where they are
installed: two processes, interrupted, and continued by the same command."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from handjax.engine.interruption import REQUEUE
from tests.devices import xla_flags

pytestmark = pytest.mark.slow

# Open MPI refuses root, and more processes than cores, unless told otherwise.
MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}


def slurm_answers() -> bool:
    if not all(map(shutil.which, ("salloc", "srun", "sinfo"))):
        return False
    try:
        done = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    return not done.returncode and bool(re.search(r"\b(idle|mix)", done.stdout))


@pytest.fixture(params=["mpi", "slurm"])
def start(request, repo, tmp_path):
    """start(*flags) → the running launcher of two processes, whose lines are in `process.log`, and
    who gets its signals."""
    if request.param == "mpi" and not shutil.which("mpirun"):
        pytest.skip("mpirun is not installed: Debian's openmpi-bin has it")
    if request.param == "slurm" and not slurm_answers():
        pytest.skip("there is no Slurm with a free node: Debian's slurm-wlm makes one of a machine")
    around = ["salloc", "-n", "2", "--overcommit"] if request.param == "slurm" else []
    started = []

    def run(*flags):
        many = ["scripts/launch.py", request.param, "-n", "2"]
        config = ["--config", "tests/multiprocess/tiny_config.py", "--config.data.pause=0.02"]
        log = tmp_path / f"{len(started)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*around, sys.executable, *many, "--module", "tests.multiprocess.tiny_train", "--"]
                + [*config, "--config.eval_every=100000", *flags, "--workdir", tmp_path / "run"],
                cwd=repo,
                env=os.environ | MPI | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags(1)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        process.log = log
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def test_interrupted_and_continued(start, tmp_path):
    first = start("--config.steps=100000")
    limit = time.monotonic() + 180
    while not (tmp_path / "run" / "checkpoints" / "5").is_dir():
        assert first.poll() is None and time.monotonic() < limit, first.log.read_text()
        time.sleep(0.1)
    # A scheduler's signal reaches every process; here one gets it.
    pid = re.findall(r"pid (\d+)", first.log.read_text())[0]
    os.kill(int(pid), signal.SIGUSR1)
    code, text = first.wait(120), first.log.read_text(errors="replace")
    # Slurm may end the last process, which has saved as well, once the first has ended with 75.
    assert code in (REQUEUE, 128 + signal.SIGTERM), text
    saved = int(re.search(r"saved step (\d+) of 100000", text)[1])
    again = start(f"--config.steps={saved + 5}")
    code, text = again.wait(180), again.log.read_text(errors="replace")
    assert code == 0 and f"resume at step {saved} of {saved + 5} on 2 device(s)" in text, text
