"""Our own files of predicted joints, `predictions.npz`: 3D joints, image joints, and people.

`kind` names the kind of result, a key of `reports.KINDS`; files of earlier versions lack it.
"""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from handjax.data.formats.arrays import check_archive
from handjax.engine.files import new_path
from handjax.pose.skeleton import SKELETONS

_LARGEST_BYTES = 1 << 32  # of an unpacked file; a small one may claim any size
_TEXTS = ("ids", "joints", "kind")

_OPTIONAL_2D = ("confidence", "truth", "visible", "labelled", "box_px", "image_px")

_BODY_JOINTS = SKELETONS["body18"].joints
# Row of a task on people → its key in the file.
_BODY_KEYS = {
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
_BODY_SHAPES: dict[str, tuple[int, ...]] = {
    "joints_xyz": (len(_BODY_JOINTS), 3),
    "joints_uv": (len(_BODY_JOINTS), 2),
    "truth": (len(_BODY_JOINTS), 3),
    "truth_uv": (len(_BODY_JOINTS), 2),
    "has_xyz": (),
    "has_uv": (),
    "labelled": (len(_BODY_JOINTS),),
}


@runtime_checkable
class PredictionArrays(Protocol):
    """Content of a predictions.npz."""

    @property
    def ids(self) -> Sequence[str]: ...
    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name; the predicted joints are the second."""
        ...


@dataclass(frozen=True)
class Predictions3d:
    """3D joints in camera mm; `truth` only where the frames are labelled. `joints` are their names,
    which files of before them lack."""

    ids: tuple[str, ...]
    joints_xyz: np.ndarray  # [n, j, 3]
    truth: np.ndarray | None = None  # [n, j, 3]
    joints: tuple[str, ...] = ()

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays by their name in the file."""
        arrays = {
            "ids": np.array(self.ids, dtype=np.str_),
            "joints_xyz": np.asarray(self.joints_xyz, dtype=np.float32),
        }
        if self.truth is not None:
            arrays["truth"] = np.asarray(self.truth, dtype=np.float32)
        if self.joints:
            arrays["joints"] = np.array(self.joints, np.str_)
        return arrays | {"kind": np.array("joints3d")}


@dataclass(frozen=True)
class Predictions2d:
    """Image joints in px of the source image; `joints` are their names. The ground truth and what
    belongs to it only where the images are labelled; metrics/keypoints2d.py defines them."""

    ids: tuple[str, ...]
    joints_uv: np.ndarray  # [n, j, 2]
    joints: tuple[str, ...]
    confidence: np.ndarray | None = None  # [n, j]
    truth: np.ndarray | None = None  # [n, j, 2]
    visible: np.ndarray | None = None  # bool [n, j]
    labelled: np.ndarray | None = None  # bool [n, j]
    box_px: np.ndarray | None = None  # [n]
    image_px: np.ndarray | None = None  # [n]

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays by their name in the file."""
        arrays = {
            "ids": np.array(self.ids, np.str_),
            "joints_uv": np.asarray(self.joints_uv, np.float32),
            "joints": np.array(self.joints, np.str_),
        }
        for name in _OPTIONAL_2D:
            if (value := getattr(self, name)) is not None:
                kind = bool if name in ("visible", "labelled") else np.float32
                arrays[name] = np.asarray(value, kind)
        return arrays | {"kind": np.array("keypoints2d")}


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
            **{key: self.rows[row] for row, key in _BODY_KEYS.items() if row in self.rows},
            "joints": np.array(_BODY_JOINTS, np.str_),
            "kind": np.array("body"),
        }


def write_predictions(path: str | Path, predictions: PredictionArrays) -> Path:
    """Writes a compressed .npz of plain arrays. FileExistsError if the file exists; ValueError for
    joints that are not finite and for arrays that do not belong together."""
    path = Path(path)
    arrays: dict[str, Any] = predictions.arrays()
    joints = list(arrays.values())[1]
    if len(predictions.ids) != len(joints):
        raise ValueError(
            f"{len(predictions.ids)} ids for {len(joints)} frames; expected one id per frame"
        )
    if not np.isfinite(joints).all():
        frame = int(np.argwhere(~np.isfinite(joints))[0][0])
        raise ValueError(f"{path}: frame {frame} of the predictions is not finite; nothing written")
    if "truth" in arrays and arrays["truth"].shape != joints.shape:
        raise ValueError(f"truth has shape {arrays['truth'].shape}, the predictions {joints.shape}")
    with new_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def read_arrays(
    path: str | Path, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """The named arrays of an .npz: all `required` ones, and the `optional` ones that exist."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of predictions")
    try:
        # Opened here, because np.load leaves a broken archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            check_archive(archive.zip, _LARGEST_BYTES)
            names = (*required, *(name for name in optional if name in archive))
            arrays = {name: archive[name] for name in names}
    except (
        ValueError,
        KeyError,
        OSError,
        TypeError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{path}: not a predictions.npz with {' and '.join(required)} "
            f"({' '.join(str(error).split())[:80]})"
        ) from error
    for name, array in arrays.items():
        _check_array(path, name, array)
    return arrays


def _check_array(path: Path, name: str, array: np.ndarray) -> None:
    """ValueError for what no predictions.npz holds under that name: text for numbers, numbers for
    text, a scalar, what is not finite."""
    text = name in _TEXTS
    if array.dtype.kind not in ("US" if text else "biuf") or (array.ndim == 0 and name != "kind"):
        expected = "texts" if text else "an array of numbers"
        raise ValueError(
            f"{path}: {name} is {array.dtype} of shape {list(array.shape)}; expected {expected}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{path}: {name} has NaN or Inf; expected finite numbers, predict again")


def read_predictions3d(path: str | Path) -> Predictions3d:
    """Reads what `write_predictions` wrote of a Predictions3d."""
    arrays = read_arrays(path, ("ids", "joints_xyz"), ("truth", "joints"))
    ids, joints, truth = arrays["ids"], arrays["joints_xyz"], arrays.get("truth")
    names = arrays.get("joints", np.array([], np.str_))
    if (
        joints.ndim != 3
        or joints.shape[2] != 3
        or not joints.size
        or ids.shape != joints.shape[:1]
        or (truth is not None and truth.shape != joints.shape)
        or (names.size and names.shape != joints.shape[1:2])
    ):
        others = {"truth": truth, "joints": names if names.size else None}
        found = [str(list(ids.shape)), str(list(joints.shape))]
        found += [f"{k} {list(v.shape)}" for k, v in others.items() if v is not None]
        raise ValueError(
            f"{path}: expected ids [n], joints_xyz [n, j, 3], truth of its shape and joints [j]; "
            f"found {', '.join(found)}"
        )
    return Predictions3d(tuple(map(str, ids)), joints, truth, tuple(map(str, names)))


def read_predictions2d(path: str | Path) -> Predictions2d:
    """Reads what `write_predictions` wrote of a Predictions2d."""
    arrays = read_arrays(path, ("ids", "joints_uv", "joints"), _OPTIONAL_2D)
    ids, joints = (tuple(map(str, arrays.pop(name))) for name in ("ids", "joints"))
    n, j = len(ids), len(joints)
    shapes: dict[str, tuple[int, ...]] = {"joints_uv": (n, j, 2), "truth": (n, j, 2)}
    shapes |= {"box_px": (n,), "image_px": (n,)}
    shapes |= dict.fromkeys(("confidence", "visible", "labelled"), (n, j))
    for name, shape in shapes.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(
                f"{path}: {name} is {list(arrays[name].shape)}; "
                f"expected {list(shape)}, the shape of ids and joints"
            )
    return Predictions2d(ids, arrays.pop("joints_uv"), joints, **arrays)


def read_body_predictions(path: str | Path) -> BodyPredictions:
    """Reads what `write_predictions` wrote; raises ValueError for arrays of other shapes."""
    arrays = read_arrays(path, ("ids", *_BODY_SHAPES), tuple(_BODY_KEYS.values()))
    n = len(arrays["ids"])
    for name, shape in _BODY_SHAPES.items():
        if arrays[name].shape != (n, *shape):
            raise ValueError(
                f"{path}: {name} is {list(arrays[name].shape)}; "
                f"expected {[n, *shape]} for its {n} ids"
            )
    rows = {row: arrays[key] for row, key in _BODY_KEYS.items() if key in arrays}
    return BodyPredictions(tuple(map(str, arrays["ids"])), rows)
