"""What HANDS 2017, HANDS 2019 (task 1) and BigHand2.2M have in common: an Intel RealSense SR300,
and lines of x y z of 21 joints in camera mm, x right, y down, z forward, in one order."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Float32

from handjax.data.formats.depth import read_depth_png
from handjax.data.formats.label_text import parse_numbers
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project

JOINTS = 21
HEIGHT, WIDTH = 480, 640
K = ((475.065948, 0.0, 315.944855), (0.0, 475.065857, 245.287079), (0.0, 0.0, 1.0))


def lines_of(path: epath.Path) -> Iterator[tuple[int, str]]:
    """(number, text) of every line, one at a time: a file may have half a gigabyte. ValueError for
    other bytes than text, and for an empty file."""
    number = 0
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            try:
                yield number, data.decode().strip()
            except UnicodeDecodeError:
                raise ValueError(f"{path}, line {number}: not UTF-8 text; copy it again") from None
    if not number:
        raise ValueError(f"{path}: empty; expected one line per frame")


def check_count(path: epath.Path, number: int, words: list[str]) -> None:
    """ValueError unless these are as many words as a line has after the name of its frame."""
    if len(words) != 3 * JOINTS:
        raise ValueError(
            f"{path}, line {number}: {len(words)} numbers after the name; expected x y z of "
            f"{JOINTS} joints"
        )


def joints(path: epath.Path, number: int, words: list[str]) -> Float32[np.ndarray, "21 3"]:
    """Those of a line, camera mm, in the order "hand21". ValueError unless all can be seen."""
    check_count(path, number, words)
    own = parse_numbers(path, number, words).reshape(JOINTS, 3)
    if not (own[:, 2] > 0).all():
        raise ValueError(
            f"{path}, line {number}: a joint is behind the camera; expected positive z in mm"
        )
    return ORDERS["hands2017"].convert(own)


def features(image: epath.Path, xyz: Float32[np.ndarray, "21 3"] | None) -> dict[str, Any]:
    """A frame with its joints; without them they are 0, and none is visible."""
    k, uv, inside = np.asarray(K), np.zeros((JOINTS, 2)), np.zeros(JOINTS, bool)
    if xyz is not None:
        uv = project(xyz, k)
        inside = np.all((uv > -0.5) & (uv < (WIDTH - 0.5, HEIGHT - 0.5)), axis=-1)
    depth, data = read_depth_png(image, form="png16")
    if depth.shape != (HEIGHT, WIDTH):
        raise ValueError(
            f"{image}: {depth.shape[1]} x {depth.shape[0]} pixels; expected {WIDTH} x {HEIGHT}"
        )
    return {
        "depth": io.BytesIO(data),
        "k": k.astype(np.float32),
        "joints_xyz": np.zeros((JOINTS, 3), np.float32) if xyz is None else xyz,
        "joints_uv": uv.astype(np.float32),
        "visible": inside,
        "root": ORDERS["hands2017"].root,
    }
