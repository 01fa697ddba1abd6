"""Whether the labels of a data set can be right (data/plausible.py): per sample and per split.

A sample's fault is counted and named. A split of which more than half the samples have joints that
no hand or person can have is refused, with the likely cause.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from handjax.data import outline, plausible
from handjax.data.plausible import Figure
from handjax.data.preparation.registry import raw_files
from handjax.pose.lens import project_through_lens
from handjax.pose.pinhole import project
from handjax.pose.skeleton_file import NAME

if TYPE_CHECKING:
    from handjax.data.preparation.validate import Findings

# Sets that draw no skeleton, or whose joints have another order than it → the joint order.
_ORDERS = {
    **{"mpii": "mpii16", "coco_person": "coco17", "human36m_challenge": "body18"},
    "landmarks": NAME,
}
_FAR_PROJECTION = 0.1  # of the picture's longer side; the median joint
_FAR_CENTER_MM = 500.0
# Frames that must all lie in the upper left quarter before that is worth a line.
_CORNER_FRAMES = 4
_CORNER = "corner"
# People seen from shoulders to hips, and those of them who lie with the shoulders to the left, as
# upright people do when x and y are swapped.
_TRUNKS, _LYING = "trunks", "trunks lying to the left"
_MISREAD_SHARE = 0.2  # of the boxes; as corners, those near the upper left corner do not tell
# Pictures looked at for what their colours tell, of a chunk, and how many it takes. Other readings
# of right labels are worse by 0.2 of `outline.outline_share` on average, and better in a tenth of
# the pictures.
_LOOKED_AT, _TELLING = 300, 10
_CLEARER = 0.05  # mean difference, and
_ERRORS = 3.0  # how many of its standard errors it must be
_COLOURS = "pictures looked at"
_OTHER, _MORE, _SQUARED = "other reading ", "colours fit, in 0.001: ", "its square: "
_IMPOSSIBLE = "impossible"  # count of samples with joints that cannot be
_MISREAD = "fits as "  # count of samples outside their picture that another reading puts inside


def figure_of(name: str) -> Figure:
    """The figure that a data set's joints belong to."""
    return plausible.figure(_ORDERS.get(name) or raw_files(name).SKELETON or "")


def faults_of_sample(
    sample: dict[str, Any], pictures: list[dict[str, Any]], figure: Figure, findings: "Findings"
) -> set[str]:
    """The faults of one sample, decoded, and of its `pictures` (`validate.images`)."""
    if not sample.get("labelled", True):  # test frames whose joints are not published
        return set()
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
    if xyz is not None:
        labelled = xyz.any(-1)  # sets that do not label all joints have 0 for the others
        given = labelled if labelled.any() else np.ones(len(xyz), bool)
        if fault := plausible.joints_xyz_fault(xyz, figure, given):
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
    if fault is None and picture.get("image") is not None:
        _count_colours(picture["image"], uv, known, figure, findings)
    if fault is None and size is not None and _projects_far(picture, known, max(size)):
        return "far_projection"
    return fault


def _projects_far(picture: dict[str, Any], known: np.ndarray, longer_px: int) -> bool:
    xyz, k = picture.get("joints_xyz"), picture.get("k")
    if xyz is None or k is None or not known.any() or (xyz[known, 2] <= 0).any():
        return False
    lens, xyz = picture.get("distortion"), xyz[known]
    uv = project(xyz, k) if lens is None else project_through_lens(xyz, k, lens)
    away = np.linalg.norm(uv - picture["joints_uv"][known], axis=-1)
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


def _count_colours(
    image: np.ndarray, uv: np.ndarray, known: np.ndarray, figure: Figure, findings: "Findings"
) -> None:
    """Counts the readings of the joints that the picture's colours fit better, and worse."""
    counts = findings.counts
    if image.dtype != np.uint8 or known.sum() < 3 or counts[_COLOURS] >= _LOOKED_AT:
        return
    given = outline.outline_share(image, uv, known, figure.limbs)
    if given is None:
        return
    counts[_COLOURS] += 1
    for reading, other in outline.other_readings(uv, image.shape[:2]).items():
        share = outline.outline_share(image, other, known, figure.limbs)
        if share is not None:  # whole numbers: sums do not depend on how a split is divided
            more = round(1000 * (share - given))
            counts[_OTHER + reading] += 1
            counts[_MORE + reading] += more
            counts[_SQUARED + reading] += more**2


def _of_colours(counts: Counter[str]) -> list[str]:
    """The reading of the joints that the pictures' colours fit best, in words; empty if none fits
    better than what was given."""
    found = []
    for key, pictures in counts.items():
        if not key.startswith(_OTHER) or pictures < _TELLING:
            continue
        reading = key.removeprefix(_OTHER)
        mean, squared = (counts[of + reading] / pictures for of in (_MORE, _SQUARED))
        error = (max(squared - mean**2, 1.0) / pictures) ** 0.5
        if mean > 1000 * _CLEARER and mean > _ERRORS * error:
            found.append((mean, pictures, reading))
    return [
        f"the colours of {pictures} pictures fit the joints better with {reading}; look at the "
        "pictures of report.html"
        for _, pictures, reading in sorted(found)[-1:]
    ]


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
    result += _of_colours(counts)
    if counts["frames"] == counts[_CORNER] >= _CORNER_FRAMES and not counts[_IMPOSSIBLE]:
        result.append(
            "all joints of all frames lie in the upper left quarter of the pictures: px of "
            "smaller copies, or percent?"
        )
    return result


def refusal(findings: "Findings") -> str:
    """Why a split cannot be right, in words; empty if it can."""
    counts = findings.counts
    for fault in plausible.MISREAD_BOXES:
        if counts[fault] > _MISREAD_SHARE * counts["frames"]:
            return _share(findings, fault)
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
