"""Whether the labels of a data set can be right (data/plausible.py): per sample and per split.

A sample's fault is counted and named. A split of which more than half the samples have joints that
no hand or person can have is refused, with the likely cause.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from handjax.data import plausible
from handjax.data.plausible import Figure
from handjax.data.preparation.registry import raw_files
from handjax.pose.lens import project_through_lens
from handjax.pose.pinhole import project

if TYPE_CHECKING:
    from handjax.data.preparation.validate import Findings

# Sets that draw no skeleton, or whose joints have another order than it → the joint order.
_ORDERS = {"mpii": "mpii16", "coco_person": "coco17", "human36m_challenge": "body18"}
_FAR_PROJECTION = 0.1  # of the picture's longer side; the median joint
_FAR_CENTER_MM = 500.0
# Frames that must all lie in the upper left quarter before that is worth a line.
_CORNER_FRAMES = 4
_CORNER = "corner"
# People seen from shoulders to hips, and those of them who lie with the shoulders to the left, as
# upright people do when x and y are swapped.
_TRUNKS, _LYING = "trunks", "trunks lying to the left"
_CORNERS_SHARE = 0.2  # of the boxes; those near the upper left corner do not tell
_IMPOSSIBLE = "impossible"  # count of samples with joints that cannot be
_MISREAD = "fits as "  # count of samples outside their picture that another reading puts inside


def figure_of(name: str) -> Figure:
    """The figure that a data set's joints belong to."""
    return plausible.figure(_ORDERS.get(name) or raw_files(name).SKELETON or "")


def faults_of_sample(
    sample: dict[str, Any], pictures: list[dict[str, Any]], figure: Figure, findings: "Findings"
) -> set[str]:
    """The faults of one sample, decoded, and of its `pictures` (`validate.images`)."""
    found = set()
    if "voxels" not in sample:
        found = {_fault_of_picture(picture, figure, findings) or "" for picture in pictures}
    relative = sample["joints_xyz"] if "voxels" in sample else sample.get("joints_from_pelvis")
    if relative is not None and np.any(sample.get("visible", True)):
        found.add(plausible.joints_xyz_fault(relative, figure) or "")
    found.add(_center_fault(sample) or "")
    found.discard("")
    findings.counts[_IMPOSSIBLE] += any(plausible.joints_are_wrong(fault) for fault in found)
    return found


def _fault_of_picture(picture: dict[str, Any], figure: Figure, findings: "Findings") -> str | None:
    uv, xyz = picture.get("joints_uv"), picture.get("joints_xyz")
    frame = picture.get("image", picture.get("depth"))
    size = None if frame is None else frame.shape[:2]
    if xyz is not None and (fault := plausible.joints_xyz_fault(xyz, figure)):
        return fault
    if uv is None:
        return None
    known = picture.get("visible", np.ones(len(uv), bool))
    if size is not None and known.any():
        _count_readings(uv[known], size, findings)
        if len(figure.trunk) == 4 and known[list(figure.trunk)].all():
            findings.counts[_TRUNKS] += 1
            shoulders, hips = uv[list(figure.trunk)].reshape(2, 2, 2).mean(1)
            down = hips - shoulders
            findings.counts[_LYING] += bool(down[0] > abs(down[1]))
    fault = plausible.joints_uv_fault(uv, known, figure.limbs, size)
    if fault is None and size is not None and _projects_far(picture, known, max(size)):
        return "far_projection"
    return fault


def _projects_far(picture: dict[str, Any], known: np.ndarray, longer_px: int) -> bool:
    xyz, k = picture.get("joints_xyz"), picture.get("k")
    if xyz is None or k is None or not known.any() or (xyz[known, 2] <= 0).any():
        return False
    lens = picture.get("distortion")
    uv = project(xyz, k) if lens is None else project_through_lens(xyz, k, lens)
    away = np.linalg.norm(uv - picture["joints_uv"], axis=-1)[known]
    return bool(np.median(away) > _FAR_PROJECTION * longer_px)


def _center_fault(sample: dict[str, Any]) -> str | None:
    valid = np.atleast_1d(sample.get("center_valid", False))
    if not valid.any():
        return None
    centers = np.reshape(sample["center_xyz"], (-1, 3))
    middles = np.reshape(sample["joints_xyz"], (len(centers), -1, 3)).mean(1)
    away = np.linalg.norm(centers - middles, axis=-1)[valid]
    return "far_center" if (away > _FAR_CENTER_MM).any() else None


def _count_readings(points: np.ndarray, size: tuple[int, int], findings: "Findings") -> None:
    """Counts what tells over a whole split what its numbers may be instead of px."""
    corner = np.array(size[::-1]) / 2
    findings.counts[_CORNER] += bool((points < corner).all())
    if plausible.inside(points, size).all():
        return
    for reading, other in plausible.misread(points, size).items():
        findings.counts[_MISREAD + reading] += bool(plausible.inside(other, size).all())


def hints(findings: "Findings") -> list[str]:
    """What the numbers of a split may be instead of px of its pictures, in words."""
    counts, result = findings.counts, []
    outside = counts["outside"]
    for key, times in counts.most_common():
        if outside and key.startswith(_MISREAD) and times >= 0.9 * outside:
            reading = key.removeprefix(_MISREAD)
            result.append(f"{times} of {outside} of those outside the picture fit as {reading}")
            break
    if counts[_TRUNKS] >= _CORNER_FRAMES and counts[_LYING] > 0.7 * counts[_TRUNKS]:
        result.append(
            f"{counts[_LYING]} of {counts[_TRUNKS]} people lie on their side: x and y swapped, or "
            "pictures that are turned?"
        )
    if counts["frames"] == counts[_CORNER] >= _CORNER_FRAMES and not counts[_IMPOSSIBLE]:
        result.append(
            "all joints of all frames lie in the upper left quarter of the pictures: px of "
            "smaller copies, or percent?"
        )
    return result


def refusal(findings: "Findings") -> str:
    """Why a split cannot be right, in words; empty if it can."""
    counts = findings.counts
    if counts["box_corners"] > _CORNERS_SHARE * counts["frames"]:
        return _share(findings, "box_corners")
    if 2 * counts[_IMPOSSIBLE] <= counts["frames"]:
        return ""
    wrong = [fault for fault in plausible.FAULTS if plausible.joints_are_wrong(fault)]
    # A wrong unit also puts joints outside the picture.
    fault = max(wrong, key=lambda fault: (counts[fault], fault in plausible.UNITS))
    more = hints(findings) if fault == "far_outside" else []
    return "; ".join([_share(findings, fault), *more])


def _share(findings: "Findings", fault: str) -> str:
    counts = findings.counts
    return f"{counts[fault]} of {counts['frames']} frames: {plausible.FAULTS[fault]}"


def lines(split: str, findings: "Findings", texts: dict[str, str]) -> list[str]:
    """One line per fault of a split, and per hint. `texts`: fault → its description."""
    frames = findings.counts["frames"]
    result = [
        f"{split}: {findings.counts[fault]} of {frames} frames: {text}; such as "
        f"{', '.join(findings.named[fault][:2])}"
        for fault, text in texts.items()
        if findings.counts[fault]
    ]
    return result + [f"{split}: {hint}" for hint in hints(findings)]
