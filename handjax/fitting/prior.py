"""Prior of the fitted hand: a Gaussian over the finger angles of the pose sampler, and sizes."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from handjax.rigs import poses

# Standard deviations: logarithms of the sizes of hand and fingers, and the wrist, rad.
SIZE_DEVIATION, FINGER_DEVIATION, WRIST_DEVIATION = 0.06, 0.05, 0.6


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
    """The prior, estimated from 4096 sampled hands."""
    with jax.ensure_compile_time_eval():
        drawn = jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(jax.random.key(0), 4096))
        angles = np.asarray(drawn, np.float64)[:, 6:]
    # Allow 0.1 rad of what the sampler never does, as a thumb's second flexion without its first.
    root = np.linalg.cholesky(np.linalg.inv(np.cov(angles.T) + 0.01 * np.eye(20)))
    return AnglePrior(
        *(
            a.astype(np.float32)
            for a in (angles.mean(0), root, angles.min(0), angles.max(0), angles[:256])
        )
    )
