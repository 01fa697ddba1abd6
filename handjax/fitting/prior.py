"""Prior of the fitted hand: a Gaussian over the finger angles of people, and sizes.

The angles' is estimated from sampled hands by scripts/angle_prior.py, and kept in a file: sampling
them anew would take every command some seconds of compiling.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Float32

from handjax.rigs import poses

# Standard deviations: logarithms of the sizes of hand and fingers and of their thickness, and the
# wrist, rad. The rig's own hand is thicker than people's, and may be what is fitted.
SIZE_DEVIATION, FINGER_DEVIATION, FLESH_DEVIATION, WRIST_DEVIATION = 0.06, 0.05, 0.2, 0.6
ANGLES = Path(__file__).with_name("angle_prior.npz")
_SAMPLED, _KEPT = 4096, 256


class AnglePrior(NamedTuple):
    """Distribution of the 20 finger angles of sampled hands, rad."""

    mean: Float32[np.ndarray, "20"]
    whiten: Float32[np.ndarray, "20 20"]  # deviation from the mean → uncorrelated, of variance 1
    low: Float32[np.ndarray, "20"]
    high: Float32[np.ndarray, "20"]
    samples: Float32[np.ndarray, "256 20"]

    def deviation(self, angles: Float[Array, "20"]) -> Float[Array, "20"]:
        """Whitened deviation of angles from the mean."""
        return jnp.matmul(angles - self.mean, self.whiten, precision=jax.lax.Precision.HIGHEST)


@cache
def angle_prior() -> AnglePrior:
    """The prior that comes with handjax."""
    with np.load(ANGLES, allow_pickle=False) as file:
        return AnglePrior(**{name: file[name] for name in AnglePrior._fields})


def estimated() -> AnglePrior:
    """The prior of 4,096 hands of the sampler with the fingers of people (`poses.natural`)."""

    def draw(key: Array) -> Array:
        pose_key, natural_key = random.split(key)
        return poses.natural(poses.sample_pose(pose_key), random.uniform(natural_key, (14,)))

    drawn = jax.jit(jax.vmap(draw))(random.split(random.key(0), _SAMPLED))
    angles = np.asarray(drawn, np.float64)[:, 6:]
    # Allow 0.1 rad of what the sampler never does, as a thumb's second flexion without its first.
    root = np.linalg.cholesky(np.linalg.inv(np.cov(angles.T) + 0.01 * np.eye(20)))
    parts = (angles.mean(0), root, angles.min(0), angles.max(0), angles[:_KEPT])
    return AnglePrior(*(part.astype(np.float32) for part in parts))
