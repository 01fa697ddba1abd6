"""Sections of the report of a person's joints, from the metrics of metrics/body.py."""

from collections.abc import Mapping
from typing import Any

from handjax.metrics.body import ALIGNMENTS, JOINT_SETS
from handjax.metrics.published import body as published
from handjax.reports import charts, page
from handjax.reports.base import Comparison, footnotes, published_section

_ALIGNED = {
    "none": "none",
    "root": "pelvis",
    "rigid": "rigid",
    "similarity": "Procrustes",
    "mirror": "Procrustes or its mirror image",
}


def overview(metrics: Mapping[str, Any]) -> list[page.Block]:
    """The key figures; only metrics that are defined."""
    keys = []
    if metrics["frames_3d"]:
        mpjpe, pa_mpjpe = metrics["mpjpe_mm"], metrics["pa_mpjpe_mm"]
        pck, area = metrics["pck3d_150mm_percent"], metrics["auc3d"]
        keys += [
            page.Key("MPJPE", mpjpe, "mm", "from the pelvis, 17 joints", 2, "mpjpe_mm"),
            page.Key("PA-MPJPE", pa_mpjpe, "mm", "after Procrustes", 2, "pa_mpjpe_mm"),
            page.Key("PCK", pck, "%", "of joints within 150 mm", 2, "pck3d_150mm_percent"),
            page.Key("PCK area", area, "", "0 to 150 mm, 1 is perfect", 3, "auc3d"),
        ]
    if "root_mm" in metrics:
        along = f"{metrics['root_depth_mm']:.2f} mm along the depth"
        keys.append(page.Key("Pelvis", metrics["root_mm"], "mm", along, 2, "root_mm"))
    if metrics["frames_2d"]:
        mean = "mean over the labelled joints"
        keys.append(page.Key("In the image", metrics["epe_px"], "px", mean, 2, "epe_px"))
    if "pckh_percent" in metrics:
        percent = metrics["pckh_percent"]["mean"]
        keys.append(
            page.Key("PCKh @ 0.5", percent, "%", "within half a head", 2, "pckh_percent.mean")
        )
    note = f"{metrics['frames_3d']:,} with a 3D pose, {metrics['frames_2d']:,} with image joints"
    keys.append(page.Key("Frames", metrics["frames"], "", note, 0, "frames"))
    if metrics["frames_3d"] or metrics["frames_2d"]:
        return [page.keys(*keys)]
    return [page.keys(*keys), "No frame has labels: there is nothing to evaluate."]


def protocols(metrics: Mapping[str, Any]) -> page.Section:
    """The mean error of every pair of a joint set and an alignment."""
    found = metrics["protocols_mm"]
    shown = [align for align in ALIGNMENTS if f"h36m17_{align}" in found]
    rows = [
        (name, len(joints), *(found[f"{name}_{align}"] for align in shown))
        for name, joints in JOINT_SETS.items()
    ]
    columns = ("mm", "joints", *(_ALIGNED[align] for align in shown))
    return page.section(
        "Mean error by protocol",
        page.table(columns, rows, emphasis=[0]),
        "Papers call several of these MPJPE and PA-MPJPE: MPJPE is usually that of 17 joints in "
        "the column pelvis, PA-MPJPE that in the column Procrustes. The terms are defined at the "
        "end of the page.",
    )


def within(name: str, metrics: Mapping[str, Any]) -> page.Section:
    """The 3D PCK curve of the predictions called `name`."""
    curve = metrics["pck3d"]
    percent = [100 * fraction for fraction in curve["fraction"]]
    shown = (25, 50, 75, 100, 125, 150)
    at = dict(zip(curve["thresholds_mm"], percent, strict=True))
    chart = charts.curves(
        [charts.Curve(name, curve["thresholds_mm"], percent, emphasis=True)],
        "distance to the ground truth, relative to the pelvis (mm)",
        "joints (%)",
        f"{metrics['pck3d_150mm_percent']:.1f} % of the joints are within 150 mm, "
        f"area {metrics['auc3d']:.3f}.",
        "All joints of all frames, at 31 distances from 0 to 150 mm: the curve of MPI-INF-3DHP.",
        ylim=(0, 101),
    )
    columns = ("joints (%)", *(f"≤ {t} mm" for t in shown))
    return page.section(
        "Joints within a distance", chart, page.table(columns, [(name, *(at[t] for t in shown))])
    )


def axes(metrics: Mapping[str, Any]) -> page.Section:
    """The mean error along each axis of the camera."""
    means = metrics["per_axis_mm"]
    spoken = ", ".join(f"{axis} {mm:.1f} mm" for axis, mm in means.items())
    chart = charts.bars(
        ("x, right", "y, down", "z, away"),
        list(means.values()),
        "mean absolute difference (mm)",
        f"Mean difference along each axis: {spoken}.",
        "Relative to the pelvis. Depth is hardest to estimate from a single image.",
    )
    return page.section("Error along each axis", chart)


def actions(metrics: Mapping[str, Any], comparison: Comparison | None) -> page.Section:
    """The mean errors per action, and those of published results."""
    found, over = metrics["per_action_mm"], metrics["mean_over_actions_mm"]
    rivals: list[published.PublishedBody] = []
    theirs: Mapping[str, tuple[tuple[float, float], ...]] = {}
    if comparison is not None:
        theirs = published.by_action(comparison.dataset)
        rivals = [row for row in published.results(comparison.dataset) if row.by_action]
    rows: list[tuple[page.Cell, ...]] = []
    for action, means in found.items():
        pairs = theirs.get(action, [(None, None)] * len(rivals))
        others = [number for pair in pairs for number in pair]
        rows.append((action.replace("_", " "), *means.values(), *others))
    others = [number for row in rivals for number in (row.mpjpe_mm, row.pa_mpjpe_mm)]
    rows.append(("mean over actions", *over.values(), *others))
    heads = [f"{row.method}: {metric}" for row in rivals for metric in ("MPJPE", "PA-MPJPE")]
    worst = max(found, key=lambda action: found[action]["mpjpe_mm"])
    chart = charts.bars(
        list(found),
        [means["mpjpe_mm"] for means in found.values()],
        "MPJPE (mm)",
        f"MPJPE of each action: {worst.replace('_', ' ')} is hardest, at "
        f"{found[worst]['mpjpe_mm']:.1f} mm; mean over actions {over['mpjpe_mm']:.1f} mm.",
        mean=over["mpjpe_mm"],
    )
    table = page.table(("mm", "MPJPE", "PA-MPJPE", *heads), rows, emphasis=[len(rows) - 1])
    paragraphs = [
        "Papers report the mean over actions, in which all actions have the same weight; the "
        "Summary has the mean over frames."
    ]
    if rivals and comparison is not None and not comparison.comparable:
        paragraphs.append(
            "The published columns are of other frames of these actions: a rough guide, not a "
            "comparison."
        )
    return page.section("Error of each action", chart, table, *paragraphs)


def published_results(
    name: str, metrics: Mapping[str, Any], comparison: Comparison
) -> page.Section:
    """Our result, of the predictions called `name`, among published ones."""
    others, title = published.results(comparison.dataset), published.TITLES[comparison.dataset]
    marks, notes = footnotes(row.note for row in others)
    paragraphs = [published.SOURCES[comparison.dataset], *notes]
    if not comparison.comparable:
        paragraphs.append(
            f"{name} was not evaluated on the same frames as these results on {title}: its row "
            "only indicates the scale."
        )
    return published_section(
        title,
        ("method", "MPJPE mm", "PA-MPJPE mm"),
        (name, metrics["mpjpe_mm"], metrics["pa_mpjpe_mm"]),
        [(row.method + marks[row.note], row.mpjpe_mm, row.pa_mpjpe_mm) for row in others],
        by=1,
        paragraphs=paragraphs,
    )


def in_image(metrics: Mapping[str, Any]) -> page.Section:
    """Errors in px, and PCKh if the size of heads is known."""
    blocks: list[page.Block] = [
        page.table(
            ("px of the source image", "mean", "median"),
            [("all labelled joints", metrics["epe_px"], metrics["median_px"])],
            f"{metrics['frames_2d']:,} frames",
        )
    ]
    if "pckh_percent" in metrics:
        found, curve = metrics["pckh_percent"], metrics["pckh"]
        chart = charts.curves(
            [charts.Curve("all joints", curve["parts"], curve["percent"], emphasis=True)],
            "fraction of the head's size",
            "joints (%)",
            f"PCKh: {found['mean']:.1f} % of the joints are within half the size of the head.",
            f"{metrics['frames_pckh']:,} frames with a known head size (MPII).",
            ylim=(0, 101),
        )
        columns = ("% within half a head", *found)
        blocks += [chart, page.table(columns, [("PCKh @ 0.5", *found.values())])]
    return page.section("In the image", *blocks)


def definitions(metrics: Mapping[str, Any]) -> list[str]:
    """How the metrics are defined; only those that are shown."""
    found = []
    if metrics["frames_3d"]:
        found += [
            "Error: Euclidean distance between predicted and true joint in camera mm, after an "
            "alignment. None: unchanged. Pelvis: it is the origin of both poses. Rigid: rotated "
            "and translated by least squares over all 18 joints, then the pelvis is the origin "
            "again. Procrustes: rotated, translated and scaled by least squares over the scored "
            "joints, without mirror images; the last column allows them if they fit better, as "
            "MATLAB and SciPy do. A low error there alone indicates swapped left and right.",
            "h36m17: Human3.6M's joints, without our thorax. h36m16: with the thorax, without "
            "torso and nose. h36m14: h36m16 without pelvis and thorax. h36m13: h36m14 without the "
            "neck.",
            "PCK: the fraction of all joints within a distance of the ground truth, with the "
            "pelvis as origin, which counts too; its area is the mean over 0, 5, …, 150 mm "
            "(Mehta et al. 2017, arXiv 1611.09813).",
        ]
    if metrics["frames_2d"]:
        found.append(
            "In the image: distance in px of the source file, over all joints with a label, "
            "visible or hidden."
        )
    if "pckh_percent" in metrics:
        found.append(
            "PCKh: the fraction of labelled joints at most half the head's size from the ground "
            "truth; the size is 0.6 of the diagonal of the head's box; pelvis and thorax do not "
            "count. A group is the mean of left and right."
        )
    return found
