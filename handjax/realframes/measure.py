"""A model on labelled frames: what it predicts in each, and the figures of a set."""

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from handjax.data.formats.depth import read_depth
from handjax.data.formats.labelled_frames import FrameSet, LabelledFrame
from handjax.data.frame_checks import camera_fits
from handjax.metrics import calibration, joints3d
from handjax.prediction.base import Prediction, Predictor
from handjax.prediction.common import LeftOut, left_out
from handjax.realframes.joints import Pairs, pairs
from handjax.rigs.hand_middle import (
    MOST_UNCERTAIN_MM,
    Middle,
    hand_middle,
    inner_points,
    skin_points,
)

# What a frame's file may tell the model, and the name of that argument of a predictor.
GIVEN = ("side", "center", "box")
WITHIN_MM = (10, 20, 30, 40, 50)
MIDDLE_MM = 40  # crops whose middle is nearer count as good ones
FAR_MM = 60  # a sure answer with a larger mean error counts as a blunder

# A prediction, its depth image and camera → joints after a fit, camera mm.
Refine = Callable[
    [Prediction, Float[np.ndarray, "h w"], Float[np.ndarray, "3 3"]], Float[np.ndarray, "j 3"]
]


@dataclass(frozen=True)
class Model:
    """What is measured: a predictor, what it is told, and when it counts as unsure."""

    predictor: Predictor
    given: tuple[str, ...] = ("side",)
    presence: float = 0.5  # an answer with a lower presence is unsure
    refine: Refine | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the results that each frame has."""
        return ("network", "fitted") if self.refine else ("network",)

    def arguments(self, frame: LabelledFrame) -> dict[str, Any]:
        """The arguments of a call besides depth and camera."""
        facts = {"center": frame.center, "box": frame.box}
        known: dict[str, Any] = {
            name: facts[name] for name in ("center", "box") if name in self.given
        }
        if "side" in self.given and frame.hand in ("left", "right"):
            known["side"] = frame.hand
        return known

    def check(self, frames: FrameSet) -> None:
        """ValueError if the model does not take what it is to be told, or a frame lacks it."""
        takes = inspect.signature(self.predictor.__call__).parameters
        for name in self.given:
            if name not in takes:
                others = ", ".join(n for n in GIVEN if n in takes) or "nothing"
                raise ValueError(
                    f"--give {name}: {self.predictor.name} does not take it; it takes {others}"
                )
        for name in set(self.given) - {"side"}:
            lacking = [
                frame.name
                for frame in frames.frames
                if frame.hand != "none" and getattr(frame, name) is None
            ]
            if lacking:
                raise ValueError(
                    f"--give {name}: {frames.path} has no {name!r} of {lacking[0]}"
                    + (f" and {len(lacking) - 1} others" if lacking[1:] else "")
                )


class Answer(NamedTuple):
    """What a model made of one frame. Errors are in the order of the set's pairs, NaN without
    label; `refusal` is why there is no prediction."""

    frame: LabelledFrame
    depth: Float[np.ndarray, "h w"]
    middle: Middle | None  # of the labelled hand
    refusal: str
    prediction: Prediction | None
    joints: Mapping[str, Float[np.ndarray, "j 3"]]  # by stage, camera mm
    errors: Mapping[str, Float[np.ndarray, " p"]]  # by stage, mm: label ↔ its counterpart
    to_joint: Mapping[str, Float[np.ndarray, " p"]]  # by stage, mm: label ↔ joint itself
    seconds: float  # of the network
    fit_seconds: float

    def is_unsure(self, limit: float) -> bool:
        """Whether there is no prediction, or one whose presence is below the limit."""
        presence = None if self.prediction is None else self.prediction.presence
        return self.prediction is None or (presence is not None and float(presence) < limit)


def counterpart(
    joints: Float[np.ndarray, "j 3"], common: Pairs, kind: str
) -> Float[np.ndarray, "p 3"]:
    """The points that labels of this kind are compared with: joints, or the skin above them."""
    own = joints[list(common.predicted)].astype(np.float64)
    return skin_points(own, common.radii) if kind == "surface" else own


def answers(
    frames: FrameSet, model: Model, common: Pairs
) -> Iterator[tuple[LabelledFrame, Answer | LeftOut]]:
    """The model's answer to every frame; unreadable images are left out. ValueError for a camera
    that cannot be an image's: it would count as a hand that was not found."""
    seen: set[tuple[int, ...]] = set()
    for frame in frames.frames:
        try:
            depth = read_depth(frame.path, form=frames.form, scale=frames.unit_mm)
        except (ValueError, OSError) as error:
            yield frame, left_out(error)
            continue
        camera_fits(frames, frame, *depth.shape)
        placed = frame.placed(depth)
        if depth.shape not in seen:  # the first call of a size compiles, and is not timed
            answer(frames, placed, depth, model, common)
            seen.add(depth.shape)
        yield placed, answer(frames, placed, depth, model, common)


def answer(
    frames: FrameSet,
    frame: LabelledFrame,
    depth: Float[np.ndarray, "h w"],
    model: Model,
    common: Pairs,
) -> Answer:
    """The model's answer to one frame. ValueError of the predictor counts as "no hand here"."""
    labelled = frame.labelled[list(common.labelled)]
    labels = frame.xyz[list(common.labelled)]
    prediction, refusal, fit_seconds = None, "", 0.0
    joints: dict[str, np.ndarray] = {}
    began = time.perf_counter()
    try:
        prediction = model.predictor(depth, camera=frame.k, **model.arguments(frame))
    except ValueError as error:
        refusal = left_out(error).reason
    seconds = time.perf_counter() - began
    if prediction is not None and prediction.xyz is not None:
        joints["network"] = np.asarray(prediction.xyz)
        if model.refine is not None:
            began = time.perf_counter()
            joints["fitted"] = model.refine(prediction, depth, frame.k)
            fit_seconds = time.perf_counter() - began
    found = {stage: counterpart(own, common, frames.kind) for stage, own in joints.items()}
    blank = np.where(labelled, 0.0, np.nan)
    return Answer(
        frame=frame,
        depth=depth,
        middle=_middle(frame, frames),
        refusal=refusal,
        prediction=prediction,
        joints=joints,
        errors={s: blank + joints3d.joint_errors(own, labels) for s, own in found.items()},
        to_joint={
            stage: blank + joints3d.joint_errors(own[list(common.predicted)], labels)
            for stage, own in joints.items()
        },
        seconds=seconds,
        fit_seconds=fit_seconds,
    )


def _middle(frame: LabelledFrame, frames: FrameSet) -> Middle | None:
    """The middle of the labelled hand, if the labels determine it."""
    joints = frame.xyz
    if frames.kind == "surface":
        every = pairs(frames.skeleton, frames.skeleton.joints, frames.name)
        joints = inner_points(joints, every.radii)
    middle = hand_middle(joints, frame.labelled, frames.skeleton, frame.hand)
    return middle if middle is not None and middle.std_mm <= MOST_UNCERTAIN_MM else None


# ---------------------------------------------------------------- figures


def summarize(
    found: Sequence[Answer], left: Mapping[str, str], model: Model, common: Pairs
) -> dict[str, Any]:
    """The figures of a set as plain JSON values; None where nothing was labelled."""
    hands = [a for a in found if a.frame.hand != "none"]
    empty = [a for a in found if a.frame.hand == "none"]
    sure = [a for a in hands if not a.is_unsure(model.presence)]
    labelled = [a for a in hands if a.frame.labelled[list(common.labelled)].any()]
    seen = [a for a in labelled if a.prediction is not None]
    times = [a.seconds for a in found]
    return {
        "frames": len(found) + len(left),
        "left_out": dict(left),
        "with_hand": len(hands),
        "without_hand": len(empty),
        "answered": sum(a.prediction is not None for a in hands),
        "unsure": len(hands) - len(sure),
        "false_hands": sum(not a.is_unsure(model.presence) for a in empty),
        "labelled": len(labelled),
        "labelled_joints": int(
            sum(a.frame.labelled[list(common.labelled)].sum() for a in labelled)
        ),
        "stages": {
            stage: _errors(seen, stage, model, common) if seen else None for stage in model.stages
        },
        "middle": _middles(seen),
        "side": _sides(hands),
        "reliability": _reliability(seen, common),
        "ms": 1000 * float(np.median(times)) if times else None,
        "fit_ms": 1000 * float(np.median([a.fit_seconds for a in seen]))
        if seen and model.refine
        else None,
    }


def _errors(seen: Sequence[Answer], stage: str, model: Model, common: Pairs) -> dict[str, Any]:
    errors = np.stack([a.errors[stage] for a in seen])
    known = ~np.isnan(errors)
    mean = joints3d.frame_errors(errors, known, "mean")
    sure = np.array([not a.is_unsure(model.presence) for a in seen])
    figures = {
        "mean_mm": joints3d.mpjpe(errors, known),
        "median_mm": joints3d.median(errors, known),
        "to_joint_mean_mm": float(np.nanmean(np.stack([a.to_joint[stage] for a in seen]))),
        "worst_frame_mm": float(mean.max()),
        "sure_mean_mm": joints3d.mpjpe(errors[sure], known[sure]) if sure.any() else None,
        "sure_frames_beyond_60_mm": int((mean[sure] > FAR_MM).sum()),
        "per_joint_mm": joints3d.by_joint(common.names, joints3d.per_joint(errors, known)),
        "per_joint_median_mm": joints3d.by_joint(
            common.names, joints3d.per_joint(errors, known, "median")
        ),
        "joints_within_percent": {
            str(t): float(100 * (errors[known] <= t).mean()) for t in WITHIN_MM
        },
    }
    for of in ("mean", "max"):
        shares = joints3d.success(errors, WITHIN_MM, known, of="mean" if of == "mean" else "max")
        figures[f"frames_{of}_within_percent"] = {
            str(t): float(share) for t, share in zip(WITHIN_MM, shares, strict=True)
        }
    return figures


def _middles(seen: Iterable[Answer]) -> dict[str, Any] | None:
    """Distances between the crop's middle and the hand's, and the mean of the labelled joints."""
    crops = [a for a in seen if a.prediction is not None and a.prediction.center is not None]
    rows = [(_crop(a) - a.middle.xyz, a.middle.std_mm) for a in crops if a.middle is not None]
    plain = [np.linalg.norm(_crop(a) - np.nanmean(a.frame.xyz, 0)) for a in crops]
    if not rows:
        return None
    far = np.array([np.linalg.norm(offset) for offset, _ in rows])
    return {
        "frames": len(far),
        "mean_mm": float(far.mean()),
        "median_mm": float(np.median(far)),
        "largest_mm": float(far.max()),
        "within_40_mm_percent": float(100 * (far <= MIDDLE_MM).mean()),
        "std_of_truth_mm": float(np.mean([std for _, std in rows])),
        "to_mean_of_labels_mm": float(np.mean(plain)),
    }


def middle_error(answer: Answer) -> float | None:
    """Distance between the crop's middle and that of the hand, mm."""
    if answer.middle is None or answer.prediction is None or answer.prediction.center is None:
        return None
    return float(np.linalg.norm(_crop(answer) - answer.middle.xyz))


def _crop(answer: Answer) -> Float[np.ndarray, "3"]:
    assert answer.prediction is not None and answer.prediction.center is not None
    return np.asarray(answer.prediction.center, np.float64)


def _sides(hands: Iterable[Answer]) -> dict[str, int]:
    """How many of the frames whose side is known have it in the prediction."""
    known = [a for a in hands if a.frame.hand in ("left", "right") and a.prediction is not None]
    told = [a for a in known if a.prediction is not None and a.prediction.side is not None]
    right = sum(a.prediction is not None and a.prediction.side == a.frame.hand for a in told)
    return {"frames": len(told), "right": right}


def _reliability(seen: Iterable[Answer], common: Pairs) -> dict[str, Any] | None:
    """Of the network's standard deviations, if it gives any."""
    errors, std = [], []
    for a in seen:
        if a.prediction is not None and a.prediction.std is not None:
            known = ~np.isnan(a.errors["network"])
            errors.append(a.errors["network"][known])
            std.append(np.asarray(a.prediction.std, np.float64)[list(common.predicted)][known])
    if not errors:
        return None
    return calibration.reliability(np.concatenate(errors), np.concatenate(std))


def by_group(found: Sequence[Answer], stage: str, key: str) -> list[tuple[str, int, float, float]]:
    """(name, frames, mean, worst frame's mean) by person or sequence, where frames name one."""
    groups: dict[str, list[float]] = {}
    for a in found:
        name = getattr(a.frame, key)
        if name and stage in a.errors and (~np.isnan(a.errors[stage])).any():
            groups.setdefault(name, []).append(float(np.nanmean(a.errors[stage])))
    return [
        (name, len(means), float(np.mean(means)), max(means))
        for name, means in sorted(groups.items())
    ]


def frame_row(answer: Answer, model: Model) -> dict[str, Any]:
    """One frame as plain JSON values."""
    prediction = answer.prediction
    row: dict[str, Any] = {
        "name": answer.frame.name,
        "hand": answer.frame.hand,
        "answered": prediction is not None,
        "unsure": answer.is_unsure(model.presence),
        "refusal": answer.refusal,
        "middle_mm": middle_error(answer),
        "ms": 1000 * answer.seconds,
    }
    for stage, errors in answer.errors.items():
        known = errors[~np.isnan(errors)]
        row[f"{stage}_mean_mm"] = float(known.mean()) if known.size else None
        row[f"{stage}_worst_mm"] = float(known.max()) if known.size else None
        row[f"{stage}_errors_mm"] = [None if np.isnan(e) else float(e) for e in errors]
        row[f"{stage}_xyz"] = answer.joints[stage].astype(float).round(2).tolist()
    if prediction is not None:
        presence, center = prediction.presence, prediction.center
        row["presence"] = None if presence is None else float(presence)
        row["side"] = prediction.side
        row["center"] = None if center is None else np.asarray(center).astype(float).tolist()
        row["std_mm"] = None if prediction.std is None else prediction.std.astype(float).tolist()
    return row
