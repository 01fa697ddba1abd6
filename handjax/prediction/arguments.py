"""Arguments of predictors: NumPy or JAX arrays, checked and with a first axis of samples."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from handjax.data.cameras import Camera, floats, read_camera

ArrayLike = np.ndarray | jax.Array
# What `data.cameras.read_camera` reads, or one K per frame, [n, 3, 3].
CameraLike = Sequence[Any] | ArrayLike | str | Camera


def samples(name: str, values: ArrayLike, rank: int, expected: str) -> np.ndarray:
    """One sample of `rank` axes, or several, as an array with a first axis of samples."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim not in (rank, rank + 1) or not array.size:
        raise ValueError(f"{name}: {array.dtype} {list(array.shape)}; expected {expected}")
    return array if array.ndim == rank + 1 else array[None]


def depth_frames(depth: ArrayLike) -> Float[np.ndarray, "n h w"]:
    """Depth in mm, one frame or several; what is not finite or not above 0 is missing. ValueError
    for anything else, and for pictures."""
    if (
        np.ndim(depth) in (3, 4)
        and np.shape(depth)[-1] in (3, 4)
        and np.asarray(depth).dtype == "u1"
    ):
        raise ValueError(
            f"depth: {np.asarray(depth).dtype} {list(np.shape(depth))}, a color picture; expected "
            "depth in mm, [h, w] or [n, h, w]"
        )
    frames = samples("depth", depth, 2, "[h, w] or [n, h, w] in mm")
    return np.where(np.isfinite(frames) & (frames > 0), frames, 0).astype(np.float32)


def depth_frame(
    depth: ArrayLike, camera: CameraLike
) -> tuple[Float[np.ndarray, "1 h w"], "PinholeFrames"]:
    """One frame, as `depth_frames`, and as a pinhole sees it. ValueError for several."""
    if np.ndim(depth) != 2:
        raise ValueError(f"depth: shape {np.shape(depth)}; expected one image, [h, w]")
    frames = depth_frames(depth)
    return frames, pinhole_frames(camera, frames)


# mm per unit of depth images → cameras that have it.
_UNITS = {0.125: "SR300, SR305", 0.25: "L515", 0.1: "D405", 10.0: "cm"}


def what_is_measured(
    depth: Float[np.ndarray, "h w"], range_mm: tuple[float, float] | None = None
) -> str:
    """Of a frame without depth where it is expected, within `range_mm`: what it has, and in which
    unit that might be. For the end of a message."""
    seen = depth[depth > 0]
    if not seen.size:
        return "; nothing is measured in it"
    low, high = float(seen.min()), float(seen.max())
    said = f"; it has {low:.4g} to {high:.4g}"
    if high < 20:
        return f"{said}; in metres? expected mm"
    near, far = range_mm or (np.inf, 0.0)
    for unit, camera in _UNITS.items():
        if near <= low * unit <= far:
            then = f"{low * unit:.4g} to {high * unit:.4g} mm"
            return f"{said}; in units of {unit:g} mm ({camera}; --unit {unit:g}) it would be {then}"
    return said


def rgb_images(image: ArrayLike) -> UInt8[np.ndarray, "n h w 3"]:
    """RGB as uint8, one image or several. ValueError for anything else, and for depth."""
    given = np.asarray(image)
    if (
        given.dtype != np.uint8
        or given.ndim not in (3, 4)
        or given.shape[-1] != 3
        or not given.size
    ):
        depth = given.ndim in (2, 3) and given.dtype != np.uint8
        hint = ": depth? handjax.load('hand-depth') takes it" if depth else ""
        raise ValueError(
            f"image: {given.dtype} {list(given.shape)}; expected RGB as uint8, "
            f"[h, w, 3] or [n, h, w, 3]{hint}"
        )
    return given if given.ndim == 4 else given[None]


def rgb_image(image: ArrayLike) -> UInt8[np.ndarray, "h w 3"]:
    """One RGB image as uint8, for networks that find what is in it. ValueError for several, and for
    anything else."""
    pictures = rgb_images(image)
    if np.ndim(image) != 3:
        raise ValueError(f"image: {list(np.shape(image))}; expected one picture [h, w, 3] per call")
    return pictures[0]


class PinholeFrames(NamedTuple):
    """Depth frames without the lens of their camera."""

    depth: Float[np.ndarray, "n h w"]
    k: Float[np.ndarray, "n 3 3"]
    cameras: tuple[Camera, ...]  # of the frames as they were given

    def pixels(self, xyz: Float[np.ndarray, "n j 3"]) -> Float[np.ndarray, "n j 2"]:
        """Camera mm → px of the frames as they were given."""
        pairs = zip(self.cameras, xyz, strict=True)
        return np.array([camera.project(points) for camera, points in pairs]).reshape(
            *xyz.shape[:-1], 2
        )


def pinhole_frames(camera: CameraLike, frames: Float[np.ndarray, "n h w"]) -> PinholeFrames:
    """The frames as pinholes see them. ValueError if `camera` cannot be theirs, CameraWarning if it
    is unusual. With one K per frame, frames may be cut out of a camera's image."""
    count, height, width = frames.shape
    matrices = floats(None if isinstance(camera, str | Camera) else camera)
    if matrices.ndim == 3:
        if len(matrices) != count:
            raise ValueError(
                f"camera: {len(matrices)} matrices for {count} frames; expected one each"
            )
        crops = [dataclasses.replace(read_camera(one), cropped=True) for one in matrices]
        own = tuple(crop.of_image(height, width) for crop in crops)
        return PinholeFrames(frames, matrices.astype(np.float32), own)
    given = read_camera(camera)
    images = [given.pinhole(frame) for frame in frames]
    own = (given.of_image(height, width),) * count
    return PinholeFrames(
        np.stack([image.depth for image in images]), np.stack([image.k for image in images]), own
    )


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
