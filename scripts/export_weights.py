"""Export a run's network as one file of weights, for `config.init` and `--weights`.

    python scripts/export_weights.py runs/synthetic spherenet.npz [--checkpoint best] [--half]
    python scripts/export_weights.py runs/a runs/b mean.npz

Of several runs that went on from the same weights, with other seeds, it is the mean: often better
than each (Wortsman et al. 2022, "Model soups"), and so two machines that know nothing of each other
train one network in turns.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from handjax.engine import cli, weights
from handjax.engine.checkpoint import Checkpoints
from handjax.run import choose_steps


def main(argv: list[str]) -> None:
    flags = cli.Parser(prog="python scripts/export_weights.py", description=__doc__)
    flags.add_argument("workdir", type=Path, nargs="+", help="folder of the trained run, or runs")
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
    found = [_weights(workdir, args.checkpoint) for workdir in args.workdir]
    weights.save(args.out, _mean([variables for _, variables in found], args.workdir), args.half)
    steps = ", ".join(f"step {step}" for step, _ in found)
    print(f"{args.out}: {steps}, {args.out.stat().st_size / 1e6:.1f} MB")


def _weights(workdir: Path, which: str) -> tuple[int, Any]:
    """Step and weights of one checkpoint."""
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    steps = choose_steps(checkpoints, which)
    if len(steps) > 1:
        raise ValueError(
            f"--checkpoint {which}: {len(steps)} checkpoints, but a file holds the weights of one"
        )
    variables = checkpoints.weights(steps[0])
    checkpoints.close()
    return steps[0], variables


def _mean(networks: list[Any], workdirs: list[Path]) -> Any:
    """The mean of the networks' arrays. ValueError for networks that differ in any shape."""
    shapes = [jax.tree.map(np.shape, network) for network in networks]
    for workdir, shape in zip(workdirs, shapes, strict=True):
        if shape != shapes[0]:
            raise ValueError(
                f"{workdir}: another network than {workdirs[0]}; expected runs of one config"
            )

    def mean(*arrays: np.ndarray) -> np.ndarray:
        return np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype)

    return jax.tree.map(mean, *networks)


if __name__ == "__main__":
    cli.run(main)
