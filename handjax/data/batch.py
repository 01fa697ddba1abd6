"""The contract between sources and tasks: a batch is a dict of arrays with the keys of `BATCH`.

A key is present or absent; no value is None. Rows that only fill up a batch have `mask == False`
and arbitrary content. The camera frame is x right, y down, z forward, and pixel centers are at
integers.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8


class BatchKey(NamedTuple):
    """One key of a batch. `dims` names the axes, equal names having equal sizes over all keys: b
    rows, j joints, h and w pixels, v views, s spheres, p hands, m synthetic hands per row."""

    dtype: str
    dims: str
    meaning: str  # with unit and frame


BATCH = {
    "depth": BatchKey("float32", "b h w", "mm along z, 0 = missing"),
    "image": BatchKey("uint8", "b h w 3", "RGB"),
    "voxels": BatchKey(
        "uint8", "b d e f/8", "occupancy d x e x f, eight voxels per byte along the last axis"
    ),
    "k": BatchKey("float32", "b 3 3", "intrinsics, px"),
    "joints_xyz": BatchKey("float32", "b j 3", "mm, camera frame"),
    "joints_uv": BatchKey("float32", "b j 2", "px of `image` or `depth` as it is in the batch"),
    "visible": BatchKey("bool", "b j", "inside the image and not known to be hidden"),
    "labelled": BatchKey(
        "bool",
        "b j",
        "has a label; without one joints_uv is 0, and joints_xyz any place that is finite. If the "
        "key is absent, all have one",
    ),
    "source_from_image": BatchKey(
        "float32", "b 2 3", "affine map, px of `image` → px of the source's file"
    ),
    "box": BatchKey(
        "float32", "b 4", "left, top, width, height of the data set's own box, px of `image`"
    ),
    "area": BatchKey("float32", "b", "px² of the source's file that the object covers, for OKS"),
    "left": BatchKey("bool", "b", "whether it is a left hand"),
    "right": BatchKey("bool", "b", "whether a right hand is in the middle of the crop"),
    "hands": BatchKey("float32", "b p 3", "mean of the joints of up to p hands, mm, camera frame"),
    "present": BatchKey("bool", "b p", "whether that hand is there and can be seen"),
    "sides": BatchKey("float32", "b p", "-1 left hand, 1 right hand"),
    "sizes": BatchKey("float32", "b p", "size of that hand relative to the hand model"),
    "has_uv": BatchKey("bool", "b", "whether joints_uv are valid"),
    "has_xyz": BatchKey(
        "bool", "b", "whether joints_xyz are valid: camera frame if has_uv, else relative to root"
    ),
    "subject": BatchKey("int32", "b", "the person, by the data set's number; -1 = unknown"),
    "action": BatchKey("int32", "b", "the action, by the data set's list; -1 = unknown"),
    "camera": BatchKey("int32", "b", "the camera; -1 = unknown"),
    "head_px": BatchKey(
        "float32", "b", "size of the head, px of the source's file, for PCKh; 0 = unknown"
    ),
    "cube_depth": BatchKey(
        "float32",
        "b v n n",
        "depth in a cube along parallel rays, in v views: mm from its middle, 100 = background",
    ),
    "centers": BatchKey(
        "float32", "b v s 3", "centers of the hand's spheres, mm from the middle, the view's frame"
    ),
    "synthetic_depth": BatchKey(
        "float32",
        "b m n n",
        "like cube_depth, of m labelled synthetic hands per row (training only)",
    ),
    "synthetic_centers": BatchKey("float32", "b m s 3", "like centers, of those hands"),
    "cameras": BatchKey("float32", "b v 4 4", "rigid map, mm of each view → mm of the first"),
    "center_xyz": BatchKey("float32", "b 3", "mm, camera frame: middle of the crop"),
    "cube_mm": BatchKey("float32", "b 3", "mm, edges of the crop"),
    "mask": BatchKey("bool", "b", "False for padding. Every batch has this key"),
    "index": BatchKey("int32", "b", "row in the source"),
    "stream": BatchKey("uint32", "b", "the endless stream of a synthetic sample"),
    "heldout": BatchKey("bool", "b", "whether that stream is held out for evaluation"),
    "id": BatchKey("str", "b", "name of the frame; stays on the host"),
}
HOST_ONLY = ("id",)


def batch_table() -> str:
    """`BATCH` as a markdown table, for docs/architecture.md."""
    rows = ["| key | dtype | shape | meaning |", "|---|---|---|---|"]
    for name, key in BATCH.items():
        shape = ", ".join(key.dims.split())
        rows.append(f"| `{name}` | {key.dtype} | [{shape}] | {key.meaning} |")
    return "\n".join(rows) + "\n"


def check_batch(batch: Mapping[str, Any]) -> None:
    """ValueError, one line, at the first key that violates the contract. Sizes of one name must
    agree over all keys."""
    if "mask" not in batch:
        raise ValueError(
            f"batch has no 'mask' among its keys {sorted(batch)}; "
            "every source provides one (all True: no padding)"
        )
    sizes: dict[str, tuple[int, str]] = {}  # name → its size, and the first key that has it
    for name, value in batch.items():
        if name not in BATCH:
            raise ValueError(
                f"batch key {name!r} is not in the contract; use one of {', '.join(BATCH)}"
            )
        expected = BATCH[name]
        dims, shape, dtype = expected.dims.split(), np.shape(value), _dtype(name, value)
        if dtype != expected.dtype or len(shape) != len(dims):
            raise ValueError(
                f"batch key {name!r} is {dtype} {list(shape)}; "
                f"the contract is {expected.dtype} [{expected.dims}]"
            )
        for dim, size in zip(dims, shape, strict=True):
            if dim.isdigit():
                wanted, where = int(dim), "the contract"
            else:
                wanted, where = sizes.setdefault(dim, (size, repr(name)))
            if size != wanted:
                raise ValueError(
                    f"batch key {name!r} is {list(shape)}; "
                    f"{dim} of [{expected.dims}] is {wanted} by {where}"
                )


def _dtype(name: str, value: Any) -> str:
    if name in HOST_ONLY and np.asarray(value).dtype.kind == "U":
        return "str"
    return str(getattr(value, "dtype", "list"))


def pack_voxels(voxels: Bool[np.ndarray, "*b d e f"]) -> UInt8[np.ndarray, "*b d e f/8"]:
    """Packs eight voxels per byte along the last axis, the lowest bit first. ValueError unless f is
    a multiple of 8."""
    if voxels.shape[-1] % 8:
        raise ValueError(
            f"last axis of the grid is {voxels.shape[-1]} voxels; packing needs a multiple of 8"
        )
    return np.packbits(voxels, axis=-1, bitorder="little")


def unpack_voxels(packed: UInt8[np.ndarray, "*b d e g"]) -> Bool[np.ndarray, "*b d e 8*g"]:
    """Inverse of `pack_voxels`."""
    return np.unpackbits(packed, axis=-1, bitorder="little").astype(bool)
