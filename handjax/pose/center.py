"""Hand detection from depth alone: the center of mass of the nearest object."""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handjax.pose.pinhole import depth_to_points

STEPS = 5  # as in DeepPrior++
_CELL_MM = 100.0
# Cells per row, after which indices wrap around: 6.4 m, wider than any view within a hand's range.
_CELLS = 64
_SURFACE_MM2 = 300.0  # about the surface of a finger's last two joints; less is noise


def hand_center(
    depth: Float[Array, "*b h w"],
    k: Float[Array, "*b 3 3"],
    cube_mm: Float[Array, "*b 3"],
    range_mm: tuple[float, float],
) -> Float[Array, "*b 3"]:
    """Center of a crop of `cube_mm` around the hand, camera mm; zeros if no depth is in `range_mm`.

    The hand is assumed to be the nearest object. Space is divided into cells of 100 mm. Of the
    nearest layer with a cell that shows 300 mm² of surface (if there is none, of the layer with the
    fullest cell), the fullest cell is the start. From the mean of its points, each of five steps
    moves to the mean of the points within the cube.

    This is the detector of DeepPrior++ (Oberweger and Lepetit 2017,
    github.com/moberweger/deep-prior-pp), from which V2V-PoseNet starts before its own network
    refines the center, with three differences: means are of points, not of pixels and depths; the
    edges of the cube are in mm, not in pixels; and cells replace connected components.

    A knee or a desk that is nearer is taken for the hand, and the nearer of two hands is found.
    Everything within the cube counts: a forearm draws the center towards the wrist, at most until
    the face of the cube is at the fingertips; so does a body that is less than half the cube behind
    the hand.
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
    # Integers, in hundredths of mm²: their sum is the same in any order, hence on any device.
    surface = jnp.rint(100 * z**2 / (k[0, 0] * k[1, 1])).astype(jnp.int32)
    surface = (
        jnp.zeros(layers * _CELLS**2, jnp.int32)
        .at[cell]
        .add(jnp.where(measured, surface, 0))
        .reshape(layers, -1)
    )
    shown = (surface >= int(100 * _SURFACE_MM2)).any(1)
    best = jnp.where(shown.any(), jnp.argmax(shown), jnp.argmax(surface.max(1)))
    start = best * _CELLS**2 + jnp.argmax(surface[best])

    def mean(chosen, otherwise):
        total, count = jnp.sum(jnp.where(chosen[:, None], points, 0.0), axis=0), jnp.sum(chosen)
        at_least_one = jnp.maximum(count, 1).astype(points.dtype)
        return jnp.where(count > 0, total / at_least_one, otherwise)

    def step(_, center):
        inside = (jnp.abs(points - center[None]) <= cube_mm[None] / 2).all(-1)
        return mean(measured & inside, center)

    return lax.fori_loop(
        0, STEPS, step, mean(measured & (cell == start), jnp.zeros(3, points.dtype))
    )
