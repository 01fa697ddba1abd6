"""Whether labelled frames can be right: camera, places in px, and distances from the depth.

Up to twelve frames of a set are looked at before a model is measured on it. What cannot be right is
an error with the likely cause, since a wrong label looks like a bad model.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from handjax.data import plausible, surface_check
from handjax.data.cameras import read_camera
from handjax.data.formats.depth import read_depth
from handjax.data.formats.labelled_frames import FrameSet, LabelledFrame
from handjax.data.surface_check import LabelledDepth, SurfaceCheck
from handjax.pose.pinhole import project
from handjax.pose.skeleton_file import NAME as OWN

_SPAN_MM = 450.0  # diagonal of a hand's joints, at most
_USUAL_MM = 300.0
_LEAST = 3  # labels whose span says something
# Usual readings of px, where those given do not lie on one hand: (u, v), (width, height) → (u, v).
_READINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "fractions of the picture": lambda uv, size: uv * size,
    "percent of the picture": lambda uv, size: uv * size / 100,
    "u and v exchanged": lambda uv, size: uv[:, ::-1],
    "v counted from below": lambda uv, size: uv * [1, -1] + [0, size[1] - 1],
    "u counted from the right": lambda uv, size: uv * [-1, 1] + [size[0] - 1, 0],
    "u and v counted from the other side": lambda uv, size: size - 1 - uv,
    "px of images of half the size": lambda uv, size: uv * 2,
    "px of images of twice the size": lambda uv, size: uv / 2,
}


def camera_fits(frames: FrameSet, frame: LabelledFrame, height: int, width: int) -> None:
    """ValueError if the frame's k cannot be that of its image; CameraWarning if it is unusual."""
    try:
        read_camera(frame.k).of_image(height, width)
    except ValueError as error:
        text = str(error).partition(": ")[2]
        raise ValueError(f"{frames.path}: {frame.name}: 'k': {text}") from None


def check_labels(frames: FrameSet) -> SurfaceCheck | None:
    """How far the labels given in mm are from what the depth measured; None if there are none.

    ValueError, one line, for labels and centers that cannot be right. Frames whose image does not
    read are passed over.
    """
    labelled = [f for f in frames.frames if f.labelled.any() or np.isfinite(f.uv).any()]
    looked = [labelled[i] for i in surface_check.spread(len(labelled))]
    images = [(frame, depth) for frame in looked if (depth := _read(frames, frame)) is not None]
    for frame, depth in images:
        camera_fits(frames, frame, *depth.shape)
    _check_places(frames, [(f, depth) for f, depth in images if not f.labelled.any()])
    _check_boxes(frames, images)
    own = [
        LabelledDepth.of_image(depth, frame.k, frame.xyz.astype(np.float64), frame.center)
        for frame, depth in images
        if frame.labelled.any()
    ]
    given = [f._replace(joints=f.center[None], center=None) for f in own if f.center is not None]
    # Users' own joints may lie deeper than a hand's: they are refused only if another reading fits.
    far = surface_check.hand_span(own) if own and frames.skeleton.name == OWN else None
    found = [surface_check.check(own, span_mm=far)] if own else []
    if given and found and not found[0].refused:
        span = surface_check.hand_span(
            [f._replace(joints=f.joints[np.isfinite(f.joints).all(-1)]) for f in own]
        )
        found.append(surface_check.check(given, "centers", max(span, _USUAL_MM / 2)))
    for one in found:
        if one.refused:
            raise ValueError(f"{frames.path}: {one}; check k, unit_mm and the frame of the labels")
    return found[0] if found else None


def _read(frames: FrameSet, frame: LabelledFrame) -> Float[np.ndarray, "h w"] | None:
    try:
        return read_depth(frame.path, form=frames.form, scale=frames.unit_mm)
    except (ValueError, OSError):
        return None  # left out and named when its turn comes


def _check_places(
    frames: FrameSet, images: Sequence[tuple[LabelledFrame, Float[np.ndarray, "_ _"]]]
) -> None:
    """ValueError if labels in px do not lie on one hand in most of the frames."""
    limbs = plausible.figure(frames.skeleton.name).limbs
    several = [(f, d) for f, d in images if np.isfinite(f.uv).all(-1).sum() >= _LEAST]
    if not several:
        return
    faults = [
        plausible.joints_uv_fault(f.uv, np.isfinite(f.uv).all(-1), limbs, depth.shape)
        for f, depth in several
    ]
    wrong = [fault for fault in faults if fault]
    most = float("inf") if frames.skeleton.name == OWN else _SPAN_MM
    far = [span for f, d in several if (span := _span_mm(f.placed(d))) is None or span > most]
    if 2 * max(len(wrong), len(far)) <= len(several):
        return
    if len(wrong) >= len(far):
        problem = f"{len(wrong)} of {len(several)} frames: {plausible.FAULTS[wrong[0]]}"
    else:
        spans = [span for span in far if span is not None]
        where = f"span {np.median(spans):,.0f} mm" if spans else "lie where nothing was measured"
        problem = f"on the depth images the labels of {len(far)} of {len(several)} frames {where}"
    hint = next((f"; {name}?" for name in _READINGS if _fits(several, name)), "")
    hint = "" if hint[2:] in problem else hint
    if "expected" not in problem:
        hint += " Expected px of one hand" if hint else "; expected px of one hand"
    raise ValueError(f"{frames.path}: 'uv': {problem}{hint}")


def _check_boxes(
    frames: FrameSet, images: Sequence[tuple[LabelledFrame, Float[np.ndarray, "_ _"]]]
) -> None:
    """ValueError if the boxes of most frames are not around their labels."""
    faults = []
    for frame, depth in images:
        if frame.box is None:
            continue
        uv = frame.uv.copy()
        lifted = frame.labelled & ~np.isfinite(uv).all(-1)
        uv[lifted] = project(frame.xyz[lifted], frame.k.astype(np.float64))
        known = np.isfinite(uv).all(-1)
        faults.append(
            plausible.corners_fault(frame.box, uv, known, depth.shape)
            or plausible.centers_fault(frame.box, uv, known)
            or plausible.box_fault(frame.box, uv, known)
        )
    wrong = [fault for fault in faults if fault]
    if 2 * len(wrong) > len(faults):
        text = plausible.FAULTS[wrong[0]].partition("; the joints' own")[0]
        raise ValueError(f"{frames.path}: 'box': {len(wrong)} of {len(faults)} frames: {text}")


def _fits(images: Sequence[tuple[LabelledFrame, Float[np.ndarray, "_ _"]]], reading: str) -> bool:
    """Whether labels in px, read in another way, lie on one hand in nine of ten frames."""
    fits = 0
    for frame, depth in images:
        size = np.array(depth.shape[::-1], np.float64)
        moved = dataclasses.replace(frame, uv=_READINGS[reading](frame.uv, size)).placed(depth)
        known, span = np.isfinite(moved.uv).all(-1).sum(), _span_mm(moved)
        on_hand = span is not None and span < _USUAL_MM
        fits += int(on_hand and moved.labelled.sum() > 0.9 * known)
    return fits >= 0.9 * len(images)


def _span_mm(frame: LabelledFrame) -> float | None:
    """Diagonal of the labels in mm; None if less than three have a place."""
    xyz = frame.xyz[frame.labelled]
    return float(np.linalg.norm(np.ptp(xyz, axis=0))) if len(xyz) >= _LEAST else None
