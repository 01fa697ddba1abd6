"""Writes a fake data set, in the files of the real one: python scripts/fakes.py NAME --out DIR [-n 20] [--seed 0] [--config NAME]

For a demonstration: the pictures are rendered from simple hands and bodies, so that the whole way from raw files to metrics can be
walked without the data. It is nobody's data set. DIR must be empty or not there. --config is for human36m, a subset (default
validact02: all together are 1,680 folders), and for keypoint_list, the order of its lists.
"""

import argparse
import importlib
import sys
from pathlib import Path

from handjax.prepare import SETS


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", choices=sorted(SETS), metavar="NAME", help=", ".join(sorted(SETS)))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "-n", type=int, default=20, help="frames of each split, sequence or folder (default 20)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", metavar="NAME")
    args = parser.parse_args(argv)
    chosen = {"human36m": ("split", "validact02"), "keypoint_list": ("order", "keypoint_list")}.get(
        args.name
    )
    if args.config and not (chosen and args.config in SETS[args.name].configs):
        known = ", ".join(SETS[args.name].configs) if chosen else "none for this set"
        parser.error(f"--config {args.config}: expected {known}")
    if args.n < 1 or args.seed < 0:
        parser.error(f"-n {args.n} --seed {args.seed}: expected at least 1 and at least 0")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        parser.error(f"--out {args.out}: exists and is not an empty folder; give another name")
    args.out.mkdir(parents=True, exist_ok=True)
    options = {chosen[0]: args.config or chosen[1]} if chosen else {}
    importlib.import_module(f"handjax.data.{args.name}.fake").write(
        args.out, args.n, args.seed, **options
    )
    more = f" --config {options[chosen[0]]}" if chosen else ""
    print(
        f"{args.out}: fake {args.name}; python -m handjax.prepare {args.name}{more} --manual_dir {args.out}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
