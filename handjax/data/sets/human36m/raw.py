"""Human3.6M (Ionescu et al. 2014) with the annotation of Sun et al. 2018 (github.com/JimmySuen/integral-human-pose)."""

import hashlib
import io
from dataclasses import dataclass
from functools import partial

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data.formats.image import read_image
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.pose.skeleton import ORDERS

LAYOUT = """\
images/s_{subject}_act_{action}_subact_{subaction}_ca_{camera}/s_…_ca_{camera}_{frame:06d}.jpg   frames from 1
annot/s_{subject}_act_{action}_subact_{subaction}_ca_{camera}/matlab_meta.txt
with subject 01 05 06 07 08 (train), 09 11 (valid), action 02 to 16, subaction 01 02, camera 01 to 04. The pictures are the
frames of Human3.6M's videos (http://vision.imar.ro/human3.6m, registration needed), the annotation is that of
github.com/JimmySuen/integral-human-pose. A subset needs the folders of its own subjects and actions only."""

ACTIONS = {
    **{
        2: "directions",
        3: "discussion",
        4: "eating",
        5: "greeting",
        6: "phoning",
        7: "posing",
        8: "purchases",
        9: "sitting",
    },
    **{
        10: "sitting_down",
        11: "smoking",
        12: "taking_photo",
        13: "waiting",
        14: "walking",
        15: "walking_dog",
    },
    16: "walking_together",
}
SUBACTIONS, CAMERAS = (1, 2), (1, 2, 3, 4)
_TRAIN, _VALID = (1, 5, 6, 7, 8), (9, 11)

# Of the 32 joints in the file, numbered from 1, the 17 that are used; the file lists them too.
USED = tuple(i + 1 for i in ORDERS["human36m32"].to_common if i >= 0)
_LARGEST_MM = 1e5  # in the world, from its middle: beyond it a number is broken
# Lines of matlab_meta.txt before the frames, each with its count of numbers.
_HEAD = (
    ("frames", 1),
    ("width and height", 2),
    ("R", 9),
    ("T", 3),
    ("f", 2),
    ("c", 2),
    ("k", 3),
    ("p", 2),
    ("joint ids", 17),
)


@dataclass(frozen=True)
class Subset:
    """Which frames: of these subjects and actions, of each sequence `take` at random, or each `step`th from the first."""

    subjects: tuple[int, ...]
    actions: tuple[int, ...] = tuple(ACTIONS)
    take: int | None = None
    step: int = 1


SUBSETS: dict[str, Subset] = {
    "train": Subset(_TRAIN, take=200),
    "trainfull": Subset(_TRAIN),
    "trainsample2": Subset(_TRAIN, step=2),
    "trainsample10": Subset(_TRAIN, step=10),
    "valid": Subset(_VALID, take=40),
    "validmin": Subset(_VALID, take=10),
    "validfull": Subset(_VALID),
    "validsample2": Subset(_VALID, step=2),
    "validsample10": Subset(_VALID, step=10),
    **{f"validact{action:02d}": Subset(_VALID, actions=(action,), take=40) for action in ACTIONS},
}
# Where every sequence gives the same number the count is known.
COUNTS: dict[str, int | None] = {
    name: subset.take
    and subset.take * len(subset.subjects) * len(subset.actions) * len(SUBACTIONS) * len(CAMERAS)
    for name, subset in SUBSETS.items()
}


def sequences(split: str) -> list[str]:
    """The folders of a subset, sorted."""
    if split not in SUBSETS:
        raise ValueError(f"subset {split!r} of Human3.6M; expected one of {', '.join(SUBSETS)}")
    subset = SUBSETS[split]
    return [
        f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{camera:02d}"
        for subject in subset.subjects
        for action in subset.actions
        for subaction in SUBACTIONS
        for camera in CAMERAS
    ]


def frames(split: str, sequence: str, count: int) -> list[int]:
    """Numbers, from 1, of a subset's frames of a sequence that has `count`: a function of the names alone, for ever the same.

    At random means those whose names have the least digests, so the 10 of validmin are among the 40 of valid, and an
    action's are valid's. A sequence that has fewer than are taken gives all.
    """
    subset = SUBSETS[split]
    if subset.take is None:
        return list(range(1, count + 1, subset.step))
    digest = {
        i: hashlib.sha256(f"{sequence}_{i:06d}".encode()).digest() for i in range(1, count + 1)
    }
    return sorted(sorted(digest, key=digest.__getitem__)[: subset.take])


@dataclass(frozen=True)
class Camera:
    """x_camera = rotation (x_world - place), mm; `distortion` is k1, k2, k3, p1, p2."""

    height: int
    width: int
    rotation: Float[np.ndarray, "3 3"]
    place: Float[np.ndarray, "3"]
    k: Float[np.ndarray, "3 3"]
    distortion: Float[np.ndarray, "5"]

    def from_world(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        return (points - self.place) @ self.rotation.T


def project(
    xyz: Float[np.ndarray, "*b 3"],
    k: Float[np.ndarray, "3 3"],
    distortion: Float[np.ndarray, "5"] | None = None,
) -> Float[np.ndarray, "*b 2"]:
    """Camera mm → px. With `distortion` it is the projection of Human3.6M's own 2D poses, and of its pictures.

    The lens is that of Human3.6M's toolbox: OpenCV's with half of its tangential terms. On the real frames it meets the
    published 2D to 1e-4 px, OpenCV's to 0.07 px, and the pinhole alone, which Sun et al. train with, to 1.5 px.
    """
    slopes = xyz[..., :2] / xyz[..., 2:]
    if distortion is not None:
        k1, k2, k3, p1, p2 = distortion
        r2 = (slopes**2).sum(-1, keepdims=True)
        along = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + slopes @ np.array([[p2], [p1]])
        slopes = slopes * along + r2 * np.array([p2, p1])
    return slopes * k[(0, 1), (0, 1)] + k[:2, 2]


def missing(root: epath.Path, split: str | None = None) -> list[str]:
    """Folders and annotations that are not there, of one subset or of all."""
    wanted = sequences(split) if split else [*sequences("trainfull"), *sequences("validfull")]
    return [
        str(path.relative_to(root))
        for sequence in wanted
        for path in (root / "annot" / sequence / "matlab_meta.txt", root / "images" / sequence)
        if not path.exists()
    ]


def samples(root: epath.Path, split: str) -> Examples:
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    for sequence in sequences(split):
        meta = root / "annot" / sequence / "matlab_meta.txt"
        try:
            camera, lines = _read_meta(meta)
            _check_names(root / "images" / sequence, sequence, len(lines), meta)
        except (ValueError, OSError) as error:
            yield sequence, unreadable(error)
            continue
        for frame in frames(split, sequence, len(lines)):
            yield (
                f"{sequence}_{frame:06d}",
                partial(_sample, root, sequence, frame, meta, camera, lines[frame - 1]),
            )


def _sample(
    root: epath.Path, sequence: str, frame: int, meta: epath.Path, camera: Camera, line: str
) -> dict:
    key = f"{sequence}_{frame:06d}"
    path = root / "images" / sequence / f"{key}.jpg"
    data, pixels = read_image(path)
    height, width = pixels.shape[:2]
    # The toolbox's sizes are 1000 or 1002: a row or two are no matter, a picture made smaller is.
    if max(abs(height - camera.height), abs(width - camera.width)) > 2:
        raise ValueError(
            f"{path}: {width} x {height}; expected {camera.width} x {camera.height} as {meta} says, uncropped"
        )
    xyz = camera.from_world(_joints(meta, len(_HEAD) + frame, line))
    if xyz[:, 2].min() <= 0:
        raise ValueError(
            f"{meta}, line {len(_HEAD) + frame}: a joint is behind the camera; expected world mm, copy it anew"
        )
    subject, action, subaction, number = (int(word) for word in sequence.split("_")[1::2])
    return {
        "image": io.BytesIO(data),
        "k": camera.k.astype(np.float32),
        "distortion": camera.distortion.astype(np.float32),
        "rotation": camera.rotation.astype(np.float32),
        "place": camera.place.astype(np.float32),
        "joints_xyz": xyz.astype(np.float32),
        "joints_uv": project(xyz, camera.k, camera.distortion).astype(np.float32),
        "visible": np.ones(len(xyz), bool),
        "subject": subject,
        "action": ACTIONS[action],
        "subaction": subaction,
        "camera": number,
        "frame": frame,
        "id": key,
    }


def _read_meta(path: epath.Path) -> tuple[Camera, list[str]]:
    """The camera, and the lines of the frames, unread."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected the annotation of a sequence")
    try:
        lines = path.read_bytes().decode("ascii").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: no plain text; expected matlab_meta.txt, copy it anew") from None
    if len(lines) < len(_HEAD):
        raise ValueError(
            f"{path}: {len(lines)} lines; expected {len(_HEAD)} before those of the frames, copy it anew"
        )
    head = [
        _numbers(path, i, line, what, n)
        for i, (line, (what, n)) in enumerate(zip(lines, _HEAD, strict=False), 1)
    ]
    (count,), (width, height), rotation, place, focal, center, radial, tangential, used = head
    if count < 1 or count != len(lines) - len(_HEAD):
        raise ValueError(
            f"{path}: line 1 says {count:g} frames, {len(lines) - len(_HEAD)} follow; expected as many, copy it anew"
        )
    # Written column by column, as MATLAB does.
    rotation = rotation.reshape(3, 3).T
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise ValueError(f"{path}, line 3: R is no rotation; copy it anew")
    if (
        np.abs(place).max() > _LARGEST_MM
        or min(width, height, *focal) <= 0
        or np.abs(head[6]).max() > 10
    ):
        raise ValueError(
            f"{path}, lines 2 to 7: size, T, f or k is not a camera's; expected mm and px, copy it anew"
        )
    if tuple(used) != USED:
        raise ValueError(
            f"{path}, line 9: joints {' '.join(f'{i:g}' for i in used)}; expected {' '.join(map(str, USED))}"
        )
    k = np.array([[focal[0], 0, center[0]], [0, focal[1], center[1]], [0, 0, 1]])
    return Camera(
        round(height), round(width), rotation, place, k, np.concatenate([radial, tangential])
    ), lines[len(_HEAD) :]


def _joints(path: epath.Path, number: int, line: str) -> Float[np.ndarray, "18 3"]:
    """World mm: the 17 joints and, as Sun et al. add it, the thorax in the middle of the shoulders."""
    points = _numbers(path, number, line, "joints", 96).reshape(32, 3)
    if np.abs(points).max() > _LARGEST_MM:
        raise ValueError(
            f"{path}, line {number}: a joint is {np.abs(points).max():g} mm away; expected mm, copy it anew"
        )
    joints = ORDERS["human36m32"].convert(points)
    joints[-1] = (joints[11] + joints[14]) / 2
    return joints


def _numbers(
    path: epath.Path, number: int, line: str, what: str, count: int
) -> Float[np.ndarray, " n"]:
    """The last `count` words of a line; a name may come first."""
    words = line.split()
    try:
        if (
            len(words) in (count, count + 1)
            and np.isfinite(values := np.array([float(word) for word in words[-count:]])).all()
        ):
            return values
        problem = (
            f"{len(words)} words"
            if len(words) not in (count, count + 1)
            else "a number that is not finite"
        )
    except ValueError as error:
        problem = str(error)
    raise ValueError(
        f"{path}, line {number}: {problem}; expected {count} numbers ({what}), copy it anew"
    )


def _check_names(folder: epath.Path, sequence: str, count: int, meta: epath.Path) -> None:
    """As many pictures as frames, numbered from 1. The original leaves a sequence out where this does not hold."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder; expected the pictures of a sequence")
    there = {path.name for path in folder.iterdir() if path.suffix == ".jpg"}
    if lacking := [i for i in range(1, count + 1) if f"{sequence}_{i:06d}.jpg" not in there]:
        raise ValueError(
            f"{folder}: {len(lacking)} pictures are missing, first {lacking[0]:06d}; expected {count} as {meta} says"
        )
    if len(there) > count:
        raise ValueError(
            f"{folder}: {len(there)} pictures; expected {count} as {meta} says, take them from the video anew"
        )
