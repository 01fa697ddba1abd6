#!/usr/bin/env python3
"""Benchmarks of kernels, networks and synthetic data: python benchmarks/bench.py [SYSTEM …]

Candidates are interleaved, A B C A B C …, after a warm-up of each, so that a machine that slows
down affects all of them. We report the median over the turns, the range of the middle half, and the
time relative to the first candidate (the median of the turns' ratios). Networks are compared with
their reference implementations in PyTorch on the CPU. Peers that are not installed are listed:
`pip install open3d` (in a separate environment, as it has many dependencies), `pip install torch`,
`pip install 'handjax[bench]'` for --strongest.

On a machine with a GPU the CUDA kernel is measured as well, and compared with a straightforward one
if nvcc is installed; and every network in bfloat16, compared with its reference implementation
under torch.compile, autocast and channels last.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import fit, networks, rasterizer, spheres, world
from benchmarks.harness import (
    Case,
    Effort,
    add_output_options,
    check_arguments,
    machine,
    measure,
    table,
    write_json,
)
from handjax.engine.runtime import keep_memory

SYSTEMS: dict[str, Callable[[Effort], Iterator[Case]]] = {
    "rasterizer": rasterizer.cases,
    "spheres": spheres.cases,
    "world": world.cases,
    "fit": fit.cases,
    **{
        name: functools.partial(networks.network, name)
        for name in ("v2v", "cpm", "posenet2d", "resnet")
    },
    "body": networks.bodies,
    "spherehand": networks.spherehand,
}


def main(argv: list[str]) -> None:
    """Parse the command line, measure, print tables, and write the results as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "systems", nargs="*", metavar="SYSTEM", help=f"one of {', '.join(SYSTEMS)} (default: all)"
    )
    add_output_options(parser)
    parser.add_argument(
        "--seconds",
        type=float,
        default=8.0,
        help="seconds per case, without warm-up (default: %(default)s)",
    )
    parser.add_argument(
        "--batch", type=int, default=0, help="samples of the networks (default: each its own)"
    )
    parser.add_argument(
        "--strongest",
        action="store_true",
        help="networks: also onnxruntime and OpenVINO for inference, and torch.compile, which "
        "compiles each for minutes",
    )
    args = parser.parse_args(argv)
    check_arguments(parser, args, args.systems, SYSTEMS)
    if not args.seconds > 0:
        parser.error(f"--seconds {args.seconds:g}: expected more than 0")

    if args.batch < 0:
        parser.error(f"--batch {args.batch}: expected 1 or more, or 0 for each network's own")

    peers = args.strongest, args.batch
    effort = Effort(0.0, 1, True, *peers) if args.tiny else Effort(args.seconds, 3, False, *peers)
    about = machine(effort)
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    results = []
    for system in dict.fromkeys(args.systems or SYSTEMS):
        for case in SYSTEMS[system](effort):
            print(f"measuring {system}: {case.title}", file=sys.stderr, flush=True)
            results.append(measure(system, case, effort))
            print("\n" + table(results[-1]), flush=True)
    write_json(args.json, {"machine": about, "results": [asdict(result) for result in results]})


if __name__ == "__main__":
    # PyTorch needs some of a GPU's memory as well.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    keep_memory()
    main(sys.argv[1:])
