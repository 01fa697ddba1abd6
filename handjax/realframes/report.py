"""Figures and pictures of labelled frames as metrics.json and report.html."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from handjax.data.formats.labelled_frames import FrameSet
from handjax.data.surface_check import SurfaceCheck
from handjax.engine.files import write_atomic
from handjax.prediction import common
from handjax.realframes import measure
from handjax.realframes.joints import Pairs
from handjax.realframes.measure import Answer, Model
from handjax.reports import charts, page

OUTPUTS = ("metrics.json", "report.html", "pictures")
_PER_JOINT = ("per_joint_mm", "per_joint_median_mm")
_KINDS = {
    "surface": "labels are points of the skin; each is compared with the skin in front of the "
    "predicted joint",
    "joints": "labels are joints inside the hand",
}


class MeasuredSet(NamedTuple):
    """A set of frames, the model's answers without their pictures, and the figures."""

    name: str
    frames: FrameSet
    common: Pairs
    answers: Sequence[Answer]
    figures: Mapping[str, Any]
    pictures: Mapping[str, str]  # frame → path below the report's folder
    surface: SurfaceCheck | None = None  # of the labels in mm


def write(
    folder: Path, sets: Sequence[MeasuredSet], model: Model, options: Mapping[str, Any]
) -> None:
    """metrics.json and report.html; those of an earlier measurement are replaced."""
    content = {
        "options": dict(options),
        "sets": {
            one.name: {
                **one.figures,
                "labels_to_surface_mm": one.surface.median_mm
                if one.surface and one.surface.frames
                else None,
                "joints": list(one.common.names),
                "rows": [measure.frame_row(answer, model) for answer in one.answers],
            }
            for one in sets
        },
    }
    write_atomic(folder / "metrics.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    (folder / "report.html").unlink(missing_ok=True)
    sections = [page.section("Summary", summary_table(sets, model))]
    for one in sets:
        sections += _set_sections(folder, one, model)
    sections.append(page.section("How the numbers are computed", *_definitions(model)))
    told = " and ".join(model.given) or "nothing"
    title, subtitle = "Real frames", f"{options['model']}, which was told {told} of each hand"
    path = page.write_report(folder / "report.html", title, subtitle, sections, footer="handjax")
    print(f"report: {path.resolve()}")


def lines(one: MeasuredSet) -> list[str]:
    """The most important figures for a terminal."""
    f = one.figures
    text = [f"{one.name}: {f['answered']} of {f['with_hand']} hands answered, {f['unsure']} unsure"]
    if f["without_hand"]:
        text.append(f"false hands on {f['false_hands']} of {f['without_hand']} frames without one")
    for stage, e in f["stages"].items():
        if e is not None:
            text.append(
                f"{stage} {e['mean_mm']:.1f} mm mean, {e['median_mm']:.1f} median, worst frame "
                f"{e['worst_frame_mm']:.0f}"
            )
    if one.surface:
        text.append(f"labels: {one.surface}")
    if f["middle"]:
        m = f["middle"]
        text.append(
            f"middle of the crop {m['mean_mm']:.0f} mm off, {m['within_40_mm_percent']:.0f} % "
            f"within {measure.MIDDLE_MM}"
        )
    if f["reliability"]:
        text.append(f"calibration error {f['reliability']['ece']:.3f}")
    if f["ms"] is not None:
        text.append(f"{f['ms']:.0f} ms a frame")
    return text


def summary_table(sets: Sequence[MeasuredSet], model: Model) -> page.Table:
    """One row per set and stage."""
    rows: list[tuple[page.Cell, ...]] = []
    for one in sets:
        f, middle = one.figures, one.figures["middle"] or {}
        for stage, e in f["stages"].items():
            e = e or {}
            rows.append(
                (
                    one.name,
                    stage,
                    f"{f['answered']} of {f['with_hand']}",
                    e.get("mean_mm"),
                    e.get("median_mm"),
                    e.get("worst_frame_mm"),
                    middle.get("mean_mm"),
                    middle.get("within_40_mm_percent"),
                    f["unsure"],
                    e.get("sure_mean_mm"),
                    e.get("sure_frames_beyond_60_mm"),
                    f"{f['false_hands']} of {f['without_hand']}",
                    f["ms"] if stage == "network" else f["fit_ms"],
                )
            )
    columns = (
        *("set", "result", "answered", "mean, mm", "median, mm", "worst frame, mm"),
        *("middle off, mm", f"middle ≤ {measure.MIDDLE_MM} mm, %", "unsure", "sure: mean, mm"),
        *(f"sure and beyond {measure.FAR_MM} mm", "false hands", "ms"),
    )
    digits = (0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0)
    return page.table(columns, rows, digits=digits)


def _set_sections(folder: Path, one: MeasuredSet, model: Model) -> list[page.Section]:
    f = one.figures
    blocks: list[page.Block] = [_cards(f, model), f"{one.frames.path.name}: {_about(one)}."]
    if f["left_out"]:
        blocks.append(page.table(("left out", "why"), tuple(f["left_out"].items())))
    stages = {stage: e for stage, e in f["stages"].items() if e is not None}
    if stages:
        blocks += [_shares(stages), _joints(stages), *_groups(one)]
    if f["reliability"]:
        blocks += _reliability(f["reliability"])
    shown = page.legend(model.predictor.skeleton), *common.gallery(folder, _gallery(one))
    return [
        page.section(one.name, *blocks),
        page.section(f"{one.name}: frames", _rows(one, model), *shown),
    ]


def _about(one: MeasuredSet) -> str:
    about = _KINDS[one.frames.kind]
    skeleton = one.frames.skeleton
    missing = len(skeleton.joints) - len(one.common.names)
    if missing:
        about += f"; {missing} joints of {skeleton.name} have no counterpart in the prediction"
    return about


def _cards(f: Mapping[str, Any], model: Model) -> page.Keys:
    first, last = (f["stages"][model.stages[i]] or {} for i in (0, -1))
    middle = f["middle"] or {}
    cards = [
        page.Key("Hands answered", f"{f['answered']} of {f['with_hand']}"),
        page.Key("Mean error, network", first.get("mean_mm"), "mm", name="mean_mm"),
    ]
    if model.refine:
        cards.append(page.Key("Mean error, fitted", last.get("mean_mm"), "mm"))
    cards += [
        page.Key("Middle of the crop off by", middle.get("mean_mm"), "mm"),
        page.Key("Unsure", f["unsure"]),
        page.Key("False hands", f"{f['false_hands']} of {f['without_hand']}"),
    ]
    if f["reliability"]:
        cards.append(page.Key("Calibration error", f["reliability"]["ece"], digits=3))
    if "side" not in model.given:
        cards.append(page.Key("Side right", f"{f['side']['right']} of {f['side']['frames']}"))
    cards.append(page.Key("Time per frame", f["ms"], "ms", digits=0))
    return page.keys(*cards)


def _shares(stages: Mapping[str, Mapping[str, Any]]) -> page.Table:
    kinds = {
        "joints_within_percent": "joints",
        "frames_mean_within_percent": "frames by their mean",
        "frames_max_within_percent": "frames by their worst joint",
    }
    rows = [
        (stage, what, *(e[key][str(t)] for t in measure.WITHIN_MM))
        for stage, e in stages.items()
        for key, what in kinds.items()
    ]
    columns = ("result", "share in percent", *(f"≤ {t} mm" for t in measure.WITHIN_MM))
    return page.table(columns, rows, digits=0)


def _joints(stages: Mapping[str, Mapping[str, Any]]) -> page.Table:
    names = next(iter(stages.values()))["per_joint_mm"]
    columns = ["joint"]
    for stage in stages:
        columns += [f"{stage}: mean, mm", f"{stage}: median, mm"]
    rows = [
        (
            name.replace("_", " "),
            *(e[key][name] for e in stages.values() for key in _PER_JOINT),
        )
        for name in names
        if next(iter(stages.values()))["per_joint_mm"][name] is not None
    ]
    return page.table(columns, rows, digits=1)


def _groups(one: MeasuredSet) -> list[page.Block]:
    blocks: list[page.Block] = []
    for key in ("person", "sequence"):
        rows = measure.by_group(one.answers, "network", key)
        if rows:
            columns = (key, "frames", "mean, mm", "worst frame, mm")
            blocks.append(page.table(columns, rows, digits=1))
    return blocks


def _reliability(r: Mapping[str, Any]) -> list[page.Block]:
    ideal = charts.Curve("as it should be", (0, 1), (0, 1), faint=True)
    own = charts.Curve("network", r["levels"], r["coverage"], emphasis=True, markers=True)
    spoken = ", ".join(
        f"{level:.2f}: {share:.2f}" for level, share in zip(r["levels"], r["coverage"], strict=True)
    )
    chart = charts.curves(
        [ideal, own],
        "share of the joints that should be inside the radius",
        "share that is",
        f"Reliability of the standard deviations. {spoken}.",
        f"Reliability of the standard deviations; expected calibration error {r['ece']:.3f}",
        ylim=(0, 1),
    )
    rows = [(b["joints"], b["std_mm"], b["expected_mm"], b["error_mm"]) for b in r["bins"]]
    columns = ("joints", "std, mm", "mean error that it stands for, mm", "mean error, mm")
    return [chart, page.table(columns, rows, digits=1)]


def _rows(one: MeasuredSet, model: Model) -> page.Table:
    rows: list[tuple[page.Cell, ...]] = []
    for answer in one.answers:
        row = measure.frame_row(answer, model)
        state = "no answer" if not row["answered"] else "unsure" if row["unsure"] else "sure"
        errors = [row.get(f"{stage}_{of}_mm") for stage in model.stages for of in ("mean", "worst")]
        rows.append(
            (
                row["name"],
                row["hand"],
                state,
                row.get("presence"),
                row["middle_mm"],
                *errors,
                row["ms"],
                row["refusal"],
            )
        )
    columns = [*("frame", "hand", "answer", "presence", "middle off, mm")]
    columns += [f"{stage}: {of}, mm" for stage in model.stages for of in ("mean", "worst")]
    digits = (0, 0, 0, 2, *(1 for _ in range(1 + 2 * len(model.stages))), 0, 0)
    return page.table([*columns, "ms", "why"], rows, digits=digits)


def _gallery(one: MeasuredSet) -> list[tuple[str, str, str]]:
    items = []
    for answer in one.answers:
        name = answer.frame.name
        parts = [
            f"{mean:.0f} mm"
            for errors in answer.errors.values()
            if (mean := _mean(errors)) is not None
        ]
        caption = f"{name}: {' → '.join(parts)}" if parts else name
        if answer.prediction is None:
            caption += ", no answer"
        alt = f"{caption}; depth with labels as rings, the prediction, red lines between them"
        items.append((one.pictures[name], alt, caption))
    return items


def _mean(errors: Float[np.ndarray, " p"]) -> float | None:
    known = errors[~np.isnan(errors)]
    return float(known.mean()) if known.size else None


def _definitions(model: Model) -> list[str]:
    return [
        "The error of a joint is the distance in space between its label and the prediction. "
        "Labels on the skin are compared with the point of the skin in front of the predicted "
        "joint, which is one radius nearer to the camera: the radius of the joint's sphere in the "
        "hand rig, of a hand of average size. to_joint_mean_mm in metrics.json is the distance to "
        "the joint itself.",
        "Errors are of answered frames. A frame is unsure if there is no answer, or if the "
        f"presence is below {model.presence:g}; networks without presence are sure whenever they "
        "answer. A false hand is a sure answer to a frame without a hand.",
        "The middle of a hand is the mean of its 21 joints. Where some have no label it is "
        "estimated from the others by sampled hands, and left out where its standard deviation "
        "exceeds 25 mm.",
        "The time is that of the network, one frame at a time, after a first call that compiles.",
        "Pictures: labels are white rings, the blue cross is the middle of the crop.",
    ]
