#!/usr/bin/env python3
"""Kills a training again and again, and compares what it becomes with an undisturbed one.

    python scripts/endure.py --workdir runs/endure -- --config v2v:quick --config.steps=100

trains in runs/endure/undisturbed, then in runs/endure/disturbed with --kills times kill -9 and
--terms times SIGTERM at random steps and moments, restarting it after each, and lets it finish. It
fails if a restart fails, if more steps are redone than lie between two saves, or if any array of
the last checkpoint differs by a bit. With config.log_every=1 it sees every step. On Linux it also
fails if the undisturbed training takes 10 % more memory in its last fifth than in its second.
"""

import argparse
import json
import logging
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the comparison restores on one device

from handjax.engine import cli  # noqa: E402

REQUEUE = 75


def main(argv: Sequence[str]) -> int:
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--workdir", required=True, type=cli.path, help="a new folder for both runs"
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--terms", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--module", default="handjax.train", help="what trains (%(default)s)")
    flags = parser.parse_args(argv[:cut])
    if flags.workdir.exists():
        parser.error(f"--workdir {flags.workdir} exists; name a new folder")
    flags.workdir.mkdir(parents=True)
    command = [sys.executable, "-u", "-m", flags.module, *argv[cut + 1 :], "--workdir"]

    whole, run = flags.workdir / "undisturbed", flags.workdir / "disturbed"
    code, seconds, memory = finish([*command, str(whole)], flags.workdir / "undisturbed.log", whole)
    if code != 0:
        return fail(f"the undisturbed run failed: {flags.workdir / 'undisturbed.log'}")
    early, late = growth(memory)
    print(f"undisturbed: {seconds:.1f} s of steps, {early:.0f} MB early, {late:.0f} MB late")
    sys.stdout.flush()
    if late > 1.1 * early:
        return fail("its memory grows")
    if not flags.kills + flags.terms:
        return 0

    rng = random.Random(flags.seed)
    numbers = [signal.SIGKILL] * flags.kills + [signal.SIGTERM] * flags.terms
    rng.shuffle(numbers)
    config = json.loads((whole / "config.json").read_text())
    # On a busy machine a signal comes some steps late, and has to come before the last.
    wanted = sorted(rng.randrange(1, 1 + 4 * config["steps"] // 5) for _ in numbers)
    redone, saving, sent = 0, 0, 0
    for turn, (number, step) in enumerate(zip(numbers, wanted, strict=True), 1):
        log = flags.workdir / f"disturbed.{turn}.log"
        before = last_step(run)
        # Some before the first step, so that starting is disturbed as well.
        until = step if rng.random() < 0.8 else 0
        moment = rng.uniform(0, 2 * seconds / config["steps"])
        code = disturb([*command, str(run)], log, number, moment, run, until)
        sent += code in (-signal.SIGKILL, -signal.SIGTERM, REQUEUE)
        began = resumed(log)
        redone = max(redone, before - began) if began is not None else redone
        half = any(run.glob("checkpoints/*.orbax-checkpoint-tmp*"))
        saving += half
        print(
            f"{turn}: {number.name} → {code}, resumed at {began}, reached {last_step(run)}"
            f"{', inside a save' if half else ''}",
            flush=True,
        )
        if code not in (-signal.SIGKILL, -signal.SIGTERM, REQUEUE, 0):
            return fail(f"a restart failed: {log}")
    if finish([*command, str(run)], flags.workdir / "disturbed.log", run)[0] != 0:
        return fail(f"the last restart failed: {flags.workdir / 'disturbed.log'}")

    every = config["save_every"]
    differ = differences(whole, run)
    print(
        f"{flags.kills} kills and {flags.terms} SIGTERM, of which {sent} ended a run and {saving} "
        f"came inside a save: at most {redone} steps redone; {len(differ)} arrays differ"
    )
    if sent < len(numbers):
        return fail("some came after the last step: use more steps")
    if differ:
        return fail(f"differs: {', '.join(differ[:4])}")
    # A save is written while the next steps run: one that was killed adds its interval.
    return fail(f"more than {2 * every} steps redone") if redone > 2 * every else 0


def finish(command: list[str], log: Path, run: Path) -> tuple[int, float, list[tuple[int, float]]]:
    """Lets a run end → its exit code, how many seconds its steps took, without its start, and its
    memory in MB by step."""
    memory = []
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None and resumed(log) is None:
            time.sleep(0.05)
        began = time.monotonic()
        while process.poll() is None:
            memory.append((last_step(run), resident(process.pid)))
            time.sleep(0.2)
        return process.wait(), time.monotonic() - began, memory


def resident(process: int) -> float:
    """MB of memory that a process has now; 0 where Linux's files are missing, or it has ended."""
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def growth(memory: list[tuple[int, float]]) -> tuple[float, float]:
    """The medians of the memory in the second and in the last fifth of the steps; 0 if unknown."""
    last = max((step for step, _ in memory), default=0)
    early = [used for step, used in memory if used and last < 5 * step <= 2 * last]
    late = [used for step, used in memory if used and 4 * last < 5 * step < 5 * last]
    return tuple(statistics.median(part) if part else 0.0 for part in (early, late))


def disturb(
    command: list[str], log: Path, number: signal.Signals, wait: float, run: Path, until: int
) -> int:
    """Sends a signal `wait` seconds after a training in the folder `run` has said where it begins
    and, unless `until` is 0, has done that step and one of its own → its exit code."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None and (began := resumed(log)) is None:
            time.sleep(0.05)
        until = until and max(until, (began or 0) + 1)
        while process.poll() is None and last_step(run) < until:
            time.sleep(0.01)
        time.sleep(wait)
        process.send_signal(number)
        return process.wait()


def resumed(log: Path) -> int | None:
    """The step at which a run says that it starts or resumes."""
    found = re.search(r"(?:start|resume) at step (\d+) of", log.read_text(errors="replace"))
    return int(found[1]) if found else None


def last_step(run: Path) -> int:
    """The last step of metrics.jsonl."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [re.match(r'\{"step": (\d+)', line) for line in lines]
    return max((int(one[1]) for one in found if one), default=0)


def differences(one: Path, other: Path) -> list[str]:
    """Names of the arrays of both runs' last checkpoints that are not equal bit for bit."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    from handjax.engine import checksums
    from handjax.engine.checkpoint import Checkpoints

    sums = []
    for run in (one, other):
        checkpoints = Checkpoints(run / "checkpoints", read_only=True)
        sums.append(checksums.take(checkpoints.tree(checkpoints.steps()[-1])))
        checkpoints.close()
    first, second = sums
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def fail(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
