"""What the joints of a hand or a person, their box and their crop can be, in px and mm.

Every door that takes labels asks here: `prepare`, HDF5 files, training and evaluation. The limits
are wide on purpose. They find numbers of another kind (fractions, metres, a box by its corners),
not inaccurate ones, and no published set comes near them: hands of NYU, ICVL and the synthetic
world span 88 to 310 mm, people 0.7 to 2.1 m.

Functions return the name of a fault, a key of `FAULTS`, or None. NumPy, one sample at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from handjax.pose.joint_orders import ORDERS
from handjax.pose.skeleton import SKELETONS
from handjax.pose.skeleton_file import NAME

# Fault of a sample → what is wrong, and the likely cause.
FAULTS = {
    "fractions": "all joints lie within 1 px of (0, 0): fractions of the picture? expected px",
    "one_place": "all joints lie within 2 px of each other; expected the px of each joint",
    "one_line": "all joints lie on one row or column; expected x and y of each joint, px",
    "origin": "a labelled joint at exactly (0, 0); mark joints without a label by v = 0",
    "limbs": "a limb is out of all proportion to the others: a joint is misplaced",
    "far_outside": "most joints lie outside the picture; expected px of this picture",
    "metres": "the joints span a thousandth of a hand or person: in metres? expected mm",
    "inches": "the joints span a 25th of a hand or person: in inches? expected mm",
    "centimetres": "the joints span a tenth of a hand or person: in centimetres? expected mm",
    "tenths": "the joints span ten hands or persons: in tenths of a mm? expected mm",
    "micrometres": "the joints span a thousand hands or persons: in micrometres, or in mm where "
    "this set has metres?",
    "far_projection": "3D joints project far from their pixels: another camera, or axes swapped?",
    "far_center": "the crop center lies far from the joints; expected camera mm for both",
    "box_corners": "a box that leaves the picture and fits as two corners; expected left, top, "
    "width, height; the joints' own box is used",
    "box_centers": "a box that misses its joints and holds them if its first two numbers are its "
    "center; expected left, top, width, height; the joints' own box is used",
    "box_replaced": "a box without size or away from its joints; the joints' own box is used",
}
# These do not make the joints wrong.
_OF_BOXES = ("box_corners", "box_centers", "box_replaced")
# Boxes read as something else, which makes those wrong that do not look so.
MISREAD_BOXES = ("box_corners", "box_centers")

_FRACTION_PX, _PLACE_PX = 1.0, 2.0
_LIMB_RATIO_UV = 12.0  # longest limb / median; at most 8.2 in 80,000 projected hands
_LIMB_RATIO_XYZ = 8.0  # at most 2.9 in all sets
_LEAST_LIMBS = 8  # known limbs that a median needs
_CUBE_MM = (60.0, 6000.0)  # edge of a crop: half a child's hand to a person with arms spread
_DISTANCE_MM = (80.0, 30_000.0)  # along z, from a camera to a hand or a person
# mm per unit, for a likely cause.
UNITS = {"metres": 1e3, "inches": 25.4, "centimetres": 10.0, "tenths": 0.1, "micrometres": 1e-3}


@dataclass(frozen=True)
class Figure:
    """What a sample's joints belong to: "hand" or "person", and its limbs as pairs of joints.

    `span_mm` limits the diagonal of the joints' bounding box; `usual_mm` is the middle of it.
    """

    kind: str
    span_mm: tuple[float, float]
    usual_mm: float
    limbs: tuple[tuple[int, int], ...]
    trunk: tuple[int, ...] = ()  # shoulders, then hips


def hand(limbs: tuple[tuple[int, int], ...] = ()) -> Figure:
    """A hand; a clenched child's hand spans 40 mm."""
    return Figure("hand", (35.0, 600.0), 180.0, limbs)


def person(joints: Sequence[str] = ()) -> Figure:
    """A person with joints of these names; the limbs are arms, legs, shoulders and hips."""
    sides = ("left", "right")
    pairs = [
        *((f"{side}_{a}", f"{side}_{b}") for side in sides for a, b in _LIMBS),
        *((f"left_{part}", f"right_{part}") for part in ("shoulder", "hip")),
    ]
    known = [(joints.index(a), joints.index(b)) for a, b in pairs if a in joints and b in joints]
    trunk = [joints.index(joint) for joint in _TRUNK if joint in joints]
    return Figure("person", (300.0, 6000.0), 1700.0, tuple(known), tuple(trunk))


_TRUNK = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
_LIMBS = (
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("shoulder", "hip"),
    ("hip", "knee"),
    ("knee", "ankle"),
)


# Users' own joints on anything: neither size nor proportions are known.
OBJECT = Figure("object", (0.0, float("inf")), 180.0, ())
# Joints of which nothing is known.
ANY = Figure("hand or person", (35.0, 6000.0), 180.0, ())


def figure(order: str) -> Figure:
    """The figure of a joint order, a key of SKELETONS or ORDERS; a hand without limbs for others,
    and for files whose order is unknown. Users' own joints are an object."""
    if order == NAME:
        return OBJECT
    if order in ("hand21", "icvl16", "nyu14"):  # nyu36 has two joints per knuckle
        return hand(SKELETONS[order].bones)
    joints = SKELETONS[order].joints if order in SKELETONS else ()
    joints = ORDERS[order].joints if order in ORDERS else joints
    return person(joints) if "left_knee" in joints else hand()


def joints_uv_fault(
    uv: Float[np.ndarray, "j 2"],
    known: Bool[np.ndarray, " j"],
    limbs: Sequence[tuple[int, int]] = (),
    size: tuple[int, int] | None = None,
) -> str | None:
    """Fault of the `known` joints, px of a picture of `size` (height, width)."""
    points = uv[known]
    if len(points) < 3:  # of one or two joints, only what is no whole number tells
        fractions = len(points) and np.abs(points).max() <= _FRACTION_PX and (points % 1).all()
        return "fractions" if fractions else None
    extent = np.ptp(points, axis=0)
    if extent.max() < _PLACE_PX:
        near_zero = np.abs(points).max() <= _FRACTION_PX and extent.max() > 0
        return "fractions" if near_zero else "one_place"
    if size is not None and (~inside(points, size)).mean() > 0.5:
        return "far_outside"
    if len(points) >= 6 and extent.min() < 0.5 and extent.max() > 20:
        return "one_line"
    if (points == 0).all(-1).any():
        return "origin"
    lengths = _lengths(uv, known, limbs)
    if len(lengths) >= _LEAST_LIMBS and lengths.max() > _LIMB_RATIO_UV * max(
        np.median(lengths), 1.0
    ):
        return "limbs"
    return None


def joints_xyz_fault(
    xyz: Float[np.ndarray, "j 3"], figure: Figure, known: Bool[np.ndarray, " j"] | None = None
) -> str | None:
    """Fault of joints in mm, of any frame."""
    known = np.ones(len(xyz), bool) if known is None else known
    if known.sum() < min(10, len(xyz)):
        return None  # a few joints may span anything
    span = float(np.linalg.norm(np.ptp(xyz[known], axis=0)))
    if not figure.span_mm[0] <= span <= figure.span_mm[1]:
        return unit_of(span, figure.usual_mm)
    lengths = _lengths(xyz, known, figure.limbs)
    if len(lengths) >= _LEAST_LIMBS and lengths.max() > _LIMB_RATIO_XYZ * np.median(lengths):
        return "limbs"
    return None


def span_faults(joints_xyz: Float[np.ndarray, "n j 3"], figure: Figure = ANY) -> list[str | None]:
    """Why joints of each row do not span mm of a hand or a person, in words."""
    spans = np.linalg.norm(np.ptp(joints_xyz.astype(np.float64), axis=1), axis=-1)
    low, high = figure.span_mm
    return [
        None
        if low <= span <= high
        else f"the joints span {span:.3g} mm"
        + (": all in one place?" if span <= 0 else f": in {unit_of(span, figure.usual_mm)}?")
        + f" Expected {low:g} to {high:g} mm for a {figure.kind}"
        for span in spans.tolist()
    ]


def unit_of(length: float, usual_mm: float) -> str:
    """The unit, a fault, in which `length` comes closest to `usual_mm`; "one_place" for 0."""
    if length <= 0:
        return "one_place"
    return min(UNITS, key=lambda unit: abs(np.log(length * UNITS[unit] / usual_mm)))


def inside(uv: Float[np.ndarray, "j 2"], size: tuple[int, int]) -> Bool[np.ndarray, " j"]:
    """Which points lie in a picture of (height, width), to the outer edges of its pixels."""
    return np.asarray(((uv >= -0.5) & (uv < (size[1] - 0.5, size[0] - 0.5))).all(-1))


def misread(
    uv: Float[np.ndarray, "j 2"], size: tuple[int, int]
) -> dict[str, Float[np.ndarray, "j 2"]]:
    """Joints that lie outside a picture of (height, width), read in other ways."""
    sides = np.array(size[::-1])
    return {
        "x and y swapped": uv[:, ::-1],
        "0 to 1000 for the whole side, or px of a larger copy": uv * sides / 1000,
        "centered on the picture": uv + sides / 2,
    }


def box_around(
    uv: Float[np.ndarray, "j 2"], known: Bool[np.ndarray, " j"], margin: float = 0.15
) -> Float[np.ndarray, "4"]:
    """left, top, width, height around the `known` joints, with a margin of that part of the longer
    side, at least 1 px."""
    low, high = uv[known].min(0), uv[known].max(0)
    pad = max(margin * float((high - low).max()), 1.0)
    return np.concatenate([low - pad, high - low + 2 * pad])


def square_around(
    uv: Float[np.ndarray, "j 2"], known: Bool[np.ndarray, " j"], margin: float = 0.15
) -> Float[np.ndarray, "4"]:
    """The square about the middle of `box_around` with its longer side."""
    box = box_around(uv, known, margin)
    side = box[2:].max()
    return np.concatenate([box[:2] + box[2:] / 2 - side / 2, [side, side]])


def box_fault(
    box: Float[np.ndarray, "4"], uv: Float[np.ndarray, "j 2"], known: Bool[np.ndarray, " j"]
) -> str | None:
    """ "box_replaced" if the box (left, top, width, height) has no size, does not hold its joints
    even with half its size around it, or is twenty times as large as all of them."""
    sides = box[2:]
    if not np.isfinite(box).all() or sides.min() <= 1:
        return "box_replaced"
    if not known.any():
        return None
    margin = sides.max() / 2
    held = ((uv[known] >= box[:2] - margin) & (uv[known] <= box[:2] + sides + margin)).all(-1)
    extent = np.ptp(uv[known], axis=0).max()
    too_large = known.sum() >= 6 and extent > 0 and sides.max() > 20 * extent
    return "box_replaced" if held.mean() < 0.5 or too_large else None


def corners_fault(
    box: Float[np.ndarray, "4"],
    uv: Float[np.ndarray, "j 2"],
    known: Bool[np.ndarray, " j"],
    size: tuple[int, int],
) -> str | None:
    """ "box_corners" if left + width or top + height leave the picture of (height, width), while
    the four numbers are two corners in the picture that hold the joints."""
    sides = np.array(size[::-1])
    beyond = (box[:2] + box[2:] > 1.02 * sides + 2).any()
    corners = (box[2:] > box[:2] + 1).all() and (box[2:] <= sides + 1).all()
    if not beyond or not corners or not known.any():
        return None
    margin = 0.1 * (box[2:] - box[:2]).max()
    held = ((uv[known] >= box[:2] - margin) & (uv[known] <= box[2:] + margin)).all(-1)
    return "box_corners" if held.mean() > 0.9 else None


def centers_fault(
    box: Float[np.ndarray, "4"], uv: Float[np.ndarray, "j 2"], known: Bool[np.ndarray, " j"]
) -> str | None:
    """ "box_centers" if the box (left, top, width, height) misses joints that it holds with its
    middle at (left, top)."""
    sides = box[2:]
    if known.sum() < 3 or sides.min() <= 1:
        return None
    margin = 0.05 * sides.max()
    low = np.stack([box[:2], box[:2] - sides / 2]) - margin
    points = uv[known][:, None]
    held = ((points >= low) & (points <= low + sides + 2 * margin)).all(-1).mean(0)
    return "box_centers" if held[0] < 0.6 and held[1] > 0.9 else None


def cube_fault(cube_mm: Float[np.ndarray, "..."]) -> str | None:
    """Why edges of crops are not mm of a hand or a person, in words."""
    edges = np.asarray(cube_mm, np.float64)
    wrong = edges[~((edges >= _CUBE_MM[0]) & (edges <= _CUBE_MM[1]))]
    if not wrong.size:
        return None
    low, high = _CUBE_MM
    edge = float(wrong.flat[0])
    hint = f": in {unit_of(edge, 300.0)}?" if 0 < edge else ""
    return f"{edge:g} mm{hint} Expected edges of {low:g} to {high:g} mm"


def distance_fault(z_mm: Float[np.ndarray, "..."]) -> str | None:
    """Why distances along z are not mm from a camera to a hand or a person, in words."""
    z = np.asarray(z_mm, np.float64)
    wrong = z[~((z >= _DISTANCE_MM[0]) & (z <= _DISTANCE_MM[1]))]
    if not wrong.size:
        return None
    low, high = _DISTANCE_MM
    hint = f": in {unit_of(float(wrong.flat[0]), 700.0)}?" if wrong.flat[0] > 0 else ""
    return f"{wrong.flat[0]:g} mm from the camera{hint} Expected {low:g} to {high:g} mm"


def of_batch(batch: Mapping[str, Any], figure: Figure) -> list[str | None]:
    """The fault of each row of a batch (data/batch.py) or None; only its joints are looked at."""
    rows = len(batch["mask"])
    result: list[str | None] = [None] * rows
    has_uv = batch.get("has_uv", np.full(rows, "joints_uv" in batch))
    has_xyz = batch.get("has_xyz", np.full(rows, "joints_xyz" in batch))
    for i in np.flatnonzero(batch["mask"]):
        fault = None
        if has_uv[i]:
            uv = batch["joints_uv"][i]
            known = np.ones(len(uv), bool)
            for key in ("labelled", "visible"):
                known = known & batch[key][i] if key in batch else known
            if "source_from_image" in batch:
                affine = batch["source_from_image"][i]
                uv = uv @ affine[:, :2].T + affine[:, 2][None]
            fault = joints_uv_fault(uv, known, figure.limbs)
        if fault is None and has_xyz[i]:
            # Where only some joints are in px, those in mm may be all there.
            counts = "labelled" in batch and (has_uv[i] or "joints_uv" not in batch)
            fault = joints_xyz_fault(
                batch["joints_xyz"][i], figure, batch["labelled"][i] if counts else None
            )
        result[i] = fault
    return result


def joints_are_wrong(fault: str | None) -> bool:
    """Whether a fault makes the joints useless, not only the box."""
    return fault is not None and fault not in _OF_BOXES


def _lengths(
    points: np.ndarray, known: np.ndarray, limbs: Sequence[tuple[int, int]]
) -> Float[np.ndarray, " l"]:
    """Lengths of the limbs whose joints are both known."""
    pairs = [(a, b) for a, b in limbs if known[a] and known[b]]
    if not pairs:
        return np.zeros(0)
    a, b = np.array(pairs).T
    return np.linalg.norm(points[a] - points[b], axis=-1)
