"""Skeletons drawn with matplotlib: prediction and ground truth of single frames in one or more
panels, with or without a background.

Only lines and text that should follow the ink of the page are black. matplotlib is imported when
something is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from handjax.pose.skeleton import Skeleton

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_BARS = (10, 20, 50, 100, 200, 500, 1000, 2000)  # lengths of a scale bar
_SIDE = 1.75  # inches of a panel: two fit on a phone, with their text readable
_DASHES = (0, (2.5, 1.5))


@dataclass(frozen=True)
class Background:
    """What is drawn behind the joints of a panel, first row at the top.

    `pixels` is f [h, w] with NaN for empty pixels, or u8 [h, w, 3]. `extent` is (left, right, top,
    bottom): the outer edges of the pixels along the axes of the panel.
    """

    pixels: np.ndarray
    extent: tuple[float, float, float, float]

    @property
    def is_photo(self) -> bool:
        return self.pixels.ndim == 3


@dataclass(frozen=True)
class Panel:
    """Joints projected to a plane: x to the right, y down, in `unit`.

    A color background is shown completely; other panels are scaled to the pose.
    """

    pred: Float[np.ndarray, "j 2"]
    true: Float[np.ndarray, "j 2"] | None = None
    background: Background | None = None
    label: str = ""
    unit: str = "px"


@dataclass(frozen=True)
class DrawnFrame:
    """One frame to draw. Invisible joints are left out, and so are the bones that end in them."""

    panels: tuple[Panel, ...]
    visible: Bool[np.ndarray, " j"] | None = None


def front_and_side(
    pred: Float[np.ndarray, "j 3"],
    true: Float[np.ndarray, "j 3"] | None = None,
    front: Background | None = None,
    side: Background | None = None,
) -> tuple[Panel, Panel]:
    """Camera-space joints in mm from the front and from the side; extents are in mm."""

    def panel(background: Background | None, across: int, down: int, label: str) -> Panel:
        plane = [across, down]
        flat = None if true is None else true[:, plane]
        return Panel(pred[:, plane], flat, background, label, "mm")

    return (
        panel(front, 0, 1, "front: x right, y down"),
        panel(side, 2, 1, "side: depth right, y down"),
    )


def draw_frame(frame: DrawnFrame, skeleton: Skeleton) -> "matplotlib.figure.Figure":
    """A matplotlib figure with one row per panel; they have a common scale, except over photos."""
    from matplotlib.figure import Figure

    rows = len(frame.panels)
    figure = Figure(figsize=(_SIDE, _SIDE * rows * 0.95))
    grid = figure.subplots(rows, 1, squeeze=False)
    figure.subplots_adjust(left=0.09, right=0.995, top=0.995, bottom=0.005, hspace=0.04)
    visible = frame.visible
    if visible is None:
        visible = np.ones(len(frame.panels[0].pred), dtype=bool)
    spans = [
        float(np.ptp(_drawn_joints(panel, visible), axis=0).max())
        for panel in frame.panels
        if panel.background is None or not panel.background.is_photo
    ]
    span = 1.15 * max([40.0, *spans])
    for (axes,), panel in zip(grid, frame.panels, strict=True):
        _draw_panel(axes, panel, visible, skeleton, span)
        axes.set_ylabel(panel.label, fontsize=7, labelpad=2)
    return figure


def _draw_panel(
    axes: "matplotlib.axes.Axes", panel: Panel, visible: np.ndarray, skeleton: Skeleton, span: float
) -> None:
    background = panel.background
    photo = background if background is not None and background.is_photo else None
    if photo is not None:
        _draw_photo(axes, photo)
    elif background is not None and np.isfinite(background.pixels).any():
        _draw_shade(axes, background)
    bones = [(a, b) for a, b in skeleton.bones if visible[a] and visible[b]]
    if panel.true is not None:
        ink, casing = ("black", None) if photo is None else ("white", _casing(2.4))
        _draw_truth(axes, panel.true, bones, visible, ink, casing)

    x, y = panel.pred.T
    colours = skeleton.colours
    for a, b in bones:
        axes.plot(x[[a, b]], y[[a, b]], color=colours[b], lw=1.8, solid_capstyle="round", zorder=4)
    dots = [colour for colour, shown in zip(colours, visible, strict=True) if shown]
    axes.scatter(x[visible], y[visible], s=17, c=dots, lw=0, zorder=5)

    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal")
    for spine in axes.spines.values():
        spine.set(color="#8b949e", alpha=0.5, lw=0.8)
    if photo is not None:
        left, right, top, bottom = photo.extent
        axes.set(xlim=(left, right), ylim=(bottom, top))
        return
    joints = _drawn_joints(panel, visible)
    cx, cy = ((joints.min(axis=0) + joints.max(axis=0)) / 2).tolist()
    axes.set(xlim=(cx - span / 2, cx + span / 2), ylim=(cy + span / 2, cy - span / 2))
    _scale_bar(axes, cx - 0.46 * span, cy + 0.46 * span, span, panel.unit)


def _draw_truth(
    axes: "matplotlib.axes.Axes",
    joints: np.ndarray,
    bones: Sequence[tuple[int, int]],
    visible: np.ndarray,
    ink: str,
    casing: list | None,
) -> None:
    x, y = joints.T
    line: dict[str, Any] = dict(lw=1.1, ls=_DASHES, alpha=0.75, path_effects=casing)
    for a, b in bones:
        axes.plot(x[[a, b]], y[[a, b]], color=ink, zorder=2, **line)
    ring: dict[str, Any] = dict(facecolors="none", edgecolors=ink, lw=0.9, path_effects=casing)
    axes.scatter(x[visible], y[visible], s=15, zorder=3, alpha=0.85, **ring)


def _draw_photo(axes: "matplotlib.axes.Axes", photo: Background) -> None:
    left, right, top, bottom = photo.extent
    axes.imshow(photo.pixels, extent=(left, right, bottom, top), interpolation="bilinear", zorder=0)


def _draw_shade(axes: "matplotlib.axes.Axes", shade: Background) -> None:
    left, right, top, bottom = shade.extent
    low, high = float(np.nanmin(shade.pixels)), float(np.nanmax(shade.pixels))
    axes.imshow(
        shade.pixels,
        extent=(left, right, bottom, top),
        interpolation="nearest",
        zorder=0,
        cmap="Greys",
        vmin=low - 0.5 * ((high - low) or 1.0),  # never white
        vmax=high,
        alpha=0.45,
    )


def _casing(width: float) -> list:
    """A dark outline for white lines on a bright photo; not black, which follows the page's ink."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="#202020")]


def _scale_bar(axes: "matplotlib.axes.Axes", x: float, y: float, span: float, unit: str) -> None:
    """The longest of a few round lengths that takes at most a third of the panel."""
    length = max((bar for bar in _BARS if bar <= span / 3), default=_BARS[0])
    axes.plot([x, x + length], [y, y], color="black", lw=1.4, solid_capstyle="butt", zorder=6)
    axes.text(x, y - 0.02 * span, f"{length} {unit}", fontsize=7, va="bottom", zorder=6)


def _drawn_joints(panel: Panel, visible: np.ndarray) -> np.ndarray:
    """Every joint that is drawn, [n, 2]."""
    joints = [panel.pred] if panel.true is None else [panel.pred, panel.true]
    return np.concatenate([of[visible] for of in joints])
