"""What the fit minimizes: half the sum of weighted, robust squares, and their derivatives.

    surface   measured points lie on the nearest front side of the hand or its forearm
    outside   spheres do not stick out into what the camera sees through
    front     spheres are not in front of what was measured
    network   joints are where the network has them, within its deviations
    before    joints are near those of the frame before, where there is one
    angles    finger angles are those of people, by a Gaussian
    range     and within what was sampled
    size, fingers, flesh    are usual, or those of the frames before
    wrist     is usual

Each is in units of its own standard deviation. Squares saturate (Geman and McClure 1987), since
some points are of something else and some joints of the network are wrong. The derivatives are
those of Gauss and Newton: of the residuals, with weights, places and pixels as they are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from handjax.fitting import cones
from handjax.fitting.evidence import Evidence
from handjax.fitting.hand_build import Build, build_of
from handjax.fitting.hand_state import HandParameters
from handjax.fitting.observation import sample_pixels
from handjax.fitting.posed_hand import COUNT, PLACES, posed
from handjax.fitting.prior import angle_prior
from handjax.pose import geometry, pinhole
from handjax.pose.look_at import CROP_MM

# Weights and deviations were chosen on 256 synthetic hands and compared on 256 others, of which the
# network has 13.6 mm: with 6, 5, 8 mm and a weight of 0.7 the median error was 11.9 mm, now 11.1.
# The network counts twice what is best there, since no real hand has the rig's palm.
_SURFACE_MM, _SURFACE_LIMIT = 3.0, 2.5  # deviation, and where a square is half saturated, in them
_ARM = 0.5  # weight of points on the forearm, whose shape is a guess
_OUTSIDE_MM, _OUTSIDE_LIMIT = 3.5, 4.0
_INSIDE = 0.5  # share of a sphere's radius that must be inside
_FRONT_MM, _FRONT_LIMIT = 5.0, 4.0
_JOINT_LIMIT = 3.0
_NETWORK = 2.0  # weight of the network's joints beside the depth; see above
_RANGE_RAD = 0.05
_WRIST_DEVIATION = 0.6
_BEFORE_MM = 12.0


class Rows(NamedTuple):
    """Residuals of one kind: values in standard deviations, their derivatives, and weights."""

    value: Float[Array, " r"]
    slope: Float[Array, "r 36"]
    weight: Float[Array, " r"] | float = 1.0
    robust: Float[Array, " r"] | float = 1.0  # by which the square is saturated


class Normal(NamedTuple):
    """The objective, and the normal equations of one step."""

    value: Float[Array, ""]
    gradient: Float[Array, "36"]
    hessian: Float[Array, "36 36"]
    joints: Float[Array, "21 3"]
    joint_slopes: Float[Array, "21 3 36"]
    terms: dict[str, Float[Array, ""]]


def normal_equations(
    now: HandParameters,
    evidence: Evidence,
    before: Float[Array, "21 3"] | None,
    depth: Float[Array, ""],
) -> Normal:
    """The objective of one hand and its Gauss-Newton system. `before`: the joints of the frame
    before, mm of this crop. `depth` is 1, or 0 for the network's joints alone, none of them
    doubted."""
    # Without the barriers XLA computes the hand anew for every use.
    spheres, slopes, joints, joint_slopes = lax.optimization_barrier(posed(now))
    own, own_slopes = spheres[: cones.ARM], slopes[: cones.ARM]
    network = jnp.where(depth > 0, _NETWORK, 1.0)
    rows = {
        "surface": _surface(spheres, slopes, evidence, depth),
        "outside": _outside(own, own_slopes, evidence, depth),
        "front": _front(own, own_slopes, evidence, depth),
        "network": _near(joints, joint_slopes, evidence.joints, evidence.std, network, depth),
        **_prior(now, evidence.build),
    }
    if before is not None:
        deviation = jnp.full(len(joints), _BEFORE_MM)
        rows["before"] = _near(joints, joint_slopes, before, deviation, depth, depth)
    terms = {
        name: 0.5 * (weight * value**2 * robust).sum()
        for name, (value, _, weight, robust) in rows.items()
    }
    # One product for all kinds: a dozen small ones take XLA ten seconds to compile.
    value, slope, weight = (
        jnp.concatenate(parts)
        for parts in zip(
            *(
                (r.value, r.slope, r.weight * r.robust**2 * jnp.ones_like(r.value))
                for r in rows.values()
            ),
            strict=True,
        )
    )
    weighted = slope * weight[:, None]
    both = jnp.matmul(
        weighted.T, jnp.concatenate([slope, value[:, None]], axis=1), precision="highest"
    )
    total = jnp.stack(list(terms.values())).sum()
    return Normal(total, both[:, COUNT], both[:, :COUNT], joints, joint_slopes, terms)


def _surface(spheres: Array, slopes: Array, evidence: Evidence, depth: Array) -> Rows:
    at = cones.contacts(evidence.points, evidence.view, spheres[:, :3], spheres[:, 3])
    share = jnp.stack([1 - at.share, at.share], axis=-1)
    # Of the place: its sphere's center, and the radius along the normal.
    direction = jnp.concatenate([at.along, (at.along * at.normal).sum(-1, keepdims=True)], axis=-1)
    coefficient = -(share[:, :, None] * direction[:, None]) / _SURFACE_MM
    # A product with a matrix of eight numbers a row: three times as fast as adding up rows.
    count = len(evidence.points)
    rows = jnp.arange(count)[:, None]
    sparse = jnp.zeros((count, *spheres.shape)).at[rows, at.ends].add(coefficient)
    sparse = sparse.reshape(count, -1)
    slope = jnp.matmul(sparse, slopes.reshape(-1, COUNT), precision="highest")
    weight = evidence.weight * jnp.where(at.on_arm, _ARM, 1.0) * depth
    value = at.distance / _SURFACE_MM
    return Rows(value, slope, weight, _saturated(value, _SURFACE_LIMIT))


def _outside(spheres: Array, slopes: Array, evidence: Evidence, depth: Array) -> Rows:
    def one(sphere: Array) -> Array:
        pixel_mm = CROP_MM / evidence.outside.shape[0]
        at = sphere[:3].at[2].add(evidence.distance)
        uv = pinhole.project(at[None], evidence.k)
        off = sample_pixels(evidence.outside, uv)[0] * pixel_mm
        return jnp.maximum(off + _INSIDE * sphere[3], 0.0) / _OUTSIDE_MM

    value, local = jax.vmap(jax.value_and_grad(one))(spheres)
    weight = depth * jnp.ones_like(value)
    return Rows(value, _chain(local, slopes), weight, _saturated(value, _OUTSIDE_LIMIT))


def _front(spheres: Array, slopes: Array, evidence: Evidence, depth: Array) -> Rows:
    size = evidence.surface.shape[0]
    at = spheres[:, :3] + jnp.array([0.0, 0.0, 1.0])[None] * evidence.distance
    uv = jnp.round(pinhole.project(at, evidence.k)).astype(jnp.int32)
    u, v = (jnp.clip(uv[:, i], 0, size - 1) for i in range(2))
    seen = evidence.surface[v, u]
    gap = seen - (spheres[:, 2] - spheres[:, 3]) - _FRONT_MM
    counts = (gap > 0) & (seen < CROP_MM)
    value = jnp.where(counts, gap, 0.0) / _FRONT_MM
    local = jnp.where(counts[:, None], jnp.array([[0.0, 0.0, -1.0, 1.0]]), 0.0) / _FRONT_MM
    weight = depth * jnp.ones_like(value)
    return Rows(value, _chain(local, slopes), weight, _saturated(value, _FRONT_LIMIT))


def _near(
    joints: Array,
    slopes: Array,
    wanted: Array,
    deviation: Array,
    weight: Array | float,
    depth: Array,
) -> Rows:
    """Joints near to `wanted`; the squares of a joint saturate together, but not without depth."""
    off = (joints - wanted) / deviation[:, None]
    robust = _saturated(geometry.safe_norm(off), _JOINT_LIMIT)
    robust = jnp.where(depth > 0, robust, 1.0)
    value = off.ravel()
    slope = (slopes / deviation[:, None, None]).reshape(value.shape[0], -1)
    return Rows(value, slope, weight * jnp.ones_like(value), jnp.repeat(robust, 3))


def _saturated(value: Float[Array, " r"], limit: float) -> Float[Array, " r"]:
    """What a square is to be multiplied by; at `limit` it is a half."""
    return 1 / (1 + (value / limit) ** 2)


def _prior(now: HandParameters, build: Build) -> dict[str, Rows]:
    prior = angle_prior()
    whiten = jnp.asarray(prior.whiten)

    def linear(name: str, value: Array, slope: Array) -> Rows:
        full = jnp.zeros((value.shape[0], COUNT)).at[:, PLACES[name]].set(slope)
        return Rows(value, full)

    beyond = jax.nn.relu(now.angles - prior.high) - jax.nn.relu(prior.low - now.angles)
    sizes = build_of(now) - build.mean
    scale = jnp.diag(1 / build.std)
    return {
        "angles": linear("angles", prior.deviation(now.angles), whiten.T),
        "range": linear(
            "angles", beyond / _RANGE_RAD, jnp.diag(jnp.where(beyond != 0, 1 / _RANGE_RAD, 0.0))
        ),
        "size": linear(
            "log_size",
            sizes[:1] / build.std[:1],
            scale[:1, :1],
        ),
        "fingers": linear("log_fingers", sizes[1:6] / build.std[1:6], scale[1:6, 1:6]),
        "flesh": linear("log_flesh", sizes[6:] / build.std[6:], scale[6:, 6:]),
        "wrist": linear("wrist", now.wrist / _WRIST_DEVIATION, jnp.eye(2) / _WRIST_DEVIATION),
    }


def _chain(local: Float[Array, "s 4"], slopes: Float[Array, "s 4 p"]) -> Float[Array, "s p"]:
    return (local[..., None] * slopes).sum(1)
