"""The depth image loaded into the viewer, and the fit of the hand to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from handjax.data.cameras import Camera, read_camera
from handjax.data.formats.depth import read_depth
from handjax.fitting import surface, tracker
from handjax.fitting.depth_cube import RANGE_MM, DepthCube, crop_cube
from handjax.fitting.hand_state import HandState
from handjax.viewer.hand import PosedHand, posed_hand
from handjax.viewer.rendering import reproject

STEPS = 300  # of a fit
_POINTS = 2048  # that the surface distance is measured at


class DepthCamera(NamedTuple):
    """The camera of a depth image, and how its files are read."""

    intrinsics: str = ""  # as `data.cameras.read_camera` reads it
    unit_mm: float = 1.0  # mm per unit of the file
    form: str = "png16"  # a key of DEPTH_FORMATS
    range_mm: tuple[float, float] = RANGE_MM  # where hands are, along z

    def read(self) -> Camera:
        """The camera of `intrinsics`; ValueError if there is none."""
        return read_camera(self.intrinsics)


class LoadedImage(NamedTuple):
    """A depth image as a pinhole sees it, mm, 0 = missing."""

    name: str
    depth: Float[np.ndarray, "h w"]
    k: Float[np.ndarray, "3 3"]
    camera: DepthCamera

    @classmethod
    def read(cls, path: Path, camera: DepthCamera) -> "LoadedImage":
        """Read a file of the camera."""
        given = camera.read()  # raises before the file is read
        depth = read_depth(path, form=camera.form, scale=camera.unit_mm)
        return cls(path.name, *given.pinhole(depth), camera)


class ObservedHand(NamedTuple):
    """The hand of a loaded image: its cube, and its points and window image, camera mm."""

    cube: DepthCube
    points: Float[np.ndarray, "p 3"]
    picture: Float[np.ndarray, "h w"]  # `reproject`

    @classmethod
    def of(cls, image: LoadedImage, left: bool) -> "ObservedHand":
        """Find the hand; ValueError if there is no depth within the camera's range."""
        return cls._of(image, crop_cube(image.depth, image.k, image.camera.range_mm, left))

    @classmethod
    def at(cls, image: LoadedImage, left: bool, center: Float[np.ndarray, "3"]) -> "ObservedHand":
        """What is around a place, camera mm; ValueError if there is no depth."""
        return cls._of(image, crop_cube(image.depth, image.k, left=left, center_xyz=center))

    @classmethod
    def _of(cls, image: LoadedImage, cube: DepthCube) -> "ObservedHand":
        picture = reproject(image.depth, image.k, cube.center_xyz)
        return cls(cube, cube.to_camera(cube.points), picture)


class FitSession:
    """The fit of the hand to an observation, step by step."""

    def __init__(self) -> None:
        self.tracker = tracker.Tracker(chunk=1)
        self.restart()

    def restart(self) -> None:
        """The next step is the first of a fit."""
        self.wrist = np.zeros(2, np.float32)
        self.last: tracker.TrackerStep | None = None
        self._steps: Iterator[tracker.TrackerStep] | None = None
        self.running = False

    @property
    def started(self) -> bool:
        """Whether a fit has begun: its next step needs no compilation."""
        return self._steps is not None

    def step(self, cube: DepthCube, start: PosedHand | None) -> HandState | None:
        """The fit after one more step, None after STEPS of them. The first starts from `start`, or
        without it from 24 hands in all directions."""
        if self._steps is None:
            first = None if start is None else to_state(start, self.wrist)
            self._steps = self.tracker.steps(cube.depth, STEPS, first)
        found = next(self._steps, None)
        if found is None:
            self.running = False
            return None
        self.last, self.wrist = found, np.asarray(found.fit.wrist)
        return found.fit

    def surface_distance(self, cube: DepthCube, hand: PosedHand) -> tuple[float, float]:
        """Mean distance of the measured points to the hand, mm, and the share of points that are
        of the forearm and do not count. At most 2048 points are taken, evenly spread."""
        state = to_state(hand, self.wrist)
        chosen = np.linspace(0, len(cube.points) - 1, _POINTS).round().astype(int)
        points = cube.points[chosen]
        spheres, forearm = self.tracker.spheres(state), self.tracker.forearm(state)
        arm = surface.nearer_to_forearm(points, spheres, forearm)
        return surface.mean_distance(points[~arm], spheres), float(arm.mean())


def to_state(hand: PosedHand, wrist: Float[np.ndarray, "2"]) -> HandState:
    """The hand as the fit has it, in which all hands are right ones."""
    values = (hand.pose, np.log(hand.size), np.log(hand.fingers), wrist, np.log(hand.thickness))
    return HandState(*map(jnp.asarray, values))


def from_state(state: HandState, side: str) -> PosedHand:
    """The hand of a fit, as a hand of that side."""
    logs = (state.log_size, state.log_fingers, state.log_flesh)
    size, fingers, thickness = (np.asarray(np.exp(log)) for log in logs)
    return posed_hand(np.asarray(state.pose), size, fingers, side, thickness)
