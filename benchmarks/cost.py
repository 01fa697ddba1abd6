#!/usr/bin/env python3
"""The cost of a run, as Markdown tables: python benchmarks/cost.py [SECTION …]

commands seconds from every command to its first line, its first answer and its end, with an empty
         and a filled compile cache, each in a fresh process
startup  seconds from the command to the end of the first step, with an empty and a filled compile
         cache, each in a fresh process of the real command (handjax.train), and what it imports
memory   memory of the compiled training step of each default config, and the smallest
         config.accumulate with which it fits into --gigabytes
growth   time and memory of a training step against batch, grid, joints, image side and devices,
         with exponents

Memory is XLA's own figure for the program compiled for this machine: arguments, results and
temporaries, with donated buffers counted once. It does not include the rest of the process or the
scratch memory of our kernels (rows in the cache).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.commands import measure
from benchmarks.growth import growth
from benchmarks.harness import (
    add_output_options,
    check_arguments,
    describe_machine,
    write_json,
)
from benchmarks.memory import memory
from benchmarks.startup import startup
from handjax.engine.runtime import keep_memory

SECTIONS = {"commands": measure, "startup": startup, "memory": memory, "growth": growth}


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure, print tables, and write the results as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"one of {', '.join(SECTIONS)} (default: all)",
    )
    add_output_options(parser)
    parser.add_argument(
        "--turns",
        type=int,
        default=5,
        help="timed steps per size, in growth (default: %(default)s)",
    )
    parser.add_argument(
        "--gigabytes",
        type=float,
        default=8.0,
        help="limit for memory (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    check_arguments(parser, args, args.sections, SECTIONS)
    for name in ("turns", "gigabytes"):
        if not getattr(args, name) > 0:
            parser.error(f"--{name} {getattr(args, name):g}: expected more than 0")

    about = describe_machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    # In their own order: a child's peak memory starts at that of its parent, which is small as long
    # as nothing else has run.
    results = {
        name: section(args)
        for name, section in SECTIONS.items()
        if name in (args.sections or SECTIONS)
    }
    write_json(args.json, {"machine": about, **results})


def run() -> None:
    """The command: two host devices, and one line for an error."""
    keep_memory()
    devices = " --xla_force_host_platform_device_count=2"  # most measurements use one of them
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + devices
    try:
        main(sys.argv[1:])
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


if __name__ == "__main__":
    run()
