"""Pinhole intrinsics as users give them: FX,FY,CX,CY, a 3x3 matrix, or the name of a data set."""

import importlib

import numpy as np
from jaxtyping import Float

# Name → the data set whose depth camera it is.
PRESETS = {"icvl": "icvl", "msra": "msra_hand", "nyu": "nyu_hand"}
EXPECTED = f"FX,FY,CX,CY in px with FX and FY above 0, or one of {', '.join(PRESETS)}"
_LARGEST = 1e6  # px; a larger number is a mistake


def intrinsics(camera: object) -> Float[np.ndarray, "3 3"]:
    """Intrinsic matrix K, px; pixel centers are integers.

    `camera`: text "FX,FY,CX,CY" (commas or blanks), four numbers, a 3x3 matrix of NumPy or JAX, or
    a preset, which is the depth camera of that data set. Anything else raises ValueError.
    """
    if isinstance(camera, str):
        name = camera.strip()
        if name in PRESETS:
            raw = importlib.import_module(f"handjax.data.sets.{PRESETS[name]}.raw")
            return np.array(raw.K, np.float32)
        values = _floats(name.replace(",", " ").split())
    else:
        values = _floats(camera)
    if values.shape == (4,):
        fx, fy, cx, cy = values
        values = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    good = (
        values.shape == (3, 3)
        and bool((np.abs(values) < _LARGEST).all())  # NaN is not less
        and min(values[0, 0], values[1, 1]) > 0
        and values[2].tolist() == [0, 0, 1]
    )
    if not good:
        shown = " ".join(str(camera).split())[:80] or "(nothing)"
        raise ValueError(f"camera {shown}: expected {EXPECTED}")
    return values.astype(np.float32)


def numbers(flag: str, text: str, count: int) -> tuple[float, ...]:
    """`count` finite numbers of a flag such as --range NEAR,FAR, joined by commas or blanks."""
    values = _floats(text.replace(",", " ").split())
    if values.shape != (count,) or not (np.abs(values) < _LARGEST).all():
        raise ValueError(f"{flag} {text}: expected {count} numbers joined by commas")
    return tuple(values.tolist())


def depth_range(flag: str, text: str) -> tuple[float, float]:
    """NEAR,FAR in mm, 0 < NEAR < FAR."""
    near, far = numbers(flag, text, 2)
    if not 0 < near < far:
        raise ValueError(f"{flag} {text}: expected two distances in mm above 0, the nearer first")
    return near, far


def _floats(values: object) -> np.ndarray:
    """As float64; an empty array where they are no numbers."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return np.zeros(0)
