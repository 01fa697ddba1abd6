"""ITOP (Haque et al. 2016): people before a depth camera, seen from the side or from above.

Facts are those of the set's page, the numbers those of src/data/ITOP/data.lua of
mks0601/V2V-PoseNet_RELEASE. Traps:

- Labels and V2V-PoseNet's centers are metres, y up, z forward; here mm, y down.
- Where `is_valid` is 0 the joints must not be used. That is more than half of the frames; they are
  left out, as in results on this set: 17,991 and 4,863 remain (zhangboshen/A2J).
- Depth is float16 in metres, so it has steps of 2 mm from 2 m on, and of 4 mm from 4 m on.
- The camera is that of the set's point clouds: x = (u - 160) z 0.0035, y = (120 - v) z 0.0035.
- `image_coordinates` are whole pixels and are not read; joints are projected by the camera.

Point clouds, images and body parts (`segmentation`) are not read: the first follow from the depth.
"""

from collections.abc import Collection
from functools import partial
from typing import NamedTuple

import h5py
import numpy as np
from etils import epath
from jaxtyping import Bool, Float32, UInt16

from handjax.data.formats.label_text import read_optional_centers
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.pinhole import project

LAYOUT = """
manual_dir holds the files of the ITOP data set (https://www.alberthaque.com/projects/
viewpoint_3d_pose/), unpacked from .h5.gz to .h5; the configuration is the view, side or top:

  ITOP_side_train_depth_map.h5, ITOP_side_train_labels.h5
  ITOP_side_test_depth_map.h5, ITOP_side_test_labels.h5
  ITOP_top_train_depth_map.h5, ...

The centers of V2V-PoseNet (https://github.com/mks0601/V2V-PoseNet_RELEASE) are read as well if they
are in manual_dir:

  side_view/center_train.txt, side_view/center_test.txt, top_view/center_train.txt, ...
"""
CONFIGS = ("side", "top")
SKELETON: str | None = "itop15"
COUNTS = {"train": 17991, "test": 4863}  # valid ones, of 39,795 and 10,501
JOINTS = 15
HEIGHT, WIDTH = 240, 320
K = ((1 / 0.0035, 0.0, 160.0), (0.0, 1 / 0.0035, 120.0), (0.0, 0.0, 1.0))

_MAX_FRAMES = 100_000  # more than the set has; a small file can claim any shape
_FARTHEST_M = 20.0


class Labels(NamedTuple):
    """The labels of all frames of a file, whether valid or not."""

    ids: list[str]
    valid: Bool[np.ndarray, " n"]
    joints_xyz: Float32[np.ndarray, "n 15 3"]  # camera mm; 0 where not valid
    visible: Bool[np.ndarray, "n 15"]


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing files of a view, and those that are still packed."""
    lines = []
    for split in only or COUNTS:
        for kind in ("depth_map", "labels"):
            path = _path(root, config, split, kind)
            if not path.exists():
                packed = path.parent / f"{path.name}.gz"
                lines.append(f"{packed.name}: unpack it" if packed.exists() else path.name)
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """The valid frames of a view in the order of the file, with joints of "itop15"."""
    return Examples(_lazy(root, split, config))


def _lazy(root: epath.Path, split: str, config: str | None) -> LazyExamples:
    path = _path(root, config, split, "depth_map")
    labels = _labels(_path(root, config, split, "labels"))
    frames = _depth_ids(path)
    if frames != labels.ids:
        raise ValueError(
            f"{path}: {len(frames)} frames, and {len(labels.ids)} in "
            f"{_path(root, config, split, 'labels').name}, or with other ids; copy both again"
        )
    metres, given = read_optional_centers(
        root / f"{config or CONFIGS[0]}_view" / f"center_{split}.txt", len(frames), y_up=True
    )
    for i in np.flatnonzero(labels.valid).tolist():
        key = f"{split}/{labels.ids[i]}"
        content = {
            "k": np.asarray(K, np.float32),
            "joints_xyz": labels.joints_xyz[i],
            "center_xyz": metres[i] * np.float32(1000),
            "center_valid": given[i],
            "id": key,
        }
        yield key, partial(_sample, path, i, content, labels.visible[i])


def _sample(path: epath.Path, i: int, content: dict, seen: np.ndarray) -> dict:
    uv = project(content["joints_xyz"].astype(np.float64), np.asarray(K))
    inside = np.all((uv > -0.5) & (uv < (WIDTH - 0.5, HEIGHT - 0.5)), axis=-1)
    return {
        "depth": _depth(path, i),
        "joints_uv": uv.astype(np.float32),
        "visible": inside & seen,
        **content,
    }


def _depth(path: epath.Path, i: int) -> UInt16[np.ndarray, "240 320 1"]:
    """Whole mm of frame `i`; not finite or not positive is missing."""
    try:
        with h5py.File(path, "r") as file:
            metres = np.asarray(file["data"][i], np.float32)
    except Exception as error:  # a damaged file may raise anything
        raise _broken(path, error, f"frame {i}") from None
    mm = np.rint(metres * 1000)
    if (np.nan_to_num(mm) > 65535).any():
        raise ValueError(f"{path}, frame {i}: depth beyond 65 m; expected metres: copy it again")
    return np.where(mm > 0, mm, 0).astype(np.uint16)[..., None]  # NaN is not above 0


def _depth_ids(path: epath.Path) -> list[str]:
    try:
        with h5py.File(path, "r") as file:
            shape, kind = file["data"].shape, file["data"].dtype.kind
            ids = _ids(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected depth images") from None
    except Exception as error:
        raise _broken(path, error, "") from None
    if shape != (len(ids), HEIGHT, WIDTH) or kind != "f":
        raise ValueError(
            f"{path}: data of shape {shape}, kind {kind!r}; expected metres of {len(ids)} frames, "
            f"{HEIGHT} x {WIDTH}"
        )
    return ids


def _labels(path: epath.Path) -> Labels:
    try:
        with h5py.File(path, "r") as file:
            ids = _ids(file)
            count = len(ids)
            valid = _numbers(file, "is_valid", (count,)) == 1
            metres = _numbers(file, "real_world_coordinates", (count, JOINTS, 3))
            visible = _numbers(file, "visible_joints", (count, JOINTS)) == 1
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected the labels of a view") from None
    except Exception as error:
        raise _broken(path, error, "") from None
    if len(set(ids)) < count or any("/" in name or not name.isprintable() for name in ids):
        raise ValueError(f"{path}: ids that stand twice or are no names; copy it again")
    metres = metres * np.asarray([1, -1, 1], np.float32)
    wrong = ~((np.abs(metres) < _FARTHEST_M).all((1, 2)) & (metres[..., 2] > 0).all(1)) & valid
    if wrong.any():
        raise ValueError(
            f"{path}: {wrong.sum()} valid frames have joints that are not finite, behind the "
            f"camera or {_FARTHEST_M:g} m away, the first of them {ids[int(np.argmax(wrong))]}; "
            "expected metres: copy it again"
        )
    mm = np.where(valid[:, None, None], metres * np.float32(1000), np.float32(0))
    return Labels(ids, valid, mm, visible)


def _ids(file: h5py.File) -> list[str]:
    """ "04_00010" and so on: the person and the frame."""
    data = file["id"]
    if data.ndim != 1 or not 0 < len(data) <= _MAX_FRAMES:
        raise ValueError(f"id of shape {data.shape}; expected one per frame")
    if data.dtype.kind not in "SO" or data.dtype.itemsize > 32:
        raise ValueError(f"id of type {data.dtype}; expected texts such as 04_00010")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in data[()]]


def _numbers(file: h5py.File, key: str, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    data = file[key]
    if data.shape != shape or data.dtype.kind not in "iuf":
        raise ValueError(f"{key} is {data.dtype} of shape {data.shape}; expected numbers {shape}")
    return np.asarray(data[()], np.float32)


def _broken(path: epath.Path, error: Exception, where: str) -> ValueError:
    what = " ".join(str(error).split()) or type(error).__name__
    place = f"{path}, {where}" if where else str(path)
    return ValueError(f"{place}: {what}; expected a file of ITOP in HDF5: copy it again")


def _path(root: epath.Path, config: str | None, split: str, kind: str) -> epath.Path:
    return root / f"ITOP_{config or CONFIGS[0]}_{split}_{kind}.h5"
