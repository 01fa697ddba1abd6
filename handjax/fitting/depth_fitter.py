"""The hand of one depth image after another: a network's joints, weighed against the depth."""

import time
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from handjax.fitting.depth_cube import CubeFrame, DepthCube
from handjax.fitting.frame_fit import UNDERSTATED, FrameFit, fit_frame
from handjax.fitting.frame_fitter import FittedFrame, place
from handjax.fitting.hand_build import USUAL, Build, SeenBuild
from handjax.fitting.levenberg_marquardt import STEPS
from handjax.pose.spread import deviation


class SeenJoints(NamedTuple):
    """The joints (hand21) of a network, camera mm, with the deviation of each along an axis, and
    the depth image, mm, and camera that it saw them in."""

    joints: Float[np.ndarray, "21 3"]
    std: Float[np.ndarray, "21"]
    depth: Float[np.ndarray, "h w"]
    k: Float[np.ndarray, "3 3"]


class Weighed(NamedTuple):
    """A fitted hand in the depth image, camera mm."""

    joints: Float[np.ndarray, "21 3"]
    std: Float[np.ndarray, "21"]  # deviation along an axis, mm
    covariance: Float[np.ndarray, "21 3 3"]  # mm²; std² is the mean of its diagonal
    fit: FrameFit


def weigh(
    seen: SeenJoints,
    frame: CubeFrame,
    last: Float[np.ndarray, "21 3"] | None = None,
    steps: int = STEPS,
    build: Build = USUAL,
) -> Weighed:
    """The hand after `steps` steps from the network's joints, and from those of the frame before,
    `last`, camera mm, if there was one; the network's, if it does not end on what was measured.
    `frame` is that of the crop and the side, `build` what is known of the hand's size."""
    before = None if last is None else frame.from_camera(last).astype(np.float32)
    image = np.asarray(seen.depth, np.float32), np.asarray(seen.k, np.float32)
    crop = np.asarray(frame.center_xyz, np.float32), np.asarray(frame.left)
    own = frame.from_camera(seen.joints).astype(np.float32)
    fit = jax.device_get(fit_frame(*image, *crop, own, np.asarray(seen.std), before, build, steps))
    covariance = UNDERSTATED**2 * frame.spread_to_camera(fit.covariance)
    return Weighed(frame.to_camera(fit.joints), deviation(covariance), covariance, fit)


class DepthFitter:
    """`fitter(name, cube, seen)` → FittedFrame, by `frame_fit.fit_frame`.

    `forearm`: whether the depth may contain one, which then does not count in the distances. With
    `sequence` each fit begins at the frame before as well, and stays near it, and the size of the
    hand and its fingers is estimated over the frames and then kept. With `steps` 0 the
    network's joints are the result.
    """

    def __init__(self, steps: int = STEPS, forearm: bool = True, sequence: bool = False):
        self.steps, self.forearm, self.sequence = steps, forearm, sequence
        self.last: FittedFrame | None = None
        self.build = SeenBuild()

    def __call__(self, name: str, cube: DepthCube, seen: SeenJoints) -> FittedFrame:
        """The hand in a cube whose middle is that of the network's crop."""
        began = time.perf_counter()
        last = None
        if self.sequence and self.last is not None and self.last.cube.left == cube.left:
            last = self.last.after.joints
        else:
            self.build = SeenBuild()
        known = self.build.known()
        weighed = weigh(seen, CubeFrame(cube.center_xyz, cube.left), last, self.steps, known)
        if self.sequence and weighed.fit.holds:
            self.build = self.build.after(weighed.fit.state)
        frame = place(name, cube, weighed.fit.start, weighed.fit.state, self.forearm)
        before = frame.before._replace(joints=np.asarray(seen.joints))
        self.last = frame._replace(
            before=before,
            after=frame.after if self.steps else before,
            seconds=time.perf_counter() - began,
            std=weighed.std if self.steps else np.asarray(seen.std),
            covariance=weighed.covariance if self.steps else None,
        )
        return self.last
