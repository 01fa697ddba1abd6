"""How far an exported model is from handjax on the same inputs."""

from collections.abc import Mapping

import numpy as np

from handjax.exporter.contents import Arrays

UNITS = {"xyz": "mm", "uv": "px", "center": "mm", "std": "mm"}
# Differences above which an export in float32 is no longer the same network. Rounding alone makes
# less than 1e-2 mm and 1e-3 px, more where a pixel of a crop takes another neighbour.
LIMITS = {"xyz": 0.5, "uv": 0.2, "center": 0.5}

# Mean distances above which rounded weights cost more than they save.
ROUNDED = {"xyz": 5.0, "uv": 0.5}


def differences(ours: Arrays, theirs: Arrays) -> dict[str, float]:
    """The largest difference of each output; infinite where only one of the two is finite."""
    return {
        name: float(_gap(mine, theirs[name]).max(initial=0.0))
        for name, mine in ours.items()
        if name in theirs
    }


def mean_differences(ours: Arrays, theirs: Arrays) -> dict[str, float]:
    """The mean of each output: the distance of points, the difference of numbers; infinite as
    above."""
    found = {}
    for name, mine in ours.items():
        if name in theirs:
            gap = _gap(mine, theirs[name])
            if name in ("xyz", "uv", "center"):
                gap = np.linalg.norm(gap, axis=-1)
            found[name] = float(gap.mean()) if gap.size else 0.0
    return found


def _gap(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    a, b = (np.asarray(values, np.float64) for values in (ours, theirs))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    gap = np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b))
    return np.where(np.isfinite(gap), gap, np.inf)


def summary(found: Mapping[str, float]) -> str:
    """The differences on one line: xyz 1.2e-04 mm, uv …"""
    parts = [f"{name} {gap:.1e} {UNITS.get(name, '')}".rstrip() for name, gap in found.items()]
    return ", ".join(parts)


def beyond(found: Mapping[str, float], limits: Mapping[str, float] = LIMITS) -> list[str]:
    """Outputs that differ by more than their limit."""
    return [name for name, gap in found.items() if gap > limits.get(name, np.inf)]
