"""Markdown tables on stdout and progress on stderr."""

import sys
from collections.abc import Sequence


def log(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table with a title."""
    print(f"\n{title}:\n")
    for line in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(line)} |", flush=True)


def cell(value: object) -> str:
    """A value as the text of a table cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    return (
        "–"
        if value is None
        else f"{value:.2f}".replace("-", "−")
        if isinstance(value, float)
        else str(value)
    )
