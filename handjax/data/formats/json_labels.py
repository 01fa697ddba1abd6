"""Labels in JSON files, checked: a damaged file gives one clear line."""

import json

import numpy as np
from etils import epath
from jaxtyping import Float

LARGEST_PX = 1e5  # limit of the absolute value of coordinates


def read_json(path: epath.Path, expected: str) -> object:
    """The content of a JSON file. `expected` describes it, for error messages."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected {expected}") from None
    except (ValueError, RecursionError):
        raise ValueError(
            f"{path}: not JSON, or cut short; expected {expected}; copy it again"
        ) from None


def identifier(content: dict, key: str, where: object) -> int | str:
    """`content[key]`: a whole number of at least 0, also one written as a text, or another text.
    ValueError, one line, for anything else."""
    value = content.get(key)
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value and "/" not in value and value.isprintable():
        return value
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(
            f"{where}: {key} {value!r}; expected a whole number, copy the annotation again"
        )
    return value


def finite_numbers(
    content: object, key: str, where: object, *shape: int, limit: float = LARGEST_PX
) -> Float[np.ndarray, "..."]:
    """`content[key]` as float64 of a shape, all of them below `limit` in absolute value.

    ValueError otherwise; `where` is the file and the entry, for the message.
    """
    given = content.get(key) if isinstance(content, dict) else None
    try:
        values = np.array(given, float)
        if any(isinstance(each, bool) for each in np.array(given, object).flat):
            raise TypeError("NumPy takes true and false for 1 and 0")
    except (TypeError, ValueError, OverflowError):
        values = np.array(np.nan)
    if values.shape != shape or not (np.abs(values) < limit).all():
        expected = f"{' x '.join(map(str, shape))} finite numbers" if shape else "a finite number"
        raise ValueError(f"{where}: {key!r} is not {expected}; copy it again")
    return values
