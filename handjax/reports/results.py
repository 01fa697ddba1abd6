"""The files of an evaluation: metrics.json, predictions.npz and report.html."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handjax.data.formats.predictions_npz import write_predictions
from handjax.engine.files import back_up, write_atomic
from handjax.reports import page


def write_results(
    folder: str | Path,
    metrics: Mapping[str, Any],
    sections: Sequence[page.Section],
    title: str,
    subtitle: str,
    predictions: Any = None,
) -> Path:
    """Writes metrics.json, report.html and, if given, predictions.npz; returns the page's path.

    Existing files are renamed to numbered names, not replaced. Raises NotADirectoryError if
    `folder` is a file.
    """
    folder = Path(folder)
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: a file, not a folder; results need a folder")
    folder.mkdir(parents=True, exist_ok=True)
    numbers, joints, html = (
        folder / name for name in ("metrics.json", "predictions.npz", "report.html")
    )
    written = (numbers, html) if predictions is None else (numbers, joints, html)
    kept = {path.name: moved.name for path in written if (moved := back_up(path))}
    if kept:
        print("kept the earlier " + " and ".join(f"{old} as {new}" for old, new in kept.items()))
    write_atomic(numbers, text)
    if predictions is not None:
        write_predictions(joints, predictions)
    page.write_report(html, title, subtitle, sections, footer="handjax")
    print(f"report: {html.resolve()}")
    return html


def as_text(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values as a plain table for a terminal."""
    left, right = (max(len(row[i]) for row in rows) for i in (0, 1))
    return "\n".join(f"{name:<{left}}  {value:>{right}}" for name, value in rows)
