"""How large and thick a hand is: what is usual, and what the frames of one hand have told.

Logarithms of sizes: of the whole hand relative to the rig, of each of `hand.FINGERS` relative to
the palm; and of the thickness of fingers and palm, relative to the rig.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax.fitting.hand_state import USUAL_FLESH, HandParameters, HandState

_FRAMES = 5.0  # in a row, which resemble each other, count as one
_SUREST = 0.02  # deviation below which a hand's build is never known


class Build(NamedTuple):
    """Mean and standard deviation of the eight logarithms: the hand's, its fingers', its flesh."""

    mean: Float[Array | np.ndarray, "8"]
    std: Float[Array | np.ndarray, "8"]


# Of children and adults, relative to the rig.
USUAL = Build(
    np.array([np.log(0.86), 0, 0, 0, 0, 0, *USUAL_FLESH], np.float32),
    np.array([0.12, 0.07, 0.07, 0.07, 0.07, 0.07, 0.1, 0.1], np.float32),
)


def build_of(hand: HandState | HandParameters) -> Float[Array, "8"]:
    """The eight logarithms of a hand."""
    return jnp.concatenate([jnp.atleast_1d(hand.log_size), hand.log_fingers, hand.log_flesh])


class SeenBuild(NamedTuple):
    """What the frames of a hand so far say of its build: the mean of their fits."""

    total: Float[np.ndarray, "8"] = np.zeros(8, np.float32)
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
        return SeenBuild(self.total + np.asarray(build_of(state)), self.frames + 1)
