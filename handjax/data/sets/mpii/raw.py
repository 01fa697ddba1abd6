"""MPII Human Pose (Andriluka et al. 2014) with the JSON annotation of Xiao et al. 2018.

Read in the same way as by Sun et al. 2018.
"""

import io
from collections import Counter
from collections.abc import Collection
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data import plausible
from handjax.data.formats import mat
from handjax.data.formats.image import below, read_image
from handjax.data.formats.json_labels import finite_numbers, read_json
from handjax.data.preparation.examples import NOTES, Examples, LazyExamples, unreadable

LAYOUT = """\
images/*.jpg              from mpii_human_pose_v1.tar.gz, http://human-pose.mpi-inf.mpg.de
annot/train.json          from github.com/microsoft/human-pose-estimation.pytorch
annot/valid.json
annot/test.json
annot/gt_valid.mat        from the same repository: head boxes of the people of valid.json"""

FILES = {"train": "train.json", "validation": "valid.json", "test": "test.json"}
CONFIGS: tuple[str, ...] = ()
SKELETON: str | None = None
COUNTS: dict[str, int | None] = {"train": 22246, "validation": 2958, "test": 11731}  # people
JOINTS = 16
# Head size for PCKh as a fraction of the head box's diagonal (SC_BIAS of the published evaluation).
_HEAD_FRACTION = 0.6
_PX_PER_SCALE = 200  # height of a person of scale 1
_LARGEST_MAT = 1 << 26  # bytes of a variable, 40 times the size of the real one


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing files, and the number of missing images that an annotation names."""
    chosen = only or COUNTS
    heads = ("gt_valid.mat",) if "validation" in chosen else ()
    lines = [
        f"annot/{name}"
        for name in (*(FILES[split] for split in chosen), *heads)
        if not (root / "annot" / name).exists()
    ]
    if not (root / "images").exists():
        return [*lines, "images"]
    present = {path.name for path in (root / "images").iterdir()}
    for split in chosen:
        name = FILES[split]
        if f"annot/{name}" not in lines:
            try:
                wanted = sorted(
                    {_image_name(person, where) for where, person in _people(root, split)}
                )
            except ValueError as error:
                lines.append(str(error))
                continue
            if absent := [image for image in wanted if image not in present]:
                lines.append(f"images/{absent[0]}: {len(absent)} of {len(wanted)} images of {name}")
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """People in the order of the annotation."""
    return Examples(_lazy(root, split))


def _lazy(root: epath.Path, split: str) -> LazyExamples:
    people = _people(root, split)
    heads = _head_sizes(root, people) if split == "validation" else np.zeros(len(people))
    before: Counter[str] = Counter()
    for i, ((where, person), head) in enumerate(zip(people, heads, strict=True)):
        try:
            name = _image_name(person, where)
        except ValueError as error:
            yield f"{split}/person {i}", unreadable(error)
            continue
        key = f"{split}/{name.removesuffix('.jpg')}_{before[name]:02d}"
        before[name] += 1
        labelled = split != "test"
        read = partial(_sample, root / "images", key, name, where, person, head, labelled)
        yield key, read


def _sample(
    folder: epath.Path, key: str, name: str, where: str, person: dict, head: float, labelled: bool
) -> dict:
    data, _ = read_image(below(folder, name, where))
    center = finite_numbers(person, "center", where, 2) - 1
    scale = float(finite_numbers(person, "scale", where))
    if scale <= 0 and not labelled:
        raise ValueError(
            f"{where}: scale {scale:g}; expected more than 0, the person's height / 200 px"
        )
    uv, visible = np.zeros((JOINTS, 2)), np.zeros(JOINTS, bool)
    if labelled:
        uv, visible = _joints(person, where)
        uv = np.where(visible[:, None], uv - 1, 0)
    # The usual box: 15 px per unit of scale lower and a quarter larger, so that no limb is cut off.
    side = 1.25 * _PX_PER_SCALE * scale
    box_center = center + (0, 15 * scale)
    box = np.array([*(box_center - side / 2), side, side])
    fault = plausible.box_fault(box, uv, visible)
    if fault and visible.sum() < 2:
        raise ValueError(
            f"{where}: center {center.tolist()} and scale {scale:g} are no box of this person, and "
            "joints to replace it are not labelled; correct or remove the person"
        )
    if fault:
        box = plausible.square_around(uv, visible)
    return {
        "image": io.BytesIO(data),
        "joints_uv": uv.astype(np.float32),
        "visible": visible,
        "center_uv": center.astype(np.float32),
        "scale": np.float32(scale),
        "box": box.astype(np.float32),
        "head_size": np.float32(head),
        "id": key,
        NOTES: (fault,) if fault else (),
    }


def _people(root: epath.Path, split: str) -> list[tuple[str, dict]]:
    """(location for messages, annotation) of each person."""
    path = root / "annot" / FILES[split]
    people = read_json(path, "MPII's annotation, a list of people")
    if (
        not isinstance(people, list)
        or not people
        or not all(isinstance(person, dict) for person in people)
    ):
        raise ValueError(
            f"{path}: not a list of people; "
            "expected [{image, center, scale, joints, joints_vis}, ...]"
        )
    return [(f"{path}, person {i}", person) for i, person in enumerate(people)]


def _image_name(person: dict, where: str) -> str:
    name = person.get("image")
    if not isinstance(name, str) or not name.lower().endswith((".jpg", ".jpeg", ".png")):
        raise ValueError(f"{where}: image {name!r}; expected the name of a .jpg below images/")
    return str(PurePosixPath(name))


def _joints(person: dict, where: str) -> tuple[Float[np.ndarray, "16 2"], np.ndarray]:
    """Joints in px counted from 1, and whether each is labelled."""
    labelled = finite_numbers(person, "joints_vis", where, JOINTS)
    if not np.isin(labelled, (0, 1, 2)).all():
        raise ValueError(
            f"{where}: joints_vis {labelled[~np.isin(labelled, (0, 1, 2))][0]:g}; expected 0, 1 or "
            "as in COCO 2"
        )
    return finite_numbers(person, "joints", where, JOINTS, 2), labelled > 0


def _head_sizes(root: epath.Path, people: list[tuple[str, dict]]) -> Float[np.ndarray, " n"]:
    """px, in the order of valid.json, which gt_valid.mat must agree with."""
    path = root / "annot" / "gt_valid.mat"
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; expected the head boxes of valid.json's people"
        )
    shapes = {
        "headboxes_src": (2, 2, len(people)),
        "pos_gt_src": (JOINTS, 2, len(people)),
        "jnt_missing": (JOINTS, len(people)),
    }
    try:
        content = mat.arrays(path.read_bytes(), list(shapes), _LARGEST_MAT)
        arrays = {name: content[name].astype(float) for name in shapes}
    except Exception as error:  # a broken file may raise anything
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: {what}; expected a whole MAT file with {', '.join(shapes)}"
        ) from None
    for name, shape in shapes.items():
        array = arrays[name]
        if (
            array.size != np.prod(shape)
            or array.shape[:2] != shape[:2]
            or not np.isfinite(array).all()
        ):
            raise ValueError(
                f"{path}: {name} is {array.shape}; "
                f"expected finite numbers of shape {shape}, as in valid.json"
            )
    boxes, theirs, absent = (arrays[name].reshape(shape) for name, shape in shapes.items())
    ours = [_joints(person, where) for where, person in people]
    for i, (uv, labelled) in enumerate(ours):
        both = labelled & (absent[:, i] == 0)
        if both.any() and np.median(np.linalg.norm(uv - theirs[..., i], axis=-1)[both]) > 5:
            raise ValueError(
                f"{path}: person {i} is elsewhere in valid.json; "
                "expected the file that belongs to it"
            )
    sizes = _HEAD_FRACTION * np.linalg.norm(boxes[1] - boxes[0], axis=0)
    if sizes.min() <= 0:
        raise ValueError(f"{path}: the head box of person {sizes.argmin()} is empty; copy it again")
    return sizes
