"""HTML of the page's panels."""

import html

import numpy as np
from jaxtyping import UInt8

_PADDING = "padding:0 1em 0.5em;font-size:0.8em"


def small(*lines: str) -> str:
    """Lines of plain text in a small font; empty lines are left out."""
    text = "<br>".join(html.escape(line) for line in lines if line)
    return text and f'<div style="{_PADDING};opacity:0.85">{text}</div>'


def depth_legend(colours: UInt8[np.ndarray, "256 3"], near: float, far: float) -> str:
    """A bar of the colours from `near` to `far` mm."""
    ramp = ", ".join(f"rgb{tuple(colour)}" for colour in colours[::32].tolist())
    bar = f'<div style="height:0.6em;background:linear-gradient(90deg, {ramp})"></div>'
    row = '<div style="display:flex;justify-content:space-between">'
    ends = f"<span>{near:.0f} mm</span><span>depth</span><span>{far:.0f} mm</span>"
    return f'<div style="{_PADDING}">{bar}{row}{ends}</div></div>'
