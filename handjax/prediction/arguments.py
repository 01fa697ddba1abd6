"""Arguments of predictors: NumPy or JAX arrays, checked and with a first axis of samples."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from handjax.data.cameras import intrinsics

ArrayLike = np.ndarray | jax.Array
# fx, fy, cx, cy in px; K, [3, 3]; one K per frame, [n, 3, 3]; or a preset: icvl, msra, nyu.
CameraLike = Sequence[Any] | ArrayLike | str


def samples(name: str, values: ArrayLike, rank: int, expected: str) -> np.ndarray:
    """One sample of `rank` axes, or several, as an array with a first axis of samples."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim not in (rank, rank + 1) or not array.size:
        raise ValueError(f"{name}: {array.dtype} {list(array.shape)}; expected {expected}")
    return array if array.ndim == rank + 1 else array[None]


def cameras(camera: CameraLike, count: int) -> Float[np.ndarray, "n 3 3"]:
    if not isinstance(camera, str) and np.ndim(camera) == 3:
        if len(camera) != count:
            raise ValueError(
                f"camera: {len(camera)} matrices for {count} frames; expected one each"
            )
        return np.stack([intrinsics(one) for one in camera])
    return np.repeat(intrinsics(camera)[None], count, axis=0)


def centers(center: ArrayLike | Sequence[Any], count: int) -> Float[np.ndarray, "n 3"]:
    centers = np.asarray(center, np.float32)
    if centers.shape not in ((3,), (count, 3)) or not np.isfinite(centers).all():
        raise ValueError(
            f"center: {list(centers.shape)}; expected camera mm, [3] or [{count}, 3], all finite"
        )
    return np.ascontiguousarray(np.broadcast_to(centers, (count, 3)))


def boxes(boxes: ArrayLike | Sequence[Any]) -> Float[np.ndarray, "m 4"]:
    """Left, top, width and height of one box or several."""
    given = np.asarray(boxes, np.float32)
    squares = given[None] if given.ndim == 1 else given
    good = squares.ndim == 2 and len(squares) and squares.shape[1] in (3, 4)
    if not good or not np.isfinite(squares).all() or (squares[:, 2:] <= 0).any():
        raise ValueError(
            f"boxes {str(given.tolist())[:60]}: expected (left, top, side) or "
            "(left, top, width, height) in px with positive sizes, one or several"
        )
    return squares[:, [0, 1, 2, -1]]
