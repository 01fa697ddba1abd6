"""Depth recordings: ROS 1 bags (.bag) and ROS 2 bags in SQLite (.db3), as RealSense writes them.

librealsense recorded .bag until 2.57 and records .db3 since 2.58: depth as whole numbers, with
their unit and the intrinsics in topics of their own. Other bags of depth images (`16UC1` in mm or
`32FC1` in m, REP 118) are read as well. Only messages of the types used here are decoded, from
their bytes.
"""

import itertools
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32

from handjax.data.cameras import Camera, CameraWarning
from handjax.data.formats.headers import MAX_PIXELS, read_header
from handjax.data.formats.ros_bags import Bag, Topic, open_bag
from handjax.pose.lens import COUNTS, Lens

ENDINGS = (".bag", ".db3")
_MM = {"16UC1": 1.0, "mono16": 1.0, "32FC1": 1000.0}  # encoding → mm per unit, without a topic
_LENSES = {  # as ROS and librealsense call them, and ours
    "plumb_bob": "opencv",
    "rational_polynomial": "opencv",
    "equidistant": "fisheye",
    "Brown Conrady": "opencv",
    "Inverse Brown Conrady": "inverse",
}


class RecordedFrame(NamedTuple):
    """A depth image, mm along z, 0 = missing, and its time from the first one, s."""

    depth: Float32[np.ndarray, "h w"]
    seconds: float


@dataclass(frozen=True)
class Recording:
    """The depth stream of a recording."""

    path: Path
    topic: str
    camera: Camera | None  # None if the recording does not say
    unit_mm: float
    count: int  # of frames

    def __iter__(self) -> Iterator[RecordedFrame]:
        """Decodes one frame after another; ValueError names one that is damaged."""
        with open_bag(self.path) as bag:
            (topic,) = (one for one in bag.topics if one.name == self.topic)
            first: int | None = None
            messages = bag.messages(topic)
            for number in itertools.count():
                try:
                    nanoseconds, data = next(messages)
                    units = _image(data, topic.kind, bag.ros2)
                except StopIteration:
                    return
                except (ValueError, struct.error) as error:
                    raise ValueError(f"{self.path}: frame {number}: {error}") from None
                first = nanoseconds if first is None else first
                depth = np.nan_to_num(units.astype(np.float32), posinf=0.0, neginf=0.0)
                depth = np.maximum(depth, 0) * np.float32(self.unit_mm)
                yield RecordedFrame(depth, (nanoseconds - first) / 1e9)


def open_recording(path: Path) -> Recording:
    """The depth stream of a .bag or .db3: the first, if there are several.

    ValueError or FileNotFoundError, one line, for another file and for one without depth images.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a recording, .bag or .db3")
    with open_bag(path) as bag:
        try:
            return _recording(path, bag)
        except (ValueError, struct.error) as error:
            raise ValueError(f"{path}: {error}") from None


def _recording(path: Path, bag: Bag) -> Recording:
    images = {one.name: encoding for one in bag.topics if (encoding := _encoding(bag, one))}
    depth = {name: kind for name, kind in images.items() if kind in _MM}
    if not depth:
        seen = ", ".join(f"{name} ({kind})" for name, kind in images.items()) or "no images"
        raise ValueError(f"no depth images in it ({seen}); expected 16UC1 or 32FC1")
    name = min(depth, key=lambda one: "depth" not in one.lower())
    (topic,) = (one for one in bag.topics if one.name == name)
    unit = _unit(bag, name)
    unit_mm = _MM[depth[name]] if unit is None else 1000 * unit
    if not 1e-4 < unit_mm <= 1000:
        raise ValueError(f"one unit of depth is {unit_mm:g} mm; expected 0.0001 to 1000")
    return Recording(path, name, _camera(path, bag, name), unit_mm, bag.count(topic))


# ---------------------------------------------------------------- messages


class _Message:
    """Values of a message, one after another; in ROS 2 they lie at multiples of their size."""

    def __init__(self, data: bytes, ros2: bool):
        if ros2 and data[:2] != b"\0\1":
            raise ValueError("a message that is not little-endian CDR; expected what ROS 2 writes")
        self.data, self.at, self.ros2 = data, 4 if ros2 else 0, ros2

    def numbers(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        size = struct.calcsize(kind)
        if self.ros2:
            self.at += -(self.at - 4) % size
        found = struct.unpack_from(f"<{count}{kind}", self.data, self.at)
        self.at += size * count
        return found

    def block(self) -> bytes:
        (length,) = self.numbers("I")
        if self.at + length > len(self.data):
            raise ValueError(f"a message of {len(self.data)} bytes that claims {length} more")
        found = self.data[self.at : self.at + length]
        self.at += length
        return found

    def text(self) -> str:
        return self.block().rstrip(b"\0").decode("utf-8", "replace")

    def header(self) -> None:
        self.numbers("I", 2 if self.ros2 else 3)
        self.block()


def _encoding(bag: Bag, topic: Topic) -> str:
    """The encoding of a topic of images: 16UC1, rgb8, …; "" if it has none."""
    if topic.kind not in ("sensor_msgs/Image", "sensor_msgs/CompressedImage"):
        return ""
    data = bag.first(topic)
    try:
        message = _Message(data, bag.ros2)
        message.header()
        if topic.kind == "sensor_msgs/Image":
            message.numbers("I", 2)
            return message.text()
        form = message.text()
        return form.partition(";")[0] if "compressedDepth" in form else form
    except (ValueError, struct.error):
        return ""


def _image(data: bytes, kind: str, ros2: bool) -> np.ndarray:
    """The numbers of a depth image [h, w] as they are stored."""
    message = _Message(data, ros2)
    message.header()
    if kind == "sensor_msgs/CompressedImage":
        message.text()
        packed = message.block()[12:]  # after the parameters of a quantization
        try:
            read_header(bytes(packed), "a 16-bit PNG")  # OpenCV trusts any size that it claims
            image = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_UNCHANGED)
        except (ValueError, cv2.error):
            image = None
        if image is None or image.dtype != np.uint16 or image.ndim != 2:
            raise ValueError("compressed depth that is no 16-bit PNG of one channel")
        return image
    height, width = message.numbers("I", 2)
    numbers = np.dtype("f4" if message.text() == "32FC1" else "u2")
    (big,) = message.numbers("B")
    (step,) = message.numbers("I")
    values = message.block()
    least = width * numbers.itemsize
    if not 0 < height * width <= MAX_PIXELS or step < least or len(values) < step * height:
        raise ValueError(f"{len(values)} bytes for {width} x {height} px in rows of {step} bytes")
    rows = np.frombuffer(values, np.uint8, step * height).reshape(height, step)[:, :least]
    return np.ascontiguousarray(rows).view(numbers.newbyteorder(">" if big else "<"))


def _unit(bag: Bag, image: str) -> float | None:
    """Metres per unit as RealSense says, None if no topic does."""
    sensor = image.partition("/Depth_")[0]
    wanted = f"{sensor}/option/Depth_Units/value".replace(" ", "_")
    for topic in bag.topics:
        if topic.name.replace(" ", "_") == wanted and (data := bag.first(topic)):
            message = _Message(data, bag.ros2)
            return float(message.text()) if bag.ros2 else message.numbers("f")[0]
    return None


def _camera(path: Path, bag: Bag, image: str) -> Camera | None:
    """The camera of the topic `image`: that of the CameraInfo with the longest common name."""
    infos = [one for one in bag.topics if one.kind == "sensor_msgs/CameraInfo" and bag.count(one)]
    if not infos:
        return None
    parts = image.split("/")

    def common(topic: Topic) -> int:
        pairs = zip(parts, topic.name.split("/"), strict=False)
        return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))

    message = _Message(bag.first(max(infos, key=common)), bag.ros2)
    message.header()
    message.numbers("I", 2)
    model = message.text()
    (count,) = message.numbers("I")
    coefficients = message.numbers("d", count) if count else ()
    k = np.array(message.numbers("d", 9)).reshape(3, 3).astype(np.float32)
    if not (np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0):
        return None
    return Camera("of the recording", k, _lens(path, model, coefficients))


def _lens(path: Path, model: str, coefficients: tuple[float, ...]) -> Lens | None:
    """Without one, or with one that is not supported, which a warning says: None."""
    own = _LENSES.get(model, "")
    if own != "fisheye" and not any(coefficients):
        return None
    counts = COUNTS.get(own, ())
    if len(coefficients) in counts:
        return Lens(own, tuple(coefficients))
    needs = " or ".join(map(str, counts))
    reason = f"{len(coefficients)} coefficients, expected {needs}" if own else "not supported"
    warnings.warn(
        f"{path}: a lens of the model {model!r}: {reason}; its depth is used as it is",
        CameraWarning,
        stacklevel=2,
    )
    return None
