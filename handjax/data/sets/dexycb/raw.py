"""DexYCB (Chao et al. 2021): people who grasp objects, color and depth of eight cameras at once.

The files, the splits and the order of the joints are those of github.com/NVlabs/dex-ycb-toolkit,
dex_ycb_toolkit/dex_ycb.py. Traps:

- A split takes some of the 100 sequences of a person by their place in the sorted list of folders,
  so a person without all of them would shift the splits, and is refused.
- A hand without a label has joints of -1. Those frames are left out, as in the toolkit's evaluation
  (hpe_eval.py): 406,888 of 465,504 remain of the training frames of s0 (issue 15 of
  patienceFromZhou/simpleHand).
- A label may be of a hand that is outside the picture: it was found by other cameras (issue 15
  of the toolkit).
- Joints are metres, x right, y down, z forward, in the common order; `joint_2d` are pixels.
- Hands are left or right (`mano_sides`), and pictures are not mirrored.

Objects, segmentation and parameters of MANO are not read.
"""

import io
import zipfile
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import yaml
from etils import epath

from handjax.data.formats.arrays import check_archive, read_npy
from handjax.data.formats.depth import read_depth_png
from handjax.data.formats.folders import names_in
from handjax.data.formats.image import read_image
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.pose.joint_orders import ORDERS

LAYOUT = """
manual_dir is the unpacked DexYCB data set (https://dex-ycb.github.io). A configuration is one of
its four ways to split it: s0 by sequence, s1 by person, s2 by camera, s3 by grasped object.

  20200709-subject-01/20200709_141754/meta.yml
  20200709-subject-01/20200709_141754/836212060125/color_000000.jpg,
      aligned_depth_to_color_000000.png, labels_000000.npz, ...
  and so on for 10 people, 100 sequences each, and 8 cameras
  calibration/intrinsics/836212060125_640x480.yml, ...
"""
SKELETON: str | None = "hand21"
HEIGHT, WIDTH = 480, 640
JOINTS = 21
SEQUENCES = 100  # of a person
PEOPLE = tuple(
    f"{day}-subject-{i:02d}"
    for i, day in enumerate(
        (
            *("20200709", "20200813", "20200820", "20200903", "20200908"),
            *("20200918", "20200928", "20201002", "20201015", "20201022"),
        ),
        1,
    )
)
CAMERAS = (
    *("836212060125", "839512060362", "840412060917", "841412060263"),
    *("932122060857", "932122060861", "932122061900", "932122062010"),
)


class Part(NamedTuple):
    """What belongs to a split: people, cameras and sequences of each person, by their numbers."""

    people: tuple[int, ...]
    cameras: tuple[int, ...]
    sequences: tuple[int, ...]


_ALL, _EVERY, _CAMERAS = tuple(range(10)), tuple(range(SEQUENCES)), tuple(range(8))


def _grasps(*fives: int) -> tuple[int, ...]:
    """Sequences of these objects: five in a row have the same one."""
    return tuple(i for i in _EVERY if i // 5 in fives)


_FIFTH = tuple(i for i in _EVERY if i % 5 == 4)
_OTHER_FOUR = tuple(i for i in _EVERY if i % 5 != 4)
_KNOWN_GRASPS = tuple(i for i in range(20) if i not in (3, 7, 11, 15, 19))
CONFIGS = {
    "s0": {
        "train": Part(_ALL, _CAMERAS, _OTHER_FOUR),
        "validation": Part((0, 1), _CAMERAS, _FIFTH),
        "test": Part(_ALL[2:], _CAMERAS, _FIFTH),
    },
    "s1": {
        "train": Part((0, 1, 2, 3, 4, 5, 9), _CAMERAS, _EVERY),
        "validation": Part((6,), _CAMERAS, _EVERY),
        "test": Part((7, 8), _CAMERAS, _EVERY),
    },
    "s2": {
        "train": Part(_ALL, _CAMERAS[:6], _EVERY),
        "validation": Part(_ALL, (6,), _EVERY),
        "test": Part(_ALL, (7,), _EVERY),
    },
    "s3": {
        "train": Part(_ALL, _CAMERAS, _grasps(*_KNOWN_GRASPS)),
        "validation": Part(_ALL, _CAMERAS, _grasps(3, 19)),
        "test": Part(_ALL, _CAMERAS, _grasps(7, 11, 15)),
    },
}
COUNTS: Mapping[str, int | None] = {"train": None, "validation": None, "test": None}
FILES = ("color_{:06d}.jpg", "aligned_depth_to_color_{:06d}.png", "labels_{:06d}.npz")
_LARGEST_YAML, _LARGEST_LABEL = 1 << 16, 1 << 22  # bytes
_MOST_FRAMES = 10_000  # of a sequence
_FARTHEST_M = 10.0


class Sequence(NamedTuple):
    """One of the sequences of a person, as meta.yml describes it."""

    folder: epath.Path
    person: int
    frames: int
    side: str


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing calibrations, sequences and frames of the splits of a configuration."""
    parts = [CONFIGS[config or "s0"][split] for split in only or COUNTS]
    cameras = sorted({camera for part in parts for camera in part.cameras})
    paths = [_intrinsics_path(root, camera) for camera in cameras]
    lines = [str(path.relative_to(root)) for path in paths if not path.exists()]
    for person in sorted({person for part in parts for person in part.people}):
        wanted = {i for part in parts if person in part.people for i in part.sequences}
        try:
            sequences = list(_sequences(root, person, sorted(wanted)))
        except (ValueError, OSError) as error:
            lines.append(str(error))
            continue
        for sequence in sequences:
            lines += _missing_frames(root, sequence, cameras)
    return lines


def _missing_frames(root: epath.Path, sequence: Sequence, cameras: list[int]) -> list[str]:
    lines = []
    for camera in cameras:
        folder = sequence.folder / CAMERAS[camera]
        present = names_in(folder)
        names = [name.format(i) for i in range(sequence.frames) for name in FILES]
        if absent := [name for name in names if name not in present]:
            lines.append(
                f"{folder.relative_to(root)}: {len(absent)} of {len(names)} files, the first "
                f"{absent[0]}"
            )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """The labelled frames: person by person, sequence by sequence, camera by camera."""
    return Examples(_lazy(root, CONFIGS[config or "s0"][split]))


def _lazy(root: epath.Path, part: Part) -> LazyExamples:
    cameras = {camera: _intrinsics(_intrinsics_path(root, camera)) for camera in part.cameras}
    for person in part.people:
        for sequence in _sequences(root, person, part.sequences):
            for camera, k in cameras.items():
                folder = sequence.folder / CAMERAS[camera]
                for i in range(sequence.frames):
                    key = f"{folder.relative_to(root)}/{i:06d}"
                    try:
                        joints = _joints(folder / FILES[2].format(i))
                    except (ValueError, OSError) as error:
                        yield key, unreadable(error)
                        continue
                    if joints is not None:
                        yield key, partial(_sample, folder, i, key, sequence, camera, k, joints)


def _sample(
    folder: epath.Path,
    i: int,
    key: str,
    sequence: Sequence,
    camera: int,
    k: np.ndarray,
    joints: tuple[np.ndarray, np.ndarray],
) -> dict:
    color, aligned = (folder / name.format(i) for name in FILES[:2])
    data, pixels = read_image(color)
    depth, packed = read_depth_png(aligned, form="png16")
    for path, shape in ((color, pixels.shape), (aligned, (*depth.shape, 3))):
        if shape != (HEIGHT, WIDTH, 3):
            raise ValueError(f"{path}: pixels of shape {shape}; expected {WIDTH} x {HEIGHT}")
    xyz, uv = (ORDERS["dexycb"].convert(values) for values in joints)
    return {
        "image": io.BytesIO(data),
        "depth": io.BytesIO(packed),
        "k": k,
        "joints_xyz": xyz,
        "joints_uv": uv,
        "visible": np.all((uv > -0.5) & (uv < (WIDTH - 0.5, HEIGHT - 0.5)), axis=-1),
        "side": sequence.side,
        "root": ORDERS["dexycb"].root,
        "subject": np.int32(sequence.person + 1),
        "camera": np.int32(camera),
        "id": key,
    }


def _joints(path: epath.Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Camera mm [21, 3] and px [21, 2] of a label; None of a hand without one."""
    found = []
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            check_archive(archive, _LARGEST_LABEL)
            for name, shape in (("joint_3d", (1, JOINTS, 3)), ("joint_2d", (1, JOINTS, 2))):
                array = read_npy(archive.read(f"{name}.npy"))
                if array.shape != shape or array.dtype.kind != "f":
                    raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
                found.append(array[0].astype(np.float32))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected the label of a frame") from None
    except Exception as error:  # zipfile raises a dozen kinds on damaged bytes
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: {what}; expected joint_3d and joint_2d of one hand: copy it again"
        ) from None
    metres, uv = found
    if (metres == -1).all():
        return None
    near = np.isfinite(uv).all() and (np.abs(metres) < _FARTHEST_M).all()
    if not near or (metres[:, 2] <= 0).any():
        raise ValueError(
            f"{path}: joints that are not finite, behind the camera or {_FARTHEST_M:g} m away; "
            "expected metres: copy it again"
        )
    return metres * np.float32(1000), uv


def _sequences(root: epath.Path, person: int, numbers: Collection[int]) -> Iterator[Sequence]:
    """These sequences of a person, by their places in the sorted list of folders."""
    folder = root / PEOPLE[person]
    found = (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.exists() else []
    )
    if len(found) != SEQUENCES:
        raise ValueError(
            f"{folder}: {len(found)} sequences; expected all {SEQUENCES}, as their order makes "
            "the splits"
        )
    for number in numbers:
        yield _described(folder / found[number], person)


def _described(folder: epath.Path, person: int) -> Sequence:
    path = folder / "meta.yml"
    content = _yaml(path)
    frames, sides = content.get("num_frames"), content.get("mano_sides")
    if type(frames) is not int or not 0 <= frames <= _MOST_FRAMES:
        raise ValueError(f"{path}: num_frames is {str(frames)[:20]}; expected a number of frames")
    if sides not in (["left"], ["right"]):
        raise ValueError(f"{path}: mano_sides is {str(sides)[:40]}; expected one of left and right")
    return Sequence(folder, person, frames, sides[0])


def _intrinsics(path: epath.Path) -> np.ndarray:
    color = _yaml(path).get("color")
    values = (
        [color.get(key) for key in ("fx", "fy", "ppx", "ppy")] if isinstance(color, dict) else []
    )
    if len(values) != 4 or not all(
        isinstance(value, float) and 0 < value < 1e4 for value in values
    ):
        raise ValueError(f"{path}: expected color with fx, fy, ppx and ppy in px; copy it again")
    fx, fy, cx, cy = values
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)


def _yaml(path: epath.Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
        if len(data) > _LARGEST_YAML:
            raise ValueError(f"{len(data)} bytes")
        content = yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected a description in YAML") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        what = " ".join(str(error).split())[:80]
        raise ValueError(f"{path}: not YAML ({what}); copy it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not YAML with names and values; copy it again")
    return content


def _intrinsics_path(root: epath.Path, camera: int) -> epath.Path:
    return root / "calibration" / "intrinsics" / f"{CAMERAS[camera]}_{WIDTH}x{HEIGHT}.yml"
