"""Estimate the prior of finger angles from sampled hands: what handjax/fitting/prior.py loads.

    python scripts/angle_prior.py --out FILE.npz

To be run again when the pose sampler changes (handjax/rigs/poses.py); a test compares the two.
"""

import sys
from pathlib import Path

import numpy as np

from handjax.engine import cli
from handjax.fitting import prior


def main(argv: list[str]) -> None:
    flags = cli.Parser(prog="python scripts/angle_prior.py", description=__doc__)
    flags.add_argument("--out", type=Path, required=True, help="file to write")
    out = flags.parse_args(argv).out
    if out.suffix != ".npz" or not out.parent.is_dir():
        raise ValueError(f"--out {out}: expected a name ending in .npz, in a folder that exists")
    if out.exists():
        raise FileExistsError(f"{out} exists; remove it or choose another --out")
    with out.open("xb") as file:
        np.savez_compressed(file, **prior.estimated()._asdict())
    print(f"{out}: {out.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
