"""Covariances of joints and their standard deviations along an axis."""

import numpy as np
from jaxtyping import Float


def isotropic(std: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b 3 3"]:
    """The covariance, mm², of errors that are `std` mm along every axis."""
    return np.asarray(std)[..., None, None] ** 2 * np.eye(3, dtype=np.float32)


def deviation(covariance: Float[np.ndarray, "*b 3 3"]) -> Float[np.ndarray, "*b"]:
    """The root of the mean variance of the three axes, mm."""
    return np.asarray(np.sqrt(np.trace(covariance, axis1=-2, axis2=-1) / 3))
