"""How far a network's file is from handjax, in every format and with rounded weights.

    python benchmarks/rounding.py RUN [RUN …] [--formats onnx,litert]
        [--weights float32,float16,int8] [--samples 64] [--json FILE]

RUN is the folder of a run, or a name that `handjax models` lists. Each is exported as `handjax
export` does, and the file takes whole held-out samples of the run, or rendered hands: pictures or
depth images in, joints out. The error is the mean distance of the file's joints from the labels, of
body's with the pelvis at the origin; handjax's own is in the title. The distances are those between
the file's joints and handjax's. Where a format refuses, it says why.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import write_json
from benchmarks.tables import log, print_table
from handjax.engine.runtime import keep_memory
from handjax.exporter.contents import Contents
from handjax.exporter.samples import CALIBRATION, Samples, samples
from handjax.exporter.writing import FORMATS, WEIGHTS, calibrated, check, megabytes, write


def error(contents: Contents, joints: np.ndarray, truth: dict[str, np.ndarray]) -> float:
    """Mean distance from the labels; NaN if there are none, or if a joint is not finite."""
    from handjax.metrics import joints3d

    true = truth.get("uv" if joints.shape[-1] == 2 else "xyz")
    if true is None:
        return np.nan
    root = contents.skeleton.root if contents.system == "body" else None
    return joints3d.mpjpe(joints3d.joint_errors(joints, true, root), truth.get("labelled"))


def compared(
    contents: Contents, ours: np.ndarray, theirs: np.ndarray, given: Samples
) -> dict[str, float]:
    """The figures of one file. A joint that only one of the two has is infinitely far."""
    apart = np.linalg.norm(np.float64(theirs) - ours, axis=-1)
    apart[np.isnan(theirs).any(-1) & np.isnan(ours).any(-1)] = 0
    apart[np.isnan(apart)] = np.inf
    return {
        "error": error(contents, theirs, given.truth),
        "mean": float(apart.mean()),
        "largest": float(apart.max()),
    }


def measure(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """All files of one model."""
    import jax

    from handjax import __version__
    from handjax.exporter.model import contents_of, describe, image_size
    from handjax.prediction.predictor import load
    from handjax.run import read_config

    jax.clear_caches()  # what another model's `ours` traced has kernels
    config = read_config(Path(model)) if (Path(model) / "config.json").is_file() else None
    predictor = load(model, options.checkpoint)
    contents = contents_of(predictor, config, image_size(options.size), options.center)
    given = samples(contents, None, config, options.samples)
    scales = None
    if any(calibrated(form, weights) for form in options.formats for weights in options.weights):
        scales = samples(contents, None, config, CALIBRATION, train=True).arrays
    joints = "xyz" if "xyz" in contents.outputs else "uv"
    rows = []
    for form in options.formats:
        for weights in options.weights:
            log(f"{model}: {form}, {weights}")
            row: dict[str, Any] = {"format": form, "weights": weights}
            metadata = describe(contents, __version__, "benchmarks/rounding.py", weights)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"model{FORMATS[form][0]}")
                try:
                    check(form, weights)
                    run = write(contents, metadata, path, form, weights, scales)
                    if run is None:
                        raise ValueError("nothing to run it: pip install onnxruntime")
                    row |= {"mb": megabytes(path), "joints": np.asarray(run(given.arrays)[joints])}
                except ValueError as reason:
                    row["refused"] = str(reason)
            rows.append(row)
    ours = np.asarray(contents.ours(given.arrays)[joints])  # with kernels, so after all files
    for row in rows:
        if "joints" in row:
            row |= compared(contents, ours, row.pop("joints"), given)
    return {
        "model": contents.model,
        "system": contents.system,
        "samples": given.origin,
        "unit": "mm" if joints == "xyz" else "px",
        "error": error(contents, ours, given.truth),
        "rows": rows,
    }


def lines(found: dict[str, Any]) -> list[list[str]]:
    """The rows of a model's table."""
    table = []
    for row in found["rows"]:
        start = [row["format"], row["weights"]]
        if "refused" in row:
            table.append([*start, row["refused"], "", "", ""])
            continue
        distances = [f"{row[name]:.2g}" for name in ("mean", "largest")]
        table.append([*start, f"{row['mb']:.2f}", f"{row['error']:.3f}", *distances])
    return table


def _some(known: Any) -> Any:
    def read(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name}: expected some of {','.join(known)}")
        return names

    return read


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(prog="python benchmarks/rounding.py", description=__doc__)
    flags.formatter_class = argparse.RawDescriptionHelpFormatter
    add = flags.add_argument
    add("models", nargs="+", metavar="RUN", help="a run's folder, or an included network's name")
    for flag, known in (("--formats", FORMATS), ("--weights", WEIGHTS)):
        names = ",".join(known)
        options = dict(type=_some(known), default=list(known), metavar="LIST")
        add(flag, **options, help=f"some of {names} (default: all)")
    add("--samples", type=int, default=64, help="at most (default: 64)")
    add("--checkpoint", metavar="WHICH", default="last", help="of a run: last, best or a step")
    add("--size", metavar="WIDTHxHEIGHT", help="of the images, as in `handjax export`")
    add("--center", help="depth: as in `handjax export`")
    add("--json", type=Path, metavar="FILE", help="also write the figures")
    return flags


def main(argv: list[str]) -> None:
    options = parser().parse_args(argv)
    every = []
    for model in options.models:
        found = measure(model, options)
        every.append(found)
        unit = found["unit"]
        title = f"{model}, {found['samples']}; error of handjax {found['error']:.3f} {unit}"
        distances = [f"mean distance, {unit}", f"largest, {unit}"]
        columns = ["format", "weights", "MB", f"error, {unit}", *distances]
        print_table(title, columns, lines(found))
        write_json(options.json, {"models": every})


if __name__ == "__main__":
    keep_memory()
    main(sys.argv[1:])
