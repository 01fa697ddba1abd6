"""What predictors share: `Prediction`, which they return, and the base class `Predictor`.

Inputs are NumPy or JAX arrays, outputs NumPy. A single sample comes back without a batch axis.
Camera coordinates are mm with x right, y down, z forward; pixel centers are integers.
"""

import abc
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.prediction.network import TrainedNetwork


@dataclasses.dataclass(frozen=True, repr=False)
class Prediction:
    """Joints of one sample, or of n along a first axis; fields the system does not give are None.

    `result["index_tip"]` is one joint: its `xyz` [3] or [n, 3], or its `uv` if there is no `xyz`.
    """

    joints: tuple[str, ...]  # names, in the order of the arrays
    xyz: Float[np.ndarray, "*n j 3"] | None = None  # mm, in the frame `frame`
    uv: Float[np.ndarray, "*n j 2"] | None = None  # px of the input; pixel centers are integers
    confidence: Float[np.ndarray, "*n j"] | None = None  # peak of the heat map; higher is surer
    frame: str = "camera"  # of xyz: "camera" (x right, y down, z forward) or "pelvis"
    # Standard deviation of each coordinate of xyz, mm. If the errors are normal and alike in all
    # directions, a joint is within 1.54 std of its xyz in half of all cases, 2.80 std in 95 %.
    std: Float[np.ndarray, "*n j"] | None = None
    presence: Float[np.ndarray, "*n"] | None = None  # 0 to 1: probability that it is a hand
    side: str | tuple[str, ...] | None = None  # left or right, as found or as given; n of them
    center: Float[np.ndarray, "*n 3"] | None = None  # middle of the crop, camera mm

    def __getitem__(self, joint: str) -> Float[np.ndarray, "*n c"]:
        if joint not in self.joints:
            near = difflib.get_close_matches(str(joint), self.joints, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(self.joints)}"
            raise KeyError(f"no joint {joint!r}: {hint}")
        values = self.uv if self.xyz is None else self.xyz
        assert values is not None
        return values[..., self.joints.index(joint), :]

    def __repr__(self) -> str:
        units = {"xyz": f" mm ({self.frame} frame)", "uv": " px", "std": " mm", "center": " mm"}
        names = ("xyz", "uv", "confidence", "std", "presence", "center")
        parts = [
            f"{name} {list(value.shape)}{units.get(name, '')}"
            for name in names
            if (value := getattr(self, name)) is not None
        ]
        return f"Prediction({len(self.joints)} joints; {', '.join(parts)})"


class Predictor(abc.ABC):
    """A trained network that predicts the joints named `joints`."""

    reads = "arrays"  # what a call takes, in words

    def __init__(self, name: str, joints: tuple[str, ...]):
        self.name, self.joints = name, joints

    @classmethod
    @abc.abstractmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "Predictor":
        """The predictor of an opened run."""

    @abc.abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Prediction:
        """The joints of one sample or of several."""

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{kind}({self.name}; {self.reads} → {len(self.joints)} joints)"


def named(
    joints: tuple[str, ...],
    found: Mapping[str, np.ndarray | None],
    batched: bool,
    frame: str = "camera",
    side: Sequence[str] | None = None,
) -> Prediction:
    """A Prediction of the arrays [n, …] that are there; of one sample unless `batched`. `side`: of
    each sample."""
    arrays = {
        name: np.asarray(value, np.float32) if batched else np.asarray(value, np.float32)[0, ...]
        for name, value in found.items()
        if value is not None
    }
    sides = None if side is None else tuple(side) if batched else side[0]
    return Prediction(joints, **arrays, frame=frame, side=sides)
