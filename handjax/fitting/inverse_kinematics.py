"""The hand that is closest to given sphere centers or joints."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from handjax.fitting.hand_state import (
    MEAN_SIZE,
    HandParameters,
    HandState,
    from_parameters,
    hand_points,
    hands,
    spheres,
    to_parameters,
)
from handjax.fitting.prior import FINGER_DEVIATION, SIZE_DEVIATION, angle_prior
from handjax.pose import geometry
from handjax.pose.align import kabsch

_STEPS = 15
# Cost of one standard deviation of angles and of sizes, in mm of a center.
_ANGLE_MM, _SIZE_MM = 1.0, 2.0
_FREE = ("angles", "log_fingers", "translation", "log_size", "rotation")  # the wrist stays straight


_PALM_SPHERES = tuple(range(11))
_PALM_JOINTS = (0, 1, 5, 9, 13, 17)  # of hand21: the wrist and the first joint of each finger

Points = Callable[[HandParameters], Float[Array, "n 3"]]


def hand_from_centers(centers: Float[Array, "41 3"]) -> HandState:
    """The hand whose spheres are closest to `centers`, mm of the cube: `_closest`."""
    return _closest(centers, lambda now: spheres(now)[0], _PALM_SPHERES)


def hand_from_joints(joints: Float[Array, "21 3"]) -> HandState:
    """The hand whose joints (hand21) are closest to `joints`, mm of the cube: `_closest`."""
    return _closest(joints, lambda now: hand_points(now).joints, _PALM_JOINTS)


def _closest(points: Float[Array, "n 3"], of: Points, palm: tuple[int, ...]) -> HandState:
    """The hand whose points `of` are closest to `points`, mm, of which `palm` move rigidly.

    The points of a network need not be those of any hand. The palm is aligned first (Kabsch 1976),
    then all parameters by Levenberg-Marquardt steps, with the prior of fitting/prior.py for those
    that the points hardly determine.
    """
    parameters = _align_palm(points, of, np.array(palm))
    values, unravel = ravel_pytree([getattr(parameters, name) for name in _FREE])
    prior = angle_prior()

    def updated(values: Float[Array, " p"]) -> HandParameters:
        return parameters._replace(**dict(zip(_FREE, unravel(values), strict=True)))

    def residuals(values: Float[Array, " p"]) -> Float[Array, " r"]:
        now = updated(values)
        sizes = jnp.concatenate(
            [
                (now.log_size - np.log(MEAN_SIZE))[None] / SIZE_DEVIATION,
                now.log_fingers / FINGER_DEVIATION,
            ]
        )
        return jnp.concatenate(
            [
                (of(now) - points).ravel(),
                _ANGLE_MM * prior.deviation(now.angles),
                _SIZE_MM * sizes,
            ]
        )

    def step(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        values, damping = state
        error, slope = residuals(values), jax.jacfwd(residuals)(values)
        normal = geometry.matmul(slope.T, slope)
        damped = normal + damping * jnp.diag(jnp.diag(normal))
        moved = values - jnp.linalg.solve(damped, geometry.matmul(slope.T, error[:, None]))[:, 0]
        better = (residuals(moved) ** 2).sum() < (error**2).sum()
        return jnp.where(better, moved, values), jnp.where(better, damping / 5, damping * 5)

    values, _ = jax.lax.fori_loop(0, _STEPS, step, (values, jnp.asarray(0.01)))
    return from_parameters(updated(values))


def _align_palm(
    points: Float[Array, "n 3"], of: Points, palm: Int[np.ndarray, " p"]
) -> HandParameters:
    """A slightly bent hand of mean size whose palm is aligned with that of `points`."""
    start = to_parameters(hands(jnp.eye(3), jnp.zeros(3), jnp.asarray(0.3)))
    rest, given = of(start)[palm], points[palm]
    middle, rest_middle = given.mean(0), rest.mean(0)
    rotation, _ = kabsch(rest - rest_middle[None], given - middle[None])
    parameters = start._replace(base=rotation)
    shift = (middle - of(parameters)[palm].mean(0)) / 100.0
    return parameters._replace(translation=parameters.translation + shift)
