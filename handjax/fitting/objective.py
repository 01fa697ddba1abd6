"""Objective of the model-based tracker: how well a hand explains the depth of a cube.

The classic approach (Oikonomidis et al. 2011; with spheres Qian et al. 2014, "Realtime and Robust
Hand Tracking from Depth"), for one hand; vmap for more:

    observation = observe(cube_depth)                        once per image
    parameters = to_parameters(initial_hands(observation))   24 initial hands, first axis
    value, terms = objective(parameters, observation)        to be minimized, for each
    state = from_parameters(parameters)

The difference between rendered and observed depth has no gradient from the silhouette, where most
of the error of a wrong hand is. Two terms replace it. Observed points attract the nearest surface,
however far away ("data"). Spheres must not stick out of the silhouette, measured by a field of
distances to its edge that is computed once per image ("outside"), so they have a gradient at any
distance.

Bones are rigid, so the loss `bone_length` is not needed. The prior is a Gaussian over the pose
sampler's angles, not the auto-encoder of centers that is used in training the network.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax.fitting import losses
from handjax.fitting.hand_state import (
    MEAN_SIZE,
    USUAL_FLESH,
    HandParameters,
    HandState,
    hand_points,
    hands_in_all_directions,
    spheres,
)
from handjax.fitting.observation import Observation, middle, sample_field
from handjax.fitting.prior import (
    FINGER_DEVIATION,
    FLESH_DEVIATION,
    SIZE_DEVIATION,
    WRIST_DEVIATION,
    angle_prior,
)
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.rigs.spheres import sphere_depth_orthographic, sphere_distance

# Weights of the terms, each in mm² or comparable.
WEIGHTS = {
    "data": 3.0,  # distance of observed points from the surface
    "render": 1.0,  # difference of rendered and observed depth, where both are
    "outside": 3.0,  # spheres outside the silhouette
    "collision": 0.05,
    "fingers": 3.0,  # unlikely angles
    "range": 100.0,  # angles beyond the range of the sampler, rad²
    "shape": 2.0,  # unlikely sizes
    "smooth": 0.3,  # distance from the previous frame, if there is one
}

_SATURATION_MM = 40.0  # at this distance the robust square is half of the square; its limit is mm²
_INSIDE = 0.7  # fraction of a sphere's radius that must be within the silhouette


def initial_hands(observation: Observation, bend: float = 0.2) -> HandState:
    """24 hands in all directions, at the middle of the observed points."""
    return hands_in_all_directions(middle(observation), bend)


def objective(
    parameters: HandParameters,
    observation: Observation,
    previous: HandParameters | None = None,
    *,
    weights: Mapping[str, float | Float[Array, ""]] | None = None,
    forearm: bool = True,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The weighted sum to be minimized, of one hand, and its unweighted terms.

    `weights` replace those of WEIGHTS. With `forearm` its spheres explain observed points, but the
    depth need not contain any. `previous` is the hand of the previous frame.
    """
    weights = {**WEIGHTS, **(weights or {})}
    centers, radii, arm, arm_radii, _ = hand_points(parameters)
    prior = angle_prior()
    hand_cells = jnp.maximum((observation.depth <= BACKGROUND_MM - 1).sum(), 1).astype(jnp.float32)

    everything = (
        (jnp.concatenate([centers, arm]), jnp.concatenate([radii, arm_radii]))
        if forearm
        else (centers, radii)
    )
    distance, _ = sphere_distance(observation.points, *everything)
    valid = observation.valid.astype(distance.dtype)
    rendered, winner = sphere_depth_orthographic(
        centers, radii, observation.depth.shape[-1], EXTENT_MM, BACKGROUND_MM
    )
    both = (winner >= 0) & (observation.depth <= BACKGROUND_MM - 1)
    outside = jnp.maximum(sample_field(observation.outside, centers[:, :2]) + _INSIDE * radii, 0.0)
    deviation = prior.deviation(parameters.angles)
    beyond = jax.nn.relu(prior.low - parameters.angles) + jax.nn.relu(
        parameters.angles - prior.high
    )
    terms = {
        "data": (_robust(distance) * valid).sum() / jnp.maximum(valid.sum(), 1.0),
        "render": _robust(jnp.where(both, rendered - observation.depth, 0.0)).sum() / hand_cells,
        "outside": (outside**2).mean(),
        "collision": losses.collision(centers),
        "fingers": (deviation**2).mean(),
        "range": (beyond**2).sum(),
        "shape": ((parameters.log_size - np.log(MEAN_SIZE)) / SIZE_DEVIATION) ** 2
        + ((parameters.log_fingers / FINGER_DEVIATION) ** 2).mean()
        + (((parameters.log_flesh - USUAL_FLESH) / FLESH_DEVIATION) ** 2).mean()
        + ((parameters.wrist / WRIST_DEVIATION) ** 2).mean(),
    }
    if previous is not None:
        terms["smooth"] = losses.temporal_smoothness(centers, spheres(previous)[0])
    return sum(weights[name] * term for name, term in terms.items()), terms


def _robust(distance: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """A square that saturates (Geman and McClure 1987): distant points belong to something else."""
    square = distance**2
    return square / (1 + square / _SATURATION_MM**2)
