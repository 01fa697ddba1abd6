"""Cameras as users give them: FX,FY,CX,CY, a 3x3 matrix, a lens, or the name of a camera.

`read_camera` reads one; `Camera.of_image` asks whether it can be the camera of an image
(data/camera_check.py) and takes the lens out of it. Every command and every call that takes a
camera goes through both.
"""

import dataclasses
import functools
import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from handjax.data import camera_check
from handjax.data.camera_presets import NAMES, Size, preset
from handjax.pose import pinhole
from handjax.pose.lens import COUNTS, Lens, Undistortion

PRESETS = NAMES
EXPECTED = f"FX,FY,CX,CY in px with FX and FY above 0, or one of {', '.join(NAMES)}"
# What --camera takes, for help texts.
HELP = (
    "intrinsics FX,FY,CX,CY in px; with OpenCV's distortion FX,FY,CX,CY,K1,K2,P1,P2[,K3[,K4,K5,K6]]"
    " or fisheye:FX,FY,CX,CY,K1,K2,K3,K4, or with the coefficients of an SR300 "
    "inverse:FX,FY,CX,CY,K1,K2,P1,P2,K3; or the name of a camera, with typical numbers: "
    f"{', '.join(NAMES)}. crop: in front of them allows images cut out of a camera's"
)
_LARGEST = 1e6  # px; a larger number is a mistake
_CROP = "crop:"
_ORDER = {"opencv": ": K1,K2,P1,P2[,K3[,K4,K5,K6]]", "fisheye": "", "inverse": ": K1,K2,P1,P2,K3"}
_MODELS = ("fisheye", "inverse")  # of lenses, with a colon in front of the numbers


class CameraWarning(UserWarning):
    """A camera that is unusual for its image."""


class PinholeImage(NamedTuple):
    """A depth image without its lens."""

    depth: Float[np.ndarray, "h w"]
    k: Float[np.ndarray, "3 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics and lens of a camera, or a named kind of camera whose numbers depend on the size
    of its images. Pixel centers are integers."""

    name: str  # as given, for messages
    k: Float[np.ndarray, "3 3"] | None = None  # px; None: of the preset `name`
    lens: Lens | None = None
    cropped: bool = False  # its images are parts of the camera's: the axis may be off their middle

    def of_image(self, height: int, width: int) -> "Camera":
        """The camera of an image of `height` x `width` px: with `k`, and checked.

        ValueError if it cannot be; CameraWarning if it is unusual.
        """
        camera = self if self.k is not None else self._mode((width, height))
        found = camera_check.check(camera, (width, height))
        if found.refused:
            raise ValueError(f"camera {self.name}: {found.text}")
        if found.text:
            warnings.warn(f"camera {self.name}: {found.text}", CameraWarning, stacklevel=2)
        return camera

    def pinhole(self, depth: Float[np.ndarray, "h w"]) -> PinholeImage:
        """`of_image`, and the depth image as a pinhole sees it, mm along z, 0 = missing.

        Nothing is cut off: behind a lens the result is larger than the image.
        """
        camera = self.of_image(*depth.shape)
        assert camera.k is not None
        if camera.lens is None:
            return PinholeImage(depth, camera.k)
        inverse = _undistortion(camera.lens, camera.k.tobytes(), *depth.shape)
        return PinholeImage(inverse(depth), inverse.k)

    def project(self, xyz: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Camera mm → px of the image, through the lens. Of a camera that `of_image` returned."""
        assert self.k is not None
        if self.lens is None:
            return pinhole.project(xyz, self.k)
        return self.lens.project(xyz, self.k).astype(xyz.dtype)

    def rays(self, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """Px of the image → directions (x, y, 1), through the lens: `project` backwards."""
        assert self.k is not None
        slopes = (uv - self.k[:2, 2]) / np.array([self.k[0, 0], self.k[1, 1]])
        if self.lens is not None:
            slopes = self.lens.undistort(slopes)
        return np.concatenate([slopes, np.ones_like(slopes[:, :1])], axis=-1)

    def _mode(self, size: Size) -> "Camera":
        """The mode of a preset whose images have `size`."""
        known = preset(self.name)
        if size not in known.modes:
            sizes = " or ".join(f"{width} x {height}" for width, height in known.modes)
            hint = camera_check.scaled_preset(known, size)
            raise ValueError(
                f"camera {self.name}: its images are {sizes} px, this one is "
                f"{size[0]} x {size[1]}{hint}"
            )
        return dataclasses.replace(self, k=_matrix(*known.modes[size]), lens=known.lens)


def read_camera(camera: object) -> Camera:
    """A camera from what a user gives; ValueError for anything else, one line.

    Text: "FX,FY,CX,CY" (commas or blanks), the nine numbers of a 3x3 matrix row by row, a name of
    PRESETS, or four numbers and the coefficients of a lens in OpenCV's order; "fisheye:" in front
    says that they are those of cv2.fisheye, "inverse:" those that an SR300 reports, and "crop:"
    that images are parts of the camera's.
    Otherwise those numbers, a 3x3 matrix, a pair (3x3 matrix, coefficients), or a Camera.
    """
    if isinstance(camera, Camera):
        return camera
    shown = " ".join(str(camera).split())[:80] or "(nothing)"
    text = camera.strip() if isinstance(camera, str) else ""
    cropped = text.startswith(_CROP)
    text = text.removeprefix(_CROP).strip()
    model = next((model for model in _MODELS if text.startswith(f"{model}:")), "opencv")
    text = text.removeprefix(f"{model}:").strip()
    if text in NAMES and model == "opencv":
        return Camera(text, cropped=cropped)
    coefficients = np.zeros(0)
    if isinstance(camera, str):
        values = floats(text.replace(",", " ").split())
    elif isinstance(camera, tuple | list) and len(camera) == 2 and np.shape(camera[0]) == (3, 3):
        values, coefficients = floats(camera[0]), floats(camera[1]).ravel()
        if not coefficients.size:
            raise ValueError(f"camera {shown}: expected {EXPECTED}, or (3x3 matrix, coefficients)")
    else:
        values = floats(camera)
    if values.ndim == 1 and values.size == 9 and values[1] == 0:
        values = values.reshape(3, 3)
    elif values.ndim == 1 and values.size > 4:
        values, coefficients = values[:4], values[4:]
    if values.shape == (4,):
        values = _matrix(*values)
    problem = _wrong_matrix(values)
    if problem is not None:
        raise ValueError(f"camera {shown}: {problem}expected {EXPECTED}")
    return Camera(
        shown, values.astype(np.float32), _lens(shown, coefficients, model), cropped=cropped
    )


def intrinsics(camera: object) -> Float[np.ndarray, "3 3"]:
    """The matrix K of a camera without a lens whose numbers do not depend on the image, px.

    For cameras of images use `read_camera` and `Camera.of_image`, which check that they fit.
    """
    found = read_camera(camera)
    if found.k is None:
        modes = preset(found.name).modes
        if len(modes) > 1 or preset(found.name).lens:
            raise ValueError(
                f"camera {found.name}: its numbers depend on the size of the image; "
                "give FX,FY,CX,CY"
            )
        return _matrix(*next(iter(modes.values())))
    if found.lens is not None:
        raise ValueError(f"camera {found.name}: expected one without distortion")
    return found.k


def numbers(flag: str, text: str, count: int) -> tuple[float, ...]:
    """`count` finite numbers of a flag such as --range NEAR,FAR, joined by commas or blanks."""
    values = floats(text.replace(",", " ").split())
    if values.shape != (count,) or not (np.abs(values) < _LARGEST).all():
        raise ValueError(f"{flag} {text}: expected {count} numbers joined by commas")
    return tuple(values.tolist())


def depth_range(flag: str, text: str) -> tuple[float, float]:
    """NEAR,FAR in mm, 0 < NEAR < FAR."""
    near, far = numbers(flag, text, 2)
    if not 0 < near < far:
        raise ValueError(f"{flag} {text}: expected two distances in mm above 0, the nearer first")
    return near, far


def floats(values: Any) -> np.ndarray:
    """As float64; an empty array where they are no numbers."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return np.zeros(0)


def _matrix(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)


def _wrong_matrix(k: np.ndarray) -> str | None:
    """What is wrong with intrinsics, as the start of a sentence; None if nothing."""
    if k.shape != (3, 3) or not (np.abs(k) < _LARGEST).all():  # NaN is not less
        return ""
    if k[0, 0] > 0 and k[:, 2].tolist() == [0, 0, 1] and k[2, :2].all():
        return "a matrix of columns; give its transpose; "
    if k[0, 0] > 0 > k[1, 1]:
        return "FY is below 0, but y points down here: give it without its sign; "
    if min(k[0, 0], k[1, 1]) <= 0 or k[2].tolist() != [0, 0, 1]:
        return ""
    # Half a pixel is what nobody sees.
    if abs(k[1, 0]) > 0.5 or abs(k[0, 1]) > 0.5:
        return f"a skew of {max(k[1, 0], k[0, 1], key=abs):.3g} px, which is not supported; "
    return None


def _lens(shown: str, coefficients: np.ndarray, model: str) -> Lens | None:
    """The lens of these coefficients; None if they are none or all zero."""
    if model != "opencv" or coefficients.size:
        counts = COUNTS[model]
        if coefficients.size not in counts or not (np.abs(coefficients) < 1e3).all():
            needs = " or ".join(map(str, counts))
            raise ValueError(
                f"camera {shown}: {coefficients.size} distortion coefficients; expected {needs} "
                f"finite ones after FX,FY,CX,CY, in OpenCV's order"
                f"{_ORDER[model]}"
            )
    if model != "fisheye" and not coefficients.any():
        return None
    return Lens(model, tuple(coefficients.tolist()))


@functools.lru_cache(maxsize=8)
def _undistortion(lens: Lens, k: bytes, height: int, width: int) -> Undistortion:
    return Undistortion.of(lens, np.frombuffer(k, np.float32).reshape(3, 3), height, width)
