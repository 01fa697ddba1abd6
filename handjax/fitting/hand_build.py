"""How large a hand and its fingers are: what is usual, and what the frames of one hand have told.

Logarithms of sizes: of the whole hand relative to the rig, and of each of `hand.FINGERS` relative
to the palm.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from handjax.fitting.hand_state import HandState

_FRAMES = 5.0  # in a row, which resemble each other, count as one
_SUREST = 0.02  # deviation below which a hand's build is never known


class Build(NamedTuple):
    """Mean and standard deviation of the six logarithms, the hand's first."""

    mean: Float[Array | np.ndarray, "6"]
    std: Float[Array | np.ndarray, "6"]


# Of children and adults, relative to the rig.
USUAL = Build(
    np.array([np.log(0.86), 0, 0, 0, 0, 0], np.float32),
    np.array([0.12, 0.07, 0.07, 0.07, 0.07, 0.07], np.float32),
)


class SeenBuild(NamedTuple):
    """What the frames of a hand so far say of its build: the mean of their fits."""

    total: Float[np.ndarray, "6"] = np.zeros(6, np.float32)
    frames: int = 0

    def known(self) -> Build:
        """What the fit of the next frame may take for known: surer with every frame, down to a
        deviation of 0.02."""
        seen = self.frames / _FRAMES
        mean = (USUAL.mean + self.total / _FRAMES) / (1 + seen)
        std = np.maximum(USUAL.std / np.sqrt(1 + seen), _SUREST)
        return Build(mean.astype(np.float32), std.astype(np.float32))

    def after(self, state: HandState) -> "SeenBuild":
        """With one more frame, whose fitted hand is `state`."""
        sizes = np.append(np.asarray(state.log_size), np.asarray(state.log_fingers))
        return SeenBuild((self.total + sizes).astype(np.float32), self.frames + 1)
