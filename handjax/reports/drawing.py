"""Skeletons drawn with matplotlib: truth and prediction of single frames, in one or more views each, over pictures or not.

Black is left to lines and letters that should follow the page's own ink; matplotlib is loaded when something is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from handjax.pose.skeleton import COLOURS, Skeleton

_BARS = (10, 20, 50, 100, 200, 500, 1000, 2000)  # lengths that a scale may have
_HEADER = 0.77  # inches for legend and titles


@dataclass(frozen=True)
class Picture:
    """A background for one view, its first row at the top: `pixels` f [h, w] with NaN where nothing was seen, or u8 [h, w, 3].

    `extent` is (left, right, top, bottom): the outer edges of the picture along the view's two axes.
    """

    pixels: np.ndarray
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class View:
    """Joints as they lie in one plane: x to the right, y down, in `unit`. A colour picture is shown whole; other views are as
    wide as the pose."""

    pred: Float[np.ndarray, "j 2"]
    true: Float[np.ndarray, "j 2"] | None = None
    picture: Picture | None = None
    label: str = ""
    unit: str = "px"


@dataclass(frozen=True)
class Frame:
    """One frame to draw. Invisible joints are left out, and so are the bones that end in them."""

    title: str
    views: tuple[View, ...]
    visible: Bool[np.ndarray, " j"] | None = None


def front_and_side(
    pred: Float[np.ndarray, "j 3"],
    true: Float[np.ndarray, "j 3"] | None = None,
    front: Picture | None = None,
    side: Picture | None = None,
) -> tuple[View, View]:
    """Camera-space joints in mm, from the front and from the side; the pictures' extents are in mm."""

    def view(picture, across, down, label):
        planes = (None if joints is None else joints[:, [across, down]] for joints in (pred, true))
        return View(*planes, picture, label, "mm")

    return view(front, 0, 1, "front: x right, y down"), view(
        side, 2, 1, "side: depth right, y down"
    )


def draw_frames(frames: Sequence[Frame], skeleton: Skeleton):
    """A matplotlib figure with a column a frame and a row a view; the views of a frame have one scale, photographs theirs."""
    from matplotlib.figure import Figure

    rows, columns = len(frames[0].views), len(frames)
    height = _HEADER + 2.365 * rows
    figure = Figure(figsize=(2.5 * columns, height))
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.03, right=0.995, top=1 - _HEADER / height, bottom=0.01, wspace=0.04, hspace=0.04
    )
    for column, frame in enumerate(frames):
        seen = (
            np.ones(len(frame.views[0].pred), dtype=bool)
            if frame.visible is None
            else frame.visible
        )
        spans = [
            float(np.ptp(_shown(view, seen), axis=0).max())
            for view in frame.views
            if not _is_photo(view)
        ]
        span = 1.15 * max([40.0, *spans])
        for row, view in enumerate(frame.views):
            axes = grid[row, column]
            _draw_view(axes, view, seen, skeleton, span)
            if row == 0:
                axes.set_title(frame.title, fontsize=8.5, pad=5)
            if column == 0:
                axes.set_ylabel(view.label, fontsize=8)
    figure.legend(
        handles=_legend(
            skeleton, any(view.true is not None for frame in frames for view in frame.views)
        ),
        loc="upper center",
        ncols=8,
        frameon=False,
        fontsize=8,
        handletextpad=0.4,
        columnspacing=1.2,
        borderaxespad=0.1,
    )
    return figure


def _draw_view(axes, view: View, seen: np.ndarray, skeleton: Skeleton, span: float):
    photo = _is_photo(view)
    if photo:
        _draw_photo(axes, view.picture)
    elif view.picture is not None and np.isfinite(view.picture.pixels).any():
        _draw_shade(axes, view.picture)
    bones = [(a, b) for a, b in skeleton.bones if seen[a] and seen[b]]
    if view.true is not None:
        x, y = view.true.T
        ink, casing = ("white", _casing(2.4)) if photo else ("black", None)
        for a, b in bones:
            dashes = dict(lw=1.1, ls=(0, (2.5, 1.5)), alpha=0.75, path_effects=casing)
            axes.plot(x[[a, b]], y[[a, b]], color=ink, zorder=2, **dashes)
        ring = dict(facecolors="none", edgecolors=ink, lw=0.9, alpha=0.85, path_effects=casing)
        axes.scatter(x[seen], y[seen], s=15, zorder=3, **ring)
    x, y = view.pred.T
    colours = [COLOURS[group] for group in skeleton.groups]
    for a, b in bones:
        axes.plot(x[[a, b]], y[[a, b]], color=colours[b], lw=1.8, solid_capstyle="round", zorder=4)
    axes.scatter(
        x[seen],
        y[seen],
        s=17,
        c=[c for c, s in zip(colours, seen, strict=True) if s],
        lw=0,
        zorder=5,
    )

    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set(color="#8b949e", alpha=0.5, lw=0.8)
    if photo:
        left, right, top, bottom = view.picture.extent
        axes.set(xlim=(left, right), ylim=(bottom, top))
        return
    shown = _shown(view, seen)
    cx, cy = ((shown.min(axis=0) + shown.max(axis=0)) / 2).tolist()
    axes.set(xlim=(cx - span / 2, cx + span / 2), ylim=(cy + span / 2, cy - span / 2))
    _scale_bar(axes, cx - 0.46 * span, cy + 0.46 * span, span, view.unit)


def _is_photo(view: View) -> bool:
    return view.picture is not None and view.picture.pixels.ndim == 3


def _draw_photo(axes, picture: Picture):
    left, right, top, bottom = picture.extent
    axes.imshow(
        picture.pixels, extent=(left, right, bottom, top), interpolation="bilinear", zorder=0
    )


def _draw_shade(axes, picture: Picture):
    left, right, top, bottom = picture.extent
    low, high = np.nanmin(picture.pixels), np.nanmax(picture.pixels)
    shade = {
        "cmap": "Greys",
        "vmin": low - 0.5 * ((high - low) or 1.0),
        "vmax": high,
        "alpha": 0.45,
    }  # never white
    axes.imshow(
        picture.pixels,
        extent=(left, right, bottom, top),
        interpolation="nearest",
        zorder=0,
        **shade,
    )


def _casing(width: float) -> list:
    """A dark edge that keeps white lines apart from a bright picture; not black, which would follow the page's ink."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="#202020")]


def _scale_bar(axes, x: float, y: float, span: float, unit: str):
    """The longest of a few round lengths that takes at most a third of the view."""
    length = max((bar for bar in _BARS if bar <= span / 3), default=_BARS[0])
    axes.plot([x, x + length], [y, y], color="black", lw=1.4, solid_capstyle="butt", zorder=6)
    axes.text(x, y - 0.02 * span, f"{length} {unit}", fontsize=7, va="bottom", zorder=6)


def _legend(skeleton: Skeleton, truth: bool) -> list:
    from matplotlib.lines import Line2D

    handles = []
    if truth:
        style = dict(
            color="black", lw=1.1, ls=(0, (2.5, 1.5)), marker="o", ms=4.5, mfc="none", mew=0.9
        )
        handles.append(Line2D([], [], label="truth", **style))
    for group in dict.fromkeys(skeleton.groups):
        style = dict(color=COLOURS[group], lw=1.8, marker="o", ms=4.5, mew=0)
        handles.append(
            Line2D(
                [],
                [],
                label=("" if handles[1:] else "predicted ") + group.replace("_", " "),
                **style,
            )
        )
    return handles


def _shown(view: View, seen: np.ndarray) -> np.ndarray:
    """Every joint that is drawn."""
    return (
        view.pred[seen] if view.true is None else np.concatenate([view.pred[seen], view.true[seen]])
    )
