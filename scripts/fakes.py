"""Write a fake data set in the format of the real one: python scripts/fakes.py NAME --out DIR

The images show simple rendered hands and bodies, so that every step from raw files to metrics can
be demonstrated and tested without the real data. DIR must be empty or not exist. --config exists
for human36m, where it is the subset (default validact02: all of them together have 1,680 folders),
for keypoint_list, where it is the joint order of the lists, and for ho3d, where it is the version.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from handjax.data.preparation.registry import SETS, raw_files
from handjax.engine import cli

# Sets whose fake files depend on the configuration → the default.
CONFIGS = {"human36m": "validact02", "keypoint_list": "keypoint_list", "ho3d": "v3"}


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", choices=sorted(SETS), metavar="NAME", help=", ".join(sorted(SETS)))
    parser.add_argument("--out", type=cli.path, required=True, metavar="DIR")
    parser.add_argument(
        "-n", type=int, default=20, help="frames per split, sequence or folder (default 20)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--config", metavar="NAME", help="of human36m, keypoint_list and ho3d")
    args = parser.parse_args(argv)
    known = tuple(raw_files(args.name).CONFIGS) if args.name in CONFIGS else ()
    if args.config and args.config not in known:
        parser.error(f"--config {args.config}: expected {', '.join(known) or 'none for this set'}")
    if args.n < 1 or args.seed < 0:
        parser.error(f"-n {args.n} --seed {args.seed}: expected at least 1 and at least 0")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        parser.error(f"--out {args.out}: exists and is not an empty folder; give another name")
    args.out.mkdir(parents=True, exist_ok=True)
    config = args.config or CONFIGS.get(args.name)
    options = {"config": config} if config else {}
    fake = importlib.import_module(f"handjax.data.sets.{args.name}.fake")
    fake.write(args.out, args.n, args.seed, **options)
    more = f" --config {config}" if config else ""
    print(
        f"{args.out}: fake {args.name}; handjax prepare {args.name}{more} --manual_dir {args.out}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
