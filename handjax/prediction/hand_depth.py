"""The hand network on depth images: `handjax.load("hand-depth")` and runs of configs/handnet.py."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from handjax.engine.programs import kept
from handjax.fitting.depth_cube import CubeFrame
from handjax.fitting.depth_fitter import SeenJoints, weigh
from handjax.ops import library
from handjax.pose.skeleton import SKELETONS
from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike, CameraLike
from handjax.prediction.base import Prediction
from handjax.prediction.depth_base import DepthPredictor
from handjax.prediction.hand_search import (
    ODDS,
    RANGE_MM,
    SIZE,
    UNSURE,
    HandFound,
    Networks,
    at_either_side,
    everywhere,
    find,
    included,
)
from handjax.prediction.network import TrainedNetwork, check_finite

_keep = partial(kept, results=(HandFound,), kernels=library.registered)
_find = _keep(find, static=("range_mm",))
_everywhere = _keep(everywhere, static=("range_mm",))
_at = _keep(at_either_side)
_ANOTHER_MM = 50.0  # between the means of the joints of two hands


class HandDepthPredictor(DepthPredictor):
    """The hand network on depth images of any camera: it finds the hand and its side.

    A `presence` below 0.5 means that there may be no hand, or that its joints are uncertain; `std`
    is the standard deviation of a joint along an axis. Where the camera sees nothing within
    `range_mm`, ValueError. With `fit_steps` (12 do; 0 by default) the joints are then weighed
    against the depth (fitting/depth_fitter.py), and `std` is that of the result.
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
        if (size := network.config.data.image_size) != SIZE:
            raise ValueError(
                f"{name}: it learnt from crops of {size} px; prediction needs "
                f"config.data.image_size={SIZE}"
            )
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
        finite = all(np.isfinite(value).all() for value in found)
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
        frames = arguments.depth_frames(depth)
        if np.ndim(depth) != 2:
            raise ValueError(f"depth: shape {np.shape(depth)}; expected one image, [h, w]")
        images = arguments.pinhole_frames(camera, frames)
        frame, k, side = images.depth[0], images.k[0], self.asked(side)
        self._check_range(frame)
        everything = _everywhere(self.networks, frame, k, ODDS[side], self.range_mm)
        found, likely = jax.device_get(everything)
        finite = np.isfinite(likely) & np.isfinite(found.joints).all((1, 2))
        check_finite(np.array([finite.all()]), self.name)
        kept: list[HandFound] = []
        for number in np.argsort(-likely):
            one = jax.tree.map(lambda x, i=number: x[i], found)
            middle = one.joints.mean(0)
            apart = [np.linalg.norm(middle - other.joints.mean(0)) for other in kept]
            if one.presence >= presence and min(apart, default=_ANOTHER_MM) >= _ANOTHER_MM:
                kept.append(one)
        rows = self._as_rows([self._fitted_if_asked(one, frame, k) for one in kept])
        each = images._replace(cameras=images.cameras * len(kept))
        return self._result(rows, each, frames, True)

    def _located(self, depth, k, side, center):
        odds = ODDS[side]
        if center is not None:
            return _at(self.networks, depth, k, center, odds)
        self._check_range(depth)
        return _find(self.networks, depth, k, odds, self.range_mm)

    def _check_range(self, depth: Float[np.ndarray, "h w"]) -> None:
        near, far = self.range_mm
        if not ((depth >= near) & (depth <= far)).any():
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
        fitted = [self._fitted_if_asked(*one) for one in zip(rows, frames, k, strict=True)]
        return self._as_rows(fitted)

    @staticmethod
    def _as_rows(hands: Sequence[HandFound]) -> dict[str, np.ndarray]:
        count, joints = len(hands), len(SKELETONS["hand21"].joints)
        return {
            "joints_xyz": np.array([one.joints for one in hands]).reshape(count, joints, 3),
            "std": np.array([one.std for one in hands]).reshape(count, joints),
            "presence": np.array([one.presence for one in hands]),
            "left": np.array([one.side < 0 for one in hands], bool),
            "center_xyz": np.array([one.center for one in hands]).reshape(count, 3),
        }

    def _fitted_if_asked(
        self, found: HandFound, depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"]
    ) -> HandFound:
        """The hand after `fit_steps` of the fit to the depth image it was found in, if any."""
        if not self.fit_steps:
            return found
        seen = SeenJoints(np.asarray(found.joints), np.asarray(found.std), depth, k)
        frame = CubeFrame(np.asarray(found.center), bool(found.side < 0))
        fitted = weigh(seen, frame, steps=self.fit_steps)
        return found._replace(joints=jnp.asarray(fitted.joints), std=jnp.asarray(fitted.std))
