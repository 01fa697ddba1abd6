"""Predictions as text: a table, a file of joints by name (json, csv, npz), and HTML for notebooks.

docs/predict.md describes the files. Units are in the names of columns, or beside the arrays.
"""

import base64
import csv
import html as escape
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handjax.engine.files import atomic_path, naming
from handjax.prediction import drawing
from handjax.prediction.base import Prediction

ENDINGS = (".json", ".csv", ".npz")
# Field → what its numbers are; `{frame}` is that of the prediction.
UNITS = {
    "xyz": "mm, {frame} frame",
    "uv": "px of the image; pixel centers are integers",
    "std": "mm along each axis",
    "covariance": "mm², of each joint, along the axes of xyz",
    "confidence": "per joint, higher is surer: docs/predict.md",
    "presence": "probability that it is a hand, 0 to 1",
    "center": "middle of the crop, mm, camera frame",
    "box": "px: left, top, width, height",
}
_BY_JOINT = ("xyz", "uv", "std", "covariance", "confidence")
_BY_SAMPLE = ("presence", "center", "box")
# Field by joint → columns of a table or of a csv, with the digits that a table shows.
_COLUMNS = {
    "xyz": (("x_mm", "y_mm", "z_mm"), 1),
    "std": (("std_mm",), 1),
    "uv": (("u_px", "v_px"), 1),
    "confidence": (("confidence",), 2),
}
_SHOWN = 8  # samples of a batch that are printed


def save(prediction: Prediction, path: Path, overwrite: bool) -> Path:
    """Writes the prediction as the ending of `path` says; see `Prediction.save`."""
    if path.suffix not in ENDINGS:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(ENDINGS)}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists already; use overwrite=True or another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), atomic_path(path) as temporary:
        if path.suffix == ".npz":
            with temporary.open("wb") as file:
                np.savez_compressed(file, **arrays(prediction))
        elif path.suffix == ".csv":
            with temporary.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows(prediction))
        else:
            text = json.dumps(content(prediction), indent=1, allow_nan=False, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    return path


def content(prediction: Prediction) -> dict[str, Any]:
    """The prediction as plain JSON values: units, and for every sample its joints by name."""
    return {
        "model": prediction.model,
        "joints": list(prediction.joints),
        "units": units(prediction),
        "samples": [sample(one) for one in prediction],
    }


def units(prediction: Prediction) -> dict[str, str]:
    """What the numbers of the fields that are there are."""
    there = (name for name in UNITS if getattr(prediction, name) is not None)
    return {name: UNITS[name].format(frame=prediction.frame) for name in there}


def sample(one: Prediction) -> dict[str, Any]:
    """A single sample as plain JSON values."""
    found: dict[str, Any] = {} if one.side is None else {"side": one.side}
    for name in _BY_SAMPLE:
        if (value := getattr(one, name)) is not None:
            found[name] = _plain(value)
    columns = {name: _plain(getattr(one, name)) for name in _BY_JOINT if _has(one, name)}
    found["joints"] = {
        joint: {name: values[number] for name, values in columns.items()}
        for number, joint in enumerate(one.joints)
    }
    return found


def arrays(prediction: Prediction) -> dict[str, Any]:
    """The arrays, each with a first axis of samples, the joints' names, and the units."""
    names = (*_BY_JOINT, *_BY_SAMPLE)
    found: dict[str, Any] = {
        name: value if prediction.batched else value[None]
        for name in names
        if (value := getattr(prediction, name)) is not None
    }
    if prediction.side is not None:
        found["side"] = np.atleast_1d(np.array(prediction.side))
    known = units(prediction)
    return found | {
        "joints": np.array(prediction.joints),
        "units": np.array([f"{name}: {text}" for name, text in known.items()]),
    }


def rows(prediction: Prediction) -> list[list[Any]]:
    """A line per sample and joint, after one of column names."""
    names = [name for name in _COLUMNS if _has(prediction, name)]
    columns = [column for name in names for column in _COLUMNS[name][0]]
    more = [name for name in ("side", "presence") if _has(prediction, name)]
    lines: list[list[Any]] = [["sample", *more, "joint", *columns]]
    for number, one in enumerate(prediction):
        fields = [_plain(getattr(one, name)) for name in more]
        flat = np.column_stack([getattr(one, name) for name in names])
        for joint, values in zip(one.joints, flat, strict=True):
            lines.append([number, *fields, joint, *_plain(values)])
    return lines


def joined(samples: Sequence[Prediction]) -> dict[str, Any]:
    """The arrays of many predictions of one model, one after another; {} of none."""
    own = [arrays(one) for one in samples]
    fixed = ("joints", "units")
    return {
        name: own[0][name] if name in fixed else np.concatenate([one[name] for one in own])
        for name in (own[0] if own else ())
    }


def write_csv(
    path: Path,
    names: Sequence[str],
    keys: Sequence[Sequence[Any]],
    samples: Sequence[Prediction],
) -> None:
    """A new file with the lines of `rows` of many single samples, each after the columns `names`
    with its sample's `keys`."""
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, (key, one) in enumerate(zip(keys, samples, strict=True)):
            head, *lines = rows(one)
            if not number:
                writer.writerow([*names, *head[1:]])
            writer.writerows([*key, *line[1:]] for line in lines)


def table(prediction: Prediction) -> str:
    """The joints of one sample as a table; of several one line each, with where they are."""
    if prediction.batched:
        lines = [repr(prediction)]
        for number, one in enumerate(list(prediction)[:_SHOWN]):
            lines.append(f"  [{number}] {summary(one)}")
        if len(prediction) > _SHOWN:
            lines.append(f"  … {len(prediction) - _SHOWN} more")
        return "\n".join(lines)
    head, *body = _cells(prediction)
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *body]
    ]
    return "\n".join([f"{repr(prediction)}: {summary(prediction)}", *lines])


def summary(one: Prediction) -> str:
    """Side, presence and place of one sample in words."""
    parts = [] if one.side is None else [f"{one.side} hand"]
    if one.presence is not None:
        parts.append(f"presence {float(one.presence):.2f}")
    if one.xyz is not None:
        where = ", ".join(f"{value:.0f}" for value in one.xyz.mean(0))
        parts.append(f"mean of the joints at ({where}) mm")
    elif one.uv is not None:
        where = ", ".join(f"{value:.0f}" for value in one.uv.mean(0))
        parts.append(f"mean of the joints at ({where}) px")
    if one.confidence is not None:
        parts.append(f"mean confidence {float(one.confidence.mean()):.2f}")
    return ", ".join(parts)


def html(prediction: Prediction) -> str:
    """For notebooks: the picture, and the table below it, folded."""
    picture = ""
    if prediction.uv is not None:
        data = base64.b64encode(drawing.png(drawing.picture(prediction))).decode()
        picture = (
            f'<img src="data:image/png;base64,{data}" style="max-width:100%;width:40rem" '
            'alt="joints over their frame">'
        )
    first, _, rest = table(prediction).partition("\n")
    return (
        f"<div>{picture}<details><summary><code>{escape.escape(first)}</code></summary>"
        f"<pre>{escape.escape(rest)}</pre></details></div>"
    )


def _cells(one: Prediction) -> Sequence[list[str]]:
    """Names of the columns, and the cells of a row per joint."""
    names = [name for name in _COLUMNS if _has(one, name)]
    lines = [["joint", *(column for name in names for column in _COLUMNS[name][0])]]
    for number, joint in enumerate(one.joints):
        cells = [
            f"{value:.{_COLUMNS[name][1]}f}"
            for name in names
            for value in np.atleast_1d(getattr(one, name)[number])
        ]
        lines.append([joint, *cells])
    return lines


def _has(prediction: Prediction, name: str) -> bool:
    return getattr(prediction, name) is not None


def _plain(value: Any) -> Any:
    """Numbers as JSON has them, with four decimals."""
    return value if isinstance(value, str) else np.asarray(value, np.float64).round(4).tolist()
