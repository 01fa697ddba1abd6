"""Stereo Tracking Benchmark (Zhang et al. 2017), unpacked.

A left hand in front of a stereo camera (BB) and a depth sensor (SK). Cameras and formats follow the
README of github.com/zhjwustc/icip17_stereo_hand_pose_dataset. The test split, the 6,000 stereo
images of the first background, is that of lmb-freiburg/hand3d, which has been used ever since.
"""

import io
from collections.abc import Callable, Collection
from functools import partial

import cv2
import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data.formats import mat
from handjax.data.formats.folders import names_in
from handjax.data.formats.image import read_image
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project
from handjax.pose.skeleton import SKELETONS

LAYOUT = """The STB data set, unpacked, twelve sequences B1Counting, B1Random, ... B6Random
of 1,500 frames each:
  labels/B1Counting_BB.mat (config "bb"), labels/B1Counting_SK.mat (configs "sk", "sk_320"), ...
  images/B1Counting/BB_left_0.png, BB_right_0.png ("bb"), SK_color_0.png ("sk", "sk_320"),
  SK_depth_0.png ("sk"), ..."""
SKELETON: str | None = "hand21"
COUNTS = {"train": 15000, "test": 3000}
CONFIGS = {"bb": ("BB_left", "BB_right"), "sk": ("SK_color", "SK_depth"), "sk_320": ("SK_color",)}
HEIGHT, WIDTH = 480, 640
CROP = 320  # px, of sk_320

SEQUENCES = {
    "train": tuple(f"B{i}{motion}" for i in range(2, 7) for motion in ("Counting", "Random")),
    "test": ("B1Counting", "B1Random"),
}
STEREO_K = ((822.79041, 0, 318.47345), (0, 822.79041, 250.31296), (0, 0, 1))
BASELINE_MM = 120.054
COLOR_K = ((607.92271, 0, 314.78337), (0, 607.88192, 236.42484), (0, 0, 1))
DEPTH_K = ((475.62768, 0, 336.41179), (0, 474.77709, 238.77962), (0, 0, 1))
# The sensor's color camera → its depth camera: rotation vector in rad, translation in mm.
COLOR_TO_DEPTH = ((0.00531, -0.01196, 0.00301), (-24.0381, -0.4563, -1.2326))

_MIDDLE_BASE = SKELETONS["hand21"].joints.index("middle_base")
_MAX_FRAMES = 100_000  # per sequence; a label file could claim any number


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing labels and images of a configuration, and images beyond the labels."""
    config, lines = config or "bb", []
    for sequence in sorted(sum((SEQUENCES[split] for split in only or COUNTS), ())):
        labels = _labels_path(root, sequence, config)
        if not labels.exists():
            lines.append(f"labels/{labels.name}")
            continue
        try:
            count = len(_hands(labels))
        except ValueError as error:
            lines.append(str(error))
            continue
        folder = root / "images" / sequence
        present = names_in(folder)
        for camera in CONFIGS[config]:
            names = [f"{camera}_{i}.png" for i in range(count)]
            if absent := [name for name in names if name not in present]:
                lines.append(
                    f"images/{sequence}: {len(absent)} of {count} images of {camera}, "
                    f"the first {absent[0]}"
                )
            if f"{camera}_{count}.png" in present:
                lines.append(
                    f"labels/{labels.name}: a label of {camera}_{count}.png; it has {count} frames"
                )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """One sample per frame of a configuration.

    bb: both stereo images; sk: the sensor's color image and depth; sk_320: a crop of that image.
    """
    return Examples(_lazy(root, split, config or "bb"))


def _lazy(root: epath.Path, split: str, config: str) -> LazyExamples:
    for sequence in SEQUENCES[split]:
        try:
            hands = _hands(_labels_path(root, sequence, config))
        except (ValueError, OSError) as error:
            yield sequence, unreadable(error)
            continue
        for frame, own in enumerate(hands):
            yield f"{sequence}/{frame:04d}", partial(_sample, root, sequence, frame, own, config)


def _sample(root: epath.Path, sequence: str, frame: int, own: np.ndarray, config: str) -> dict:
    if not np.isfinite(own).all() or own[:, 2].min() <= 0:
        path = _labels_path(root, sequence, config)
        raise ValueError(
            f"{path}, frame {frame}: joints that are not finite or behind the camera; copy it again"
        )
    joints = ORDERS["stb"].convert(own).astype(np.float32)
    files = [
        _image(root / "images" / sequence / f"{camera}_{frame}.png") for camera in CONFIGS[config]
    ]
    try:
        content = _CONTENT[config](joints, *files)
    except ValueError as error:
        raise ValueError(f"{root / 'images' / sequence}, frame {frame}: {error}") from None
    return {"id": f"{sequence}/{frame:04d}", **content, "side": "left", "root": ORDERS["stb"].root}


def _stereo(joints: np.ndarray, left: tuple, right: tuple) -> dict:
    k = np.array(STEREO_K, np.float32)
    from_right = joints - np.array([BASELINE_MM, 0, 0], np.float32)
    return {
        "image": io.BytesIO(left[0]),
        "image_right": io.BytesIO(right[0]),
        **_labels(joints, k),
        "joints_uv_right": project(from_right, k),
    }


def _sensor(joints: np.ndarray, color: tuple, depth: tuple) -> dict:
    packed = depth[1].astype(np.uint16)
    sensor_k = np.array(DEPTH_K, np.float32)
    return {
        "image": io.BytesIO(color[0]),
        **_labels(depth_to_color(joints), np.array(COLOR_K, np.float32)),
        "sensor_depth": packed[..., :1] + 256 * packed[..., 1:2],
        "sensor_k": sensor_k,
        "sensor_joints_xyz": joints,
        "sensor_joints_uv": project(joints, sensor_k),
    }


def _cropped(joints: np.ndarray, color: tuple) -> dict:
    """The square crop of STB_320 (github.com/jiangxubin/hand_pose, convert_to_tfrecords.py).

    It is centered on the base of the middle finger, in whole pixels, and 320 px wide; where the
    image ends earlier it is smaller, and resized.
    """
    joints, k = depth_to_color(joints), np.array(COLOR_K, np.float32)
    u, v = project(joints, k)[_MIDDLE_BASE].astype(int).tolist()
    half = min(u, v, CROP // 2, WIDTH - u, HEIGHT - v)
    if half < 1:
        raise ValueError(
            f"the base of the middle finger is at {u}, {v} px, outside the image; use config sk"
        )
    square = np.ascontiguousarray(color[1][v - half : v + half, u - half : u + half, ::-1])
    scale = CROP / (2 * half)
    if scale > 1:
        square = cv2.resize(square, (CROP, CROP), interpolation=cv2.INTER_CUBIC)
    # Pixel centers are integers. The original only multiplies by the scale, which is half a scaled
    # pixel less.
    affine = np.array(
        [
            [scale, 0, (0.5 - u + half) * scale - 0.5],
            [0, scale, (0.5 - v + half) * scale - 0.5],
            [0, 0, 1],
        ]
    )
    data = cv2.imencode(".png", square)[1].tobytes()
    return {
        "image": io.BytesIO(data),
        **_labels(joints, (affine @ k).astype(np.float32), CROP, CROP),
    }


_CONTENT: dict[str, Callable[..., dict]] = {"bb": _stereo, "sk": _sensor, "sk_320": _cropped}


def depth_to_color(points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Depth camera mm → color camera mm: R⁻¹ (x - t), as in the data set's positionCalc.m."""
    rotation = cv2.Rodrigues(np.array(COLOR_TO_DEPTH[0]))[0]
    translation = np.array(COLOR_TO_DEPTH[1])
    return ((points.astype(np.float64) - translation) @ rotation).astype(points.dtype)


def _labels(joints: np.ndarray, k: np.ndarray, height: int = HEIGHT, width: int = WIDTH) -> dict:
    uv = project(joints, k)
    inside = np.all((uv > -0.5) & (uv < np.array([width, height]) - 0.5), axis=-1)
    return {"k": k, "joints_xyz": joints, "joints_uv": uv, "visible": inside}


def _image(path: epath.Path) -> tuple[bytes, np.ndarray]:
    data, pixels = read_image(path)
    if pixels.shape != (HEIGHT, WIDTH, 3):
        raise ValueError(f"{path}: pixels of shape {pixels.shape}; expected {(HEIGHT, WIDTH, 3)}")
    return data, pixels


def _labels_path(root: epath.Path, sequence: str, config: str) -> epath.Path:
    return root / "labels" / f"{sequence}_{config[:2].upper()}.mat"


def _hands(path: epath.Path) -> Float[np.ndarray, "n 21 3"]:
    """Joints of every frame in mm, in STB's own order."""
    try:
        data, limit = path.read_bytes(), _MAX_FRAMES * 3 * 21 * 8 + 1024
        shape, _ = mat.variables(data, limit).get("handPara", ((), ""))
        if len(shape) != 3 or shape[:2] != (3, 21) or not 0 < shape[2] <= _MAX_FRAMES:
            raise ValueError(f"handPara has the shape {shape or None}")
        hands = mat.arrays(data, ["handPara"], limit)["handPara"]
        return hands.astype(np.float64, casting="same_kind").transpose(2, 1, 0)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; expected the labels of a sequence"
        ) from None
    except Exception as error:  # scipy raises anything for a damaged file
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: {what}; expected a MATLAB file with handPara, 3 x 21 x frames in mm; "
            "copy it again"
        ) from None
