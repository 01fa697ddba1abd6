"""The square of a picture that a network sees: affine maps between pixels, and the rules by which the originals cut.

An affine map is [2, 3]: p → A p + t in pixels (u, v), whose centres are integers. `a_from_b` takes pixels of b to pixels of a.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

RULES = ("palm", "height", "box", "file", "picture")


@dataclass(frozen=True)
class Crop:
    """A rule and its numbers.

    palm     about one joint (`center_joint`), twice as far as the furthest joint: jiangxubin/hand_pose after lmb-freiburg/hand3d.
    height   about the middle of the joints' box, as large as it is high: Convolutional Pose Machines after namedBen.
    box      about the same, the longer side of the box: the key area of chrisliu54/Hand-Keypoint-Estimation.
    file     the square that the file gives, as it is, else as box: Simon et al. 2017.
    picture  all of it.

    The side is (extent + `pad_px`) · `scale`, kept within `side_px`, in pixels of the picture; `size` is what the network sees.
    """

    rule: str
    size: int
    scale: float = 1.0
    pad_px: float = 0.0
    side_px: tuple[float, float] = (1.0, float("inf"))
    mip_levels: int = 0  # of a picture that is much larger than the crop (`ops.warp`)
    center_joint: int = 0


def square(
    crop: Crop,
    joints_uv: Float[Array, "j 2"],
    known: Bool[Array, " j"],
    picture: tuple[int, int],
    box: Float[Array, " 4"] | None = None,
    seen: Bool[Array, " j"] | None = None,
    offset: Float[Array, " 2"] | None = None,
) -> tuple[Float[Array, " 2"], Float[Array, ""]]:
    """Middle and side of the square about the `known` joints of a picture of height and width `picture`, px.

    `box`: the file's own square, x, y, width, height. `seen`: which joints a "palm" crop has to hold, by default all known ones.
    `offset` moves the middle; a "palm" crop becomes so large that it holds the hand all the same. Where there is no joint it
    is the whole picture.
    """
    height, width = picture
    offset = jnp.zeros(2) if offset is None else offset
    if crop.rule == "file" and box is not None:
        return box[:2] + box[2:] / 2 + offset, jnp.maximum(box[2:].max(), crop.side_px[0])
    low, high = bounds(joints_uv, known)
    center, extents = (low + high) / 2 + offset, high - low
    if crop.rule == "palm":
        # Of a joint outside the picture only the way to the picture's edge counts.
        inside = jnp.clip(joints_uv, 0, jnp.array([[width, height]], jnp.float32))
        center = jnp.where(known[crop.center_joint], joints_uv[crop.center_joint] + offset, center)
        known = known if seen is None else seen
        extents = 2 * jnp.where(known[:, None], jnp.abs(inside - center[None]), 0).max(0)
    extent = extents[1] if crop.rule == "height" else extents.max()
    side = jnp.clip((extent + crop.pad_px) * crop.scale, *crop.side_px)
    whole = jnp.array([width - 1, height - 1]) / 2
    there = known.any() & (crop.rule != "picture")
    return jnp.where(there, center, whole), jnp.where(there, side, float(max(picture)))


def bounds(
    joints_uv: Float[Array, "*b j 2"], known: Bool[Array, "*b j"]
) -> tuple[Float[Array, "*b 2"], Float[Array, "*b 2"]]:
    """Least and greatest u and v of the known joints; infinite where none is known."""
    known = known[..., None]
    return jnp.where(known, joints_uv, jnp.inf).min(-2), jnp.where(known, joints_uv, -jnp.inf).max(
        -2
    )


def picture_from_crop(
    center: Float[Array, " 2"],
    side: Float[Array, ""],
    size: int,
    angle: Float[Array, ""] | float = 0.0,
    mirrored: Bool[Array, ""] | bool = False,
) -> Float[Array, "2 3"]:
    """The map of a crop of `size` pixels a side from a square turned by `angle` (radians, from u to v), then mirrored in u."""
    step = side / size
    cos, sin, sign = jnp.cos(angle), jnp.sin(angle), jnp.where(mirrored, -1.0, 1.0)
    turn = step * jnp.stack([jnp.stack([sign * cos, -sin]), jnp.stack([sign * sin, cos])])
    return jnp.concatenate([turn, (center - turn.sum(-1) * (size - 1) / 2)[:, None]], axis=-1)


def apply(affine: Float[Any, "*b 2 3"], points: Float[Any, "*b j 2"]) -> Float[Any, "*b j 2"]:
    """Points through the map; numpy in, numpy out, and likewise jax."""
    u, v, a = points[..., 0], points[..., 1], affine[..., None, :, :]
    xp = points.__array_namespace__()
    return xp.stack([a[..., i, 0] * u + a[..., i, 1] * v + a[..., i, 2] for i in (0, 1)], axis=-1)


def compose(outer: Float[Any, "*b 2 3"], inner: Float[Any, "*b 2 3"]) -> Float[Any, "*b 2 3"]:
    """First `inner`, then `outer`."""
    product = (outer[..., :, :2, None] * inner[..., None, :, :]).sum(-2)
    return outer.__array_namespace__().concatenate(
        [product[..., :2], product[..., 2:] + outer[..., 2:]], -1
    )


def inverse(affine: Float[Any, "*b 2 3"]) -> Float[Any, "*b 2 3"]:
    """The way back; the map must not flatten."""
    a, b, c, d = (affine[..., i, j] for i in (0, 1) for j in (0, 1))
    xp = affine.__array_namespace__()
    turn = (
        xp.stack([xp.stack([d, -b], -1), xp.stack([-c, a], -1)], -2)
        / (a * d - b * c)[..., None, None]
    )
    shift = -(turn * affine[..., None, :, 2]).sum(-1)
    return xp.concatenate([turn, shift[..., None]], -1)


def size_ratio(affine: Float[Any, "*b 2 3"]) -> Float[Any, "*b"]:
    """How many pixels on the outer side one on the inner side is long: the root of the area's ratio."""
    return abs(affine[..., 0, 0] * affine[..., 1, 1] - affine[..., 0, 1] * affine[..., 1, 0]) ** 0.5
