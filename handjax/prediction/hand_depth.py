"""The hand network on depth images: `handjax.load("hand-depth")` and runs of configs/handnet.py."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from handjax.engine.programs import kept
from handjax.fitting.depth_cube import CubeFrame
from handjax.fitting.depth_fitter import SeenJoints, weigh
from handjax.fitting.hand_build import SeenBuild
from handjax.ops import library
from handjax.pose.skeleton import SKELETONS
from handjax.pose.spread import isotropic
from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike, CameraLike
from handjax.prediction.base import Prediction
from handjax.prediction.depth_base import DepthPredictor
from handjax.prediction.hand_following import SEARCH_EVERY, HandFollower
from handjax.prediction.hand_search import (
    ODDS,
    RANGE_MM,
    SIZE,
    UNSURE,
    HandFound,
    Networks,
    apart,
    at_either_side,
    everywhere,
    find,
    included,
)
from handjax.prediction.network import TrainedNetwork, check_crops, check_finite

_keep = partial(kept, results=(HandFound,), kernels=library.registered)
_find = _keep(find, static=("range_mm",))
_everywhere = _keep(everywhere, static=("range_mm",))
_at = _keep(at_either_side)


class HandDepthPredictor(DepthPredictor):
    """The hand network on depth images of any camera: it finds the hand and its side.

    A `presence` below 0.5 means that there may be no hand, or that its joints are uncertain; `std`
    is the standard deviation of a joint along an axis. Where the camera sees nothing within
    `range_mm`, ValueError. With `fit_steps` (12 do; 0 by default) the joints are then weighed
    against the depth (fitting/depth_fitter.py), and `std` and `covariance` are those of the result;
    the network's own deviation is the same in all directions.
    """

    sides = ("auto", "right", "left")

    def __init__(self, name: str, networks: Networks):
        super().__init__(name, SKELETONS["hand21"], RANGE_MM)
        self.networks = networks
        self.fit_steps = 0

    @classmethod
    def included(cls) -> "HandDepthPredictor":
        """The networks that come with handjax: models/handnet.md."""
        return cls("hand-depth", included())

    @classmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "HandDepthPredictor":
        """A run of configs/handnet.py, with the included finder. ValueError for crops of another
        size."""
        check_crops(name, network, SIZE)
        return cls(name, Networks(dict(network.variables), included().finder))

    def locate(
        self,
        depth: Float[np.ndarray, "h w"],
        k: Float[np.ndarray, "3 3"],
        side: str = "auto",
        center: Float[np.ndarray, "3"] | None = None,
    ) -> HandFound:
        """The hand in one depth image, as NumPy arrays; arguments as in a call. ValueError where
        nothing is within `range_mm`, and for an output that is not finite."""
        found = jax.device_get(self._located(depth, k, side, center))
        finite = all(np.isfinite(value).all() for value in jax.tree.leaves(found))
        check_finite(np.array([finite]), self.name)
        return found

    def hands(
        self,
        depth: ArrayLike,
        camera: CameraLike,
        side: str | None = None,
        presence: float = UNSURE,
    ) -> Prediction:
        """All hands of one depth image [h, w], the surest first; arguments and fields as in a call.

        Up to four, each of `presence` or more and with the mean of its joints 50 mm or more from
        those of surer ones; none is a result of length 0.
        """
        frames, images = arguments.depth_frame(depth, camera)
        self._check_range(images.depth[0])
        found = self.found_in(images.depth[0], images.k[0], self.asked(side), presence)
        return self.result_of(found, images, frames)

    def follower(
        self,
        camera: CameraLike | None = None,
        side: str | None = None,
        hands: int = 2,
        presence: float = UNSURE,
        search_every: int = SEARCH_EVERY,
    ) -> HandFollower:
        """What follows hands from frame to frame: `follower(depth)` is as `hands`, at the rate of a
        camera. ValueError for what cannot be meant.

        camera        of all frames; None: each call has its own
        side          of all hands, "right" or "left"; by default found, by votes over the frames
        hands         how many are followed at most
        presence      what a hand must have to be followed, 0 to 1
        search_every  frames between searches for more hands, each of which takes as long as `hands`
        """
        return HandFollower(self, camera, side, hands, presence, search_every)

    def found_in(
        self,
        depth: Float[np.ndarray, "h w"],
        k: Float[np.ndarray, "3 3"],
        side: str,
        presence: float,
    ) -> list[HandFound]:
        """The hands of `hands`, as NumPy arrays; `side` is one of ODDS."""
        everything = _everywhere(self.networks, depth, k, ODDS[side], self.range_mm)
        found, likely = jax.device_get(everything)
        finite = np.isfinite(likely) & np.isfinite(found.joints).all((1, 2))
        check_finite(np.array([finite.all()]), self.name)
        kept: list[HandFound] = []
        for number in np.argsort(-likely):
            one = jax.tree.map(lambda x, i=number: x[i], found)
            if one.presence >= presence and apart(one, kept):
                kept.append(one)
        return [self.fitted_if_asked(one, depth, k) for one in kept]

    def result_of(
        self,
        hands: Sequence[HandFound],
        images: arguments.PinholeFrames,
        frames: Float[np.ndarray, "1 h w"],
    ) -> Prediction:
        """Hands of one frame, as several samples."""
        each = images._replace(cameras=images.cameras * len(hands))
        return self._result(self._as_rows(hands), each, frames, True)

    def _located(self, depth, k, side, center):
        odds = ODDS[side]
        if center is not None:
            return _at(self.networks, depth, k, center, odds)
        self._check_range(depth)
        return _find(self.networks, depth, k, odds, self.range_mm)

    def sees(self, depth: Float[np.ndarray, "h w"]) -> bool:
        """Whether anything is within `range_mm`."""
        near, far = self.range_mm
        return bool(((depth >= near) & (depth <= far)).any())

    def _check_range(self, depth: Float[np.ndarray, "h w"]) -> None:
        near, far = self.range_mm
        if not self.sees(depth):
            raise ValueError(
                f"no depth between {near:g} and {far:g} mm, where the hand is searched for: set "
                "the range, or give the hand's center"
                + arguments.what_is_measured(depth, self.range_mm)
            )

    def _rows(self, frames, k, centers, side, how):
        given = [None] * len(frames) if centers is None else centers
        rows = [
            self.locate(frame, own, side, center)
            for frame, own, center in zip(frames, k, given, strict=True)
        ]
        fitted = [self.fitted_if_asked(*one) for one in zip(rows, frames, k, strict=True)]
        return self._as_rows(fitted)

    @staticmethod
    def _as_rows(hands: Sequence[HandFound]) -> dict[str, np.ndarray]:
        count, joints = len(hands), len(SKELETONS["hand21"].joints)
        return {
            "joints_xyz": np.array([one.joints for one in hands]).reshape(count, joints, 3),
            "std": np.array([one.std for one in hands]).reshape(count, joints),
            "covariance": np.array(
                [
                    isotropic(np.asarray(one.std)) if one.covariance is None else one.covariance
                    for one in hands
                ]
            ).reshape(count, joints, 3, 3),
            "presence": np.array([one.presence for one in hands]),
            "left": np.array([one.side < 0 for one in hands], bool),
            "center_xyz": np.array([one.center for one in hands]).reshape(count, 3),
        }

    def fitted_if_asked(
        self,
        found: HandFound,
        depth: Float[np.ndarray, "h w"],
        k: Float[np.ndarray, "3 3"],
    ) -> HandFound:
        """The hand after `fit_steps` of the fit to the depth image it was found in, if any."""
        return self.fitted(found, depth, k)[0] if self.fit_steps else found

    def fitted(
        self,
        found: HandFound,
        depth: Float[np.ndarray, "h w"],
        k: Float[np.ndarray, "3 3"],
        last: Float[np.ndarray, "21 3"] | None = None,
        build: SeenBuild = SeenBuild(),  # noqa: B008  # immutable
    ) -> tuple[HandFound, SeenBuild]:
        """The hand after `fit_steps` of the fit to the depth image it was found in, and what is
        known of its build then. `last`: its joints in the frame before; `build`: what was known."""
        seen = SeenJoints(np.asarray(found.joints), np.asarray(found.std), depth, k)
        frame = CubeFrame(np.asarray(found.center), bool(found.side < 0))
        fitted = weigh(seen, frame, last, self.fit_steps, build.known())
        build = build.after(fitted.fit.state) if fitted.fit.holds else build
        names = ("joints", "std", "covariance")
        after: dict[str, Any] = {name: getattr(fitted, name) for name in names}  # NumPy arrays
        return found._replace(**after), build
