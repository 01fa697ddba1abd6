#!/usr/bin/env python3
"""Starts one training run on several processes; everything after -- is passed to each process.

    python scripts/launch.py local -n 2 -- --config configs/v2v.py --workdir runs/v2v
        CPU, gloo
    python scripts/launch.py local -n 8 --gpus -- --config configs/v2v.py --workdir runs/v2v
        one process per GPU
    python scripts/launch.py slurm -- --config configs/v2v.py --workdir runs/v2v
        inside sbatch or salloc
    python scripts/launch.py mpi -n 16 -- --config configs/v2v.py --workdir runs/v2v
        Open MPI 4; with 5, also --coordinator HOST:PORT of process 0 after the --

`local` passes each process its rank (--coordinator, --num_processes, --process_id) and shows the
lines of all processes, each after its rank. The first process that fails ends the others, and its
exit code is that of the launcher. SIGTERM, SIGUSR1 and Ctrl-C are passed on: a training saves a
checkpoint and ends with 75, as does the launcher, and the same command continues it.

Slurm and Open MPI 4 do the same by themselves: JAX reads the rank from their variables
(--distributed), and they label the lines and end the other processes. JAX does not find the
coordinator of Open MPI 5 (jax-ml/jax#14576): name it.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

REQUEUE = 75  # the exit code of a training that was asked to end and can be continued
LOST = 76  # that of one whose run has lost another process
# Between asking a process to end and killing it, after the failure of another.
FAILED_SECONDS = 10
LATE_SECONDS = 2
JOIN_SECONDS = 60  # that processes on one machine wait for each other
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ABORTED = "JAX ended it, as it does when another process of the run never came or went away"


def main(argv: list[str]) -> int:
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("how", choices=["local", "slurm", "mpi"])
    parser.add_argument("-n", type=int, help="number of processes (slurm: default: as allocated)")
    parser.add_argument(
        "--gpus",
        action="store_true",
        help="local: process i uses GPU i; without this flag all use the CPU",
    )
    parser.add_argument(
        "--module",
        default="handjax.train",
        help="the module to run, with handjax.train's flags for several processes (%(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="local: for a checkpoint, when the launcher is asked to end (%(default)s)",
    )
    args = parser.parse_args(argv[:cut])
    if args.n is None and args.how != "slurm":
        parser.error(f"{args.how} needs the number of processes: -n N")
    if args.n is not None and args.n < 1:
        parser.error(f"-n {args.n}: at least one process is needed")
    command = [sys.executable, "-u", "-m", args.module, *argv[cut + 1 :]]
    if args.how == "local":
        return local(command, args.n, args.gpus, args.grace)
    count = [] if args.n is None else ["-n", str(args.n)]
    starter = {
        "slurm": ["srun", "--label", "--kill-on-bad-exit=1", *count],
        "mpi": ["mpirun", "--tag-output", *count],
    }[args.how]
    if shutil.which(starter[0]) is None:
        parser.error(f"{starter[0]} is not on PATH; `local` needs neither Slurm nor MPI")
    os.execvp(starter[0], [*starter, *command, "--distributed"])


def local(command: list[str], n: int, gpus: bool, grace: float) -> int:
    """Runs n copies here → the exit code of the first failure, 128 + signal if it was killed."""
    with socket.socket() as s:  # a port that is free now; process 0 listens on it
        s.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{s.getsockname()[1]}"
    asked: list[int] = []  # the signals that came
    again: list[int] = []  # and those that came while the processes were ended
    processes, readers = [], []
    codes: list[int | None] = [None]
    # Without a handler, SIGINT is ignored in a process that a shell starts in the background. One
    # that raised could come between the start of a process and the line that remembers it.
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: asked.append(number))
    try:
        for rank in range(n):
            processes.append(start(command, coordinator, n, rank, gpus))
            reader = threading.Thread(target=show, args=(rank, processes[-1].stdout), daemon=True)
            readers.append(reader)
            reader.start()
        # Those that were asked to end save at the same step and end soon, one after the other.
        while not asked and None in codes and {*codes} <= {None, 0, REQUEUE}:
            time.sleep(0.1)
            codes = [process.poll() for process in processes]
        limit = time.monotonic() + LATE_SECONDS
        while not (asked or first_reasons(codes)) and None in codes and time.monotonic() < limit:
            time.sleep(0.05)  # the one that others miss may be seen to end after them
            codes = [process.poll() for process in processes]
    finally:
        for number in SIGNALS:  # the next one does not wait
            signal.signal(number, lambda number, frame: again.append(number))
        end(processes, grace if asked else FAILED_SECONDS, again)
        for reader in readers:
            reader.join(timeout=5)
    if asked:
        ended = {process.returncode for process in processes}
        return REQUEUE if REQUEUE in ended and ended <= {0, REQUEUE} else 128 + asked[0]
    return told([(rank, code) for rank, code in enumerate(codes) if code])


def told(failed: list[tuple[int, int]]) -> int:
    """Says which process failed → its exit code."""
    if not failed:
        return 0
    rank, code = next((one for one in failed if first_reasons([one[1]])), failed[0])
    code = code if code > 0 else 128 - code
    if code == REQUEUE and all(other == REQUEUE for _, other in failed):
        return code
    why = f" ({ABORTED})" if code == 128 + signal.SIGABRT else ""
    print(
        f"launch: process {rank} ended with {code}{why}; the others were stopped", file=sys.stderr
    )
    return code


def first_reasons(codes: Sequence[int | None]) -> list[int]:
    """Exit codes other than those of processes that ended because another one had: JAX aborts
    them, or they see it first."""
    return [code for code in codes if code and code not in (LOST, -signal.SIGABRT)]


def start(command: list[str], coordinator: str, n: int, rank: int, gpus: bool) -> subprocess.Popen:
    """Process `rank` of n."""
    device = {"CUDA_VISIBLE_DEVICES": str(rank)} if gpus else {"JAX_PLATFORMS": "cpu"}
    place = ["--coordinator", coordinator, "--num_processes", str(n), "--process_id", str(rank)]
    place += ["--join_seconds", str(JOIN_SECONDS)]
    return subprocess.Popen(
        [*command, *place],
        env=os.environ | device,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that its children end with it
    )


def show(rank: int, lines) -> None:
    """Prints the lines of a process as they come; a progress bar's carriage return ends one too."""
    for line in lines:
        # One write: between print's two writes another thread could get in.
        sys.stdout.write(f"[{rank}] {line.rstrip()}\n")
        sys.stdout.flush()


def end(processes: list[subprocess.Popen], patience: float, hurry: list[int]) -> None:
    """Asks running processes and their children to end, then kills those that have not: after
    `patience` seconds, or once `hurry` has a signal. Its handler only notes it there, since poll()
    always answers None in a handler that interrupts another poll()."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, FAILED_SECONDS)):
        running = [p for p in processes if p.poll() is None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        limit = time.monotonic() + seconds
        while any(p.poll() is None for p in running) and time.monotonic() < limit:
            if hurry and number == signal.SIGTERM:
                break
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
