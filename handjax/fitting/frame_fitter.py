"""The hand of one depth cube after another: by a network, by fitting, or both."""

import time
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from handjax.fitting import surface
from handjax.fitting.depth_cube import DepthCube
from handjax.fitting.hand_state import HandState
from handjax.fitting.sphere_network import SphereNetwork
from handjax.fitting.tracker import Tracker
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import hand

SKELETON = SKELETONS["hand21"]


class PlacedHand(NamedTuple):
    """A hand of spheres, camera mm, and the mean distance of its measured pixels to them."""

    centers: Float[np.ndarray, "41 3"]
    radii: Float[np.ndarray, "41"]
    joints: Float[np.ndarray, "21 3"]
    distance_mm: float


class FittedFrame(NamedTuple):
    """The hand of one depth image, before and after the fit."""

    name: str
    cube: DepthCube
    fit: HandState
    before: PlacedHand
    after: PlacedHand
    forearm_share: float  # of the pixels in the cube
    seconds: float


class FrameFitter:
    """`fitter(name, cube)` → FittedFrame.

    The fit starts from the joints of the call, else from those of `network`, else from 24 hands in
    all directions; with `steps` 0 the start is the result. With `sequence` each frame starts from
    the one before.
    """

    def __init__(
        self, network: SphereNetwork | None, steps: int, method: str, forearm: bool, sequence: bool
    ):
        self.network, self.steps, self.sequence = network, steps, sequence
        self.forearm = forearm
        self.tracker = Tracker(method, forearm, chunk=50)
        self.last: FittedFrame | None = None

    def __call__(
        self, name: str, cube: DepthCube, joints: Float[np.ndarray, "21 3"] | None = None
    ) -> FittedFrame:
        """The hand in a cube. `joints` (hand21): of a network, mm of the cube."""
        began = time.perf_counter()
        previous = start = centers = None
        if self.sequence and self.last is not None:
            mirror = np.array([-1 if cube.left else 1, 1, 1])
            moved = (self.last.cube.center_xyz - cube.center_xyz) * mirror
            previous = start = self.tracker.translated(self.last.fit, moved.astype(np.float32))
        elif joints is not None:
            start = self.tracker.from_joints(joints)
        elif self.network is not None:
            centers = self.network(cube.depth)
            start = self.tracker.from_centers(centers)
        if self.steps:
            steps = list(self.tracker.steps(cube.depth, self.steps, start, previous))
            first, fit = steps[0].fit, steps[-1].fit
        elif start is not None:
            first = fit = start
        else:
            raise ValueError("0 steps without a start: nothing finds the hand")
        arm = np.zeros(len(cube.points), bool)
        if self.forearm:
            arm = surface.nearer_to_forearm(
                cube.points, self.tracker.spheres(fit), self.tracker.forearm(fit)
            )
        before, after = (self._placed(state, cube, ~arm) for state in (first, fit))
        # A network's own points need not be those of a hand.
        if centers is not None:
            before = self._placed(first, cube, ~arm, centers)
        elif joints is not None:
            before = before._replace(joints=cube.to_camera(joints))
        after = after if self.steps else before
        seconds = time.perf_counter() - began
        self.last = FittedFrame(name, cube, fit, before, after, float(arm.mean()), seconds)
        return self.last

    def _placed(
        self,
        state: HandState,
        cube: DepthCube,
        counted: Bool[np.ndarray, " p"],
        centers: Float[np.ndarray, "41 3"] | None = None,
    ) -> PlacedHand:
        """The hand of a state, or that of the network's `centers` (mm of the cube)."""
        own, radii = (np.asarray(part) for part in self.tracker.spheres(state))
        if centers is None:
            centers, joints = own, np.asarray(self.tracker.joints21(state))
        else:
            joints = centers[np.array(hand.JOINT_SPHERES[SKELETON.name])]
        distance = surface.mean_distance(cube.points[counted], (centers, radii))
        return PlacedHand(cube.to_camera(centers), radii, cube.to_camera(joints), distance)
