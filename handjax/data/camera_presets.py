"""Cameras by name: those of three data sets, and typical numbers of common depth cameras.

The numbers of a device are those of one unit, as its owner published them. Units differ by about 2%
in focal length and 10 px in the principal point, so a camera's own calibration is better.
"""

import importlib
import math
from typing import NamedTuple

from handjax.pose.lens import Lens

Size = tuple[int, int]  # width, height, px


class Preset(NamedTuple):
    """What is known of a kind of camera."""

    title: str
    modes: dict[Size, tuple[float, float, float, float]]  # size of its images → fx, fy, cx, cy
    lens: Lens | None = None
    typical: bool = True  # of one unit; False: of the very camera


def _cropped(
    base: tuple[float, float, float, float], size: Size, scales: dict[Size, float]
) -> dict[Size, tuple[float, float, float, float]]:
    """The modes of a sensor of `size` px that are the middle of its image, scaled: D400 cameras."""
    fx, fy, cx, cy = base
    middle = size[0] / 2, size[1] / 2
    return {
        (width, height): (
            fx * scale,
            fy * scale,
            (cx - middle[0]) * scale + width / 2,
            (cy - middle[1]) * scale + height / 2,
        )
        for (width, height), scale in scales.items()
    }


def _centered(
    width: int, height: int, view_deg: tuple[float, float]
) -> tuple[float, float, float, float]:
    """A camera of the field of view that a data sheet names, with its axis in the middle."""
    fx, fy = (
        n / 2 / math.tan(math.radians(deg / 2))
        for n, deg in zip((width, height), view_deg, strict=True)
    )
    return fx, fy, (width - 1) / 2, (height - 1) / 2


def _azure(binned: int, corner: Size) -> tuple[float, float, float, float]:
    """A depth mode of the Azure Kinect: a part of its 1024 x 1024 px, or of them joined to 512.

    cx, cy, fx, fy are fractions of the sensor with the origin at the corner of its first pixel:
    microsoft/Azure-Kinect-Sensor-SDK, issue 1488; modes: its mode_specific_calibration.c.
    """
    cx, cy, fx, fy = 0.501475751, 0.497048706, 0.492038131, 0.491931617
    return fx * binned, fy * binned, cx * binned - corner[0] - 0.5, cy * binned - corner[1] - 0.5


_DEVICES: dict[str, Preset] = {
    # realsenseai/librealsense, issue 10838. Its lens is left out, since units differ.
    "sr300": Preset(
        "RealSense SR300", {(640, 480): (472.950256, 472.950256, 310.209412, 245.262772)}
    ),
    # Published with depth frames of hands taken by an SR305, which is an SR300 in another case.
    "sr305": Preset("RealSense SR305", {(640, 480): (476.007, 476.007, 313.683, 242.755)}),
    # 1280 x 720 of one unit; 640 x 480 meets another's published 597.27, 319.12, 234.38.
    "d415": Preset(
        "RealSense D415",
        _cropped(
            (896.095459, 896.095459, 637.025879, 363.901672),
            (1280, 720),
            {(1280, 720): 1.0, (848, 480): 848 / 1280, (640, 480): 2 / 3, (640, 360): 0.5},
        ),
    ),
    # realsenseai/librealsense, issue 11511: 1280 x 800, 1280 x 720 and 848 x 480 of one unit.
    "d435": Preset(
        "RealSense D435",
        _cropped(
            (644.920410, 644.920410, 637.520386, 390.683044),
            (1280, 800),
            {
                (1280, 800): 1.0,
                (1280, 720): 1.0,
                (848, 480): 848 / 1280,
                (640, 480): 0.6,
                (640, 360): 0.5,
                (480, 270): 0.375,
                (424, 240): 424 / 1280,
            },
        ),
    ),
    # The field of view of its data sheet, 70° x 55°, and the middle of the image.
    "l515": Preset(
        "RealSense L515",
        {size: _centered(*size, (70.0, 55.0)) for size in ((1024, 768), (640, 480))},
    ),
    # k1 … k6 and p1, p2 of the same unit as in `_azure`.
    "azure_kinect": Preset(
        "Azure Kinect",
        {
            (640, 576): _azure(1024, (192, 180)),  # NFOV unbinned
            (320, 288): _azure(512, (96, 90)),  # NFOV binned
            (1024, 1024): _azure(1024, (0, 0)),  # WFOV unbinned
            (512, 512): _azure(512, (0, 0)),  # WFOV binned
        },
        Lens(
            "opencv",
            (
                *(4.724736691, 3.209222794, 5.87981e-6, 1.23821199e-4),
                *(0.170596451, 5.055859566, 4.775780201, 0.886494160),
            ),
        ),
    ),
    # The depth camera of NYU Depth V2's toolbox. Drivers undistort its images already.
    "kinect_v1": Preset(
        "Kinect for Xbox 360", {(640, 480): (582.624482, 582.691033, 313.044759, 238.443896)}
    ),
    # OpenKinect/libfreenect2, issue 41, the second of two units.
    "kinect_v2": Preset(
        "Kinect for Xbox One",
        {(512, 424): (365.402802, 365.402802, 260.925507, 205.594604)},
        Lens("opencv", (0.095575, -0.277055, 0.0, 0.0, 0.097539)),
    ),
}
_DATA_SETS = {"icvl": ("icvl", "ICVL"), "msra": ("msra_hand", "MSRA"), "nyu": ("nyu_hand", "NYU")}
NAMES = (*_DATA_SETS, *_DEVICES)


def preset(name: str) -> Preset:
    """The camera `name`, one of NAMES."""
    if name in _DEVICES:
        return _DEVICES[name]
    folder, title = _DATA_SETS[name]
    raw = importlib.import_module(f"handjax.data.sets.{folder}.raw")
    (fx, _, cx), (_, fy, cy), _ = raw.K
    return Preset(title, {(raw.WIDTH, raw.HEIGHT): (fx, fy, cx, cy)}, typical=False)
