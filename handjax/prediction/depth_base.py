"""What predictors of depth images share: the call, cameras, and where the hand is looked for."""

import abc
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from handjax.pose.center import hand_center
from handjax.pose.cube import EXTENT_MM
from handjax.pose.skeleton import Skeleton
from handjax.prediction import arguments, rgbd
from handjax.prediction.arguments import ArrayLike, CameraLike
from handjax.prediction.base import Prediction, Predictor


class DepthPredictor(Predictor):
    """Joints of the hand in depth images."""

    reads = "depth images [h, w] or [n, h, w] in mm, camera"
    sides: tuple[str, ...] = ("right", "left")  # that may be asked for; the first by default

    def __init__(self, name: str, skeleton: Skeleton, range_mm: tuple[float, float]):
        super().__init__(name, skeleton)
        self.range_mm = range_mm

    def __call__(
        self,
        depth: ArrayLike,
        camera: CameraLike,
        center: ArrayLike | Sequence[Any] | str | None = None,
        side: str | None = None,
        uv: ArrayLike | None = None,
        uv_std: float = 4.0,
    ) -> Prediction:
        """`xyz` and the crop's `center` in camera mm, `uv` in px of the image, and `confidence`,
        `std`, `covariance` and `presence` if the network has them.

        depth   mm along z, 0 = missing, [h, w] or [n, h, w]
        camera  (fx, fy, cx, cy) in px, K [3, 3], K per frame [n, 3, 3], (K, OpenCV's distortion),
                or text as `--camera` takes it: a name, or with fisheye:, inverse: or crop: in
                front
        center  of the crop around the hand, camera mm, [3] or [n, 3]; or how it is found:
                "network", by the hand network and its finder (the default of the hand network and
                of V2V-PoseNet), or "nearest", the center of mass of the nearest object within
                `range_mm` (`pose.center.hand_center`; the default of the sphere hand)
        side    of the hand, "right" or "left"; by default the hand network finds out, also for
                "v2v"; the others expect a right hand
        uv      of the same joints in a picture of the same camera, such as color aligned with
                depth, by any network, px of the image, [j, 2] or [n, j, 2]; NaN where there is
                none. They say where the hand is, and each joint moves towards its ray by how sure
                both are. For networks that give `std`
        uv_std  standard deviation of `uv` along each axis, px
        """
        frames = arguments.depth_frames(depth)
        images = arguments.pinhole_frames(camera, frames)
        side = self.asked(side)
        how = center if isinstance(center, str) else None
        if how not in (None, "network", "nearest"):
            raise ValueError(f"center={how!r}: expected network, nearest or camera mm, [3]")
        given = None
        if center is not None and not isinstance(center, str):
            given = arguments.centers(center, len(frames))
        elif how == "nearest":
            given = nearest_centers(images.depth, images.k, self._cube_mm(), self.range_mm)
        shown = None
        if uv is not None:
            shown = rgbd.rays_of(uv, uv_std, images.cameras, len(self.joints))
            given = rgbd.centers(shown, images, self.range_mm) if given is None else given
        rows = self._rows(images.depth, images.k, given, side, how)
        if shown is not None:
            rows = rgbd.fuse(rows, shown, uv_std, images)
        rows.setdefault("left", np.full(len(frames), side == "left"))
        return self._result(rows, images, frames, np.ndim(depth) == 3)

    def asked(self, side: str | None) -> str:
        """The side, or the default one. ValueError for one that this predictor does not know."""
        side = side or self.sides[0]
        if side not in self.sides:
            raise ValueError(f"side={side!r}: expected {' or '.join(self.sides)}")
        return side

    def _result(
        self,
        rows: dict[str, np.ndarray],
        images: arguments.PinholeFrames,
        frames: Float[np.ndarray, "n h w"],
        batched: bool,
    ) -> Prediction:
        """`rows` with names, and their pixels in the images as they were given."""
        xyz = rows["joints_xyz"]
        found = {
            "xyz": xyz,
            "uv": images.pixels(xyz),
            "confidence": rows.get("confidence"),
            "std": rows.get("std"),
            "covariance": rows.get("covariance"),
            "presence": rows.get("presence"),
            "center": rows["center_xyz"],
        }
        sides = ["left" if one else "right" for one in rows["left"]]
        return self.named(found, batched, side=sides, pictures=list(frames))

    def _cube_mm(self) -> float:
        """Edge of the crop."""
        return EXTENT_MM

    @abc.abstractmethod
    def _rows(
        self,
        frames: Float[np.ndarray, "n h w"],
        k: Float[np.ndarray, "n 3 3"],
        centers: Float[np.ndarray, "n 3"] | None,
        side: str,
        how: str | None,
    ) -> dict[str, np.ndarray]:
        """`joints_xyz` [n, j, 3] and `center_xyz` [n, 3] in camera mm; and, if there are any,
        `confidence`, `std` [n, j], `presence` and `left` [n]. Without `centers` they are found as
        `how` says, or by default."""


@partial(jax.jit, static_argnames="range_mm")
def _jitted_center(depth, k, cube_mm, range_mm):
    return hand_center(depth, k, cube_mm, range_mm)


def nearest_centers(
    frames: Float[np.ndarray, "n h w"],
    k: Float[np.ndarray, "n 3 3"],
    cube_mm: float,
    range_mm: tuple[float, float],
) -> Float[np.ndarray, "n 3"]:
    """Centers of mass of the nearest objects, camera mm. ValueError names a frame without depth."""
    near, far = range_mm
    empty = ~((frames >= near) & (frames <= far)).any((1, 2))
    if empty.any():
        number = int(np.argmax(empty))
        raise ValueError(
            f"depth: frame {number} has no depth between {near:g} and {far:g} mm, "
            "where the hand is searched for; set predictor.range_mm, or give its center"
            + arguments.what_is_measured(frames[number], range_mm)
        )
    edges = np.full((len(frames), 3), cube_mm, np.float32)
    return np.asarray(_jitted_center(frames, k, edges, range_mm))
