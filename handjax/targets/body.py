"""Joints of a person in camera mm ↔ the patch of a picture that the body networks see, and the labels that they say.

The rules are those of JimmySuen/integral-human-pose (Sun et al. 2018, arXiv 1711.08229). A patch of height H and width W px shows a
box about the pelvis, `box_mm` wide and high at the pelvis' depth; the pelvis is at (W/2, H/2). A label is, for each joint,

    x / W - 1/2,  y / H - 1/2,  (z - pelvis z) / depth_mm       with (x, y) in px of the patch and z in mm,

where `depth_mm` is the box's width times the scale of the augmentation, so that x and z are in one unit. Labels are made with the
pinhole camera, as there: a real lens is up to 1.5 px of Human3.6M's pictures off.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from handjax.pose import crop2d, geometry

BOX_MM = (
    2000.0,
    2000.0,
)  # width and height; (1485, 1980) for the 288 x 384 patches of the ECCV 2018 challenge
# Sum of all bones, mm, in the challenge's training and validation sets together: its test set has no camera and no depth.
CHALLENGE_SKELETON_MM = 4502.881


def box_px(
    root_z: Float[Array, "*b"], k: Float[Array, "*b 3 3"], box_mm: tuple[float, float] = BOX_MM
) -> Float[Array, "*b 2"]:
    """Width and height in px of a box that stands across the optical axis at depth `root_z`, mm."""
    return (
        jnp.stack([k[..., 0, 0] * box_mm[0], k[..., 1, 1] * box_mm[1]], axis=-1) / root_z[..., None]
    )


def depth_from_box(
    side_px: Float[Array, "*b 2"], k: Float[Array, "*b 3 3"], box_mm: tuple[float, float] = BOX_MM
) -> Float[Array, "*b"]:
    """The depth at which a box of `box_mm` has an area of `side_px`, mm: what RootNet (Moon et al. 2019, arXiv 1907.11346, eq. 2)
    starts from before its network corrects it by what the picture shows."""
    areas = (
        k[..., 0, 0] * box_mm[0] * k[..., 1, 1] * box_mm[1] / (side_px[..., 0] * side_px[..., 1])
    )
    return jnp.sqrt(areas)


def patch_from_picture(
    center_uv: Float[Array, "*b 2"],
    side_px: Float[Array, "*b 2"],
    size: tuple[int, int],
    scale: Float[Array, "*b"] | float = 1.0,
    angle: Float[Array, "*b"] | float = 0.0,
    flip: Bool[Array, "*b"] | bool = False,
) -> Float[Array, "*b 2 3"]:
    """The map from px of a picture to px of its patch of `size` (height, width), for pose/crop2d.py.

    The box of `side_px` (width, height) times `scale` about `center_uv` is mirrored in u where `flip`, then turned by `angle`, rad:
    right in the patch is then (cos, sin) in the mirrored picture.
    """
    sides = (
        side_px * jnp.broadcast_to(jnp.asarray(scale, side_px.dtype), side_px.shape[:-1])[..., None]
    )
    per_px = (
        jnp.asarray(size[::-1], side_px.dtype).reshape((1,) * (side_px.ndim - 1) + (2,)) / sides
    )
    linear = per_px[..., None] * turned_axes(angle, flip, side_px.shape[:-1])[..., :2, :2]
    middle = jnp.asarray(size[::-1], side_px.dtype).reshape((1,) * (side_px.ndim - 1) + (2,)) / 2
    shift = middle - (linear * center_uv[..., None, :]).sum(-1)
    return jnp.concatenate([linear, shift[..., None]], axis=-1)


def turned_axes(
    angle: Float[Array, "*b"] | float, flip: Bool[Array, "*b"] | bool, batch: tuple[int, ...] = ()
) -> Float[Array, "*b 3 3"]:
    """Camera axes → those of a camera whose picture is the mirrored and turned one. Orthogonal; its transpose leads back."""
    angle = jnp.broadcast_to(jnp.asarray(angle, jnp.float32), batch)
    sign = jnp.broadcast_to(jnp.where(flip, -1.0, 1.0), batch)
    mirror = jnp.stack([sign, jnp.ones_like(sign), jnp.ones_like(sign)], axis=-1)
    return geometry.rotation_z(-angle) * mirror[..., None, :]


def patch_camera(
    k: Float[Array, "*b 3 3"],
    patch: Float[Array, "*b 2 3"],
    axes: Float[Array, "*b 3 3"] | None = None,
) -> Float[Array, "*b 3 3"]:
    """The matrix from mm to homogeneous px of a patch. The mm are the camera's, or with `axes` those of `turned_axes`: a
    figure that is to look as it does in a turned patch is posed in them."""
    last = jnp.zeros_like(patch[..., :1, :]).at[..., 2].set(1.0)
    camera = geometry.matmul(jnp.concatenate([patch, last], axis=-2), k)
    return camera if axes is None else geometry.matmul(camera, jnp.swapaxes(axes, -1, -2))


def encode(
    xyz: Float[Array, "*b j 3"],
    root_z: Float[Array, "*b"],
    camera: Float[Array, "*b 3 3"],
    size: tuple[int, int],
    depth_mm: Float[Array, "*b"],
) -> Float[Array, "*b j 3"]:
    """mm in the axes of `camera` (`patch_camera`) → labels."""
    at = geometry.matmul(xyz, jnp.swapaxes(camera, -1, -2))
    z = (xyz[..., 2:] - root_z[..., None, None]) / depth_mm[..., None, None]
    return jnp.concatenate([encode_uv(at[..., :2] / at[..., 2:], size)[..., :2], z], axis=-1)


def encode_uv(patch_uv: Float[Array, "*b j 2"], size: tuple[int, int]) -> Float[Array, "*b j 3"]:
    """px of the patch → labels whose depth is 0 and says nothing: pictures without depth weigh only their x and y."""
    xy = patch_uv / _sides(patch_uv, size) - 0.5
    return jnp.concatenate([xy, jnp.zeros_like(xy[..., :1])], axis=-1)


def encode_weakly(
    xyz: Float[Array, "*b j 3"], box_mm: tuple[float, float] = BOX_MM
) -> Float[Array, "*b j 3"]:
    """mm about the middle of the box → labels as if all joints were as far away as the box: for pictures without a camera. At
    5 m a hand half a metre before the pelvis is so a tenth too near to the middle."""
    sides = jnp.asarray((*box_mm, box_mm[0]), xyz.dtype)
    return xyz / sides.reshape((1,) * (xyz.ndim - 1) + (3,))


def decode_uv(
    labels: Float[Array, "*b j 3"], patch: Float[Array, "*b 2 3"], size: tuple[int, int]
) -> Float[Array, "*b j 2"]:
    """Labels → px of the picture."""
    xy = labels[..., :2]
    return crop2d.apply(crop2d.inverse(patch), (xy + 0.5) * _sides(xy, size))


def decode(
    labels: Float[Array, "*b j 3"],
    root_z: Float[Array, "*b"],
    k: Float[Array, "*b 3 3"],
    patch: Float[Array, "*b 2 3"],
    size: tuple[int, int],
    depth_mm: Float[Array, "*b"],
) -> Float[Array, "*b j 3"]:
    """Labels → camera mm, by the pelvis' depth, which must be known (or estimated: `depth_from_box`)."""
    z = labels[..., 2:] * depth_mm[..., None, None] + root_z[..., None, None]
    return geometry.uvd_to_xyz(jnp.concatenate([decode_uv(labels, patch, size), z], axis=-1), k)


def decode_by_length(
    labels: Float[Array, "*b j 3"],
    parents: tuple[int, ...],
    size: tuple[int, int],
    total_mm: float = CHALLENGE_SKELETON_MM,
) -> Float[Array, "*b j 3"]:
    """Labels → mm about the root, without any camera: px of the patch, made larger until all bones together have `total_mm`, the
    rule for the ECCV 2018 challenge. `parents[root] == -1`."""
    unit = jnp.asarray((size[1], size[0], size[1]), labels.dtype).reshape(
        (1,) * (labels.ndim - 1) + (3,)
    )
    points = labels * unit
    root = parents.index(-1)
    points = points - points[..., root : root + 1, :]
    children = np.array([i for i in range(len(parents)) if i != root])
    bones = points[..., children, :] - points[..., np.array(parents)[children], :]
    total = jnp.maximum(
        geometry.safe_norm(bones).sum(-1), 1e-3
    )  # px: a body that is one point stays one
    return points * (total_mm / total)[..., None, None]


def mirrored(
    labels: Float[Array, "*b j 3"], flip: tuple[int, ...], width: int
) -> Float[Array, "*b j 3"]:
    """Labels of the patch → those of the same patch with its columns in reverse, and back. Pixel x becomes W - 1 - x, so this
    is not quite -x. `flip` is the skeleton's. The flip test is the mean of a patch's labels and its mirror image's, mirrored."""
    x = -labels[..., :1] - 1 / width
    return jnp.concatenate([x, labels[..., 1:]], axis=-1)[..., np.array(flip), :]


def _sides(like: Array, size: tuple[int, int]) -> Array:
    return jnp.asarray(size[::-1], like.dtype).reshape((1,) * (like.ndim - 1) + (2,))
