"""Draws a few samples of a data set with their joints, for the report."""

import hashlib
import heapq
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from handjax.data.preparation.examples import LazyExamples, Read
from handjax.data.preparation.validate import Findings, images, readable
from handjax.pose.skeleton import Skeleton

TILES, TILE_PX = 12, 240
_GAP_PX = 6  # between tiles
_YELLOW = (255, 212, 0)


class TileSampler:
    """Picks `TILES` of all examples that pass by: those whose keys have the smallest digests, so
    the choice does not depend on the order."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, Read]] = []

    def passing(self, examples: LazyExamples) -> LazyExamples:
        """The same examples."""
        for key, read in examples:
            digest = hashlib.sha256(key.encode()).digest()[:8]
            entry = (-int.from_bytes(digest, "big"), key, read)
            if len(self._heap) < TILES:
                heapq.heappush(self._heap, entry)
            elif entry[:2] > self._heap[0][:2]:
                heapq.heapreplace(self._heap, entry)
            yield key, read

    def tiles(self, skeleton: Skeleton | None) -> list[tuple[str, UInt8[np.ndarray, "h w 3"]]]:
        """(key, drawing) of the picked samples that are readable, sorted by key.

        Joints are drawn with the bones of `skeleton`.
        """
        examples = sorted(((key, read) for _, key, read in self._heap), key=lambda pair: pair[0])
        return [(key, draw(sample, skeleton)) for key, sample in readable(examples, Findings())]

    def jpegs(self, skeleton: Skeleton | None) -> tuple[tuple[str, bytes], ...]:
        """`tiles` as JPEG files."""
        return tuple((key, contact_sheet([tile])) for key, tile in self.tiles(skeleton))


def draw(sample: dict[str, Any], skeleton: Skeleton | None) -> UInt8[np.ndarray, "h w 3"]:
    """RGB square around the visible joints of the sample's first image.

    Joints are dots, connected by the bones of `skeleton`. Black where the image does not decode.
    """
    image = next(images(sample))
    pixels = image.get("image", image.get("depth"))
    if pixels is None:
        return np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    pixels = _to_rgb(pixels, image)
    uv, visible = np.zeros((0, 2)), np.zeros(0, bool)
    if "joints_uv" in image:
        uv = image["joints_uv"]
        visible = image.get("visible", np.ones(len(uv), bool)) & np.isfinite(uv).all(-1)

    # --- crop: a square around the visible joints, else all of the image
    height, width = pixels.shape[:2]
    low, high, margin = np.zeros(2), np.array([width - 1.0, height - 1.0]), 1.0
    if visible.any():
        low, high, margin = uv[visible].min(0), uv[visible].max(0), 1.5
    side = max(float((high - low).max()) * margin, 20.0)
    # Pixel centers are integers: u → (u + 1/2 - left) · scale - 1/2.
    scale = TILE_PX / side
    corner = (low + high) / 2 + 0.5 - side / 2
    affine = np.concatenate([np.eye(2) * scale, ((0.5 - corner) * scale - 0.5)[:, None]], axis=1)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile = cv2.warpAffine(pixels, affine, (TILE_PX, TILE_PX), flags=interpolation)

    # --- joints
    points = np.rint((uv + 0.5 - corner) * scale - 0.5).clip(-4000, 4000).astype(int)
    colours = skeleton.rgb if skeleton else (_YELLOW,) * len(uv)
    for parent, child in skeleton.bones if skeleton and visible.any() else ():
        if visible[parent] and visible[child]:
            ends = points[parent].tolist(), points[child].tolist()
            cv2.line(tile, *ends, colours[child], 1, cv2.LINE_AA)
    for joint in np.flatnonzero(visible):
        cv2.circle(tile, points[joint].tolist(), 3, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(tile, points[joint].tolist(), 2, colours[joint], -1, cv2.LINE_AA)
    return tile


def contact_sheet(tiles: list[UInt8[np.ndarray, "_ _ 3"]], columns: int = 4) -> bytes:
    """JPEG of the tiles in rows, on white."""
    rows = -(-len(tiles) // columns)
    step = TILE_PX + _GAP_PX
    shape = rows * step - _GAP_PX, min(columns, len(tiles)) * step - _GAP_PX, 3
    page = np.full(shape, 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * step, i % columns * step
        page[top : top + TILE_PX, left : left + TILE_PX] = tile
    return cv2.imencode(".jpg", page[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def decode_jpeg(jpeg: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels."""
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("not a JPEG file that decodes")
    return pixels[..., ::-1]


def _to_rgb(pixels: np.ndarray, image: dict[str, Any]) -> UInt8[np.ndarray, "h w 3"]:
    if "image" not in image:
        xyz = image.get("joints_xyz")
        z = None if xyz is None else xyz[:, 2]
        pixels = _depth_to_grey(pixels.reshape(pixels.shape[:2]), z)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(pixels[..., 2::-1])


def _depth_to_grey(depth: np.ndarray, z: Float[np.ndarray, " j"] | None) -> np.ndarray:
    """Bright is near. The range is that of the joints and 100 mm more; missing depth is black."""
    if z is not None:
        near, far = z.min() - 100, z.max() + 100
    else:
        near, far = depth[depth > 0].min(initial=0), depth.max(initial=1)
    light = 255 - 200 * np.clip((depth - float(near)) / max(float(far - near), 1.0), 0, 1)
    return np.where(depth > 0, light, 0).astype(np.uint8)
