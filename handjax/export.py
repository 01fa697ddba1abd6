"""handjax export: a trained network as a file that runs without handjax.

    handjax export MODEL --to onnx --output FILE.onnx
    handjax export MODEL --to stablehlo --output FILE.stablehlo
    handjax export MODEL --to litert --output FILE.tflite
    handjax export MODEL --to savedmodel --output FOLDER

MODEL is a name that `handjax models` lists, or the folder of a run. The file takes whole pictures
or depth images and returns joints in px or mm: crop, normalization and decoding are inside, the
batch is of any size, in LiteRT of one. Names, units and this command are in its metadata.
docs/export.md has an example that reads it in 20 lines, and what each format can do.

The file is then run on a few inputs and its largest difference from handjax is printed. They are
held-out samples of the run, rendered hands, or your own: --check.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handjax import __version__
from handjax.engine import cli, runtime
from handjax.exporter import parity
from handjax.exporter.contents import beside
from handjax.exporter.depth_contents import CENTERS
from handjax.exporter.model import contents_of, describe, image_size
from handjax.exporter.samples import CALIBRATION, COUNT, samples
from handjax.exporter.writing import FORMATS, WEIGHTS, calibrated, check, megabytes, write
from handjax.prediction.predictor import load
from handjax.run import read_config

MEASURED = 16  # samples that rounded weights are compared on
# Rounded weights that move joints far, and the format → what moves them less.
_BETTER = {
    ("int8", "onnx"): "--calibrate on frames like yours and --weights float16 move them less, of "
    "networks of RGB images also --to litert, whose scales are each input's own",
    ("int8", "litert"): "--weights float16 moves them less",
    ("float16", "onnx"): "use --weights float32",
    ("float16", "litert"): "use --weights float32",
}
WITH_JSON = ("stablehlo", "litert")  # that have their metadata in a JSON file beside them


def parser() -> cli.Parser:
    """The command's flags."""
    flags = cli.Parser(prog="handjax export", description=__doc__)
    add = flags.add_argument
    add("model", metavar="MODEL", help="a name that `handjax models` lists, or a run's folder")
    add("--to", choices=FORMATS, required=True, help="the format")
    add("--output", metavar="FILE", required=True, help="the file or folder to write")
    add("--overwrite", action="store_true", help="replace FILE")
    add("--checkpoint", metavar="WHICH", default="last", help="of a run: last, best or a step")
    add(
        "--size",
        metavar="WIDTHxHEIGHT",
        help="of the images, px (default: 640x480 for depth, and as in training for RGB)",
    )
    add(
        "--center",
        choices=CENTERS,
        help="depth: where the crop is: found by the hand network, at the nearest object, or given "
        "as an input (default: as `handjax.load` does)",
    )
    add(
        "--side", choices=("right", "left"), help="depth: of the hand (default: as in handjax.load)"
    )
    add(
        "--weights",
        choices=WEIGHTS,
        default="float32",
        help="ONNX and LiteRT: float16 halves the file, not the arithmetic; int8 lets convolutions "
        "compute in 8 bits, for ONNX see --calibrate (default: float32)",
    )
    add(
        "--calibrate",
        metavar="PATH",
        help="of --weights int8 in ONNX: inputs to take the scales from, as those of --check "
        "(default: training samples of the run, or rendered hands)",
    )
    add(
        "--check",
        metavar="PATH",
        help="inputs to compare on: a folder with frames.json for depth, images for RGB",
    )
    return flags


def main(argv: Sequence[str]) -> None:
    """Runs the command; ValueError and OSError are invalid input."""
    flags = parser().parse_args(argv)
    path = Path(flags.output)
    _check(flags, path)
    runtime.use_compile_cache()
    runtime.tell_compiling()
    _say(f"reading {flags.model}, and inputs to compare on …")
    predictor = load(flags.model, flags.checkpoint)
    folder = Path(flags.model)
    config = read_config(folder) if (folder / "config.json").is_file() else None
    contents = contents_of(predictor, config, image_size(flags.size), flags.center, flags.side)
    exact = flags.weights == "float32"
    own = Path(flags.check) if flags.check else None
    inputs = samples(contents, own, config, COUNT if exact else MEASURED)
    command = f"handjax export {shlex.join(argv)}"
    metadata = describe(contents, __version__, command, flags.weights)
    scales = None
    if calibrated(flags.to, flags.weights):
        own = Path(flags.calibrate) if flags.calibrate else None
        scales = samples(contents, own, config, CALIBRATION, train=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    _say(f"writing {path} …")
    if scales:
        _say(f"calibrating 8 bits on {scales.origin} …")
    given = scales.arrays if scales else None
    run = write(contents, metadata, path, flags.to, flags.weights, given)
    nodes = ", ".join(f"{name} {list(port.shape)}" for name, port in contents.inputs.items())
    print(f"{path}: {megabytes(path):.1f} MB; {nodes} → {', '.join(contents.outputs)}")
    if run is None:
        print("not compared with handjax: pip install onnxruntime", file=sys.stderr)
        return
    ours, theirs = contents.ours(inputs.arrays), run(inputs.arrays)
    found = parity.differences(ours, theirs)
    print(f"largest difference from handjax on {inputs.origin}: {parity.summary(found)}")
    if not exact:
        means = parity.mean_differences(ours, theirs)
        print(f"mean difference: {parity.summary(means)}")
        if parity.beyond(means, parity.ROUNDED):
            print(f"warning: joints move far; {_BETTER[flags.weights, flags.to]}", file=sys.stderr)
    elif names := parity.beyond(found):
        print(
            f"warning: {', '.join(names)} differ by more than rounding does; look at the results "
            "before you rely on the file",
            file=sys.stderr,
        )


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def _check(flags: Any, path: Path) -> None:
    ending = FORMATS[flags.to][0]
    if path.suffix != ending:
        expected = f"a file that ends in {ending}" if ending else "a folder, without an ending"
        raise ValueError(f"--output {path}: expected {expected}")
    if ending and path.is_dir():
        raise IsADirectoryError(f"--output {path}: a folder; expected a file")
    for file in (path, beside(path)) if flags.to in WITH_JSON else (path,):
        if file.exists() and not flags.overwrite:
            raise FileExistsError(f"{file} is there already: use --overwrite or another --output")
    if not ending and path.exists() and not (path / "saved_model.pb").is_file():
        raise FileExistsError(f"--output {path}: not a SavedModel; use another --output")
    if flags.calibrate and not calibrated(flags.to, flags.weights):
        raise ValueError("--calibrate is for --to onnx --weights int8")
    check(flags.to, flags.weights)


if __name__ == "__main__":
    cli.run(main)
