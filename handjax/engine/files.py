"""Files of a run: none is overwritten, and one that a kill cut short can still be read."""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path


def set_aside(path: str | Path) -> Path | None:
    """Rename what exists, say `metrics.json`, to the first free of `metrics.1.json`, `metrics.2.json` and so on.

    Returns the new path, or None where nothing was in the way.
    """
    path = Path(path)
    if not path.exists() and not path.is_symlink():
        return None
    for number in count(1):
        kept = path.with_name(f"{path.stem}.{number}{path.suffix}")
        if not kept.exists():
            return path.rename(kept)


def refuse_to_replace(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Sees that `folder` may get files of these names, those of a prediction; touches nothing."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--output {folder}: a file, not a folder")
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"{folder} holds {' and '.join(there)} of an earlier prediction: use --overwrite or another --output"
        )


def read_jsonl(path: Path) -> list[dict]:
    """The lines of metrics.jsonl; a last line that a kill cut short is left out."""
    lines = path.read_text().splitlines()
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(
                    f"{path}: line {number} is not JSON ({error}); mend or delete it"
                ) from None
    return values
