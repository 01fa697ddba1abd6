#!/usr/bin/env python3
"""Starts one training run on several processes; everything after -- is passed to each process.

    python scripts/launch.py local -n 2 -- --config configs/v2v.py --workdir runs/v2v
        CPU, gloo
    python scripts/launch.py local -n 8 --gpus -- --config configs/v2v.py --workdir runs/v2v
        one process per GPU
    python scripts/launch.py slurm -- --config configs/v2v.py --workdir runs/v2v
        inside sbatch or salloc
    python scripts/launch.py mpi -n 16 -- --config configs/v2v.py --workdir runs/v2v
        Open MPI 4

`local` passes each process its rank (--coordinator, --num_processes, --process_id) and shows the
lines of all processes, each after its rank. The first process that fails ends the others, and its
exit code is that of the launcher.

Slurm and Open MPI 4 do the same by themselves: JAX reads the rank from their variables
(--distributed), and they label the lines and end the other processes. JAX 0.10 does not support
Open MPI 5 (jax-ml/jax#14576): start that through Slurm, or give the three flags by hand.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

# Between asking a process to end and killing it; orbax needs some time to finish a save.
GRACE_SECONDS = 10


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
    args = parser.parse_args(argv[:cut])
    if args.n is None and args.how != "slurm":
        parser.error(f"{args.how} needs the number of processes: -n N")
    if args.n is not None and args.n < 1:
        parser.error(f"-n {args.n}: at least one process is needed")
    command = [sys.executable, "-u", "-m", args.module, *argv[cut + 1 :]]
    if args.how == "local":
        return local(command, args.n, args.gpus)
    count = [] if args.n is None else ["-n", str(args.n)]
    starter = {
        "slurm": ["srun", "--label", "--kill-on-bad-exit=1", *count],
        "mpi": ["mpirun", "--tag-output", *count],
    }[args.how]
    if shutil.which(starter[0]) is None:
        parser.error(f"{starter[0]} is not on PATH; `local` needs neither Slurm nor MPI")
    os.execvp(starter[0], [*starter, *command, "--distributed"])


def local(command: list[str], n: int, gpus: bool) -> int:
    """Runs n copies here → the exit code of the first failure, 128 + signal if it was killed."""
    with socket.socket() as s:  # a port that is free now; process 0 listens on it
        s.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{s.getsockname()[1]}"
    # Ctrl-C and the SIGTERM of a batch system leave through `finally`. Without this handler, SIGINT
    # is ignored in a process that a shell starts in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    processes, readers = [], []
    try:
        for rank in range(n):
            device = {"CUDA_VISIBLE_DEVICES": str(rank)} if gpus else {"JAX_PLATFORMS": "cpu"}
            process = subprocess.Popen(
                [
                    *command,
                    "--coordinator",
                    coordinator,
                    "--num_processes",
                    str(n),
                    "--process_id",
                    str(rank),
                ],
                env=os.environ | device,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # so that its children end with it
            )
            processes.append(process)
            readers.append(threading.Thread(target=show, args=(rank, process.stdout), daemon=True))
            readers[-1].start()
        codes = [None]
        while None in codes and not any(codes):
            time.sleep(0.1)
            codes = [process.poll() for process in processes]
        failed = [(rank, code) for rank, code in enumerate(codes) if code]
    finally:
        end(processes)
        for reader in readers:
            reader.join(timeout=5)
    if not failed:
        return 0
    rank, code = failed[0]
    print(f"launch: process {rank} ended with {code}; the others were stopped", file=sys.stderr)
    return code if code > 0 else 128 - code


def show(rank: int, lines) -> None:
    """Prints the lines of a process as they come; a progress bar's carriage return ends one too."""
    for line in lines:
        # One write: between print's two writes another thread could get in.
        sys.stdout.write(f"[{rank}] {line.rstrip()}\n")
        sys.stdout.flush()


def end(processes: list[subprocess.Popen]) -> None:
    """Asks running processes and their children to end, then kills those that have not."""
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        running = [p for p in processes if p.poll() is None]
        for process in running:
            os.killpg(process.pid, number)
        limit = time.monotonic() + patience
        while any(p.poll() is None for p in running) and time.monotonic() < limit:
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
