"""Skeletons drawn with matplotlib: truth and prediction of single frames, seen from the front and from the side.

Black is left to lines and letters that should follow the page's own ink; matplotlib is loaded when something is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from handjax.pose.skeleton import COLOURS, Skeleton

VIEWS = (("front", 0, 1, "front: x right, y down"), ("side", 2, 1, "side: depth right, y down"))


@dataclass(frozen=True)
class Picture:
    """A background for one view: `pixels` [h, w] with NaN where nothing was seen, its first row at the top.

    `extent` is (left, right, top, bottom) in mm: the outer edges of the picture along the view's two axes.
    """

    pixels: np.ndarray
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """One frame to draw, camera-space mm. Invisible joints are left out, and so are the bones that end in them."""

    title: str
    pred: Float[np.ndarray, "j 3"]
    true: Float[np.ndarray, "j 3"] | None = None
    visible: Bool[np.ndarray, " j"] | None = None
    front: Picture | None = None
    side: Picture | None = None


def draw_frames(frames: Sequence[Frame], skeleton: Skeleton):
    """A matplotlib figure with a column a frame: the front view above, the side view below, each with its scale."""
    from matplotlib.figure import Figure

    columns = len(frames)
    figure = Figure(figsize=(2.5 * columns, 5.5))
    grid = figure.subplots(2, columns, squeeze=False)
    figure.subplots_adjust(left=0.03, right=0.995, top=0.86, bottom=0.01, wspace=0.04, hspace=0.04)
    for column, frame in enumerate(frames):
        span = 1.15 * max(float(np.ptp(_shown(frame), axis=0).max()), 40.0)
        for row, (name, across, down, label) in enumerate(VIEWS):
            axes = grid[row, column]
            _draw_view(axes, frame, skeleton, across, down, getattr(frame, name), span)
            if row == 0:
                axes.set_title(frame.title, fontsize=8.5, pad=5)
            if column == 0:
                axes.set_ylabel(label, fontsize=8)
    figure.legend(
        handles=_legend(skeleton, any(frame.true is not None for frame in frames)),
        loc="upper center",
        ncols=8,
        frameon=False,
        fontsize=8,
        handletextpad=0.4,
        columnspacing=1.2,
        borderaxespad=0.1,
    )
    return figure


def _draw_view(axes, frame: Frame, skeleton: Skeleton, across: int, down: int, picture: Picture | None, span: float):
    if picture is not None and np.isfinite(picture.pixels).any():
        left, right, top, bottom = picture.extent
        low, high = np.nanmin(picture.pixels), np.nanmax(picture.pixels)
        shade = {"cmap": "Greys", "vmin": low - 0.5 * ((high - low) or 1.0), "vmax": high, "alpha": 0.45}  # never white
        axes.imshow(picture.pixels, extent=(left, right, bottom, top), interpolation="nearest", zorder=0, **shade)
    seen = _visible(frame)
    bones = [(a, b) for a, b in skeleton.bones if seen[a] and seen[b]]
    if frame.true is not None:
        x, y = frame.true[:, across], frame.true[:, down]
        for a, b in bones:
            axes.plot(x[[a, b]], y[[a, b]], color="black", lw=1.1, ls=(0, (2.5, 1.5)), alpha=0.75, zorder=2)
        axes.scatter(x[seen], y[seen], s=15, facecolors="none", edgecolors="black", lw=0.9, alpha=0.85, zorder=3)
    x, y = frame.pred[:, across], frame.pred[:, down]
    colours = [COLOURS[group] for group in skeleton.groups]
    for a, b in bones:
        axes.plot(x[[a, b]], y[[a, b]], color=colours[b], lw=1.8, solid_capstyle="round", zorder=4)
    axes.scatter(x[seen], y[seen], s=17, c=[c for c, s in zip(colours, seen, strict=True) if s], lw=0, zorder=5)

    shown = _shown(frame)[:, [across, down]]
    cx, cy = ((shown.min(axis=0) + shown.max(axis=0)) / 2).tolist()
    axes.set(xlim=(cx - span / 2, cx + span / 2), ylim=(cy + span / 2, cy - span / 2), xticks=[], yticks=[])
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set(color="#8b949e", alpha=0.5, lw=0.8)
    _scale_bar(axes, cx - 0.46 * span, cy + 0.46 * span, span)


def _scale_bar(axes, x: float, y: float, span: float):
    """The longest of a few round lengths that takes at most a third of the view."""
    length = max((mm for mm in (10, 20, 50, 100, 200, 500, 1000, 2000) if mm <= span / 3), default=10)
    axes.plot([x, x + length], [y, y], color="black", lw=1.4, solid_capstyle="butt", zorder=6)
    axes.text(x, y - 0.02 * span, f"{length} mm", fontsize=7, va="bottom", zorder=6)


def _legend(skeleton: Skeleton, truth: bool) -> list:
    from matplotlib.lines import Line2D

    handles = []
    if truth:
        style = dict(color="black", lw=1.1, ls=(0, (2.5, 1.5)), marker="o", ms=4.5, mfc="none", mew=0.9)
        handles.append(Line2D([], [], label="truth", **style))
    for group in dict.fromkeys(skeleton.groups):
        style = dict(color=COLOURS[group], lw=1.8, marker="o", ms=4.5, mew=0)
        handles.append(Line2D([], [], label=f"predicted {group}" if not handles[1:] else group, **style))
    return handles


def _visible(frame: Frame) -> np.ndarray:
    return np.ones(len(frame.pred), dtype=bool) if frame.visible is None else frame.visible


def _shown(frame: Frame) -> np.ndarray:
    """Every joint that is drawn."""
    seen = _visible(frame)
    return frame.pred[seen] if frame.true is None else np.concatenate([frame.pred[seen], frame.true[seen]])
