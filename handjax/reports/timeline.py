"""A chart of published results: the lowest error up to each year, and ours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from handjax.reports import charts, page

if TYPE_CHECKING:
    import matplotlib.axes

_OURS, _RECORD, _REST = charts.COLOURS[0], charts.COLOURS[1], "#8b949e"


def timeline(
    records: Sequence[tuple[int, float, str]],
    every: Sequence[tuple[int, float]],
    ours: tuple[str, float] | None,
    ylabel: str,
    alt: str,
    caption: str = "",
) -> page.Image:
    """`records`: year, error and method, each lower than the one before; `every`: year and error of
    all methods. Ours, a name and an error, is a line over all years."""

    def draw(axes: "matplotlib.axes.Axes", narrow: bool) -> None:
        every_year, every_error = (list(column) for column in zip(*every, strict=True))
        last = max(every_year)
        axes.scatter(every_year, every_error, s=14, color=_REST, alpha=0.6, lw=0, zorder=2)
        years = [year for year, *_ in records] + [last]
        errors = [error for _, error, _ in records] + [records[-1][1]]
        axes.plot(years, errors, drawstyle="steps-post", color=_RECORD, lw=1.8, zorder=3)
        axes.scatter(years[:-1], errors[:-1], s=26, color=_RECORD, lw=0, zorder=4)
        for year, error, method in records:
            axes.annotate(
                method,
                (year, error),
                (4, 5),
                textcoords="offset points",
                fontsize=7.5 if narrow else 8.5,
                zorder=5,
            )
        if ours is not None:
            name, error = ours
            axes.axhline(error, color=_OURS, lw=2.2, zorder=3)
            axes.annotate(
                f"{name} {error:.2f}",
                (years[0], error),
                (0, 4),
                textcoords="offset points",
                fontsize=9,
                color=_OURS,
            )
        axes.set_xticks(range(years[0], last + 1, 2 if narrow else 1))
        axes.set_xlim(years[0] - 0.3, last + 0.9)
        axes.set_ylim(0, None)
        axes.set_ylabel(ylabel)
        axes.grid(axis="y", alpha=0.18, color="black", lw=0.8)

    return charts.chart(draw, 3.6, 3.2, alt, caption)
