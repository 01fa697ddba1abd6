"""Files of the viewer: pose, depth image and mesh that it writes, and poses that it reads."""

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from handjax.pose.skeleton import SKELETONS
from handjax.rigs import hand
from handjax.viewer.hand import (
    PosedHand,
    check_pose,
    parse_pose,
    posed_hand,
    side_of,
)
from handjax.viewer.rendering import CENTER_XYZ, PIXELS, WINDOW_MM, RenderedHand, window

# What can be downloaded → its file name.
DOWNLOADS = {"pose": "hand.json", "depth image": "hand_depth.png", "mesh": "hand.obj"}
_THICKNESS = ("fingers", "palm")
_FORMS = "give 26 numbers (rad, mm), or a .npy or text file of them"


def pose_json(shown: PosedHand, center: Float[np.ndarray, "3"], now: RenderedHand) -> bytes:
    """The parameters of the hand by name, its joints and the camera of its depth image; `read_hand`
    reads it."""
    k = np.asarray(window(center), np.float64)
    data = {
        "side": side_of(shown),
        "pose": dict(zip(hand.POSE_NAMES, _plain(shown.pose), strict=True)),
        "size": _plain(shown.size),
        "fingers": dict(zip(hand.FINGERS, _plain(shown.fingers), strict=True)),
        "thickness": dict(zip(_THICKNESS, _plain(shown.thickness), strict=True)),
        "center_xyz": _plain(center),
        "joints_xyz": dict(zip(SKELETONS["hand21"].joints, _plain(now.joints), strict=True)),
        "depth_image": {
            "width": PIXELS,
            "height": PIXELS,
            "unit_mm": 1.0,
            "camera": [k[0, 0], k[1, 1], k[0, 2], k[1, 2]],
        },
        "units": "rad; mm of the camera: x right, y down, z forward; camera: fx fy cx cy, px",
    }
    return (json.dumps(data, indent=1) + "\n").encode()


def _plain(values: Any) -> Any:
    """Lists of numbers with the fewest digits that float32 needs."""
    shortest = np.vectorize(lambda value: float(np.format_float_positional(np.float32(value))))
    return shortest(np.asarray(values)).tolist()


def depth_png(depth: Float[np.ndarray, "h w"]) -> bytes:
    """PNG of 16 bits in whole mm, 0 = nothing there."""
    return cv2.imencode(".png", np.rint(depth).astype(np.uint16))[1].tobytes()


def read_hand(given: str, side: str) -> tuple[PosedHand, Float[np.ndarray, "3"]]:
    """A hand and its center, camera mm: from a JSON file that the viewer wrote, or from 26 numbers
    (see `read_pose`) and `side`. ValueError and FileNotFoundError name the flag --pose."""
    center = np.asarray(CENTER_XYZ, np.float32)
    if not given.endswith(".json"):
        return posed_hand(read_pose(given), side=side), center
    try:
        data = json.loads(Path(given).read_bytes())
        fingers = [data["fingers"][finger] for finger in hand.FINGERS]
        pose = [data["pose"][name] for name in hand.POSE_NAMES]
        given_thickness = data.get("thickness", dict.fromkeys(_THICKNESS, 1.0))  # not in old files
        thickness = [given_thickness[part] for part in _THICKNESS]
        found = posed_hand(pose, data["size"], fingers, data["side"], thickness)
        center = np.asarray(data["center_xyz"], np.float32)
    except FileNotFoundError:
        raise FileNotFoundError(f"--pose {given}: no such file") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"--pose {given}: {error!r}; expected JSON written by the viewer, or 26 numbers "
            "(rad, mm)"
        ) from None
    numbers = np.concatenate([np.ravel(part) for part in (*found, center)])
    finite = bool(np.all(np.abs(numbers) < 1e6))
    if found.size.shape or center.shape != (3,) or not finite or center[2] < 2 * WINDOW_MM / 3:
        raise ValueError(
            f"--pose {given}: expected finite numbers, and a hand at least 200 mm from the camera"
        )
    return found, center


def read_pose(given: str) -> Float[np.ndarray, "26"]:
    """A pose from a .npy or text file, or from the text itself."""
    try:
        if given.endswith(".npy"):
            with open(given, "rb") as file:
                return check_pose(np.lib.format.read_array(file, allow_pickle=False).ravel())
        return parse_pose(Path(given).read_text() if os.path.isfile(given) else given)
    except FileNotFoundError:
        raise FileNotFoundError(f"--pose {given}: no such file; {_FORMS}") from None
    except ValueError as error:
        raise ValueError(f"--pose {given[:100]}: {error}; {_FORMS}") from None
