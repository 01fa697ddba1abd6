"""Joints of a person in camera mm ↔ labels in the image patch that the body networks see.

The rules are those of JimmySuen/integral-human-pose (Sun et al. 2018, arXiv 1711.08229). A patch of
height H and width W px shows a box around the pelvis, `box_mm` wide and high at the depth of the
pelvis; the pelvis is at (W/2, H/2). The label of a joint is

    x / W - 1/2,  y / H - 1/2,  (z - pelvis z) / depth_mm

with (x, y) in px of the patch and z in mm. `depth_mm` is the width of the box times the scale of
the augmentation, so that x and z have the same unit. As in the original, labels use the pinhole
camera; the lenses of Human3.6M differ from it by up to 1.5 px.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from handjax.pose import crop2d, geometry, pinhole

# Width and height; (1485, 1980) for the 288 x 384 patches of the ECCV 2018 challenge.
BOX_MM = (2000.0, 2000.0)
# Sum of all bones, mm, in the training and validation sets of the challenge; its test set has
# neither cameras nor depth.
CHALLENGE_SKELETON_MM = 4502.881


def box_px(
    root_z: Float[Array, "*b"], k: Float[Array, "*b 3 3"], box_mm: tuple[float, float] = BOX_MM
) -> Float[Array, "*b 2"]:
    """Width and height in px of a box parallel to the image plane at depth `root_z`, mm."""
    return (
        jnp.stack([k[..., 0, 0] * box_mm[0], k[..., 1, 1] * box_mm[1]], axis=-1) / root_z[..., None]
    )


def depth_from_box(
    side_px: Float[Array, "*b 2"], k: Float[Array, "*b 3 3"], box_mm: tuple[float, float] = BOX_MM
) -> Float[Array, "*b"]:
    """Depth in mm at which a box of `box_mm` has the area of `side_px` (width, height).

    The initial estimate of RootNet (Moon et al. 2019, arXiv 1907.11346, eq. 2), which its network
    then corrects from the image; here it is not corrected.
    """
    areas = (
        k[..., 0, 0] * box_mm[0] * k[..., 1, 1] * box_mm[1] / (side_px[..., 0] * side_px[..., 1])
    )
    return jnp.sqrt(areas)


def patch_from_image(
    center_uv: Float[Array, "*b 2"],
    side_px: Float[Array, "*b 2"],
    size: tuple[int, int],
    scale: Float[Array, "*b"] | float = 1.0,
    angle: Float[Array, "*b"] | float = 0.0,
    flip: Bool[Array, "*b"] | bool = False,
) -> Float[Array, "*b 2 3"]:
    """Affine map from px of an image to px of its patch of `size` (height, width); see
    pose/crop2d.py.

    The box of `side_px` (width, height) times `scale` around `center_uv` is mirrored in u where
    `flip`, then rotated by `angle`, rad: right in the patch is (cos, sin) in the mirrored image.
    """
    sides = (
        side_px * jnp.broadcast_to(jnp.asarray(scale, side_px.dtype), side_px.shape[:-1])[..., None]
    )
    per_px = (
        jnp.asarray(size[::-1], side_px.dtype).reshape((1,) * (side_px.ndim - 1) + (2,)) / sides
    )
    linear = per_px[..., None] * rotated_axes(angle, flip, side_px.shape[:-1])[..., :2, :2]
    middle = jnp.asarray(size[::-1], side_px.dtype).reshape((1,) * (side_px.ndim - 1) + (2,)) / 2
    shift = middle - (linear * center_uv[..., None, :]).sum(-1)
    return jnp.concatenate([linear, shift[..., None]], axis=-1)


def rotated_axes(
    angle: Float[Array, "*b"] | float, flip: Bool[Array, "*b"] | bool, batch: tuple[int, ...] = ()
) -> Float[Array, "*b 3 3"]:
    """Rotation from camera axes to those of a camera that takes the mirrored and rotated image.
    Orthogonal, so its transpose is the inverse."""
    angle = jnp.broadcast_to(jnp.asarray(angle, jnp.float32), batch)
    sign = jnp.broadcast_to(jnp.where(flip, -1.0, 1.0), batch)
    mirror = jnp.stack([sign, jnp.ones_like(sign), jnp.ones_like(sign)], axis=-1)
    return geometry.rotation_z(-angle) * mirror[..., None, :]


def patch_camera(
    k: Float[Array, "*b 3 3"],
    patch: Float[Array, "*b 2 3"],
    axes: Float[Array, "*b 3 3"] | None = None,
) -> Float[Array, "*b 3 3"]:
    """Matrix from mm to homogeneous px of a patch. The mm are in the camera's frame, or with `axes`
    in the frame of `rotated_axes`, in which a rig is posed to match a rotated patch."""
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
    """px of the patch → labels with depth 0, for samples without depth, whose z does not count."""
    xy = patch_uv / _sides(patch_uv, size) - 0.5
    return jnp.concatenate([xy, jnp.zeros_like(xy[..., :1])], axis=-1)


def encode_weakly(
    xyz: Float[Array, "*b j 3"], box_mm: tuple[float, float] = BOX_MM
) -> Float[Array, "*b j 3"]:
    """mm relative to the middle of the box → labels by a weak-perspective camera, for images
    without a camera. At 5 m, a hand half a metre in front of the pelvis comes a tenth too close to
    the middle."""
    sides = jnp.asarray((*box_mm, box_mm[0]), xyz.dtype)
    return xyz / sides.reshape((1,) * (xyz.ndim - 1) + (3,))


def decode_uv(
    labels: Float[Array, "*b j 3"], patch: Float[Array, "*b 2 3"], size: tuple[int, int]
) -> Float[Array, "*b j 2"]:
    """Labels → px of the image."""
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
    """Labels → camera mm, given the depth of the pelvis, known or from `depth_from_box`."""
    z = labels[..., 2:] * depth_mm[..., None, None] + root_z[..., None, None]
    return pinhole.uvd_to_xyz(jnp.concatenate([decode_uv(labels, patch, size), z], axis=-1), k)


def decode_by_length(
    labels: Float[Array, "*b j 3"],
    parents: tuple[int, ...],
    size: tuple[int, int],
    total_mm: float = CHALLENGE_SKELETON_MM,
) -> Float[Array, "*b j 3"]:
    """Labels → mm relative to the root, without a camera: px of the patch, scaled so that the bones
    have a total length of `total_mm`, the rule of the ECCV 2018 challenge. `parents[root] == -1`.
    """
    unit = jnp.asarray((size[1], size[0], size[1]), labels.dtype).reshape(
        (1,) * (labels.ndim - 1) + (3,)
    )
    points = labels * unit
    root = parents.index(-1)
    points = points - points[..., root : root + 1, :]
    children = np.array([i for i in range(len(parents)) if i != root])
    bones = points[..., children, :] - points[..., np.array(parents)[children], :]
    length_px = geometry.safe_norm(bones).sum(-1)
    total = jnp.maximum(length_px, 1e-3)  # a body of one point stays one
    return points * (total_mm / total)[..., None, None]


def mirror_labels(
    labels: Float[Array, "*b j 3"], flip: tuple[int, ...], width: int
) -> Float[Array, "*b j 3"]:
    """Labels of a patch → those of the patch with reversed columns, and back. `flip` is the
    skeleton's. Pixel x becomes W - 1 - x, so the label is not exactly -x.

    The flip test averages the labels of a patch with the mirrored labels of its mirror image.
    """
    x = -labels[..., :1] - 1 / width
    return jnp.concatenate([x, labels[..., 1:]], axis=-1)[..., np.array(flip), :]


def _sides(like: Array, size: tuple[int, int]) -> Array:
    return jnp.asarray(size[::-1], like.dtype).reshape((1,) * (like.ndim - 1) + (2,))
