"""Several results of one kind: what each measured, and how they differ.

Results are folders with a metrics.json, as trainings and evaluations write them.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.data.formats.predictions_npz import read_predictions2d, read_predictions3d
from handjax.engine.files import read_jsonl
from handjax.metrics import joints3d as measure

MAIN = ("mpjpe_mm", "epe_px")  # the first one that a result has is compared
RESAMPLES = 2000  # of the frames, for an interval


@dataclass(frozen=True)
class Result:
    """A folder of results. `frames`: mean error of each frame by its id, where that is known."""

    name: str
    folder: Path
    metrics: Mapping[str, Any]
    config: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    frames: Mapping[str, float]

    @property
    def main(self) -> str:
        return next(name for name in MAIN if name in self.metrics)

    @property
    def value(self) -> float:
        return self.metrics[self.main]


@dataclass(frozen=True)
class Difference:
    """Mean over the common frames of (error - error of the first result), with its interval."""

    frames: int
    mean: float
    low: float
    high: float
    better: float  # share of the frames with a smaller error


# ---------------------------------------------------------------- reading


def read(named: Sequence[tuple[str, Path]]) -> list[Result]:
    """(name or "", folder) of each result. ValueError for results of different kinds, for names
    that are not unique, and for less than two results."""
    if len(named) < 2:
        raise ValueError("one RUN has its own report.html: name two or more to compare them")
    names = [name or short for (name, _), short in zip(named, _short(named), strict=True)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two results are called {twice[0]}: give names, as in a=FOLDER b=FOLDER")
    results = [_read(name, folder) for name, (_, folder) in zip(names, named, strict=True)]
    first = results[0]
    for other in results[1:]:
        if other.main != first.main:
            raise ValueError(
                f"{first.folder} measures {first.main} and {other.folder} {other.main}: "
                "one page compares results of one kind"
            )
    return results


def _short(named: Sequence[tuple[str, Path]]) -> list[str]:
    """Folders without the part of their paths that all share."""
    paths = [str(folder.resolve()) for _, folder in named]
    shared = os.path.commonpath(paths) if len(set(paths)) > 1 else os.path.dirname(paths[0])
    return [os.path.relpath(path, shared) for path in paths]


def _read(name: str, folder: Path) -> Result:
    path = folder / "metrics.json"
    if not path.is_file():
        where = "no such folder" if not folder.is_dir() else "no metrics.json in it"
        raise FileNotFoundError(
            f"{folder}: {where}; expected a finished training or the folder of an evaluation"
        )
    metrics = _json(path)
    if not any(isinstance(metrics.get(main), float) for main in MAIN):
        raise ValueError(f"{path}: none of {' and '.join(MAIN)} in it; it cannot be compared")
    run = folder if (folder / "config.json").is_file() else folder.parent
    known = (run / "config.json").is_file()
    history = run / "metrics.jsonl"
    return Result(
        name,
        folder,
        metrics,
        dict(_flat(_json(run / "config.json"))) if known else {},
        read_jsonl(history) if known and history.is_file() else [],
        _frame_errors(folder / "predictions.npz", metrics),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object")
    return content


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _frame_errors(path: Path, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Mean error of each frame; {} without predictions of joints and their ground truth."""
    if not path.is_file() or "frames_3d" in metrics:  # of people, whose rules are many
        return {}
    counted = None
    if "mpjpe_mm" in metrics:
        spatial = read_predictions3d(path)
        ids, pred, true = spatial.ids, spatial.joints_xyz, spatial.truth
    else:
        flat = read_predictions2d(path)
        ids, pred, true, counted = flat.ids, flat.joints_uv, flat.truth, flat.labelled
    if true is None:
        return {}
    errors = measure.frame_errors(measure.joint_errors(pred, true), counted, "mean")
    return {name: float(e) for name, e in zip(ids, errors, strict=True) if np.isfinite(e)}


# ---------------------------------------------------------------- differences


def difference(first: Result, other: Result) -> Difference | None:
    """Frame by frame; None if the two have not seen the same frames."""
    if not first.frames or first.frames.keys() != other.frames.keys():
        return None
    gaps = np.array([other.frames[name] - error for name, error in first.frames.items()])
    low, high = _interval(gaps)
    return Difference(len(gaps), float(gaps.mean()), low, high, float((gaps < 0).mean()))


def _interval(gaps: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Of the mean, 95 %: percentiles over resampled frames."""
    rng = np.random.default_rng(0)
    means = [gaps[rng.integers(0, len(gaps), len(gaps))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def as_text(results: Sequence[Result]) -> str:
    """The main metric of each, and the difference from the first, for a terminal."""
    unit = results[0].main.rsplit("_", 1)[-1]
    width = max(len(result.name) for result in results)
    lines = []
    for result in results:
        line = f"{result.name:<{width}}  {result.value:8.3f} {unit}"
        if result is not results[0] and (gap := difference(results[0], result)):
            line += f"  {gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
        lines.append(line)
    return "\n".join(lines)
