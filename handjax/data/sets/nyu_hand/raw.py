"""NYU hand (Tompson et al. 2014): one hand in front of three Kinects, with 36 model-fitted joints.

Depth is packed in RGB PNGs: green is the high byte, blue the low one, red has no meaning. The y of
the joints points up and is negated here. The color and the synthetic depth images are not read.
"""

from collections.abc import Collection
from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats import mat
from handjax.data.formats.depth import read_depth_png
from handjax.data.formats.label_text import read_optional_centers
from handjax.data.preparation.examples import Examples, LazyExamples

LAYOUT = """
manual_dir is the folder `dataset` of nyu_hand_dataset_v2.zip
(https://cims.nyu.edu/~tompson/NYU_Hand_Pose_Dataset.htm):

  train/joint_data.mat
  train/depth_1_0000001.png ... depth_1_0072757.png
  test/joint_data.mat
  test/depth_1_0000001.png ... depth_1_0008252.png

The configuration `multiview` also reads depth_2_*.png and depth_3_*.png. The refined centers of
V2V-PoseNet (https://github.com/mks0601/V2V-PoseNet_RELEASE) are read as well if they are in
manual_dir:

  center_train_refined.txt, center_test_refined.txt
"""
SKELETON: str | None = "nyu36"
COUNTS = {"train": 72757, "test": 8252}
# The Kinects that are read, by their number in the file names.
CONFIGS = {"single": (1,), "multiview": (1, 2, 3)}
JOINTS = 36
HEIGHT, WIDTH = 480, 640
# The same for all three Kinects, from the set's own function uvd_to_xyz: xzFactor 1.08836710,
# yzFactor 0.817612648.
K = ((588.036865, 0.0, 320.0), (0.0, 587.075073, 240.0), (0.0, 0.0, 1.0))

_MAX_FRAMES = 100_000  # more than the set has; a .mat of a few bytes can claim any shape
_LARGEST_MAT = _MAX_FRAMES * 3 * JOINTS * 3 * 8 + 1024  # bytes of a variable


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing label files and depth frames of a configuration."""
    config, lines = config or "single", []
    for split in only or COUNTS:
        count, labels = COUNTS[split], root / split / "joint_data.mat"
        if not labels.exists():
            lines.append(f"{labels}: the joints of {count} frames")
            continue
        try:
            frames, _ = _open_labels(labels)
        except ValueError as error:
            lines.append(str(error))
            continue
        present = {path.name for path in (root / split).iterdir()}
        for view in CONFIGS[config]:
            names = [f"{_stem(view, i)}.png" for i in range(frames)]
            if absent := [name for name in names if name not in present]:
                lines.append(
                    f"{root / split / absent[0]}: {len(absent)} of {frames} depth frames "
                    f"of Kinect {view}, the first of them"
                )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames in the order of their numbers.

    With `multiview` every value except the id has a leading axis of the three Kinects.
    """
    return Examples(_lazy(root, split, config or "single"))


def _lazy(root: epath.Path, split: str, config: str) -> LazyExamples:
    views = CONFIGS[config]
    xyz, uv = _joints(root / split / "joint_data.mat", views)
    given, valid = read_optional_centers(
        root / f"center_{split}_refined.txt", xyz.shape[1], y_up=True
    )
    for i in range(xyz.shape[1]):
        # The centers belong to the first Kinect.
        center = np.stack([given[i] if view == 1 else np.zeros(3, np.float32) for view in views])
        labels = {
            "k": np.tile(np.asarray(K, np.float32), (len(views), 1, 1)),
            "joints_xyz": xyz[:, i],
            "joints_uv": uv[:, i],
            "center_xyz": center,
            "center_valid": np.asarray([view == 1 and valid[i] for view in views]),
        }
        key = f"{split}/{_stem(1, i)}" if config == "single" else f"{split}/{i + 1:07d}"
        paths = [root / split / f"{_stem(view, i)}.png" for view in views]
        yield key, partial(_sample, paths, key, labels, config)


def _sample(paths: list[epath.Path], key: str, labels: dict, config: str) -> dict:
    sample = {"depth": np.stack([_depth(path) for path in paths]), **labels}
    if config == "single":
        sample = {name: value[0] for name, value in sample.items()}
    return sample | {"id": key}


def _stem(view: int, i: int) -> str:
    return f"depth_{view}_{i + 1:07d}"


def _depth(path: epath.Path) -> np.ndarray:
    depth, _ = read_depth_png(path, form="nyu")
    if depth.shape != (HEIGHT, WIDTH):
        raise ValueError(
            f"{path}: {depth.shape[1]} x {depth.shape[0]} pixels; expected {WIDTH} x {HEIGHT}"
        )
    return depth[..., None]


def _open_labels(path: epath.Path) -> tuple[int, bytes]:
    """The number of frames of a joint_data.mat, from its headers, and the file's bytes."""
    try:
        data = path.read_bytes()
        header = mat.variables(data, _LARGEST_MAT)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected the joints of a split") from None
    except Exception as error:  # a broken file may raise anything
        raise _broken(path, error) from None
    shape, _ = header.get("joint_xyz", ((), ""))
    frames = shape[1] if len(shape) == 4 else 0
    for name in ("joint_xyz", "joint_uvd"):
        shape, kind = header.get(name, ((), "missing"))
        if shape != (3, frames, JOINTS, 3) or kind not in ("double", "single"):
            actual = f"{shape} {kind}" if shape else kind
            raise ValueError(
                f"{path}: {name} is {actual}; "
                f"expected numbers of shape (3, frames, {JOINTS}, 3), the same for xyz and uvd"
            )
    if not 0 < frames <= _MAX_FRAMES:
        raise ValueError(f"{path}: claims {frames} frames; expected 1 to {_MAX_FRAMES}")
    return frames, data


def _joints(path: epath.Path, views: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Camera mm [v, n, 36, 3], and the set's own pixels [v, n, 36, 2]."""
    frames, data = _open_labels(path)
    try:
        content = mat.arrays(data, ["joint_xyz", "joint_uvd"], _LARGEST_MAT)
    except Exception as error:
        raise _broken(path, error) from None
    rows = np.asarray(views) - 1
    xyz, uvd = (np.asarray(content[name][rows], np.float32) for name in ("joint_xyz", "joint_uvd"))
    xyz[..., 1] *= -1
    bad = ~(np.isfinite(xyz).all((2, 3)) & np.isfinite(uvd).all((2, 3)) & (xyz[..., 2] > 0).all(2))
    if bad.any():
        view, i = np.argwhere(bad)[0].tolist()
        raise ValueError(
            f"{path}: {bad.sum()} of {len(views) * frames} rows have joints that are not finite or "
            f"behind the camera, the first that of {_stem(views[view], i)}.png; copy the file again"
        )
    return xyz, uvd[..., :2]


def _broken(path: epath.Path, error: Exception) -> ValueError:
    what = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{path}: {what}; expected the set's MATLAB file of joint_xyz and joint_uvd")
