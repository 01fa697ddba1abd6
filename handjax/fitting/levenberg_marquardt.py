"""The fit of a hand to one frame: damped Gauss-Newton steps (Levenberg 1944, Marquardt 1963)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handjax.fitting.evidence import Evidence
from handjax.fitting.hand_state import HandParameters
from handjax.fitting.palm import hand_on_palm
from handjax.fitting.posed_hand import COUNT, turned
from handjax.fitting.residuals import Normal, normal_equations

STEPS = 12
_JOINTS_ALONE = 8  # steps to the joints where the fit begins, before there is any depth
_FOLLOWED_MM = 3.0  # deviation of those joints
_DAMPING, _LESS, _MORE = 1e-2, 0.3, 8.0
_FLOOR = 1e-3  # of the diagonal, so that what nothing determines stays


class Fitted(NamedTuple):
    """A fitted hand."""

    start: HandParameters  # the hand closest to the joints where the fit began
    hand: HandParameters
    start_value: Float[Array, ""]  # of the objective
    value: Float[Array, ""]
    joints: Float[Array, "21 3"]  # hand21, mm of the crop
    covariance: Float[Array, "21 3 3"]  # of each joint, mm², by the objective's curvature
    terms: dict[str, Float[Array, ""]]


class _State(NamedTuple):
    start: HandParameters
    start_value: Float[Array, ""]
    hand: HandParameters
    tried: HandParameters  # where to evaluate next
    now: Normal  # at `hand`
    damping: Float[Array, ""]


def fit(
    joints: Float[Array, "21 3"],
    evidence: Evidence,
    before: Float[Array, "21 3"] | None = None,
    steps: int = STEPS,
) -> Fitted:
    """The hand closest to `joints` (hand21, mm of the crop), and after `steps` steps from there to
    all evidence, and to the joints of the frame `before`. A step is kept only if the objective
    falls: the end is never above the start."""
    alone = evidence._replace(joints=joints, std=jnp.full(len(joints), _FOLLOWED_MM))

    def step(i: Array, state: _State) -> _State:
        depth = (i > _JOINTS_ALONE).astype(jnp.float32)
        seen = jax.tree.map(lambda a, b: jnp.where(depth > 0, a, b), evidence, alone)
        tried = normal_equations(state.tried, seen, before, depth)
        begins = i == _JOINTS_ALONE + 1
        fresh = (i == 0) | begins  # another objective: nothing to compare with
        better = fresh | (tried.value < state.now.value)  # false for what is not finite

        def choose(which: Array, new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(which, a, b), new, old)

        now, kept = choose(better, (tried, state.tried), (state.now, state.hand))
        damping = jnp.where(better, state.damping * _LESS, state.damping * _MORE)
        damping = jnp.where(fresh, _DAMPING, jnp.clip(damping, 1e-5, 1e5))
        damped = now.hessian + jnp.diag(damping * jnp.diag(now.hessian) + _FLOOR)
        move = -solve(damped, now.gradient[:, None])[:, 0]
        # The second part is first evaluated where the first ended.
        move = jnp.where(i == _JOINTS_ALONE, 0.0, move)
        start, value = choose(begins, (kept, now.value), (state.start, state.start_value))
        return _State(start, value, kept, turned(kept, move), now, damping)

    begin = turned(hand_on_palm(joints), jnp.zeros(COUNT))
    shape = jax.eval_shape(lambda: normal_equations(begin, evidence, before, jnp.ones(())))
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)
    state = _State(begin, jnp.zeros(()), begin, begin, empty, jnp.asarray(_DAMPING))
    end = lax.fori_loop(0, _JOINTS_ALONE + steps + 2, step, state)
    last = end.now
    return Fitted(
        end.start,
        end.hand,
        end.start_value,
        last.value,
        last.joints,
        _covariance(last),
        last.terms,
    )


def _covariance(normal: Normal) -> Float[Array, "21 3 3"]:
    """Of every joint: the inverse of the curvature, through the joint's derivatives."""
    curvature = normal.hessian + _FLOOR * jnp.eye(len(normal.hessian))
    slopes = normal.joint_slopes.reshape(-1, len(curvature))
    spread = solve(curvature, slopes.T).T.reshape(normal.joint_slopes.shape)
    return jnp.einsum("jap,jbp->jab", normal.joint_slopes, spread, precision="highest")


def solve(a: Float[Array, "n n"], b: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """x of a x = b for a symmetric positive definite matrix, by elimination.

    Written out: LAPACK, which XLA calls on CPUs, is not fused, and batches of fits that call it
    have been seen to hang (jaxlib 0.10.2, two cores).
    """
    scale = lax.rsqrt(jnp.maximum(jnp.diag(a), 1e-20))
    both = jnp.concatenate([a * scale[:, None] * scale[None], b * scale[:, None]], axis=1)

    def eliminate(i: Array, both: Array) -> Array:
        row = both[i] / both[i, i]
        others = both - both[:, i][:, None] * row[None]
        return others.at[i].set(row)

    done = lax.fori_loop(0, len(a), eliminate, both)
    return done[:, len(a) :] * scale[:, None]
