"""The rule that says whether a camera can be that of an image.

A lens's axis meets the image near its middle, pixels are about square, and a lens sees between 20°
and 130°. Where that fails, the usual mistakes are tried: fractions of the picture, another order,
mm or degrees for px, the numbers of another resolution. A camera that one of them explains, or that
no lens can have, is refused; any other is reported as unusual.
"""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from handjax.data.camera_presets import Preset, Size
from handjax.pose.lens import Lens

if TYPE_CHECKING:
    from handjax.data.cameras import Camera

Numbers = tuple[float, float, float, float]  # fx, fy, cx, cy

OFF_MIDDLE = 0.12  # of the image's size; the Azure Kinect's NFOV modes are off by 0.08
SQUARE = 1.15  # largest ratio of fx and fy; calibrations differ by 1%
VIEW_DEG = (20.0, 130.0)  # of usual lenses, along the longer side
LENS_DEG = (4.0, 150.0)  # of any lens without distortion
FISHEYE_DEG = 230.0
ASIDE_DEG = 70.0  # from the axis, of an image that is cut out of a camera's
# Resolutions of cameras; those of the image's own shape are tried as well.
RESOLUTIONS: tuple[Size, ...] = (
    *((160, 120), (320, 240), (640, 480), (800, 600), (1024, 768), (1280, 960), (1600, 1200)),
    *((2048, 1536), (4096, 3072), (424, 240), (480, 270), (640, 360), (848, 480), (960, 540)),
    *((1280, 720), (1920, 1080), (2560, 1440), (3840, 2160), (640, 400), (1280, 800)),
    *((512, 424), (320, 288), (640, 576), (512, 512), (1024, 1024), (1000, 1000), (1000, 1002)),
)
_SCALES = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 2, 2.0, 3.0, 4.0)
# Orders in which four numbers are written, as the places of fx, fy, cx, cy.
_ORDERS = {
    "CX,CY,FX,FY": (2, 3, 0, 1),
    "FX,CX,FY,CY": (0, 2, 1, 3),
    "CX,FX,CY,FY": (1, 3, 0, 2),
    "FX,FY,CY,CX": (0, 1, 3, 2),
}
TANGENTIAL = 0.05  # largest usual p1 and p2
MOVED = 0.5  # largest usual share by which a lens without `fisheye` moves the image's edge


class Finding(NamedTuple):
    """What is wrong with a camera, and whether it is refused; no text: nothing."""

    text: str = ""
    refused: bool = False


def check(camera: "Camera", size: Size) -> Finding:
    """`camera` (with its k) as that of an image of `size`."""
    assert camera.k is not None
    k = camera.k
    numbers: Numbers = (float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]))
    fisheye = camera.lens is not None and camera.lens.model == "fisheye"
    problems = _problems(numbers, size, fisheye, camera.cropped)
    problems += _lens_problems(camera.lens, numbers, size)
    if not problems:
        return Finding()
    hint = "" if camera.cropped else next(_explanations(numbers, size, fisheye), "")
    refused = bool(hint) or any(sure for _, sure in problems)
    verdict = "cannot be that of" if refused else "unusual for"
    parts = [", ".join(text for text, _ in problems), hint]
    if not hint and any("the axis" in text for text, _ in problems):
        parts.append("for a part of a larger image write crop: in front of the numbers")
    text = "; ".join(part for part in parts if part)
    return Finding(f"{verdict} an image of {_x(size)} px: {text}", refused)


def scaled_preset(known: Preset, size: Size) -> str:
    """The numbers of a preset for images of its shape and another size, as a hint."""
    for mode, numbers in known.modes.items():
        if _same_shape(mode, size):
            scaled = _scaled(numbers, mode, size)
            return f"; scaled from {_x(mode)}, if nothing was cut off: {scaled}"
    return ""


# ---------------------------------------------------------------- what is wrong


def _problems(numbers: Numbers, size: Size, fisheye: bool, cropped: bool) -> list[tuple[str, bool]]:
    """What is unusual, in words, and whether it is impossible."""
    fx, fy, cx, cy = numbers
    found: list[tuple[str, bool]] = []
    # Of a whole image, wherever its axis is said to be: that is a finding of its own.
    middle = (cx, cy) if cropped else tuple((n - 1) / 2 for n in size)
    views = (_view_deg(f, c, n, fisheye) for f, c, n in zip((fx, fy), middle, size, strict=True))
    view = max(views)
    low, high = LENS_DEG[0], FISHEYE_DEG if fisheye else LENS_DEG[1]
    if view > (high if fisheye else VIEW_DEG[1]):
        found.append((f"it would see {view:.0f}°", view > high))
    if view < VIEW_DEG[0] and not cropped:
        found.append((f"it would see no more than {view:.1f}°", view < low))
    if max(fx / fy, fy / fx) > SQUARE:
        found.append((f"FX {fx:.5g} and FY {fy:.5g} differ", False))
    aside = [abs(c - (n - 1) / 2) / n for c, n in zip((cx, cy), size, strict=True)]
    if cropped:
        beyond = [_aside_deg(f, c, n) for f, c, n in zip((fx, fy), (cx, cy), size, strict=True)]
        if max(beyond) > ASIDE_DEG:
            found.append((f"it would see the image {max(beyond):.0f}° from its axis", True))
    elif max(aside) > OFF_MIDDLE:
        outside = max(aside) > 0.5
        where = "outside the image" if outside else "far from its middle"
        found.append((f"the axis, at {cx:.5g},{cy:.5g}, is {where}", outside))
    return found


def _lens_problems(lens: Lens | None, numbers: Numbers, size: Size) -> list[tuple[str, bool]]:
    """Coefficients that fold the image, or whose order is another."""
    if lens is None:
        return []
    slopes = np.linspace(0, lens.widest(), 1000)
    bent = np.linalg.norm(lens.distort(np.stack([slopes, np.zeros(1000)], axis=-1)), axis=-1)
    slopes, bent = slopes[np.isfinite(bent)], bent[np.isfinite(bent)]
    focal, half = min(numbers[:2]), max(size) / 2
    share = bent[-1] * focal / (min(size) / 2)
    if not share > 0.5:
        return [
            (
                f"through this lens no ray would meet more than the middle {share:.0%} of the "
                "image; are its coefficients in OpenCV's order?",
                True,
            )
        ]
    if lens.model != "fisheye" and max(map(abs, lens.coefficients[2:4])) > TANGENTIAL:
        p1, p2 = lens.coefficients[2:4]
        return [
            (
                f"P1 {p1:.3g} and P2 {p2:.3g} are large; OpenCV's order is K1,K2,P1,P2,K3",
                max(abs(p1), abs(p2)) > 1,
            )
        ]
    edge = np.searchsorted(bent, min(half / focal, bent[-1]))
    moved = bent[edge] / max(slopes[edge], 1e-9) - 1
    if lens.model != "fisheye" and abs(moved) > MOVED:
        return [
            (f"this lens would move its edge by {moved:.0%}; are its coefficients right?", False)
        ]
    return []


def _fits(numbers: Numbers, size: Size, fisheye: bool = False) -> bool:
    """Whether a guess is a usual camera of `size`."""
    if min(numbers[:2]) <= 0 or max(numbers[0] / numbers[1], numbers[1] / numbers[0]) > 1.06:
        return False
    return not _problems(numbers, size, fisheye, False)


def _view_deg(focal: float, center: float, pixels: int, fisheye: bool) -> float:
    if fisheye:
        return math.degrees(pixels / focal)
    ends = (-0.5 - center) / focal, (pixels - 0.5 - center) / focal
    return math.degrees(math.atan(ends[1]) - math.atan(ends[0]))


def _aside_deg(focal: float, center: float, pixels: int) -> float:
    """Angle between the axis and the nearest pixel."""
    nearest = min(max(center, 0), pixels - 1)
    return math.degrees(math.atan(abs(center - nearest) / focal))


# ---------------------------------------------------------------- what explains it


def _explanations(numbers: Numbers, size: Size, fisheye: bool) -> Iterator[str]:
    """The mistakes that turn a usual camera of `size` into `numbers`, the likeliest first."""
    width, height = size
    if max(numbers) <= 3:
        yield from _fractions(numbers, size)
        yield (
            "far too small for px: fractions of the picture? "
            "FX and CX times the width, FY and CY times the height"
        )
    yield from _resolutions(numbers, size, fisheye)
    for name, places in _ORDERS.items():
        guess: Numbers = tuple(numbers[i] for i in places)  # type: ignore[assignment]
        if _fits(guess, size, fisheye):
            yield f"in the order {name}? expected FX,FY,CX,CY: {_text(guess)}"
    fx, fy, cx, cy = numbers
    if _view_deg(fx, (width - 1) / 2, width, fisheye) > LENS_DEG[1] and 15 < min(fx, fy) < 180:
        own_fx, own_fy = (
            n / 2 / math.tan(math.radians(min(f, 179.0) / 2))
            for f, n in zip((fx, fy), size, strict=True)
        )
        by_angle = own_fx, own_fy, cx, cy
        if _fits(by_angle, size):
            yield f"degrees of the field of view? expected px: {_text(by_angle)}"
    if max(fx, fy) < 60 and _view_deg(fx, (width - 1) / 2, width, fisheye) > LENS_DEG[1]:
        pitch = cx / ((width - 1) / 2), cy / ((height - 1) / 2)  # mm per px, if cx is in mm as well
        guess = (
            fx / max(pitch[0], 1e-9),
            fy / max(pitch[1], 1e-9),
            (width - 1) / 2,
            (height - 1) / 2,
        )
        if _fits(guess, size):
            yield f"mm? expected px: about {_text(guess)}"
        yield "a focal length in mm? expected px: mm times the width in px, over the sensor's in mm"
    guess = (fx, fy, cx + (width - 1) / 2, cy + (height - 1) / 2)
    if _fits(guess, size, fisheye):
        yield f"CX and CY from the image's middle? expected from its first pixel: {_text(guess)}"


def _fractions(numbers: Numbers, size: Size) -> Iterator[str]:
    """Fractions of the width and height, or of the width alone, in any order."""
    width, height = size
    orders = {"FX,FY,CX,CY": (0, 1, 2, 3), **_ORDERS}
    for (name, places), unit in itertools.product(
        orders.items(), ((width, height), (width, width))
    ):
        fx, fy, cx, cy = (numbers[i] for i in places)
        # Fractions count from the corner of the first pixel, px from its center.
        guess = (fx * unit[0], fy * unit[1], cx * unit[0] - 0.5, cy * unit[1] - 0.5)
        if _fits(guess, size):
            order = "" if name == "FX,FY,CX,CY" else f", in the order {name}"
            yield f"fractions of the picture{order}? expected px: {_text(guess)}"


def _resolutions(numbers: Numbers, size: Size, fisheye: bool) -> Iterator[str]:
    """Sizes of images that the numbers fit; of the image's shape first, then the nearest middle."""
    own = [(round(size[0] * scale), round(size[1] * scale)) for scale in _SCALES]
    # A camera's axis is within 8% of the middle, and most are within 3%.
    same = [other for other in own if _off(numbers, other) < 0.08]
    others = [other for other in (size[::-1], *RESOLUTIONS) if _off(numbers, other) < 0.03]
    candidates = sorted(same, key=lambda other: _off(numbers, other))
    candidates += sorted(others, key=lambda other: _off(numbers, other))
    for other in candidates:
        if other == size or not _fits(numbers, other, fisheye):
            continue
        if _same_shape(other, size):
            scaled = _scaled(numbers, other, size)
            yield f"the numbers of {_x(other)} px? scaled to {_x(size)}: {scaled}"
        elif other == size[::-1]:
            yield (
                f"the numbers of {_x(other)} px, from before the image was turned? "
                "or CX and CY in the other order"
            )
        else:
            yield (
                f"the numbers of {_x(other)} px? that is another shape: "
                f"give the camera's own numbers at {_x(size)}"
            )


def _off(numbers: Numbers, size: Size) -> float:
    return max(abs(c - (n - 1) / 2) / n for c, n in zip(numbers[2:], size, strict=True))


def _same_shape(one: Size, other: Size) -> bool:
    return abs(one[0] * other[1] - one[1] * other[0]) <= 0.004 * one[0] * other[1]


def _scaled(numbers: Numbers, size: Size, to: Size) -> str:
    """The numbers of images of `size` that were resized to `to`; pixel centers are integers."""
    fx, fy, cx, cy = numbers
    x, y = (b / a for a, b in zip(size, to, strict=True))
    return _text((fx * x, fy * y, (cx + 0.5) * x - 0.5, (cy + 0.5) * y - 0.5))


def _text(numbers: Numbers) -> str:
    return ",".join(f"{np.round(n, 3):.10g}" for n in numbers)


def _x(size: Size) -> str:
    return f"{size[0]} x {size[1]}"
