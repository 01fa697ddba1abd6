"""The Human3.6M challenge of ECCV 2018.

Single images of Human3.6M with poses relative to the pelvis, without cameras.
"""

import io
import re
from collections.abc import Collection
from functools import partial

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data.formats.image import read_image
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.joint_orders import ORDERS

LAYOUT = """\
Train/IMG/{frame:05d}.jpg     frames from 00001
Train/POSE/{frame:05d}.csv    17 rows of x,y,z, mm from the pelvis
Val/IMG, Val/POSE             likewise
Test/IMG                      likewise, without poses
from http://vision.imar.ro/human3.6m/challenge_open.php (registration needed)"""

FOLDERS = {"train": "Train", "validation": "Val", "test": "Test"}
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = "body18"
COUNTS: dict[str, int | None] = {"train": 35832, "validation": 19312, "test": 24416}
_NUMBER = re.compile(r"\d{5}")
_LARGEST_MM = 1e4  # limit of the distance from the pelvis


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing folders, images without a pose, and poses without an image."""
    lines = []
    for split in only or COUNTS:
        name = FOLDERS[split]
        images, poses = _stems(root / name / "IMG", ".jpg"), _stems(root / name / "POSE", ".csv")
        parts = [("IMG", ".jpg", images, poses), ("POSE", ".csv", poses, images)]
        for part, suffix, present, wanted in parts[: 1 if split == "test" else 2]:
            if not present:
                lines.append(f"{name}/{part}")
            elif absent := sorted(wanted - present):
                lines.append(f"{name}/{part}/{absent[0]}{suffix}: {len(absent)} of {len(wanted)}")
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames in the order of their numbers."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    folder = root / FOLDERS[split]
    frames = sorted(_stems(folder / "IMG", ".jpg"))
    if not frames:
        raise FileNotFoundError(f"{folder / 'IMG'}: no images; expected 00001.jpg and so on")
    if odd := [frame for frame in frames if not _NUMBER.fullmatch(frame)]:
        raise ValueError(f"{folder / 'IMG' / odd[0]}.jpg: expected 00001.jpg and so on")
    # A number in between without an image is a sample that cannot be read.
    for frame in (f"{number:05d}" for number in range(1, int(frames[-1]) + 1)):
        yield f"{split}/{frame}", partial(_sample, folder, split, frame)


def _sample(folder: epath.Path, split: str, frame: str) -> dict:
    data, _ = read_image(folder / "IMG" / f"{frame}.jpg")
    labelled = split != "test"
    joints = _joints(folder / "POSE" / f"{frame}.csv") if labelled else np.zeros((18, 3))
    return {
        "image": io.BytesIO(data),
        "joints_from_pelvis": joints.astype(np.float32),
        "visible": np.full(18, labelled),
        "id": f"{split}/{frame}",
    }


def _stems(folder: epath.Path, suffix: str) -> set[str]:
    return (
        {
            path.stem
            for path in folder.iterdir()
            if path.suffix == suffix and not path.name.startswith(".")
        }
        if folder.exists()
        else set()
    )


def _joints(path: epath.Path) -> Float[np.ndarray, "18 3"]:
    """mm from the pelvis: 17 joints and the thorax, midway between the shoulders (Sun et al.)."""
    try:
        rows = [line.split(",") for line in path.read_bytes().decode("ascii").split()]
        values = np.array([[float(word) for word in row] for row in rows])
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; expected the pose of the image of that number"
        ) from None
    except ValueError:
        values = np.zeros(0)
    if values.shape != (17, 3) or not (np.abs(values) < _LARGEST_MM).all():
        raise ValueError(
            f"{path}: expected 17 rows of three finite numbers, mm from the pelvis, "
            "separated by commas; copy it again"
        )
    joints = ORDERS["human36m17"].convert(values)
    joints[-1] = (joints[11] + joints[14]) / 2
    return joints
