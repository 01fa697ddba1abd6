"""A depth image seen from elsewhere: its surface as a mesh, rotated and rendered along parallel
rays.

A network that sees a hand from several sides and whose answers are averaged errs less than from one
(virtual view selection: Cheng et al. 2022, AAAI, github.com/iscas3dv/handpose-virtualview). What
the camera did not see is missing in the new view as well; what the rotation hides, the rasterizer
leaves out.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from handjax.ops.rasterize import rasterize, to_screen
from handjax.pose.geometry import matmul

JUMP_MM = 15.0  # neighbours further apart along z are two surfaces


class Views(NamedTuple):
    """Directions from which a test sample is seen, and how many of the answers count.

    rotations  [v, 3, 3], rows of points p become rotation · p about the crop's middle; the first
               one is the camera's own view
    rendered   whether a view is rendered, or its points are only rotated about the line of sight
    keep       the most confident views whose answers are averaged
    """

    rotations: Float[np.ndarray, "v 3 3"]
    rendered: tuple[bool, ...]
    keep: int


def of_options(options: Any) -> Views | None:
    """`views` of the options rotations_deg, views, view_deg and keep_views of a task, a dict or a
    ConfigDict; runs of before lack them."""
    return views(
        options.get("rotations_deg", ()),
        options.get("views", 1),
        options.get("view_deg", 20.0),
        options.get("keep_views", 0),
    )


def views(turns_deg: Sequence[float], count: int, angle_deg: float, keep: int) -> Views | None:
    """The camera's view, `turns_deg` about its line of sight, and a grid of `count` - 1 or more
    directions within ±`angle_deg` about x and y; None for the camera's view alone.

    `keep` of 0 keeps all. ValueError, naming the option, for what cannot be.
    """
    side = math.isqrt(count) if count > 0 else 0
    if side * side != count or side % 2 == 0:
        raise ValueError(f"config.task.views={count}: expected 1, 9, 25 or another odd square")
    if not 0 < angle_deg < 90:
        raise ValueError(f"config.task.view_deg={angle_deg:g}: expected more than 0, less than 90")
    turns = [(0.0, 0.0, float(turn)) for turn in turns_deg]
    at = np.linspace(-angle_deg, angle_deg, side) if side > 1 else np.zeros(1)
    grid = [(float(a), float(b), 0.0) for a in at for b in at if a or b]
    total = 1 + len(turns) + len(grid)
    if not 0 <= keep <= total:
        raise ValueError(f"config.task.keep_views={keep}: expected 0, for all, to {total}")
    if total == 1:
        return None
    matrices = [about_axes(np.deg2rad(each)) for each in [(0.0, 0.0, 0.0), *turns, *grid]]
    rendered = (False,) * (1 + len(turns)) + (True,) * len(grid)
    return Views(np.stack(matrices).astype(np.float32), rendered, keep or total)


def about_axes(angles: np.ndarray) -> np.ndarray:
    """Rotation about x, then y, then z, [3, 3], for three angles in rad."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(z @ y @ x)


def surface(
    z: Float[Array, "h w"], valid: Bool[Array, "h w"], jump_mm: float = JUMP_MM
) -> Int[Array, "f 3"]:
    """Two triangles between every four neighbouring pixels, as indices into the pixels row by row;
    -1, which is not drawn, where one was not measured or z jumps."""
    height, width = z.shape
    at = np.arange(height * width).reshape(height, width)
    a, b, c, d = at[:-1, :-1], at[:-1, 1:], at[1:, :-1], at[1:, 1:]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3)
    corners = z.reshape(-1)[faces]
    near = corners.max(-1) - corners.min(-1) <= jump_mm
    drawn = valid.reshape(-1)[faces].all(-1) & near
    return jnp.where(drawn[:, None], jnp.asarray(faces, jnp.int32), -1)


def seen_from(
    points: Float[Array, "n 3"],
    faces: Int[Array, "f 3"],
    rotation: Float[Array, "3 3"],
    size: int,
    extent_mm: Float[Array, ""] | float,
) -> tuple[Float[Array, "{size} {size}"], Bool[Array, "{size} {size}"]]:
    """z of the rotated mesh, mm, along parallel rays over `extent_mm` about the origin, and where
    there is any. Pixel u is at x = (u - size/2) · extent/size, as in pose/cube.py."""
    scale, half = size / jnp.asarray(extent_mm, jnp.float32), jnp.float32(size / 2)
    zero, one = jnp.zeros_like(scale), jnp.ones_like(scale)
    rows = [[scale, zero, half], [zero, scale, half], [zero, zero, one]]
    k = jnp.stack([jnp.stack(row) for row in rows])
    turned = matmul(points, rotation.T)
    screen = to_screen(turned, k, projection="orthographic", interpolation="linear")
    depth, face = rasterize(screen, faces, size, size)
    return depth, face >= 0


def parallel_points(
    depth: Float[Array, "n n"], extent_mm: Float[Array, ""] | float
) -> Float[Array, "n*n 3"]:
    """The pixels of a view along parallel rays as points, mm from its middle, row by row."""
    size = depth.shape[-1]
    at = (jnp.arange(size, dtype=depth.dtype) - size / 2) * (extent_mm / size)
    y, x = jnp.meshgrid(at, at, indexing="ij")
    return jnp.stack([x, y, depth], axis=-1).reshape(-1, 3)


def fuse(
    joints: Float[Array, "b v j 3"], confidence: Float[Array, "b v"], keep: int
) -> Float[Array, "b j 3"]:
    """Mean joints of the `keep` views of a sample with the highest confidence."""
    if keep == joints.shape[1]:
        return joints.mean(1)
    _, best = jax.lax.top_k(confidence, keep)
    return jnp.take_along_axis(joints, best[..., None, None], axis=1).mean(1)
