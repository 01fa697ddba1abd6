"""Are the samples of a data set what they claim to be? Every sample is held against itself: files can be read, pictures decode,
joints are finite, in the picture, where the camera sees them and near the surface of the depth. Nothing here stops at a fault; it
counts."""

import hashlib
import heapq
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import UInt8

from handjax.data.batch import unpack_voxels
from handjax.data.preparation.examples import LazyExamples, Read
from handjax.data.sets.human36m.raw import project
from handjax.pose.skeleton import COLOURS, SKELETONS, Skeleton

# What may be wrong with a frame, in the report's words.
FAULTS = {
    "undecodable": "pictures that do not decode",
    "not_finite": "numbers that are not finite",
    "behind": "joints behind the camera",
    "outside": "visible joints outside the picture",
    "empty_depth": "no depth at all",
    "off_surface": "most visible joints not within 50 mm of the depth",
    "reprojection": "a joint more than 1 px from where its 3D is seen",
}
SURFACE_MM = (10, 20, 50)
REPROJECTION_PX = 1.0
TILES, TILE_PX = 12, 240
_NAMED = 5  # frames named for each fault
_LINES = 200  # kept of what cannot be read, a line each


@dataclass
class Findings:
    """Of some samples; those of two lots add up (`+=`), and `plain` goes through JSON.

    `counts`: frames, a fault's frames under its name, joints (visible, with a place in a picture), joints_outside, surface_joints
    (with depth at their pixel), surface_within_10 and so on, reprojected_joints, and the unreadable, which are no frames. `px` sums
    up distances of reprojected joints; `unreadable` holds the lines that say what is wrong, each with how many it cost.
    """

    counts: Counter[str] = field(default_factory=Counter)
    px: float = 0.0
    largest_px: float = 0.0
    named: dict[str, list[str]] = field(default_factory=dict)  # the first frames with a fault
    unreadable: dict[str, int] = field(default_factory=dict)

    def __iadd__(self, other: "Findings") -> "Findings":
        self.counts.update(other.counts)
        self.px += other.px
        self.largest_px = max(self.largest_px, other.largest_px)
        for fault, keys in other.named.items():
            self.named[fault] = (self.named.get(fault, []) + keys)[:_NAMED]
        for line, times in other.unreadable.items():
            self._keep(line, times)
        return self

    def not_read(self, error: Exception) -> None:
        self.counts["unreadable"] += 1
        self._keep(" ".join(str(error).split()), 1)

    def _keep(self, line: str, times: int) -> None:
        if line in self.unreadable or len(self.unreadable) < _LINES:
            self.unreadable[line] = self.unreadable.get(line, 0) + times

    def plain(self) -> dict:
        return {**vars(self), "counts": dict(self.counts)}

    @classmethod
    def from_plain(cls, plain: dict) -> "Findings":
        return cls(**{**plain, "counts": Counter(plain["counts"])})

    def numbers(self, published: int | None) -> dict:
        """As the report gives them: shares from 0 to 1, None where there is nothing to measure."""
        counts, surface, seen = (
            self.counts,
            self.counts["surface_joints"],
            self.counts["reprojected_joints"],
        )
        return {
            "frames": counts["frames"],
            "published_frames": published,
            "unreadable_frames": counts["unreadable"],
            "unreadable": self.unreadable,
            "frames_with": {fault: counts[fault] for fault in FAULTS},
            "named": self.named,
            "visible_joints": counts["joints"],
            "joints_outside": counts["joints_outside"],
            "surface_joints": surface,
            "surface_share_within_mm": {
                str(mm): counts[f"surface_within_{mm}"] / surface if surface else None
                for mm in SURFACE_MM
            },
            "reprojected_joints": seen,
            "reprojection_mean_px": self.px / seen if seen else None,
            "reprojection_largest_px": self.largest_px if seen else None,
        }


def readable(entries: LazyExamples, found: Findings) -> Iterator[tuple[str, dict]]:
    """(key, sample) of the entries that can be read; why the others cannot goes to `found`."""
    for key, read in entries:
        try:
            sample = read()
        except (ValueError, OSError) as error:
            found.not_read(error)
        else:
            yield key, sample


def examined(samples: Iterable[tuple[str, dict]], found: Findings) -> Iterator[tuple[str, dict]]:
    """The same (key, sample) as the data sets' raw.py give them; what there is to say of them goes to `found`."""
    for key, sample in samples:
        found.counts["frames"] += 1
        for fault in sorted(_faults(sample, found)):
            found.counts[fault] += 1
            found.named.setdefault(fault, [])
            found.named[fault] = (found.named[fault] + [key])[:_NAMED]
        yield key, sample


def examine(entries: LazyExamples) -> Findings:
    found = Findings()
    for _ in examined(readable(entries, found), found):
        pass
    return found


def views(sample: dict) -> Iterator[dict]:
    """The pictures of a sample, each as `image` and `depth` with what belongs to it of k, joints_xyz, joints_uv, visible and
    distortion: the plain keys, a depth sensor's, those of a right camera, several views on a leading axis, or a grid's front."""
    if "voxels" in sample:
        yield _front(sample)
        return
    main = {
        key: sample[key]
        for key in ("image", "depth", "k", "joints_xyz", "joints_uv", "visible", "distortion")
        if key in sample
    }
    if np.ndim(main.get("k")) == 3:
        yield from ({key: value[i] for key, value in main.items()} for i in range(len(main["k"])))
    else:
        yield main
    if "sensor_depth" in sample:
        yield {
            key.removeprefix("sensor_"): value
            for key, value in sample.items()
            if key.startswith("sensor_")
        }
    if "image_right" in sample:
        yield {
            key.removesuffix("_right"): value
            for key, value in sample.items()
            if key.endswith("_right")
        }


def _front(sample: dict) -> dict:
    """A voxel grid seen along z, with depth from 10 m on, so that none is 0; its cells are as in data/formats/voxel_h5.py."""
    grid = unpack_voxels(sample["voxels"])
    size = len(grid)
    unit = (sample["joints_xyz"] - sample["center_xyz"]) / sample["cube_mm"] + 0.5
    deep = 10_000 + grid.argmax(-1) / (size - 2) * sample["cube_mm"][2]
    uv, z = unit[:, :2] * size - 0.5, 10_000 + unit[:, 2] * sample["cube_mm"][2]
    return {"depth": np.where(grid.any(-1), deep, 0), "joints_uv": uv, "joints_xyz": np.c_[uv, z]}


def _faults(sample: dict, found: Findings) -> set[str]:
    faults = set()
    files = {key: _decoded(value) for key, value in sample.items() if isinstance(value, io.BytesIO)}
    if any(pixels is None for pixels in files.values()):
        faults.add("undecodable")
    numbers = [np.asarray(value) for key, value in sample.items() if key not in files]
    if any(value.dtype.kind == "f" and not np.isfinite(value).all() for value in numbers):
        return faults | {"not_finite"}
    for view in views({**sample, **files}):
        faults |= _faults_of_view(view, found)
    return faults


def _faults_of_view(view: dict, found: Findings) -> set[str]:
    faults = set()
    depth, image, uv, xyz = (view.get(key) for key in ("depth", "image", "joints_uv", "joints_xyz"))
    if depth is not None and not depth.any():
        faults.add("empty_depth")
    if xyz is not None and (xyz[view.get("visible", np.ones(len(xyz), bool)), 2] <= 0).any():
        return faults | {"behind"}
    frame = image if image is not None else depth
    if uv is None or frame is None:
        return faults
    height, width = frame.shape[:2]
    visible = view.get("visible", np.ones(len(uv), bool))
    inside = ((uv >= -0.5) & (uv < (width - 0.5, height - 0.5))).all(-1)
    found.counts["joints"] += int(visible.sum())
    if (visible & ~inside).any():
        found.counts["joints_outside"] += int((visible & ~inside).sum())
        faults.add("outside")
    if xyz is not None and "k" in view:
        away = np.linalg.norm(
            project(xyz[visible], view["k"], view.get("distortion")) - uv[visible], axis=-1
        )
        found.counts["reprojected_joints"] += len(away)
        found.px += float(away.sum())
        found.largest_px = max(found.largest_px, float(away.max(initial=0)))
        if away.max(initial=0) > REPROJECTION_PX:
            faults.add("reprojection")
    if xyz is not None and depth is not None:
        u, v = np.rint(uv[visible & inside]).astype(int).T
        there = depth[v, u].reshape(-1).astype(np.float32)
        away = np.abs(xyz[visible & inside, 2] - there)[there > 0]
        found.counts["surface_joints"] += len(away)
        for mm in SURFACE_MM:
            found.counts[f"surface_within_{mm}"] += int((away <= mm).sum())
        if len(away) and (away <= SURFACE_MM[-1]).mean() < 0.5:
            faults.add("off_surface")
    return faults


def _decoded(file: io.BytesIO) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(file.getbuffer(), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


class Chosen:
    """A dozen of all entries that come by, the same ones each time: those whose keys have the least digests."""

    def __init__(self):
        self._heap: list[tuple[int, str, Read]] = []

    def passing(self, entries: LazyExamples) -> LazyExamples:
        for key, read in entries:
            entry = (-int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"), key, read)
            if len(self._heap) < TILES:
                heapq.heappush(self._heap, entry)
            elif entry[:2] > self._heap[0][:2]:
                heapq.heapreplace(self._heap, entry)
            yield key, read

    def drawn(self, skeleton: str | None) -> list[tuple[str, UInt8[np.ndarray, "h w 3"]]]:
        """(key, the sample's first picture with its joints), in the order of the keys, of those that can be read."""
        bones = SKELETONS[skeleton] if skeleton else None
        entries = sorted(((key, read) for _, key, read in self._heap), key=lambda entry: entry[0])
        return [(key, draw(sample, bones)) for key, sample in readable(entries, Findings())]


def draw(sample: dict, skeleton: Skeleton | None) -> UInt8[np.ndarray, "h w 3"]:
    """RGB square about the visible joints, which are dots, with the skeleton's bones where there is one."""
    files = {key: _decoded(value) for key, value in sample.items() if isinstance(value, io.BytesIO)}
    view = next(views({**sample, **files}))
    picture = view.get("image", view.get("depth"))
    uv, xyz = view.get("joints_uv"), view.get("joints_xyz")
    if picture is None:
        return np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    if "image" not in view:
        picture = _grey(picture.reshape(picture.shape[:2]), None if xyz is None else xyz[:, 2])
    picture = (
        cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
        if picture.ndim == 2
        else np.ascontiguousarray(picture[..., 2::-1])
    )
    height, width = picture.shape[:2]
    visible = (
        np.zeros(0, bool)
        if uv is None
        else view.get("visible", np.ones(len(uv), bool)) & np.isfinite(uv).all(-1)
    )
    low, high = np.zeros(2), np.array([width - 1.0, height - 1.0])
    if visible.any():
        low, high = uv[visible].min(0), uv[visible].max(0)
    middle, side = (
        (low + high) / 2,
        max(float((high - low).max()) * (1.5 if visible.any() else 1), 20.0),
    )
    # Pixel centers are integers: u → (u + 1/2 - left) · scale - 1/2.
    scale = TILE_PX / side
    left, top = middle + 0.5 - side / 2
    affine = np.array(
        [[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]]
    )
    tile = cv2.warpAffine(
        picture, affine, (TILE_PX, TILE_PX), flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    if not visible.any():
        return tile
    at = np.rint((uv + 0.5 - (left, top)) * scale - 0.5).clip(-4000, 4000).astype(int)
    colours = (
        [_rgb(COLOURS[group]) for group in skeleton.groups]
        if skeleton
        else [_rgb("#ffd400")] * len(uv)
    )
    for parent, child in skeleton.bones if skeleton else ():
        if visible[parent] and visible[child]:
            cv2.line(tile, at[parent].tolist(), at[child].tolist(), colours[child], 1, cv2.LINE_AA)
    for joint in np.flatnonzero(visible):
        cv2.circle(tile, at[joint].tolist(), 3, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(tile, at[joint].tolist(), 2, colours[joint], -1, cv2.LINE_AA)
    return tile


def sheet(tiles: list[UInt8[np.ndarray, "h w 3"]], columns: int = 4) -> bytes:
    """The JPEG of tiles in rows, with a gap of white between them."""
    rows = -(-len(tiles) // columns)
    step = TILE_PX + 6
    page = np.full((rows * step - 6, min(columns, len(tiles)) * step - 6, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * step, i % columns * step
        page[top : top + TILE_PX, left : left + TILE_PX] = tile
    return cv2.imencode(".jpg", page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def opened(jpeg: bytes) -> UInt8[np.ndarray, "h w 3"]:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def _grey(depth: np.ndarray, z: np.ndarray | None) -> UInt8[np.ndarray, "h w"]:
    """Near is bright, over the joints' depth and 100 mm on both sides; missing is black."""
    near, far = (
        (z.min() - 100, z.max() + 100)
        if z is not None
        else (depth[depth > 0].min(initial=0), depth.max(initial=1))
    )
    light = 255 - 200 * np.clip((depth - float(near)) / max(float(far - near), 1.0), 0, 1)
    return np.where(depth > 0, light, 0).astype(np.uint8)


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
