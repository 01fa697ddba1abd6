"""The report about a prepared data set: report.json and report.html."""

import base64
import json
from pathlib import Path
from typing import Any

from handjax.data.preparation import preview, validate
from handjax.data.preparation.prepared_set import REPORT_FILES, PrepareOptions, left_out_of
from handjax.data.preparation.registry import published_frames
from handjax.data.preparation.split import Split
from handjax.engine import files
from handjax.reports import page

_LISTED = 200  # names per split and kind on the page


def write(folder: Path, options: PrepareOptions, splits: dict[str, Split]) -> None:
    """Writes report.json and report.html into `folder`. Existing ones are renamed, not replaced."""
    manual_dir = str(options.manual_dir.resolve())
    summaries = {
        split: result.findings.summary(published_frames(options.name, split, options.config))
        for split, result in splits.items()
    }
    for split, left in left_out_of(options, splits).items():
        summaries[split] |= {"left_out": left.unreadable, "holes": left.holes}
    content = {
        "set": options.name,
        "config": options.config,
        "manual_dir": manual_dir,
        "splits": summaries,
    }
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for name in REPORT_FILES:
        files.back_up(folder / name)
    files.write_atomic(folder / "report.json", text)
    page.write_report(
        folder / "report.html",
        " ".join(filter(None, (options.name, options.config))),
        f"{manual_dir}, {'checked' if options.check else 'prepared'}",
        sections(summaries, {split: result.tiles for split, result in splits.items()}),
        footer="handjax",
    )


def sections(
    summaries: dict[str, dict[str, Any]], tiles: dict[str, tuple[tuple[str, bytes], ...]]
) -> list[page.Section]:
    """The sections of the page: `summaries` per split as in report.json, and `tiles` per split as
    (key, JPEG)."""
    result = [_overview(summaries), _faults(summaries)]
    if any(summary["unreadable_frames"] for summary in summaries.values()):
        result.insert(1, _unreadable(summaries))
    if any(summary["left_out"] or summary["holes"] for summary in summaries.values()):
        result.insert(1, _left_out(summaries))
    if any(tiles.values()):
        result.append(_samples(tiles))
    return result


def _overview(summaries: dict[str, dict[str, Any]]) -> page.Section:
    rows = [
        (
            split,
            summary["frames"],
            summary["published_frames"],
            summary["unreadable_frames"],
            sum(summary["frames_with"].values()),
            summary["visible_joints"],
            *(
                None if fraction is None else 100 * fraction
                for fraction in summary["surface_share_within_mm"].values()
            ),
            summary["reprojection_mean_px"],
            summary["reprojection_largest_px"],
        )
        for split, summary in summaries.items()
    ]
    columns = (
        "split",
        "frames",
        "published",
        "unreadable",
        "faults",
        "visible joints",
        *(f"% ≤ {mm} mm of depth" for mm in validate.SURFACE_MM),
        "mean px off",
        "largest px off",
    )
    differ = [row for row in rows if row[2] is not None and row[1] != row[2]]
    frames, unreadable, faults = (sum(row[i] for row in rows) for i in (1, 3, 4))
    return page.section(
        "Overview",
        page.keys(
            page.Key("Frames", frames, "", f"of {', '.join(summaries)}", 0, "frames"),
            page.Key("Unreadable", unreadable, "", "frames", 0, "unreadable"),
            page.Key("Faults", faults, "", "a frame counts once per fault", 0, "faults"),
        ),
        page.table(
            columns,
            rows,
            digits=(0, 0, 0, 0, 0, 0, 1, 1, 1, 3, 3),
            emphasis=[rows.index(row) for row in differ],
        ),
        *(f"{row[0]}: {row[1]:,} frames; {row[2]:,} are published." for row in differ),
        "Depth: distance between visible joints and the depth at their pixel, where there is any. "
        "Joints lie inside a hand or body, so they are some mm behind its surface, and farther "
        "behind whatever hides them. Px off: distance between a visible joint's place in the image "
        "and the projection of its 3D position.",
    )


def _faults(summaries: dict[str, dict[str, Any]]) -> page.Section:
    rows = [
        (split, text, summary["frames_with"][fault], ", ".join(summary["named"].get(fault, [])))
        for split, summary in summaries.items()
        for fault, text in validate.FAULTS.items()
        if summary["frames_with"][fault]
    ]
    table = page.table(("split", "frames with", "frames", "such as"), rows)
    return page.section("Faults", table if rows else "None were found.")


def _unreadable(summaries: dict[str, dict[str, Any]]) -> page.Section:
    rows = [
        (split, line, times)
        for split, summary in summaries.items()
        for line, times in summary["unreadable"].items()
    ]
    return page.section(
        "Unreadable", page.table(("split", "error", "frames"), rows, digits=(0, 0, 0))
    )


def _left_out(summaries: dict[str, dict[str, Any]]) -> page.Section:
    rows = [
        (split, kind, name, reason)
        for split, summary in summaries.items()
        for kind, names in (
            ("known to be missing", summary["holes"]),
            ("cannot be read", summary["left_out"]),
        )
        for name, reason in list(names.items())[:_LISTED]
    ]
    counts = [
        f"{split}: {len(summary['left_out']):,} samples are left out, as they cannot be read; "
        f"{len(summary['holes']):,} entries are known to be missing in copies of the set."
        for split, summary in summaries.items()
        if summary["left_out"] or summary["holes"]
    ]
    table = page.table(("split", "", "name", "why"), rows)
    return page.section("Left out", *counts, table, "All names are in left_out.json.")


def _samples(tiles: dict[str, tuple[tuple[str, bytes], ...]]) -> page.Section:
    """One image of a few samples, taken from all splits in turn."""
    labelled = [
        (f"{split}, {pairs[i][0]}", pairs[i][1])
        for i in range(preview.TILES)
        for split, pairs in tiles.items()
        if i < len(pairs)
    ][: preview.TILES]
    jpeg = preview.contact_sheet([preview.decode_jpeg(jpeg) for _, jpeg in labelled])
    uri = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    alt = f"{len(labelled)} samples, each a square around its joints, which are drawn on it."
    caption = f"By rows: {'; '.join(name for name, _ in labelled)}."
    return page.section("Samples with their joints", page.Image(uri, alt, caption, width=980))
