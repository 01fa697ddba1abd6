"""The contract between what reads data and what learns from it: a batch is a dict of arrays.

A key is there or it is not, nothing is None. Rows that only fill a batch up have `mask == False` and any content.
`b` rows, `j` joints, `h`, `w` pixels; the camera frame is x right, y down, z forward, pixel centers are integers.

key          dtype    shape              meaning
depth        float32  b h w              mm along z, 0 = missing
image        uint8    b h w 3            RGB
voxels       uint8    b d e f/8          occupancy d x e x f, eight voxels a byte along the last axis (`pack_voxels`)
k            float32  b 3 3              intrinsics
joints_xyz   float32  b j 3              mm, camera frame
joints_uv    float32  b j 2              px of `image` or `depth` as it is in the batch
visible      bool     b j                in the picture and not known to be hidden
labelled     bool     b j                has a place at all: joints_uv is 0 where not. Without the key all have
source_from_image float32 b 2 3          affine map of px of `image` to px of the file it is from
box          float32  b 4                left, top, width, height of what is usually cropped, px of `image`
left         bool     b                  a left hand
has_uv       bool     b                  joints_uv mean something
has_xyz      bool     b                  joints_xyz mean something; from the camera and with `k` if `has_uv` too, else from the root
subject      int32    b                  who is seen, by the set's number; -1 unknown, like action and camera
action       int32    b                  what is done, by the set's list
camera       int32    b                  which camera
head_px      float32  b                  size of the head in px of the file, for PCKh; 0 unknown
cube_depth   float32  b v n n            depth of a cube along parallel rays, in v views: mm from its middle, 100 = nothing there
centers      float32  b v s 3            mm from the middle, the view's own frame: of the hand's spheres
synthetic_depth float32 b m n n          like cube_depth, of m labelled synthetic hands per sample (training only)
synthetic_centers float32 b m s 3        their centers
cameras      float32  b v 4 4            each view's mm → those of the first
center_xyz   float32  b 3                mm, middle of the crop; who found it is the configuration's business
cube_mm      float32  b 3                mm, edges of the crop
mask         bool     b                  False: a row of padding. Every batch has it
index        int32    b                  row in the source
stream       uint32   b                  which endless stream of synthetic samples the row is of
heldout      bool     b                  whether that is the held-out one
id           str      b                  name of the frame; stays on the host
"""

import numpy as np
from jaxtyping import Bool, UInt8

BATCH = {
    "depth": ("float32", "b h w"),
    "image": ("uint8", "b h w 3"),
    "voxels": ("uint8", "b d e f/8"),
    "k": ("float32", "b 3 3"),
    "joints_xyz": ("float32", "b j 3"),
    "joints_uv": ("float32", "b j 2"),
    "visible": ("bool", "b j"),
    "labelled": ("bool", "b j"),
    "source_from_image": ("float32", "b 2 3"),
    "box": ("float32", "b 4"),
    "left": ("bool", "b"),
    "has_uv": ("bool", "b"),
    "has_xyz": ("bool", "b"),
    "subject": ("int32", "b"),
    "action": ("int32", "b"),
    "camera": ("int32", "b"),
    "head_px": ("float32", "b"),
    "cube_depth": ("float32", "b v n n"),
    "centers": ("float32", "b v s 3"),
    "synthetic_depth": ("float32", "b m n n"),
    "synthetic_centers": ("float32", "b m s 3"),
    "cameras": ("float32", "b v 4 4"),
    "center_xyz": ("float32", "b 3"),
    "cube_mm": ("float32", "b 3"),
    "mask": ("bool", "b"),
    "index": ("int32", "b"),
    "stream": ("uint32", "b"),
    "heldout": ("bool", "b"),
    "id": ("str", "b"),
}
HOST_ONLY = ("id",)


def check_batch(batch: dict) -> None:
    """ValueError, one line, at the first key that breaks the contract; sizes of one name must agree over all keys."""
    if "mask" not in batch:
        raise ValueError(
            f"batch has no 'mask' among its keys {sorted(batch)}; every source gives one (all True: no padding)"
        )
    seen: dict[str, tuple[int, str]] = {}
    for key, value in batch.items():
        if key not in BATCH:
            raise ValueError(
                f"batch key {key!r} is not in the contract; use one of {', '.join(BATCH)}"
            )
        dtype, dims = BATCH[key]
        found = (
            "str"
            if key in HOST_ONLY and np.asarray(value).dtype.kind == "U"
            else str(getattr(value, "dtype", "list"))
        )
        shape = np.shape(value)
        if found != dtype or len(shape) != len(dims.split()):
            raise ValueError(
                f"batch key {key!r} is {found} {list(shape)}; the contract says {dtype} [{dims}]"
            )
        for name, size in zip(dims.split(), shape, strict=True):
            wanted, where = (
                (int(name), "the contract")
                if name.isdigit()
                else seen.setdefault(name, (size, repr(key)))
            )
            if size != wanted:
                raise ValueError(
                    f"batch key {key!r} is {list(shape)}; {name} of [{dims}] is {wanted} by {where}"
                )


def pack_voxels(voxels: Bool[np.ndarray, "*b d e f"]) -> UInt8[np.ndarray, "*b d e f/8"]:
    """Eight voxels a byte along the last axis, the lowest bit first; f must be a multiple of 8."""
    if voxels.shape[-1] % 8:
        raise ValueError(
            f"last axis of the grid is {voxels.shape[-1]} voxels; packing needs a multiple of 8"
        )
    return np.packbits(voxels, axis=-1, bitorder="little")


def unpack_voxels(packed: UInt8[np.ndarray, "*b d e g"]) -> Bool[np.ndarray, "*b d e 8*g"]:
    """Inverse of `pack_voxels`."""
    return np.unpackbits(packed, axis=-1, bitorder="little").astype(bool)
