"""NYU hand (Tompson et al. 2014): one hand before three Kinects, 36 joints fitted by a model.

Depth is packed in RGB PNGs, green over blue, red means nothing. The joints' y points up and is turned here. Not every
file of the set is read: the colour and the synthetic depth images may be left packed.
"""

import io
from functools import partial

import numpy as np
import scipy.io
from etils import epath

from handjax.data.formats.depth import read_centers_beside, read_depth_png
from handjax.data.formats.mat import bounded
from handjax.data.preparation.examples import Examples, LazyExamples

LAYOUT = """
manual_dir is the folder `dataset` of nyu_hand_dataset_v2.zip (https://cims.nyu.edu/~tompson/NYU_Hand_Pose_Dataset.htm):

  train/joint_data.mat
  train/depth_1_0000001.png ... depth_1_0072757.png
  test/joint_data.mat
  test/depth_1_0000001.png ... depth_1_0008252.png

The configuration `multiview` also reads depth_2_*.png and depth_3_*.png. Where they lie in manual_dir, the refined
centers of V2V-PoseNet (https://github.com/mks0601/V2V-PoseNet_RELEASE) are read too:

  center_train_refined.txt, center_test_refined.txt
"""
COUNTS = {"train": 72757, "test": 8252}
CONFIGS = {
    "single": (1,),
    "multiview": (1, 2, 3),
}  # the Kinects that are read, by their number in the files' names
JOINTS = 36
HEIGHT, WIDTH = 480, 640
# One for all three Kinects, as the set's own functions uvd_to_xyz have them: xzFactor 1.08836710, yzFactor 0.817612648.
K = ((588.036865, 0.0, 320.0), (0.0, 587.075073, 240.0), (0.0, 0.0, 1.0))

_MAX_FRAMES = 100_000  # beyond the set's; a .mat of a few bytes can claim any shape


def missing(root: epath.Path, config: str = "single") -> list[str]:
    """What a configuration needs and `root` lacks, a line each."""
    lines = []
    for split, count in COUNTS.items():
        labels = root / split / "joint_data.mat"
        if not labels.exists():
            lines.append(f"{labels}: the joints of {count} frames")
            continue
        try:
            frames, there = _frames(labels), {path.name for path in (root / split).iterdir()}
        except ValueError as error:
            lines.append(str(error))
            continue
        for view in CONFIGS[config]:
            lacking = [
                name for i in range(frames) if (name := f"{_stem(view, i)}.png") not in there
            ]
            if lacking:
                lines.append(
                    f"{root / split / lacking[0]}: {len(lacking)} of {frames} depth frames of Kinect {view}, this the first"
                )
    return lines


def samples(root: epath.Path, split: str, config: str = "single") -> Examples:
    """Frames in their order. With `multiview` every value but the id has a leading axis of the three Kinects."""
    return Examples(_lazy(root, split, config))


def _lazy(root: epath.Path, split: str, config: str) -> LazyExamples:
    views = CONFIGS[config]
    xyz, uv = _joints(root / split / "joint_data.mat", views)
    given, valid = read_centers_beside(
        root / f"center_{split}_refined.txt", xyz.shape[1], y_up=True
    )
    for i in range(xyz.shape[1]):
        # The centers were found in the first Kinect's depth.
        center = np.stack([given[i] if view == 1 else np.zeros(3, np.float32) for view in views])
        told = {
            "k": np.tile(np.asarray(K, np.float32), (len(views), 1, 1)),
            "joints_xyz": xyz[:, i],
            "joints_uv": uv[:, i],
            "center_xyz": center,
            "center_valid": np.asarray([view == 1 and valid[i] for view in views]),
        }
        key = f"{split}/{_stem(1, i)}" if config == "single" else f"{split}/{i + 1:07d}"
        yield (
            key,
            partial(
                _sample,
                [root / split / f"{_stem(view, i)}.png" for view in views],
                key,
                told,
                config,
            ),
        )


def _sample(paths: list[epath.Path], key: str, told: dict, config: str) -> dict:
    sample = {"depth": np.stack([_depth(path) for path in paths]), **told}
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


def _frames(path: epath.Path) -> int:
    """How many frames a joint_data.mat has joints for."""
    return _looked_into(path)[0]


def _looked_into(path: epath.Path) -> tuple[int, io.BytesIO]:
    """The number of frames by the headers, and the file."""
    try:
        file = bounded(path.read_bytes(), _MAX_FRAMES * 3 * JOINTS * 3 * 8 + 1024)
        found = {name: (tuple(shape), kind) for name, shape, kind in scipy.io.whosmat(file)}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected the joints of a split") from None
    except Exception as error:  # a broken file may raise anything
        raise _broken(path, error) from None
    shape, _ = found.get("joint_xyz", ((), ""))
    frames = shape[1] if len(shape) == 4 else 0
    for name in ("joint_xyz", "joint_uvd"):
        if found.get(name, ((), ""))[0] != (3, frames, JOINTS, 3) or found[name][1] not in (
            "double",
            "single",
        ):
            have = " ".join(map(str, found[name])) if name in found else "missing"
            raise ValueError(
                f"{path}: {name} is {have}; expected numbers of shape (3, frames, {JOINTS}, 3), in both the same"
            )
    if not 0 < frames <= _MAX_FRAMES:
        raise ValueError(f"{path}: claims {frames} frames; expected 1 to {_MAX_FRAMES}")
    return frames, file


def _joints(path: epath.Path, views: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Camera mm [v, n, 36, 3] and pixels [v, n, 36, 2] as the set itself gives them."""
    frames, file = _looked_into(path)
    try:
        found = scipy.io.loadmat(file, variable_names=["joint_xyz", "joint_uvd"])
    except Exception as error:
        raise _broken(path, error) from None
    rows = np.asarray(views) - 1
    xyz, uvd = (np.asarray(found[name][rows], np.float32) for name in ("joint_xyz", "joint_uvd"))
    xyz[..., 1] *= -1
    bad = ~(np.isfinite(xyz).all((2, 3)) & np.isfinite(uvd).all((2, 3)) & (xyz[..., 2] > 0).all(2))
    if bad.any():
        view, i = np.argwhere(bad)[0].tolist()
        raise ValueError(
            f"{path}: {bad.sum()} of {len(views) * frames} rows have joints that are not finite or not before the camera, "
            f"the first that of {_stem(views[view], i)}.png; copy the file anew"
        )
    return xyz, uvd[..., :2]


def _broken(path: epath.Path, error: Exception) -> ValueError:
    what = " ".join(str(error).split()) or type(error).__name__
    return ValueError(
        f"{path}: {what}; expected the set's own MATLAB file of joint_xyz and joint_uvd"
    )
