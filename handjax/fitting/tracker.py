"""Model-based hand tracking: fits the sphere hand to the depth of a cube by optimization."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax.fitting import hand_state
from handjax.fitting.hand_state import HandParameters, HandState
from handjax.fitting.inverse_kinematics import hand_from_centers, hand_from_joints
from handjax.fitting.objective import WEIGHTS, initial_hands, objective
from handjax.fitting.observation import Observation, observe
from handjax.fitting.prior import angle_prior
from handjax.fitting.solver import minimizer

HANDS = 24  # optimized in parallel
ROUND = 40  # steps between selections of the best hands
BEST = 6  # hands that survive a selection


class TrackerStep(NamedTuple):
    """The best hand after `step` steps, and its value of the objective."""

    step: int
    fit: HandState
    value: float


class Tracker:
    """Fits hands to the depth of cubes. Keep it: its compiled code serves all cubes of one size."""

    def __init__(
        self,
        method: str = "adam",
        forearm: bool = True,
        weights: dict[str, float] | None = None,
        chunk: int = 10,
    ):
        """
        method   of `solver.minimizer`
        forearm  whether the depth may contain a forearm, which is then not taken for a hand
        weights  instead of those of `objective.WEIGHTS`
        chunk    steps per `TrackerStep`
        """
        weights = WEIGHTS | (weights or {})

        def value(
            parameters: HandParameters,
            observation: Observation,
            previous: HandParameters,
            has_previous: Float[Array, ""],
        ) -> Float[Array, ""]:
            used = weights | {"smooth": has_previous * weights["smooth"]}
            return objective(parameters, observation, previous, weights=used, forearm=forearm)[0]

        self._minimize = minimizer(value, method=method, rate=0.05, chunk=chunk)
        self._observe = jax.jit(observe)
        self._initial = jax.jit(
            lambda observation: hand_state.to_parameters(initial_hands(observation))
        )
        self._to_parameters = jax.jit(hand_state.to_parameters)
        self._from_parameters = jax.jit(hand_state.from_parameters)
        self.spheres, self.joints21 = jax.jit(hand_state.spheres), jax.jit(hand_state.joints21)
        self.forearm, self.translated = (
            jax.jit(hand_state.forearm),
            jax.jit(hand_state.translated),
        )
        self.from_centers = jax.jit(hand_from_centers)
        self.from_joints = jax.jit(hand_from_joints)

    def steps(
        self,
        cube_depth: Float[Array | np.ndarray, "n n"],
        steps: int,
        start: HandState | None = None,
        previous: HandState | None = None,
    ) -> Iterator[TrackerStep]:
        """The best hand so far, before the first step and after every `chunk` steps.

        The fit starts from `start` or, without it, from 24 hands in all directions. `previous` is
        the hand of the previous frame, to which the objective then penalizes the distance.

        Exchanged fingers are a local minimum. So 24 hands are optimized in parallel, and after
        every `ROUND` steps the best six continue, each as it is, with extended fingers, and with
        sampled ones: similar to Qian et al. 2014, who use a particle swarm.
        """
        observation = self._observe(jnp.asarray(cube_depth, jnp.float32))
        if start is None:
            hands = self._initial(observation)
        else:
            parameters = self._to_parameters(jax.tree.map(jnp.asarray, start))
            hands = _diversify(jax.tree.map(lambda leaf: np.asarray(leaf)[None], parameters), 0)
        # Without a previous frame any hand of the right shape will do: its weight is 0.
        before = (
            jax.tree.map(lambda leaf: leaf[0], hands)
            if previous is None
            else self._to_parameters(jax.tree.map(jnp.asarray, previous))
        )
        data = (
            observation,
            jax.tree.map(jnp.asarray, before),
            jnp.asarray(previous is not None, jnp.float32),
        )
        for done in range(0, max(steps, 1), ROUND):
            for solution in self._minimize(hands, min(ROUND, steps - done), *data):
                if solution.step or not done:
                    best = int(np.argmin(solution.values))
                    hand = jax.tree.map(lambda leaf, best=best: leaf[best], solution.params)
                    fit = self._from_parameters(hand)
                    yield TrackerStep(done + solution.step, fit, float(solution.values[best]))
            order = np.argsort(solution.values)[:BEST]
            hands = _diversify(
                jax.tree.map(lambda leaf, order=order: np.asarray(leaf)[order], solution.params),
                done // ROUND + 1,
            )


def _diversify(hands: HandParameters, turn: int) -> HandParameters:
    """Some hands → 24: each as it is, with extended fingers, and with the fingers of sampled hands,
    others in every `turn`."""
    kept = len(hands.angles)
    each = HANDS // kept
    samples = angle_prior().samples
    others = samples[(np.arange(HANDS) + HANDS * turn) % len(samples)].reshape(kept, each, -1)
    angles = np.concatenate(
        [hands.angles[:, None], np.zeros_like(others[:, :1]), others[:, 2:]], axis=1
    )
    repeated = jax.tree.map(lambda leaf: np.repeat(leaf, each, axis=0), hands)
    return repeated._replace(angles=angles.reshape(HANDS, -1))
