"""Where cameras stand to each other, from points that both see. On the host: it is done once for a data set."""

import numpy as np
from jaxtyping import Float


def rigid_transform(
    source: Float[np.ndarray, "*b n 3"], target: Float[np.ndarray, "*b n 3"]
) -> Float[np.ndarray, "*b 4 4"]:
    """The turn and shift, no mirror, that takes `source` nearest to `target` in the sum of squares (Kabsch 1976); float64.

    At least three points that are not on one line; of others some turn comes out that fits as well."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    from_middle, to_middle = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(source - from_middle, -1, -2) @ (target - to_middle))
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[..., None]
    rotation = np.swapaxes(u @ vt, -1, -2)
    transform = np.zeros((*rotation.shape[:-2], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = (to_middle - from_middle @ np.swapaxes(rotation, -1, -2))[..., 0, :]
    transform[..., 3, 3] = 1.0
    return transform
