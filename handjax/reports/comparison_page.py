"""The page that compares several results: metrics, curves, joints and configs side by side."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from handjax.engine.files import naming, write_atomic
from handjax.reports import charts, page
from handjax.reports.comparison import RESAMPLES, Difference, Result, difference

OUTPUTS = ("report.html", "comparison.json")
# Main metric → the other metrics of the summary, and the errors of joints.
_KINDS = {
    "mpjpe_mm": (("median_mm", "pa_mpjpe_mm", "auc", "auc3d"), "per_joint_mm"),
    "epe_px": (("median_px", "auc", "joint_mean_px", "joint_median_px"), "per_joint_px"),
}
# The first curve that all results have: its name, its keys, its axes.
_CURVES = (
    (
        "success_max_curve",
        ("thresholds_mm", "percent"),
        ("distance to the ground truth (mm)", "frames (%) by their worst joint"),
    ),
    (
        "pck3d",
        ("thresholds_mm", "fraction"),
        ("distance to the ground truth (mm)", "fraction of joints"),
    ),
    (
        "pck",
        ("thresholds_px", "fraction"),
        ("distance to the ground truth (px)", "fraction of joints"),
    ),
)
_KEYS = 200  # config keys on the page


def write(folder: Path, results: Sequence[Result]) -> Path:
    """report.html and comparison.json; earlier ones are replaced. Returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    gaps = {result.name: difference(results[0], result) for result in results[1:]}
    content = {
        result.name: {
            "folder": str(result.folder),
            result.main: result.value,
            "difference": vars(gap) if (gap := gaps.get(result.name)) else None,
        }
        for result in results
    }
    sections = [_summary(results), *_differences(results[0], gaps), *_curves(results)]
    sections += [*_learning(results), _joints(results), *_configs(results)]
    with naming(folder):
        write_atomic(folder / OUTPUTS[1], json.dumps(content, indent=1) + "\n")
        (folder / OUTPUTS[0]).unlink(missing_ok=True)
        title = f"{len(results)} results compared"
        names = ", ".join(result.name for result in results)
        return page.write_report(folder / OUTPUTS[0], title, names, sections, footer="handjax")


def _summary(results: Sequence[Result]) -> page.Section:
    main, best = results[0].main, min(result.value for result in results)
    others, _ = _KINDS[main]
    shown = [name for name in others if all(name in result.metrics for result in results)]
    rows = [
        (
            result.name,
            result.value,
            *(result.metrics[name] for name in shown),
            result.metrics.get("frames"),
            str(result.metrics.get("checkpoint", "")),
            str(result.metrics.get("evaluated", "")),
        )
        for result in results
    ]
    columns = ("result", main, *shown, "frames", "checkpoint", "evaluated on")
    lowest = [i for i, result in enumerate(results) if result.value == best]
    seen = {(r.metrics.get("evaluated"), r.metrics.get("frames")) for r in results}
    warning = ["These are of different frames: they indicate the scale, and do not compare."]
    return page.section(
        "Summary",
        *(warning if len(seen) > 1 else ()),
        page.table([c.replace("_", " ") for c in columns], rows, digits=3, emphasis=lowest),
    )


def _differences(first: Result, gaps: Mapping[str, Difference | None]) -> list[page.Section]:
    known = {name: gap for name, gap in gaps.items() if gap is not None}
    if not known:
        return []
    unit = first.main.rsplit("_", 1)[-1]
    rows = [
        (name, gap.frames, gap.mean, gap.low, gap.high, 100 * gap.better)
        for name, gap in known.items()
    ]
    return [
        page.section(
            f"Difference from {first.name}, frame by frame",
            page.table(
                ("result", "frames", f"mean {unit}", "from", "to", "% of frames better"),
                rows,
                digits=(0, 0, 3, 3, 3, 1),
            ),
            "Mean error of each frame minus that of the first result on the same frame; below 0 is "
            f"better. From, to: the 95 % interval of the mean, from {RESAMPLES:,} samples of the "
            "frames with replacement. Neighbouring frames of a video are alike, which makes the "
            "true interval wider.",
        )
    ]


def _curves(results: Sequence[Result]) -> list[page.Section]:
    for name, (x, y), axes in _CURVES:
        if all(name in result.metrics for result in results):
            lines = [
                charts.Curve(
                    result.name,
                    result.metrics[name][x],
                    result.metrics[name][y],
                    emphasis=result is results[0],
                )
                for result in results
            ]
            spoken = ", ".join(f"{result.name} {result.value:.2f}" for result in results)
            chart = charts.curves(lines, *axes, f"Curves of all results; means: {spoken}.")
            return [page.section("Within a distance", chart)]
    return []


def _learning(results: Sequence[Result]) -> list[page.Section]:
    main = results[0].main
    drawn = []
    for key, label, logy in (
        (f"eval_{main}", main.replace("_", " "), False),
        ("loss", "loss", True),
    ):
        lines = []
        for result in results:
            points = [(line["step"], line[key]) for line in result.history if key in line]
            if len(points) > 1:
                x, y = zip(*points, strict=True)
                first = result is results[0]
                lines.append(charts.Curve(result.name, x, y, emphasis=first, markers=not logy))
        if lines:
            alt = f"{label} over the steps of {', '.join(line.name for line in lines)}."
            drawn.append(charts.curves(lines, "step", label, alt, logy=logy))
    return [page.section("Learning", *drawn)] if drawn else []


def _joints(results: Sequence[Result]) -> page.Section:
    _, key = _KINDS[results[0].main]
    having = [result for result in results if key in result.metrics]
    names = dict.fromkeys(name for result in having for name in result.metrics[key])
    rows = [
        (name.replace("_", " "), *(result.metrics[key].get(name) for result in having))
        for name in names
    ]
    columns = ("joint", *(result.name for result in having))
    unit = key.rsplit("_", 1)[-1]
    return page.section("Error of each joint", page.table(columns, rows, f"mean error in {unit}"))


def _configs(results: Sequence[Result]) -> list[page.Section]:
    """The keys whose values are not the same in all configs."""
    having = [result for result in results if result.config]
    if len(having) < 2:
        return []
    keys = dict.fromkeys(key for result in having for key in result.config)
    rows = []
    for key in keys:
        values = [str(result.config.get(key, "–")) for result in having]
        if len(set(values)) > 1:
            rows.append((key, *values))
    if not rows:
        return [page.section("Configs", "All configs are the same.")]
    columns = ("key", *(result.name for result in having))
    return [page.section("Configs: what differs", page.table(columns, rows[:_KEYS]))]
