"""Human3.6M (Ionescu et al. 2014) with the annotation of Sun et al. 2018.

Annotation: github.com/JimmySuen/integral-human-pose. The configurations are the subsets of it.
"""

import hashlib
import io
from dataclasses import dataclass
from functools import partial

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data.formats.image import read_image
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.pose.joint_orders import ORDERS
from handjax.pose.lens import project_through_lens

LAYOUT = """\
images/{sequence}/{sequence}_{frame:06d}.jpg   frames from 1
annot/{sequence}/matlab_meta.txt
with {sequence} = s_{subject}_act_{action}_subact_{subaction}_ca_{camera}, subject 01 05 06 07 08
(train), 09 11 (valid), action 02 to 16, subaction 01 02, camera 01 to 04. The images are the frames
of Human3.6M's videos (http://vision.imar.ro/human3.6m, registration needed), the annotation is
github.com/JimmySuen/integral-human-pose. A subset needs only the folders of its own subjects and
actions."""

ACTIONS = dict(
    enumerate(
        (
            "directions",
            "discussion",
            "eating",
            "greeting",
            "phoning",
            "posing",
            "purchases",
            "sitting",
            "sitting_down",
            "smoking",
            "taking_photo",
            "waiting",
            "walking",
            "walking_dog",
            "walking_together",
        ),
        start=2,
    )
)
SUBACTIONS, CAMERAS = (1, 2), (1, 2, 3, 4)
_TRAIN, _VALID = (1, 5, 6, 7, 8), (9, 11)

# The 17 of the file's 32 joints that are used, numbered from 1; the file lists them as well.
USED = tuple(i + 1 for i in ORDERS["human36m32"].to_common if i >= 0)
_LARGEST_MM = 1e5  # limit of world coordinates
# Lines of matlab_meta.txt before the frames, and the count of numbers in each.
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
    """Frames of some subjects and actions: `take` random ones per sequence, else every `step`th."""

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
CONFIGS = tuple(SUBSETS)
SKELETON: str | None = "body18"
# By subset; known where every sequence contributes the same number of frames.
COUNTS: dict[str, int | None] = {
    name: subset.take
    and subset.take * len(subset.subjects) * len(subset.actions) * len(SUBACTIONS) * len(CAMERAS)
    for name, subset in SUBSETS.items()
}


def sequences(subset: str) -> list[str]:
    """Names of a subset's sequences, sorted."""
    if subset not in SUBSETS:
        raise ValueError(f"subset {subset!r} of Human3.6M; expected one of {', '.join(SUBSETS)}")
    chosen = SUBSETS[subset]
    return [
        f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{camera:02d}"
        for subject in chosen.subjects
        for action in chosen.actions
        for subaction in SUBACTIONS
        for camera in CAMERAS
    ]


def frames(subset: str, sequence: str, count: int) -> list[int]:
    """Frame numbers, from 1, that a subset takes from a sequence of `count` frames.

    They depend on the names alone, so they never change. Random frames are those whose names have
    the smallest SHA-256: the 10 of validmin are among the 40 of valid, and validact02's are those
    of valid. A sequence with fewer frames than `take` contributes all of them.
    """
    chosen = SUBSETS[subset]
    if chosen.take is None:
        return list(range(1, count + 1, chosen.step))
    digest = {
        i: hashlib.sha256(f"{sequence}_{i:06d}".encode()).digest() for i in range(1, count + 1)
    }
    return sorted(sorted(digest, key=digest.__getitem__)[: chosen.take])


@dataclass(frozen=True)
class LensCamera:
    """x_camera = rotation (x_world - position), mm; `distortion` is k1, k2, k3, p1, p2."""

    height: int
    width: int
    rotation: Float[np.ndarray, "3 3"]
    position: Float[np.ndarray, "3"]
    k: Float[np.ndarray, "3 3"]
    distortion: Float[np.ndarray, "5"]

    def from_world(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """World mm → camera mm."""
        return (points - self.position) @ self.rotation.T


def missing(root: epath.Path, config: str | None = None) -> list[str]:
    """Missing folders of images and missing annotations of a subset."""
    return [
        str(path.relative_to(root))
        for sequence in sequences(config or "train")
        for path in (root / "annot" / sequence / "matlab_meta.txt", root / "images" / sequence)
        if not path.exists()
    ]


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return ("train" if (config or "train").startswith("train") else "validation",)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames of the subset `config`, whose only split is `split`."""
    if split not in splits(root, config):
        raise ValueError(f"subset {config or 'train'} of Human3.6M has no split {split!r}")
    return Examples(_lazy(root, config or "train"))


def _lazy(root: epath.Path, subset: str) -> LazyExamples:
    for sequence in sequences(subset):
        meta = root / "annot" / sequence / "matlab_meta.txt"
        try:
            camera, lines = _read_meta(meta)
            _check_names(root / "images" / sequence, sequence, len(lines), meta)
        except (ValueError, OSError) as error:
            yield sequence, unreadable(error)
            continue
        for frame in frames(subset, sequence, len(lines)):
            yield (
                f"{sequence}_{frame:06d}",
                partial(_sample, root, sequence, frame, meta, camera, lines[frame - 1]),
            )


def _sample(
    root: epath.Path, sequence: str, frame: int, meta: epath.Path, camera: LensCamera, line: str
) -> dict:
    key = f"{sequence}_{frame:06d}"
    path = root / "images" / sequence / f"{key}.jpg"
    data, pixels = read_image(path)
    height, width = pixels.shape[:2]
    # The toolbox's images have 1000 or 1002 rows: allow for that, but not for resized images.
    if max(abs(height - camera.height), abs(width - camera.width)) > 2:
        raise ValueError(
            f"{path}: {width} x {height}; expected {camera.width} x {camera.height} "
            f"as in {meta}, uncropped"
        )
    xyz = camera.from_world(_joints(meta, len(_HEAD) + frame, line))
    if xyz[:, 2].min() <= 0:
        raise ValueError(
            f"{meta}, line {len(_HEAD) + frame}: a joint is behind the camera; "
            "expected world mm, copy it again"
        )
    subject, action, subaction, number = (int(word) for word in sequence.split("_")[1::2])
    return {
        "image": io.BytesIO(data),
        "k": camera.k.astype(np.float32),
        "distortion": camera.distortion.astype(np.float32),
        "rotation": camera.rotation.astype(np.float32),
        "place": camera.position.astype(np.float32),
        "joints_xyz": xyz.astype(np.float32),
        "joints_uv": project_through_lens(xyz, camera.k, camera.distortion).astype(np.float32),
        "visible": np.ones(len(xyz), bool),
        "subject": subject,
        "action": ACTIONS[action],
        "subaction": subaction,
        "camera": number,
        "frame": frame,
        "id": key,
    }


def _read_meta(path: epath.Path) -> tuple[LensCamera, list[str]]:
    """The camera, and the unparsed lines of the frames."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected the annotation of a sequence")
    try:
        lines = path.read_bytes().decode("ascii").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(
            f"{path}: not plain text; expected matlab_meta.txt, copy it again"
        ) from None
    if len(lines) < len(_HEAD):
        raise ValueError(
            f"{path}: {len(lines)} lines; expected {len(_HEAD)} before those of the frames, "
            "copy it again"
        )
    head = [
        _numbers(path, i, line, what, n)
        for i, (line, (what, n)) in enumerate(zip(lines, _HEAD, strict=False), 1)
    ]
    (count,), (width, height), rotation, position, focal, center, radial, tangential, used = head
    if count < 1 or count != len(lines) - len(_HEAD):
        raise ValueError(
            f"{path}: line 1 gives {count:g} frames, {len(lines) - len(_HEAD)} follow; "
            "expected the same number, copy it again"
        )
    rotation = rotation.reshape(3, 3).T  # written column by column, by MATLAB
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise ValueError(f"{path}, line 3: R is not a rotation; copy it again")
    if (
        np.abs(position).max() > _LARGEST_MM
        or min(width, height, *focal) <= 0
        or np.abs(radial).max() > 10
    ):
        raise ValueError(
            f"{path}, lines 2 to 7: size, T, f or k is not a camera's; "
            "expected mm and px, copy it again"
        )
    if tuple(used) != USED:
        raise ValueError(
            f"{path}, line 9: joints {' '.join(f'{i:g}' for i in used)}; "
            f"expected {' '.join(map(str, USED))}"
        )
    k = np.array([[focal[0], 0, center[0]], [0, focal[1], center[1]], [0, 0, 1]])
    distortion = np.concatenate([radial, tangential])
    camera = LensCamera(round(height), round(width), rotation, position, k, distortion)
    return camera, lines[len(_HEAD) :]


def _joints(path: epath.Path, number: int, line: str) -> Float[np.ndarray, "18 3"]:
    """World mm: the 17 joints and, as in Sun et al., the thorax midway between the shoulders."""
    points = _numbers(path, number, line, "joints", 96).reshape(32, 3)
    if np.abs(points).max() > _LARGEST_MM:
        raise ValueError(
            f"{path}, line {number}: a joint is {np.abs(points).max():g} mm away; "
            "expected mm, copy it again"
        )
    joints = ORDERS["human36m32"].convert(points)
    joints[-1] = (joints[11] + joints[14]) / 2
    return joints


def _numbers(
    path: epath.Path, number: int, line: str, what: str, count: int
) -> Float[np.ndarray, " n"]:
    """The last `count` words of a line; a name may precede them."""
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
        f"{path}, line {number}: {problem}; expected {count} numbers ({what}), copy it again"
    )


def _check_names(folder: epath.Path, sequence: str, count: int, meta: epath.Path) -> None:
    """Check that there are `count` images, numbered from 1. The original skips other sequences."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder; expected the images of a sequence")
    there = {path.name for path in folder.iterdir() if path.suffix == ".jpg"}
    if lacking := [i for i in range(1, count + 1) if f"{sequence}_{i:06d}.jpg" not in there]:
        raise ValueError(
            f"{folder}: {len(lacking)} images are missing, first {lacking[0]:06d}; "
            f"expected {count} as in {meta}"
        )
    if len(there) > count:
        raise ValueError(
            f"{folder}: {len(there)} images; expected {count} as in {meta}, "
            "extract them from the video again"
        )
