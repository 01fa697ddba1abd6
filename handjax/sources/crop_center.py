"""The center of a depth crop: from the labels, from a file, or from the depth itself."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int, Shaped
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.pose.center import STEPS


@dataclasses.dataclass(frozen=True)
class CropCenter:
    """`config.data.center` of a depth hand set.

    rule         "depth": center of mass of the nearest thing (`pose.center.hand_center`);
                 "refined": the center published with V2V-PoseNet; "label": from the true joints.
    range_mm     where the hand is searched along z, for "depth".
    description  for the report.
    """

    rule: str
    range_mm: tuple[float, float]
    description: str

    @property
    def features(self) -> tuple[str, ...]:
        """Features of the prepared set that hold the center."""
        return ("center_xyz", "center_valid") if self.rule == "refined" else ()

    def has_depth(self, depth: Shaped[np.ndarray, "b h w"]) -> Bool[np.ndarray, " b"]:
        """Whether any pixel of a frame lies within `range_mm`."""
        near, far = self.range_mm
        return np.asarray(((depth >= near) & (depth <= far)).any((1, 2)))

    def require(
        self,
        valid: Bool[np.ndarray, " b"],
        numbers: Int[np.ndarray, " b"],
        names: Callable[[np.ndarray], Sequence[str]],
        path: str,
    ) -> None:
        """Raise ValueError, naming the first frame without a center; for evaluations, which may
        not leave out frames."""
        if valid.all():
            return
        near, far = self.range_mm
        problem = (
            "no refined center; put the files of refined centers next to the raw files"
            if self.rule == "refined"
            else f"no depth within config.data.depth_mm=({near:g}, {far:g}); widen the range"
        )
        others = " or ".join(rule for rule in ("depth", "label") if rule != self.rule)
        frame = names(numbers[~valid][:1])[0]
        raise ValueError(f"{path}: {frame} has {problem}, or use config.data.center={others}")


def crop_center(config: ConfigDict, label: str) -> CropCenter:
    """The center selected by `config.data.center` and `config.data.depth_mm`; `label` describes the
    one from the labels. Raises ValueError for invalid options."""
    near, far = search_range(config)
    descriptions = {
        "depth": nearest_thing(near, far),
        "refined": "from the file of refined centers",
        "label": f"from the label: {label}",
    }
    description = configs.lookup(descriptions, config, "data.center")
    return CropCenter(config.data.center, (near, far), description)


def search_range(config: ConfigDict) -> tuple[float, float]:
    """`config.data.depth_mm`, where the nearest thing is searched for. ValueError if it cannot."""
    depth_mm = config.data.depth_mm
    if len(depth_mm) != 2 or not 0 < depth_mm[0] < depth_mm[1] < float("inf"):
        raise ValueError(
            f"config.data.depth_mm={depth_mm}: expected two distances in mm, both above 0, "
            "the nearer one first"
        )
    return depth_mm[0], depth_mm[1]


def nearest_thing(near: float, far: float) -> str:
    """The center from the depth, in words."""
    return (
        f"from the depth: center of mass in {STEPS} steps, of the nearest thing within {near:g} to "
        f"{far:g} mm"
    )
