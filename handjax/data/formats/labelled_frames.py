"""Labelled depth frames of any camera: a folder of depth images, and one JSON file beside them.

docs/real_frames.md describes the form. A folder is read from its frames.json or, if it has none,
from its only .json file.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from etils import epath
from jaxtyping import Bool, Float

from handjax.data import plausible
from handjax.data.cameras import intrinsics
from handjax.data.formats.depth import DEPTH_FORMATS
from handjax.data.formats.json_labels import finite_numbers, read_json
from handjax.pose.pinhole import project
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.pose.skeleton_file import NAME as OWN
from handjax.pose.skeleton_file import read_skeleton

FILE = "frames.json"
HANDS = ("right", "left", "unknown", "none")
KINDS = ("surface", "joints")
ORDERS = ("hand21", "nyu14")  # orders of joints that have a name
SHARED_KEYS = ("k", "unit_mm", "format", "hand", "skeleton", "order", "kind", "remark", "frames")
FRAME_KEYS = ("uv", "xyz_mm", "k", "hand", "center", "box", "person", "sequence", "remark")
_EXPECTED = "the labels of depth frames, see docs/real_frames.md"
_NEAREST_MM, _LARGEST_MM = 50.0, 1e5
_MOST_PX = 5.0  # between a label's place in mm and its place in px


@dataclass(frozen=True)
class LabelledFrame:
    """One depth image and what is known about it. Labels that are missing are NaN."""

    name: str  # path of the image relative to the JSON file
    path: Path
    k: Float[np.ndarray, "3 3"]  # px
    hand: Literal["right", "left", "unknown", "none"]
    xyz: Float[np.ndarray, "j 3"]  # camera mm; with kind "surface", NaN until the depth is known
    uv: Float[np.ndarray, "j 2"]  # px
    center: Float[np.ndarray, "3"] | None = None  # middle of the hand, camera mm
    box: Float[np.ndarray, "4"] | None = None  # left, top, width, height around the hand, px
    person: str = ""
    sequence: str = ""

    @property
    def labelled(self) -> Bool[np.ndarray, " j"]:
        """Which joints have a label in mm."""
        return np.isfinite(self.xyz).all(-1)

    def placed(self, depth: Float[np.ndarray, "h w"]) -> "LabelledFrame":
        """The frame with labels given in px alone placed on the surface: at the median depth (mm)
        of the 5 x 5 pixels about them. Where none of these was measured the label is dropped."""
        wanted = np.isfinite(self.uv).all(-1) & ~self.labelled
        if not wanted.any():
            return self
        xyz = self.xyz.copy()
        for joint in np.flatnonzero(wanted):
            u, v = self.uv[joint]
            column, row = round(float(u)), round(float(v))
            near = [slice(max(at - 2, 0), max(at + 3, 0)) for at in (row, column)]
            window = depth[near[0], near[1]]
            measured = window[window > 0]
            if measured.size:
                z = float(np.median(measured))
                x, y = (u - self.k[0, 2]) / self.k[0, 0], (v - self.k[1, 2]) / self.k[1, 1]
                xyz[joint] = x * z, y * z, z
        return dataclasses.replace(self, xyz=xyz)


@dataclass(frozen=True)
class FrameSet:
    """Frames of one camera with labels of one kind."""

    name: str
    path: Path  # of the JSON file
    skeleton: Skeleton  # of the labels
    kind: Literal["surface", "joints"]
    unit_mm: float  # mm per unit of the images
    form: str  # format of PNG images, a key of DEPTH_FORMATS
    frames: tuple[LabelledFrame, ...]


def read_frames(path: str | Path) -> FrameSet:
    """The labelled frames of a folder or of a JSON file; the images are not read.

    Raises ValueError or FileNotFoundError, one line, for an invalid file and for missing images.
    """
    file = _file(Path(path))
    content = read_json(epath.Path(file), _EXPECTED)
    _check_keys(content, SHARED_KEYS, str(file))
    assert isinstance(content, dict)
    entries = content.get("frames")
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{file}: 'frames' is {_shown(entries)}; expected {{IMAGE: LABELS, ...}}")
    unit = content.get("unit_mm", 1.0)
    if isinstance(unit, bool) or not isinstance(unit, int | float) or not 0 < unit < 1e6:
        raise ValueError(f"{file}: 'unit_mm' is {_shown(unit)}; expected mm, above 0")
    form = content.get("format", "png16")
    if form not in DEPTH_FORMATS:
        raise ValueError(
            f"{file}: 'format' is {_shown(form)}; expected {' or '.join(DEPTH_FORMATS)}"
        )
    own = _own_skeleton(content.get("skeleton"), file)
    skeleton, order = _order(content.get("order"), file, own)
    labelled = any(isinstance(e, dict) and ("uv" in e or "xyz_mm" in e) for e in entries.values())
    kind = _kind(content.get("kind"), labelled, file)
    if labelled and order is None:
        raise ValueError(
            f"{file}: there are labels, but no 'order'; expected the names of the labelled joints, "
            f"or {' or '.join(ORDERS)}"
        )
    frames = tuple(
        _frame(file, str(name), entry, content, skeleton, order or (), kind)
        for name, entry in entries.items()
    )
    absent = [frame.name for frame in frames if not frame.path.is_file()]
    if absent:
        raise FileNotFoundError(
            f"{file}: {len(absent)} of {len(frames)} images are missing, the first is {absent[0]}; "
            "expected them beside the file"
        )
    name = file.parent.resolve().name or "frames"
    return FrameSet(name, file, skeleton, kind, float(unit), form, frames)


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path}: no such folder; expected one with depth images and {FILE}"
        )
    if (path / FILE).is_file():
        return path / FILE
    found = sorted(path.glob("*.json"))
    if len(found) != 1:
        there = ", ".join(file.name for file in found[:3]) or "no .json file"
        raise FileNotFoundError(f"{path}: {there}; expected {FILE}, {_EXPECTED}")
    return found[0]


def _check_keys(content: object, known: tuple[str, ...], where: str) -> None:
    if not isinstance(content, dict):
        raise ValueError(f"{where}: {_shown(content)}; expected an object, {_EXPECTED}")
    unknown = [str(key) for key in content if key not in known]
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; expected {', '.join(known)}")


def _own_skeleton(name: Any, file: Path) -> Skeleton | None:
    """The skeleton of users' own joints, in a file beside the frames'."""
    if name is None:
        return None
    place = PurePosixPath(name) if isinstance(name, str) and name else PurePosixPath("/")
    if place.is_absolute() or ".." in place.parts:
        raise ValueError(
            f"{file}: 'skeleton' is {_shown(name)}; expected the path of a file below its folder, "
            "with the names of your own joints (docs/landmarks.md)"
        )
    return read_skeleton(file.parent / place)


def _order(order: Any, file: Path, own: Skeleton | None) -> tuple[Skeleton, tuple[int, ...] | None]:
    """The labels' skeleton, and which of its joints the rows of the labels are."""
    if order is None:
        every = None if own is None else tuple(range(len(own.joints)))
        return own or SKELETONS["hand21"], every
    if own is None and isinstance(order, str) and order in ORDERS:
        return SKELETONS[order], tuple(range(len(SKELETONS[order].joints)))
    skeleton = own or SKELETONS["hand21"]
    if not isinstance(order, list) or not order:
        raise ValueError(
            f"{file}: 'order' is {_shown(order)}; expected a list of joints such as "
            f"{', '.join(skeleton.joints[:2])}" + ("" if own else f", or {' or '.join(ORDERS)}")
        )
    for number, joint in enumerate(order):
        if joint not in skeleton.joints or joint in order[:number]:
            whose = "'skeleton'" if own else "hand21"
            what = "twice in" if joint in order[:number] else f"no joint of {whose}, in"
            raise ValueError(
                f"{file}: {_shown(joint)} is {what} 'order'; expected some of "
                f"{', '.join(skeleton.joints)}"
            )
    return skeleton, tuple(skeleton.joints.index(joint) for joint in order)


def _kind(kind: Any, labelled: bool, file: Path) -> Literal["surface", "joints"]:
    """The first word of the text counts; what follows is a remark."""
    first = kind.split()[0] if isinstance(kind, str) and kind.strip() else ""
    if first == "surface" or (kind is None and not labelled):
        return "surface"
    if first == "joints":
        return "joints"
    raise ValueError(
        f"{file}: 'kind' is {_shown(kind)}; expected a text that begins with {KINDS[0]} (labels "
        f"are points of the skin) or {KINDS[1]} (labels are joints inside the hand)"
    )


def _frame(
    file: Path,
    name: str,
    entry: Any,
    shared: dict[str, Any],
    skeleton: Skeleton,
    order: tuple[int, ...],
    kind: str,
) -> LabelledFrame:
    where = f"{file}: {name}"
    place = PurePosixPath(name)
    if not name or place.is_absolute() or ".." in place.parts:
        raise ValueError(f"{where}: expected the path of an image below the file's folder")
    _check_keys(entry, FRAME_KEYS, where)
    hand = entry.get("hand", shared.get("hand", "unknown"))
    if hand not in HANDS:
        raise ValueError(f"{where}: 'hand' is {_shown(hand)}; expected {', '.join(HANDS)}")
    camera = entry.get("k", shared.get("k"))
    try:
        k = intrinsics(camera)
    except ValueError as error:
        raise ValueError(f"{where}: 'k': {error}") from None
    rows = {
        key: _rows(entry, key, where, len(order), size) for key, size in (("uv", 2), ("xyz_mm", 3))
    }
    labels = {
        key: np.full((len(skeleton.joints), size), np.nan)
        for key, size in (("uv", 2), ("xyz_mm", 3))
    }
    for key, values in rows.items():
        if values is not None:
            labels[key][list(order)] = values
    uv, xyz = labels["uv"], labels["xyz_mm"]
    in_mm, in_px = np.isfinite(xyz).all(-1), np.isfinite(uv).all(-1)
    if hand == "none" and (in_mm | in_px).any():
        raise ValueError(
            f"{where}: 'hand' is none, but there are labels; expected one or the other"
        )
    if kind == "joints" and (in_px & ~in_mm).any():
        raise ValueError(
            f"{where}: 'kind' is joints and {skeleton.joints[int(np.argmax(in_px & ~in_mm))]} has "
            "uv alone; expected xyz_mm, since joints lie inside the hand"
        )
    if (xyz[in_mm, 2] <= 0).any():
        raise ValueError(
            f"{where}: 'xyz_mm' has z <= 0; expected camera mm: x right, y down, z forward"
        )
    figure = plausible.figure(skeleton.name) if skeleton.name == OWN else plausible.hand()
    if in_mm.any() and (fault := plausible.joints_xyz_fault(xyz, figure, in_mm)):
        raise ValueError(f"{where}: 'xyz_mm': {plausible.FAULTS[fault]}")
    if in_mm.any() and float(np.median(xyz[in_mm, 2])) < _NEAREST_MM:
        raise ValueError(
            f"{where}: 'xyz_mm' is {np.median(xyz[in_mm, 2]):g} mm from the camera; expected at "
            f"least {_NEAREST_MM:g}: are the labels in metres or centimetres?"
        )
    both = in_mm & in_px
    off = np.linalg.norm(project(xyz[both], k.astype(np.float64)) - uv[both], axis=-1)
    if off.size and off.max() > _MOST_PX:
        raise ValueError(
            f"{where}: 'xyz_mm' of {skeleton.joints[np.flatnonzero(both)[int(off.argmax())]]} is "
            f"{off.max():.0f} px from its 'uv'; expected the same place: check k, and that y "
            "points down"
        )
    return LabelledFrame(
        name=name,
        path=file.parent / name,
        k=k,
        hand=hand,
        xyz=xyz,
        uv=uv,
        center=_numbers(entry, "center", where, 3, _LARGEST_MM),
        box=_box(entry, where),
        person=_text(entry, "person", where),
        sequence=_text(entry, "sequence", where),
    )


def _rows(
    entry: dict[str, Any], key: str, where: str, count: int, size: int
) -> Float[np.ndarray, "n {size}"] | None:
    """The rows of labels; null, for a joint without label, becomes NaN."""
    rows = entry.get(key)
    if rows is None:
        return None
    if not isinstance(rows, list) or len(rows) != count:
        found = f"{len(rows)} rows" if isinstance(rows, list) else _shown(rows)
        raise ValueError(
            f"{where}: {key!r} is {found}; expected {count} of {size} numbers, one per joint of "
            "'order', null without a label"
        )
    values = np.full((count, size), np.nan)
    for number, row in enumerate(rows):
        if row is not None:
            own = f"{where}, row {number} of {key}"
            values[number] = finite_numbers({key: row}, key, own, size, limit=_LARGEST_MM)
    return values


def _numbers(
    entry: dict[str, Any], key: str, where: str, size: int, limit: float
) -> Float[np.ndarray, " {size}"] | None:
    return None if entry.get(key) is None else finite_numbers(entry, key, where, size, limit=limit)


def _box(entry: dict[str, Any], where: str) -> Float[np.ndarray, "4"] | None:
    box = _numbers(entry, "box", where, 4, 1e5)
    if box is not None and (box[2:] <= 0).any():
        raise ValueError(f"{where}: 'box' is {box.tolist()}; expected left, top, width, height")
    return box


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str | int):
        raise ValueError(f"{where}: {key!r} is {_shown(value)}; expected a name or a number")
    return str(value)


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:60]
