"""Alignment of point sets by rotations and rigid motions, on NumPy and JAX arrays alike."""

from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.pose.pinhole import namespace


def kabsch(
    source: Float[Any, "*b n d"], target: Float[Any, "*b n d"]
) -> tuple[Float[Any, "*b d d"], Float[Any, "*b d"]]:
    """Rotation R that minimizes Σ |R p - q|² over corresponding points of two centered sets.

    Kabsch 1976; mirror images are excluded. Subtract the means from both sets first; weights, if
    any, multiply one of the two. Also returned are the singular values of the covariance, the last
    one negative where a mirror image would fit better: their sum is Σ (R p)·q, from which the best
    scale follows (Umeyama 1991). Points on one line leave the rotation undetermined.
    """
    xp = namespace(source, target)
    product = np.matmul if xp is np else partial(xp.matmul, precision="highest")
    u, values, vt = xp.linalg.svd(product(xp.swapaxes(source, -1, -2), target))
    sign = xp.sign(xp.linalg.det(product(u, vt)))[..., None]
    proper = xp.concatenate([xp.ones_like(values[..., 1:]), sign], axis=-1)
    return xp.swapaxes(product(u * proper[..., None, :], vt), -1, -2), values * proper


def rigid_transform(
    source: Float[np.ndarray, "*b n 3"], target: Float[np.ndarray, "*b n 3"]
) -> Float[np.ndarray, "*b 4 4"]:
    """Rigid motion [R | t] that takes `source` closest to `target` in least squares; float64.

    On the host, as it is computed once per data set, for instance to find the pose of one camera
    relative to another from points that both see. Needs at least three points that are not
    collinear; otherwise some rotation is returned that fits equally well.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_mean, target_mean = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    rotation, _ = kabsch(source - source_mean, target - target_mean)
    transform = np.zeros((*rotation.shape[:-2], 4, 4))
    transform[..., :3, :3] = rotation
    shift = target_mean - source_mean @ np.swapaxes(rotation, -1, -2)
    transform[..., :3, 3] = shift[..., 0, :]
    transform[..., 3, 3] = 1.0
    return transform
