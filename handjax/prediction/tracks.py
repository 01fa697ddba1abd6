"""Hands over frames: which hand of a frame is which of the frame before, steady and of one side."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from handjax.prediction.base import Prediction

FAR = 1.0  # longer sides of the box that a hand moves at most from frame to frame
PATIENCE_S = 0.5  # for which a hand may be missing and keep its number
_FORGET = 0.95  # weight of a vote for a side after one frame more


@dataclass(frozen=True)
class Smoothing:
    """The one-euro filter (Casiez, Roussel and Vogel, CHI 2012): a low pass whose cutoff grows with
    the speed, so that a still hand is steady and a fast one is not late.

    A smaller `min_cutoff_hz` is steadier at rest, a larger `beta` follows faster. Speeds are in
    sizes of the hand per second, so one setting holds for px and mm.
    """

    min_cutoff_hz: float = 1.5
    beta: float = 3.0
    speed_cutoff_hz: float = 1.0


@dataclass
class _OneEuro:
    """The filter of one array of coordinates."""

    options: Smoothing
    value: np.ndarray | None = None
    speed: np.ndarray | None = None
    seconds: float = 0.0

    def __call__(self, given: np.ndarray, seconds: float, size: float) -> np.ndarray:
        step = seconds - self.seconds
        if self.value is None or self.speed is None or step <= 0:
            self.value = given.astype(np.float64)
            self.speed = np.zeros_like(self.value) if self.speed is None else self.speed
            self.seconds = seconds
            return given
        speed = (given - self.value) / step
        weight = _weight(np.array(self.options.speed_cutoff_hz), step)
        self.speed = self.speed + weight * (speed - self.speed)
        pace = np.linalg.norm(self.speed, axis=-1, keepdims=True) / max(size, 1e-6)
        cutoff = self.options.min_cutoff_hz + self.options.beta * pace
        self.value = self.value + _weight(cutoff, step) * (given - self.value)
        self.seconds = seconds
        return self.value.astype(given.dtype)


def _weight(cutoff_hz: np.ndarray, step_s: float) -> np.ndarray:
    """Of a new value in a low pass of first order."""
    rate = 2 * math.pi * cutoff_hz * step_s
    return np.asarray(rate / (rate + 1))


@dataclass
class _Track:
    number: int
    last: Prediction
    seconds: float
    votes: float = 0.0  # for a right hand
    filters: dict[str, _OneEuro] = field(default_factory=dict)


class HandTracks:
    """`tracks(hands, seconds)` → the hands of a frame with their numbers, smoothed if asked for.

    A hand keeps its number while it moves by less than its box from frame to frame, and when it is
    missing for half a second. Its side is that of most frames so far, the last ones first.
    """

    def __init__(self, smoothing: Smoothing | None = None):
        self.smoothing = smoothing
        self.tracks: list[_Track] = []
        self.seen = 0  # hands so far

    def __call__(self, hands: Sequence[Prediction], seconds: float) -> list[tuple[int, Prediction]]:
        """`hands`: single samples with `uv`, of one frame; `seconds`: its time."""
        self.tracks = [one for one in self.tracks if seconds - one.seconds <= PATIENCE_S]
        chosen: list[_Track | None] = [None] * len(hands)
        costs = np.array([[_distance(one.last, hand) for hand in hands] for one in self.tracks])
        if costs.size:
            for row, column in zip(*linear_sum_assignment(np.minimum(costs, 1e3)), strict=True):
                if costs[row, column] <= FAR:
                    chosen[column] = self.tracks[row]
        found = []
        for hand, track in zip(hands, chosen, strict=True):
            if track is None:
                self.seen += 1
                track = _Track(self.seen, hand, seconds)
                self.tracks.append(track)
            found.append((track.number, self._follow(track, hand, seconds)))
        return found

    def _follow(self, track: _Track, hand: Prediction, seconds: float) -> Prediction:
        track.last, track.seconds = hand, seconds
        changed: dict[str, Any] = {}
        if isinstance(hand.side, str):
            vote = 1.0 if hand.side == "right" else -1.0
            track.votes = _FORGET * track.votes + vote
            changed["side"] = "right" if track.votes > 0 else "left"
        if self.smoothing is not None:
            for name in ("xyz", "uv"):
                values = getattr(hand, name)
                if values is not None:
                    own = track.filters.setdefault(name, _OneEuro(self.smoothing))
                    size = float(np.ptp(values, axis=0).max())
                    changed[name] = own(values, seconds, size)
        return dataclasses.replace(hand, **changed)


def middle_and_size(hand: Prediction) -> tuple[Float[np.ndarray, "2"], float]:
    """Mean of the joints and longer side of the box around them, px."""
    assert hand.uv is not None
    return hand.uv.mean(0), float(np.ptp(hand.uv, axis=0).max())


def _distance(before: Prediction, after: Prediction) -> float:
    """Between the middles of two hands, in sizes of the larger."""
    (one, size), (two, other) = middle_and_size(before), middle_and_size(after)
    return float(np.linalg.norm(one - two)) / max(size, other, 1.0)
