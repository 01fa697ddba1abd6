"""Square crops of images: the originals' rules for where to cut, and affine maps between pixels.

An affine map [2, 3] is p → A p + t in pixels (u, v), whose centers are at integers. `a_from_b` maps
pixels of b to pixels of a.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

RULES = ("palm", "height", "box", "labelled", "file", "image")
FAR = 3.0  # crops; a crop that holds its hand or person has labels to 0.5, augmented ones to 1


@dataclass(frozen=True)
class Crop:
    """A rule for the crop's center and extent, and its parameters.

    palm     around `center_joint`, twice the distance of the furthest joint: jiangxubin/hand_pose
             after lmb-freiburg/hand3d
    height   around the center of the joints' bounding box, its height: CPM after namedBen
    box      around the same, its longer side: the key area of chrisliu54/Hand-Keypoint-Estimation
    labelled around the box that labels, or whoever predicts, give, its longer side; else as `box`
    file     the square given by the data set, unchanged, else as `box`: Simon et al. 2017
    image    the whole image

    The side is (extent + `pad_px`) · `scale`, clipped to `side_px`, in pixels of the image. `size`
    is the side of the network's input.
    """

    rule: str
    size: int
    scale: float = 1.0
    pad_px: float = 0.0
    side_px: tuple[float, float] = (1.0, float("inf"))
    mip_levels: int = 0  # for images much larger than the crop, see `pose.warp`
    center_joint: int = 0


def square(
    crop: Crop,
    joints_uv: Float[Array, "j 2"],
    known: Bool[Array, " j"],
    image_size: tuple[int, int],
    box: Float[Array, " 4"] | None = None,
    seen: Bool[Array, " j"] | None = None,
    offset: Float[Array, " 2"] | None = None,
) -> tuple[Float[Array, " 2"], Float[Array, ""]]:
    """Center and side, px, of the square around the `known` joints; the whole image without any.

    `image_size` is (height, width). `box` is the data set's own: x, y, width, height. `seen`
    are the joints that a "palm" crop must contain, by default the known ones. `offset` shifts the
    center; a "palm" crop grows so that it still contains the hand.
    """
    height, width = image_size
    offset = jnp.zeros(2) if offset is None else offset
    if crop.rule == "file" and box is not None:
        return box[:2] + box[2:] / 2 + offset, jnp.maximum(box[2:].max(), crop.side_px[0])
    if crop.rule == "labelled" and box is not None:
        side = jnp.clip((box[2:].max() + crop.pad_px) * crop.scale, *crop.side_px)
        return box[:2] + box[2:] / 2 + offset, side
    low, high = bounds(joints_uv, known)
    center, extents = (low + high) / 2 + offset, high - low
    if crop.rule == "palm":
        # For joints outside the image, only the distance to its edge counts.
        inside = jnp.clip(joints_uv, 0, jnp.array([[width, height]], jnp.float32))
        center = jnp.where(known[crop.center_joint], joints_uv[crop.center_joint] + offset, center)
        known = known if seen is None else seen
        extents = 2 * jnp.where(known[:, None], jnp.abs(inside - center[None]), 0).max(0)
    extent = extents[1] if crop.rule == "height" else extents.max()
    side = jnp.clip((extent + crop.pad_px) * crop.scale, *crop.side_px)
    whole = jnp.array([width - 1, height - 1]) / 2
    there = known.any() & (crop.rule != "image")
    return jnp.where(there, center, whole), jnp.where(there, side, float(max(image_size)))


def scale_of_boxes(crop: Crop) -> float:
    """Side of the crop around a box that is given, relative to the box's longer side."""
    return crop.scale if crop.rule == "labelled" else 1.0


def near(points: Float[Any, "*b 2"], sides: Float[Any, " 2"]) -> Bool[Any, "*b"]:
    """Whether points, px of a crop of these sides (width, height), lie at most FAR crops from its
    middle. Labels farther away belong to another crop and may not enter a loss."""
    sides = sides.reshape((1,) * (points.ndim - 1) + (2,))
    return (abs(points / sides - 0.5) <= FAR).all(-1)


def bounds(
    joints_uv: Float[Array, "*b j 2"], known: Bool[Array, "*b j"]
) -> tuple[Float[Array, "*b 2"], Float[Array, "*b 2"]]:
    """Minimum and maximum (u, v) of the known joints; infinite if none is known."""
    known = known[..., None]
    return jnp.where(known, joints_uv, jnp.inf).min(-2), jnp.where(known, joints_uv, -jnp.inf).max(
        -2
    )


def image_from_crop(
    center: Float[Array, " 2"],
    side: Float[Array, ""],
    size: int,
    angle: Float[Array, ""] | float = 0.0,
    mirrored: Bool[Array, ""] | bool = False,
) -> Float[Array, "2 3"]:
    """Map from a crop of `size` pixels to a square in the image.

    The square is rotated by `angle` (rad, from u to v); with `mirrored` the crop is mirrored in u.
    """
    step = side / size
    cos, sin, sign = jnp.cos(angle), jnp.sin(angle), jnp.where(mirrored, -1.0, 1.0)
    linear = step * jnp.stack([jnp.stack([sign * cos, -sin]), jnp.stack([sign * sin, cos])])
    return jnp.concatenate([linear, (center - linear.sum(-1) * (size - 1) / 2)[:, None]], axis=-1)


def apply(affine: Float[Any, "*b 2 3"], points: Float[Any, "*b j 2"]) -> Float[Any, "*b j 2"]:
    """Map points. NumPy in, NumPy out; likewise for JAX."""
    u, v, a = points[..., 0], points[..., 1], affine[..., None, :, :]
    xp = points.__array_namespace__()
    return xp.stack([a[..., i, 0] * u + a[..., i, 1] * v + a[..., i, 2] for i in (0, 1)], axis=-1)


def compose(outer: Float[Any, "*b 2 3"], inner: Float[Any, "*b 2 3"]) -> Float[Any, "*b 2 3"]:
    """The map that applies `inner`, then `outer`."""
    product = (outer[..., :, :2, None] * inner[..., None, :, :]).sum(-2)
    return outer.__array_namespace__().concatenate(
        [product[..., :2], product[..., 2:] + outer[..., 2:]], -1
    )


def inverse(affine: Float[Any, "*b 2 3"]) -> Float[Any, "*b 2 3"]:
    """The inverse map; the given one must not be singular."""
    a, b, c, d = (affine[..., i, j] for i in (0, 1) for j in (0, 1))
    xp = affine.__array_namespace__()
    linear = (
        xp.stack([xp.stack([d, -b], -1), xp.stack([-c, a], -1)], -2)
        / (a * d - b * c)[..., None, None]
    )
    offset = -(linear * affine[..., None, :, 2]).sum(-1)
    return xp.concatenate([linear, offset[..., None]], -1)


def size_ratio(affine: Float[Any, "*b 2 3"]) -> Float[Any, "*b"]:
    """Length ratio of the map, output to input: the square root of the area ratio."""
    return abs(affine[..., 0, 0] * affine[..., 1, 1] - affine[..., 0, 1] * affine[..., 1, 0]) ** 0.5
