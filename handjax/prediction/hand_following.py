"""The hands of a depth camera from frame to frame, at its rate.

A search looks at 32 crops of a frame. A known hand is looked at where it is expected, in two crops
for each side it may be of. Now and then a search finds new ones.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Float

from handjax.engine.programs import kept
from handjax.fitting.hand_build import SeenBuild
from handjax.ops import library
from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike, CameraLike
from handjax.prediction.base import Prediction
from handjax.prediction.hand_search import (
    UNSURE,
    HandFound,
    Networks,
    apart,
    look_around,
    side_odds,
)

if TYPE_CHECKING:
    import handjax.prediction.hand_depth

SEARCH_EVERY = 15  # frames, while hands are followed
_LOST = 0.1  # presence, of the likelier side, below which a hand is not seen in a frame
_PATIENCE = 10  # frames for which a hand may not be seen and is waited for
_DOUBTED = 90  # frames for which it may be unsure: then it was none
_FORGET, _VOTE = 0.9, 2.0  # weight of a side's log-odds after a frame, and the most that one adds
_FASTEST_MM = 80.0  # that a hand is expected to move on in a frame


def follow(
    networks: Networks,
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    joints: Float[Array, "21 3"],
    sides: Float[Array, " s"],
) -> tuple[HandFound, Float[Array, " s"]]:
    """The hand of a depth image, mm along z, 0 missing, of camera `k`, that is expected at the
    `joints`, camera mm: as one of each of the `sides`, -1 left, 1 right; and its log-odds."""

    def of_side(side: Array) -> tuple[HandFound, Array]:
        first, _ = look_around(networks, depth, k, joints, side, joints.mean(0))
        return look_around(networks, depth, k, first.joints, side, first.center)

    found, logits = jax.vmap(of_side)(sides)
    return found, side_odds(logits, found.std)


_follow = partial(kept, results=(HandFound,), kernels=library.registered)(follow)


@dataclass(frozen=True, eq=False)
class _Followed:
    number: int
    found: HandFound  # NumPy arrays
    odds: float  # log-odds of a right hand, of the frames so far
    move: Float[np.ndarray, "3"]  # since the frame before, mm
    missed: int = 0  # frames since it was seen
    unsure: int = 0  # frames since it had the presence of a hand that is found
    build: SeenBuild = SeenBuild()


class HandFollower:
    """`follower(depth)` → the hands of the next frame of a camera, as `HandDepthPredictor.hands`.

    Made by `HandDepthPredictor.follower`. `ids` are numbers of the hands of the last frame, which
    they keep. Votes of the frames so far, recent ones counting most, decide on a hand's side. One
    that is not seen is left out of the result and waited for where it was, for ten frames; one
    whose presence is too low to be found stays for 90. With the predictor's `fit_steps` the fit
    also begins at the frame before, and the size of the hand and its fingers is estimated over the
    frames and then kept.
    """

    def __init__(
        self,
        predictor: "handjax.prediction.hand_depth.HandDepthPredictor",
        camera: CameraLike | None = None,
        side: str | None = None,
        hands: int = 2,
        presence: float = UNSURE,
        search_every: int = SEARCH_EVERY,
    ):
        """Arguments as of `HandDepthPredictor.follower`."""
        if hands < 1 or search_every < 1:
            raise ValueError(f"hands={hands}, search_every={search_every}: expected 1 or more")
        if not 0 <= presence <= 1:
            raise ValueError(f"presence={presence}: expected 0 to 1")
        self.predictor, self.camera, self.side = predictor, camera, predictor.asked(side)
        self.most, self.presence, self.search_every = hands, presence, search_every
        self._sides = {"auto": (1.0, -1.0), "right": (1.0,), "left": (-1.0,)}[self.side]
        self._followed: list[_Followed] = []
        self._frames = self._count = 0
        self.ids: list[int] = []

    def __call__(self, depth: ArrayLike, camera: CameraLike | None = None) -> Prediction:
        """The hands in a depth image [h, w] in mm; `camera`: of this frame, instead of all."""
        camera = self.camera if camera is None else camera
        if camera is None:
            raise ValueError("camera: none for this frame; say which took it")
        frames, images = arguments.depth_frame(depth, camera)
        found = self.next_hands(images.depth[0], images.k[0])
        return self.predictor.result_of(found, images, frames)

    def next_hands(
        self, depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"]
    ) -> list[HandFound]:
        """The hands in the next frame, of a pinhole camera, in the order of `ids`."""
        known = sorted(
            (self._again(one, depth, k) for one in self._followed),
            key=lambda one: (one.missed, -float(one.found.presence)),
        )
        self._followed = []
        for one in known:
            elsewhere = apart(one.found, [other.found for other in self._followed])
            full = not one.missed and len(self._seen()) >= self.most
            if one.missed <= _PATIENCE and one.unsure <= _DOUBTED and elsewhere and not full:
                self._followed.append(one)
        self._search(depth, k)
        self._frames += 1
        seen = self._seen()
        self.ids = [one.number for one in seen]
        return [one.found for one in seen]

    def _seen(self) -> list[_Followed]:
        return [one for one in self._followed if not one.missed]

    def _again(
        self, one: _Followed, depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"]
    ) -> _Followed:
        """The hand in the next frame; where it was if it is not seen."""
        before = np.asarray(one.found.joints)
        expected = before + (one.move if not one.missed else 0)
        sides = np.array(self._sides, np.float32)
        looked = _follow(self.predictor.networks, depth, k, expected, sides)
        found, likely = jax.device_get(looked)
        finite = np.isfinite(found.joints).all() and np.isfinite(found.presence).all()
        if not finite or found.presence.max() < min(_LOST, self.presence):
            return dataclasses.replace(one, missed=one.missed + 1)
        odds = one.odds
        if len(sides) == 2:
            vote = float(likely[0] - likely[1]) / 2
            odds = _FORGET * odds + min(max(vote, -_VOTE), _VOTE)
        which = 0 if len(sides) == 1 or odds > 0 else 1
        now: HandFound = jax.tree.map(lambda x: x[which], found)
        if now.joints[:, 2].min() <= 0:
            return dataclasses.replace(one, missed=one.missed + 1)
        same, build = bool(now.side == one.found.side), one.build
        last = before if same and not one.missed else None
        if self.predictor.fit_steps:
            build = build if same else SeenBuild()
            now, build = self.predictor.fitted(now, depth, k, last, build)
        move = np.asarray(now.joints).mean(0) - before.mean(0)
        fast = max(float(np.linalg.norm(move)) / _FASTEST_MM, 1.0)
        unsure = one.unsure + 1 if now.presence < self.presence else 0
        return _Followed(one.number, now, odds, move / fast, unsure=unsure, build=build)

    def _search(self, depth: Float[np.ndarray, "h w"], k: Float[np.ndarray, "3 3"]) -> None:
        """More hands, if there may be and it is time; a surer one in place of one that is there."""
        seen = self._seen()
        due = not seen or any(one.unsure == 1 for one in seen)
        due |= self._frames % self.search_every == 0 and len(seen) < self.most
        if not due or not self.predictor.sees(depth):
            return
        for found in self.predictor.found_in(depth, k, self.side, self.presence):
            near = [one for one in self._followed if not apart(found, [one.found])]
            if any(not one.missed and not _better(found, one.found) for one in near):
                continue
            others = [one for one in self._followed if one not in near]
            if len(seen := [one for one in others if not one.missed]) >= self.most:
                least = min(seen, key=lambda one: float(one.found.presence))
                if least.found.presence >= self.presence:
                    return
                others.remove(least)
            self._followed = others
            # What was waited for, or was unsure, may be what was found.
            number = near[0].number if near else self._count
            self._count += not near
            still, odds = np.zeros(3, np.float32), float(found.side) * _VOTE
            self._followed.append(_Followed(number, found, odds, still))


def _better(found: HandFound, followed: HandFound) -> bool:
    """Whether what a search found at the place of a followed hand takes its place: of the other
    side it does not, since the votes of many frames know better."""
    return bool(found.side == followed.side and found.presence > followed.presence)
