"""Train the two networks of `handjax.load("hand-depth")` and export them, in half precision.

    python scripts/train_hand.py --workdir DIR [--out FOLDER] [--steps N,M] [--init]

Five million rendered hands for the hand network (configs/handnet.py), two million images for the
finder (configs/handfinder.py): hours on two CPU cores, minutes on a GPU. A run that was stopped
goes on where it was. --steps are those of the two networks, instead of the configs'; with --init
both start from the included networks. FOLDER (default: DIR) gets handnet.npz and handfinder.npz.
"""

import subprocess
import sys
from pathlib import Path

from handjax.engine import cli
from handjax.prediction.hand_search import FINDER, NETWORK

ROOT = Path(__file__).resolve().parent.parent
INCLUDED = {"handnet": NETWORK, "handfinder": FINDER}


def main(argv: list[str]) -> None:
    flags = cli.Parser(prog="python scripts/train_hand.py", description=__doc__)
    flags.add_argument("--workdir", type=Path, required=True, help="folder of the two runs")
    flags.add_argument("--out", type=Path, help="folder for the weights (default: --workdir)")
    flags.add_argument("--steps", default="", metavar="N,M", help="steps of the two runs")
    flags.add_argument("--init", action="store_true", help="start from the included networks")
    args = flags.parse_args(argv)
    counts = args.steps.split(",") if args.steps else ["", ""]
    if len(counts) != 2 or not all(n.isdigit() or not args.steps for n in counts):
        raise ValueError(f"--steps {args.steps}: expected two numbers, as in 40000,16000")
    out = args.out or args.workdir
    files = {name: out / f"{name}.npz" for name in INCLUDED}
    for file in files.values():
        if file.exists():
            raise FileExistsError(f"{file} exists; remove it or choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    for (name, file), steps in zip(files.items(), counts, strict=True):
        workdir = args.workdir / name
        options = [f"--config.steps={steps}"] if steps else []
        options += [f"--config.init={INCLUDED[name]}"] if args.init else []
        _run("-m", "handjax.train", "--config", name, "--workdir", str(workdir), *options)
        _run(str(ROOT / "scripts" / "export_weights.py"), str(workdir), str(file), "--half")


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, *command], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    cli.run(main)
