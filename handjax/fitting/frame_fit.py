"""The fit of one frame of a depth camera, from the joints of a network.

The fit sees what the hand network sees: a crop of 300 mm by a virtual camera that looks at the hand
(pose/look_at.py), in which left hands are mirrored. Its result is in the frame of the depth cube
(depth_cube.py) around the same middle, whose axes are the camera's.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from handjax.engine.programs import kept
from handjax.fitting.evidence import gather
from handjax.fitting.hand_build import Build
from handjax.fitting.hand_state import HandParameters, HandState, from_parameters
from handjax.fitting.levenberg_marquardt import fit
from handjax.ops import library
from handjax.pose import geometry, look_at

SIZE = 64  # px of the crop
# What the errors of fitted joints are, measured in the deviations that the objective's curvature
# says: it takes neighbouring points for independent, and knows no other hand than the nearest.
UNDERSTATED = 3.4
# Limit of `FrameFit.off`; 81 % of 512 synthetic hands are below. With all fits kept, 5.9 % of the
# hands got worse by more than 2 mm, with this limit 2.3 %, at the same mean.
_FARTHEST = 0.7


class FrameFit(NamedTuple):
    """A fitted hand, mm of the cube around the crop's middle, where every hand is a right one.

    If the fit does not end on what was measured, the network's joints are the result, and `state`
    is `start`.
    """

    start: HandState  # the hand that lies closest to the network's joints
    state: HandState
    joints: Float[Array, "21 3"]  # hand21
    covariance: Float[Array, "21 3 3"]  # mm², of each joint
    value: Float[Array, ""]  # of the objective: `residuals`
    before: Float[Array, ""]  # the same, of the start
    off: Float[Array, ""]  # how far the fitted hand is from the depth: terms per measurement
    holds: Bool[Array, ""]  # whether it is near enough to be the result


@partial(kept, static=("steps",), results=(FrameFit, HandState), kernels=library.registered)
def fit_frame(
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    center: Float[Array, "3"],
    left: Array,
    joints: Float[Array, "21 3"],
    std: Float[Array, "21"],
    last: Float[Array, "21 3"] | None,
    build: Build,
    steps: int,
) -> FrameFit:
    """The hand of a depth image, mm along z, 0 missing, of camera `k`.

    `center`: the middle of the crop, camera mm; `joints`: the network's, mm of the cube; `std`: the
    deviation of each along an axis; `last`: the joints of the frame before, mm of the cube;
    `build`: what is known of the hand's size. The fit starts from the network's joints, and from
    the last where there are any; the better end stays.
    """
    mirror = jnp.where(left, jnp.array([-1.0, 1.0, 1.0]), jnp.ones(3))
    rotation, distance = look_at.towards(center), jnp.linalg.norm(center)
    crop_k = look_at.crop_camera(distance, SIZE)
    crop = look_at.resample(depth, k, rotation, crop_k, SIZE, SIZE)
    crop = jnp.where(left, crop[:, ::-1], crop)
    turn = mirror[:, None] * rotation * mirror[None]  # cube → crop, of the mirrored hand

    seen = geometry.map_points(turn, joints)
    evidence = gather(crop, crop_k, distance, seen, std, build)
    if last is None:
        end = fit(seen, evidence, steps=steps)
    else:
        before = geometry.map_points(turn, last)
        starts = jnp.stack([seen, before])
        ends = jax.vmap(lambda start: fit(start, evidence, before, steps))(starts)
        best = jnp.argmin(ends.value)
        end = jax.tree.map(lambda x: x[best], ends)
    back = jnp.swapaxes(turn, -1, -2)
    of_depth = end.terms["surface"] + end.terms["outside"] + end.terms["front"]
    off = of_depth / jnp.maximum(evidence.weight.sum(), 1.0)
    holds = off < _FARTHEST  # false for what is not finite
    covariance = jnp.einsum("ab,jbc,cd->jad", back, end.covariance, turn, precision="highest")
    own = std[:, None, None] ** 2 * jnp.eye(3)[None] / UNDERSTATED**2

    def choose(fitted: Any, otherwise: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(holds, a, b), fitted, otherwise)

    start = from_parameters(_turned(end.start, back))
    return FrameFit(
        start,
        choose(from_parameters(_turned(end.hand, back)), start),
        choose(geometry.map_points(back, end.joints), joints),
        choose(covariance, own),
        choose(end.value, end.start_value),
        end.start_value,
        off,
        holds,
    )


def _turned(hand: HandParameters, turn: Float[Array, "3 3"]) -> HandParameters:
    """The hand in axes that are turned about the crop's middle."""
    return hand._replace(
        base=geometry.matmul(turn, hand.base),
        translation=geometry.map_points(turn, hand.translation[None])[0],
    )
