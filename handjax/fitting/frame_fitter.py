"""The hand of one depth cube after another: by a network, by fitting, or both."""

import time
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from handjax.engine.programs import kept
from handjax.fitting import hand_state, surface
from handjax.fitting.depth_cube import DepthCube
from handjax.fitting.hand_state import HandState
from handjax.fitting.sphere_network import SphereNetwork
from handjax.fitting.tracker import Tracker
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import hand

SKELETON = SKELETONS["hand21"]
_spheres, _joints = kept(hand_state.spheres), kept(hand_state.joints21)
_arm = kept(hand_state.forearm)


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
    std: Float[np.ndarray, "21"] | None = None  # deviation of the fitted joints along an axis, mm
    covariance: Float[np.ndarray, "21 3 3"] | None = None  # of each of them, mm²


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
        frame = place(name, cube, first, fit, self.forearm, centers)
        if joints is not None:  # a network's need not be those of a hand
            frame = frame._replace(before=frame.before._replace(joints=cube.to_camera(joints)))
        after = frame.after if self.steps else frame.before
        self.last = frame._replace(after=after, seconds=time.perf_counter() - began)
        return self.last


def place(
    name: str,
    cube: DepthCube,
    first: HandState,
    fit: HandState,
    forearm: bool,
    centers: Float[np.ndarray, "41 3"] | None = None,
) -> FittedFrame:
    """The start of a fit and its end in a frame, with their distances to the pixels that are nearer
    to the hand than to its forearm, where there may be one. `centers`: spheres of a network, mm of
    the cube, in place of those of `first`."""
    hands = [[np.asarray(x) for x in (*_spheres(state), _joints(state))] for state in (first, fit)]
    if centers is not None:
        own = np.array(hand.JOINT_SPHERES[SKELETON.name])
        hands[0] = [centers, hands[0][1], centers[own]]
    arm = np.zeros(len(cube.points), bool)
    if forearm:
        arm = surface.nearer_to_forearm(cube.points, (hands[1][0], hands[1][1]), _arm(fit))
    before, after = (_placed(cube, ~arm, *one) for one in hands)
    return FittedFrame(name, cube, fit, before, after, float(arm.mean()), 0.0)


def _placed(
    cube: DepthCube,
    counted: Bool[np.ndarray, " p"],
    centers: Float[np.ndarray, "41 3"],
    radii: Float[np.ndarray, "41"],
    joints: Float[np.ndarray, "21 3"],
) -> PlacedHand:
    distance = surface.mean_distance(cube.points[counted], (centers, radii))
    return PlacedHand(cube.to_camera(centers), radii, cube.to_camera(joints), distance)
