"""Human3.6M (Ionescu et al. 2014) with the annotation of Sun et al. 2018.

Annotation: github.com/JimmySuen/integral-human-pose. The configurations are the subsets of it.
"""

import hashlib
import io
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats.image import read_image
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.data.sets.human36m.annotation import (
    HEAD_LINES,
    LensCamera,
    read_annotation,
    world_joints,
)
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
        "directions discussion eating greeting phoning posing purchases sitting sitting_down "
        "smoking taking_photo waiting walking walking_dog walking_together".split(),
        start=2,
    )
)
SUBACTIONS, CAMERAS = (1, 2), (1, 2, 3, 4)
_TRAIN, _VALID = (1, 5, 6, 7, 8), (9, 11)


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


# Sequences that many copies lack, since the published video of them is damaged.
HOLES = {"s_11_act_02_subact_02_ca_01": "missing, as in many copies: its video is damaged"}


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


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing folders of images and missing annotations of a subset, except for `holes`."""
    gone = holes(root, "", config)
    return [
        str(path.relative_to(root))
        for sequence in sequences(config or "train")
        if sequence not in gone
        for path in _files(root, sequence)
        if not path.exists()
    ]


def holes(root: epath.Path, split: str, config: str | None = None) -> dict[str, str]:
    """The sequences of HOLES that a subset takes and `root` lacks, with their number of frames."""
    found = {}
    for sequence in sequences(config or "train"):
        if sequence in HOLES and (absent := [f for f in _files(root, sequence) if not f.exists()]):
            take = SUBSETS[config or "train"].take
            count = f", {take} frames" if take else ""
            found[sequence] = f"{absent[-1].relative_to(root)}: {HOLES[sequence]}{count}"
    return found


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return ("train" if (config or "train").startswith("train") else "validation",)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames of the subset `config`, whose only split is `split`."""
    if split not in splits(root, config):
        raise ValueError(f"subset {config or 'train'} of Human3.6M has no split {split!r}")
    return Examples(_lazy(root, config or "train"))


def _lazy(root: epath.Path, subset: str) -> LazyExamples:
    gone = holes(root, "", subset)
    for sequence in sequences(subset):
        if sequence in gone:
            continue
        meta, folder = _files(root, sequence)
        try:
            camera, lines = read_annotation(meta)
            _check_names(folder, sequence, len(lines), meta)
        except (ValueError, OSError) as error:
            yield sequence, unreadable(error)
            continue
        for frame in frames(subset, sequence, len(lines)):
            yield (
                f"{sequence}_{frame:06d}",
                partial(_sample, root, sequence, frame, meta, camera, lines[frame - 1]),
            )


def _files(root: epath.Path, sequence: str) -> tuple[epath.Path, epath.Path]:
    """The annotation of a sequence, and the folder of its images."""
    return root / "annot" / sequence / "matlab_meta.txt", root / "images" / sequence


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
    xyz = camera.from_world(world_joints(meta, HEAD_LINES + frame, line))
    if xyz[:, 2].min() <= 0:
        raise ValueError(
            f"{meta}, line {HEAD_LINES + frame}: a joint is behind the camera; "
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


def _check_names(folder: epath.Path, sequence: str, count: int, meta: epath.Path) -> None:
    """Check that there are `count` images, numbered from 1. The original skips other sequences."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder; expected the images of a sequence")
    present = {path.name for path in folder.iterdir() if path.suffix == ".jpg"}
    if absent := [i for i in range(1, count + 1) if f"{sequence}_{i:06d}.jpg" not in present]:
        raise ValueError(
            f"{folder}: {len(absent)} images are missing, first {absent[0]:06d}; "
            f"expected {count} as in {meta}"
        )
    if len(present) > count:
        raise ValueError(
            f"{folder}: {len(present)} images; expected {count} as in {meta}, "
            "extract them from the video again"
        )
