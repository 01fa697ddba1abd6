"""The hand of one depth image after another: by a network, by fitting, or both."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float

from handjax.fitting import tracker
from handjax.fitting.objective import Fit
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import hand

SKELETON = SKELETONS["hand21"]
Network = Callable[[Float[np.ndarray, "n n"]], Float[np.ndarray, "41 3"]]  # `tracker.network`


class PlacedHand(NamedTuple):
    """A hand of spheres, camera mm, and the mean distance of its measured pixels to them."""

    centers: Float[np.ndarray, "41 3"]
    radii: Float[np.ndarray, "41"]
    joints: Float[np.ndarray, "21 3"]
    distance_mm: float


class FittedFrame(NamedTuple):
    """The hand of one depth image, before and after the fit."""

    name: str
    view: tracker.View
    fit: Fit
    before: PlacedHand
    after: PlacedHand
    forearm_share: float  # of the pixels in the cube
    seconds: float


class FrameFitter:
    """`fitter(name, view)` → FittedFrame.

    `network` None starts each fit from 24 hands in all directions; `steps` 0 is the network alone.
    With `sequence` each frame starts from the one before.
    """

    def __init__(
        self, network: Network | None, steps: int, method: str, forearm: bool, sequence: bool
    ):
        self.network, self.steps, self.sequence = network, steps, sequence
        self.forearm = forearm
        self.tracker = tracker.Tracker(method, forearm, chunk=50)
        self.last: FittedFrame | None = None

    def __call__(self, name: str, view: tracker.View) -> FittedFrame:
        began = time.perf_counter()
        previous = start = centers = None
        if self.sequence and self.last is not None:
            mirror = np.array([-1 if view.left else 1, 1, 1])
            moved = (self.last.view.center_xyz - view.center_xyz) * mirror
            previous = start = self.tracker.shifted(self.last.fit, moved.astype(np.float32))
        elif self.network is not None:
            centers = self.network(view.cube_depth)
            start = self.tracker.from_centers(centers)
        if self.steps:
            steps = list(self.tracker.steps(view.cube_depth, self.steps, start, previous))
            first, fit = steps[0].fit, steps[-1].fit
        else:
            first = fit = start
        arm = np.zeros(len(view.points), bool)
        if self.forearm:
            arm = self._is_forearm(fit, view)
        before, after = (self._placed(fit, view, ~arm) for fit in (first, fit))
        if centers is not None:  # the network's own centers, which need not be those of a hand
            before = self._placed(first, view, ~arm, centers)
            after = after if self.steps else before
        seconds = time.perf_counter() - began
        self.last = FittedFrame(name, view, fit, before, after, float(arm.mean()), seconds)
        return self.last

    def _is_forearm(self, fit: Fit, view: tracker.View) -> Bool[np.ndarray, " p"]:
        """The points nearer to the forearm than to the hand; if all are, none."""
        own, arm = (
            off_surface(view.points, *spheres(fit))
            for spheres in (self.tracker.spheres, self.tracker.forearm)
        )
        nearer = arm < own
        return nearer if not nearer.all() else ~nearer

    def _placed(
        self,
        fit: Fit,
        view: tracker.View,
        counted: Bool[np.ndarray, " p"],
        centers: Float[np.ndarray, "41 3"] | None = None,
    ) -> PlacedHand:
        """The fit's hand, or the one of the network's `centers` (mm of the cube)."""
        own, radii = (np.asarray(part) for part in self.tracker.spheres(fit))
        if centers is None:
            centers, joints = own, np.asarray(self.tracker.joints21(fit))
        else:
            joints = centers[np.array(hand.JOINT_SPHERES[SKELETON.name])]
        distance = np.abs(off_surface(view.points[counted], centers, radii)).mean()
        return PlacedHand(
            tracker.to_camera(centers, view),
            radii,
            tracker.to_camera(joints, view),
            float(distance),
        )


def off_surface(
    points: Float[np.ndarray, "p 3"],
    centers: Float[Array | np.ndarray, "s 3"],
    radii: Float[Array | np.ndarray, " s"],
) -> Float[np.ndarray, " p"]:
    """Distance to the surface of the union of spheres, mm, negative inside."""
    least = np.full(len(points), np.inf, np.float32)
    for center, radius in zip(np.asarray(centers), np.asarray(radii), strict=True):
        least = np.minimum(least, np.linalg.norm(points - center, axis=1) - radius)
    return least
