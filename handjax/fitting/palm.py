"""Where to begin: a hand of mean size whose palm lies on that of given joints."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.fitting.hand_state import HandParameters, hand_points, hands, to_parameters
from handjax.pose import geometry

WRIST, INDEX, MIDDLE, LITTLE = 0, 5, 9, 17  # of hand21: the wrist and the first joints of fingers
_BEND = 0.3  # of the fingers


def hand_on_palm(joints: Float[Array, "21 3"]) -> HandParameters:
    """A slightly bent hand with the palm of `joints` (hand21, mm), whatever its fingers do."""
    rest = to_parameters(hands(jnp.eye(3), jnp.zeros(3), jnp.asarray(_BEND)))
    own = hand_points(rest).joints
    turn = geometry.matmul(_axes(joints).T, _axes(own))
    arm = _middle(own) - 100.0 * rest.translation  # from where the hand turns
    origin = _middle(joints) - geometry.map_points(turn, arm[None])[0]
    return rest._replace(base=turn, translation=origin / 100.0)


def _axes(joints: Float[Array, "21 3"]) -> Float[Array, "3 3"]:
    """Axes of the palm as rows: along it, across it, and out of it."""
    along = _unit(joints[MIDDLE] - joints[WRIST])
    out = _unit(jnp.cross(along, joints[LITTLE] - joints[INDEX]))
    return jnp.stack([along, jnp.cross(out, along), out])


def _middle(joints: Float[Array, "21 3"]) -> Float[Array, "3"]:
    return joints[jnp.array([WRIST, INDEX, MIDDLE, LITTLE])].mean(0)


def _unit(vector: Float[Array, "3"]) -> Float[Array, "3"]:
    return vector / jnp.maximum(geometry.safe_norm(vector), 1e-3)
