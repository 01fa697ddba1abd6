"""Export a run's network as one file of weights, for `config.init` and `--weights`.

python scripts/export_weights.py runs/synthetic spherenet.npz [--checkpoint best] [--half]
"""

import argparse
from pathlib import Path

from handjax.engine import cli, weights
from handjax.engine.checkpoint import Checkpoints
from handjax.run import choose_steps


def main(argv: list[str]) -> None:
    flags = argparse.ArgumentParser(prog="python scripts/export_weights.py", description=__doc__)
    flags.add_argument("workdir", type=Path, help="folder of the trained run")
    flags.add_argument("out", type=Path, help="the .npz file to write")
    flags.add_argument(
        "--checkpoint", metavar="WHICH", default="last", help="last, best or a step (default: last)"
    )
    flags.add_argument(
        "--half", action="store_true", help="16-bit floats: half the size, three digits"
    )
    args = flags.parse_args(argv)
    if args.out.suffix != ".npz":
        raise ValueError(f"{args.out}: expected a name that ends in .npz")
    if args.out.exists():
        raise FileExistsError(f"{args.out} exists; remove it or choose another file")
    checkpoints = Checkpoints(args.workdir / "checkpoints", read_only=True)
    steps = choose_steps(checkpoints, args.checkpoint)
    if len(steps) > 1:
        raise ValueError(
            f"--checkpoint {args.checkpoint}: {len(steps)} checkpoints, but a file holds the "
            "weights of one"
        )
    weights.save(args.out, checkpoints.weights(steps[0]), half=args.half)
    checkpoints.close()
    print(f"{args.out}: step {steps[0]}, {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
