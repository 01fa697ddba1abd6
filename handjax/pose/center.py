"""Where a hand is, from depth alone: the center of mass of what is nearest."""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handjax.pose.pinhole import depth_to_points

STEPS = 5  # DeepPrior++
_CELL_MM = 100.0
_CELLS = 64  # a row of cells closes to a ring: no camera sees 6.4 m aside within a hand's range
_SURFACE_MM2 = 300.0  # of a finger's last two joints; less is noise


def hand_center(
    depth: Float[Array, "*b h w"],
    k: Float[Array, "*b 3 3"],
    cube_mm: Float[Array, "*b 3"],
    range_mm: tuple[float, float],
) -> Float[Array, "*b 3"]:
    """Middle of a crop of `cube_mm`, camera mm, for what lies within `range_mm` of the camera along z; zeros where nothing does.

    The hand is taken to be the nearest thing: space is cut into cells of 100 mm, and of those that show 300 mm² of surface
    (if none does, of all) the fullest of the nearest layer is where the search begins. From the mean of its points, each of
    five steps goes to the mean of the points in the cube around. This is the detector of DeepPrior++ (Oberweger and Lepetit
    2017, github.com/moberweger/deep-prior-pp), with which V2V-PoseNet begins before its own network refines the center, but
    for three things: the mean is that of points and not of pixels and depths, the cube has edges in mm and not in pixels,
    and cells stand for connected components.

    A knee or a desk that is nearer is taken for the hand, and of two hands the nearer. What else is in the cube counts: a
    forearm draws the center towards the wrist, at the most until the cube's face is at the fingertips; so does a body that is
    closer behind the hand than half the cube.
    """
    return jnp.vectorize(partial(_one, range_mm=range_mm), signature="(h,w),(i,i),(i)->(i)")(
        depth, k, cube_mm
    )


def _one(depth, k, cube_mm, range_mm):
    points, measured = depth_to_points(depth, k)
    near, far = range_mm
    z = points[:, 2]
    measured &= (z >= near) & (z <= far)

    layers = int((far - near) // _CELL_MM) + 1
    cell = jnp.floor(points / _CELL_MM).astype(jnp.int32) % _CELLS
    layer = jnp.clip((z - near) // _CELL_MM, 0, layers - 1).astype(jnp.int32)
    cell = (layer * _CELLS + cell[:, 1]) * _CELLS + cell[:, 0]
    # Whole hundredths of mm²: a sum of integers is the same in any order, and so on any device.
    surface = jnp.rint(100 * z**2 / (k[0, 0] * k[1, 1])).astype(jnp.int32)
    surface = (
        jnp.zeros(layers * _CELLS**2, jnp.int32)
        .at[cell]
        .add(jnp.where(measured, surface, 0))
        .reshape(layers, -1)
    )
    shown = (surface >= 100 * _SURFACE_MM2).any(1)
    best = jnp.where(shown.any(), jnp.argmax(shown), jnp.argmax(surface.max(1)))
    start = best * _CELLS**2 + jnp.argmax(surface[best])

    def mean(chosen, otherwise):
        total, count = jnp.sum(jnp.where(chosen[:, None], points, 0.0), axis=0), jnp.sum(chosen)
        return jnp.where(count > 0, total / jnp.maximum(count, 1), otherwise)

    def step(_, center):
        inside = (jnp.abs(points - center[None]) <= cube_mm[None] / 2).all(-1)
        return mean(measured & inside, center)

    return lax.fori_loop(
        0, STEPS, step, mean(measured & (cell == start), jnp.zeros(3, points.dtype))
    )
