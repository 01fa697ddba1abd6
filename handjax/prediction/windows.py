"""Parts of pictures around boxes, in few sizes, so that pictures of all sizes share one program."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

OUTSIDE = 128  # grey level outside a picture, as in training
SIZES_PX = (128, 192, 256, 384, 512, 768, 1024, 1536)  # of windows; larger parts are made smaller
_ALIGN = 16  # windows begin at multiples of this, so that halved pictures are halved alike


class PictureWindow(NamedTuple):
    """A square part of a picture."""

    pixels: UInt8[np.ndarray, "s s 3"]
    box: Float[np.ndarray, "4"]  # in px of the window
    picture_from_window: Float[np.ndarray, "2 3"]  # affine map of px


def square_part(
    picture: UInt8[np.ndarray, "h w 3"], left: int, top: int, side: int
) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """The pixels of a square; outside the picture it is grey."""
    height, width = picture.shape[:2]
    pixels = np.full((side, side, 3), OUTSIDE, np.uint8)
    u0, u1 = (min(max(x, 0), width) for x in (left, left + side))
    v0, v1 = (min(max(x, 0), height) for x in (top, top + side))
    pixels[v0 - top : v1 - top, u0 - left : u1 - left] = picture[v0:v1, u0:u1]
    return pixels


def window(
    picture: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"], side: float
) -> PictureWindow:
    """The part of the picture with `side` px around the middle of the box (left, top, width,
    height), or somewhat more. Outside the picture it is grey."""
    shrink = max(int(np.ceil((side + _ALIGN) / SIZES_PX[-1])), 1)
    size = next(one for one in SIZES_PX if one * shrink >= side + _ALIGN)
    whole = size * shrink
    middle = box[:2] + box[2:] / 2
    left, top = (int((x - (side - 1) / 2) // _ALIGN) * _ALIGN for x in middle)
    pixels = square_part(picture, left, top, whole)
    if shrink > 1:
        pixels = np.asarray(
            cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA), np.uint8
        )
    half = (shrink - 1) / 2
    affine = np.array([[shrink, 0, left + half], [0, shrink, top + half]], np.float32)
    corner = (box[:2] - affine[:, 2]) / shrink
    return PictureWindow(
        pixels, np.concatenate([corner, box[2:] / shrink]).astype(np.float32), affine
    )
