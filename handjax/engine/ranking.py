"""The metric that ranks a checkpoint, as it is stored with it."""

import json
import math
import zlib
from collections.abc import Iterator
from typing import Any

from handjax.engine.files import AnyPath

FILE = "metrics/metrics"  # below the folder of a step; orbax's


def metrics(error: float | None) -> dict[str, Any]:
    """What orbax stores with a checkpoint; `error` None: not evaluated.

    Never a NaN, which orbax would rank best, and never nothing: a single checkpoint without a
    metric would make every later save fail.
    """
    value = math.inf if error is None or math.isnan(error) else float(error)
    return {"error": value, "checksum": _checksum(value)}


def check(file: AnyPath) -> None:
    """ValueError if a file is not what `metrics` made; earlier versions wrote no checksum."""
    content = json.loads(file.read_bytes())
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, float | int) or math.isnan(error):
        raise ValueError(f"{file.parent.parent.name} has no error among them")
    if content.get("checksum", _checksum(error)) != _checksum(error):
        raise ValueError(f"{file.parent.parent.name} has another error than was saved")


def broken(folder: AnyPath) -> Iterator[tuple[AnyPath, ValueError]]:
    """The files of the checkpoints in `folder` that are not what `metrics` made, and why. Orbax
    reads all of them when it opens, and would fail."""
    for file in folder.glob(f"*/{FILE}"):
        try:
            check(file)
        except ValueError as error:
            yield file, error


def _checksum(value: float) -> str:
    return f"{zlib.crc32(repr(float(value)).encode()):08x}"
