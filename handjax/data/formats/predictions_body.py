"""predictions.npz of people: 3D and 2D joints of the skeleton "body18", with their ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handjax.data.formats.predictions import read_arrays
from handjax.pose.skeleton import SKELETONS

_JOINTS = SKELETONS["body18"].joints
# Row of a task → its key in the file.
_KEYS = {
    "joints_xyz": "joints_xyz",
    "joints_uv": "joints_uv",
    "true_joints_xyz": "truth",
    "true_joints_uv": "truth_uv",
    "true_has_xyz": "has_xyz",
    "true_has_uv": "has_uv",
    "true_labelled": "labelled",
    "true_subject": "subject",
    "true_action": "action",
    "true_camera": "camera",
    "true_head_px": "head_px",
}
# Shapes of the required keys, without the first axis, the samples.
_SHAPES: dict[str, tuple[int, ...]] = {
    "joints_xyz": (len(_JOINTS), 3),
    "joints_uv": (len(_JOINTS), 2),
    "truth": (len(_JOINTS), 3),
    "truth_uv": (len(_JOINTS), 2),
    "has_xyz": (),
    "has_uv": (),
    "labelled": (len(_JOINTS),),
}


@dataclass(frozen=True)
class BodyPredictions:
    """Content of predictions.npz of people: everything that their metrics are computed from.

    `rows` are a task's postprocessed rows; see metrics/body.py.
    """

    ids: Sequence[str]
    rows: Mapping[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the file by their keys."""
        return {
            "ids": np.array(self.ids, np.str_),
            **{key: self.rows[row] for row, key in _KEYS.items() if row in self.rows},
            "joints": np.array(_JOINTS, np.str_),
        }


def read_body_predictions(path: str | Path) -> BodyPredictions:
    """Reads what `write_predictions` wrote; raises ValueError for arrays of other shapes."""
    arrays = read_arrays(path, ("ids", *_SHAPES), tuple(_KEYS.values()))
    n = len(arrays["ids"])
    for name, shape in _SHAPES.items():
        if arrays[name].shape != (n, *shape):
            raise ValueError(
                f"{path}: {name} is {list(arrays[name].shape)}; "
                f"expected {[n, *shape]} for its {n} ids"
            )
    rows = {row: arrays[key] for row, key in _KEYS.items() if key in arrays}
    return BodyPredictions(tuple(map(str, arrays["ids"])), rows)
