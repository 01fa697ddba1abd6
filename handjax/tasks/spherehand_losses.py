"""Losses of the sphere hand: with labels, and without (Wan et al. 2019)."""

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.engine.contracts import Inputs
from handjax.fitting import losses as fit_losses
from handjax.models.pose_prior import PoseVAE
from handjax.pose import losses
from handjax.rigs import hand
from handjax.targets import spherehand

SPHERES = len(hand.HAND.sphere_radii)
PLAIN, WITH_OFFSETS = 2, 4  # channels per sphere

Outputs = tuple[Array, Array]  # maps and features of every stack, as SphereNet returns them


def loss(
    outputs: Outputs,
    inputs: Inputs,
    *,
    weights: Mapping[str, float],
    across: bool,
    original: bool,
    prior: dict[str, Any] | None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The weighted sum of the terms of `fitting.losses`, and the terms.

    Each term is summed over the stacks and averaged over the samples in `mask`. It is computed only
    if it has a weight and the batch has its inputs.
    """
    outputs = own_views(outputs, inputs)
    (synthetic, features), (real, real_features) = _split_samples(outputs, inputs)
    stacks, mask = outputs[0].shape[1], inputs["mask"]
    terms: dict[str, Array] = {}

    def add(name: str, values: Callable[[], Array]) -> None:
        """`values()`: first axis samples."""
        if name in weights:
            terms[name] = stacks * losses.masked_mean(values(), mask)

    if synthetic.shape[1]:
        _add_labelled_terms(add, synthetic, inputs)
    if real.shape[1]:
        _add_unlabelled_terms(add, real, inputs, across=across, original=original, prior=prior)
        if synthetic.shape[1] and "domain" in weights:
            flat = [f.reshape(-1, *f.shape[3:]) for f in (features, real_features)]
            terms["domain"] = stacks * fit_losses.domain(*flat)
    if not terms:
        raise ValueError(
            "config.task.weights: this batch has the inputs of no term with a weight; there is "
            "nothing to learn from"
        )
    weighted = (weights[name] * term for name, term in terms.items())
    return reduce(operator.add, weighted), terms


def own_views(outputs: Outputs, inputs: Inputs) -> Outputs:
    """The outputs without those of the rendered views of a test sample, its last."""
    if "turns" not in inputs:
        return outputs
    samples, added = inputs["turns"].shape[:2]
    maps, features = (
        o.reshape(samples, -1, *o.shape[1:])[:, :-added].reshape(-1, *o.shape[1:]) for o in outputs
    )
    return maps, features


def heat_of(maps: Float[Array, "*b n n c"]) -> Float[Array, "*b n n s"]:
    """The heat of every sphere."""
    return maps[..., :SPHERES]


def decoded(maps: Float[Array, "*b n n c"]) -> Float[Array, "*b s 3"]:
    """Centers of the spheres, mm from the middle of the view."""
    if maps.shape[-1] == WITH_OFFSETS * SPHERES:
        return spherehand.decode_offsets(*spherehand.split_offsets(maps))
    return spherehand.decode(*spherehand.split(maps))


def _split_samples(outputs, inputs):
    """Maps and features [b, images, stacks, …] of the labelled images and of the others."""
    outputs = [o.reshape(inputs["mask"].shape[0], -1, *o.shape[1:]) for o in outputs]
    labelled = inputs["synthetic_centers"].shape[1] if "synthetic_centers" in inputs else 0
    return [o[:, :labelled] for o in outputs], [o[:, labelled:] for o in outputs]


def _add_labelled_terms(add, maps, inputs):
    heat, offsets = heat_of(maps), maps.shape[-1] == WITH_OFFSETS * SPHERES
    target = jnp.broadcast_to(
        inputs["synthetic_centers"][:, :, None], (*heat.shape[:3], SPHERES, 3)
    )
    add(
        "synt_uv",
        lambda: fit_losses.synthetic_heat(heat, spherehand.encode(target, heat.shape[-2])[0]),
    )
    distance = fit_losses.synthetic_place if offsets else fit_losses.synthetic_depth
    add("synt_d", lambda: distance(decoded(maps), target))


def _add_unlabelled_terms(add, maps, inputs, *, across, original, prior):
    stacks = maps.shape[2]
    centers = jnp.moveaxis(decoded_views(maps, inputs), 2, 1)  # [b, stacks, v, 41, 3]

    def each_stack(x):
        return jnp.broadcast_to(x[:, None], (x.shape[0], stacks, *x.shape[1:]))

    cameras = each_stack(inputs["cameras"])
    single = each_stack(inputs["single"]) if "single" in inputs else None

    def projection():
        radii = jnp.broadcast_to(jnp.asarray(hand.HAND.sphere_radii), centers.shape[:-1])
        rendered, near = fit_losses.projection(
            each_stack(inputs["cube_depth"]), centers, radii, cameras, across, original, single
        )
        return rendered + fit_losses.SURFACE_WEIGHT * near

    def consistency():
        distance = fit_losses.multiview_consistency(centers, cameras, original)
        return distance if single is None else jnp.where(single, 0.0, distance)

    def divergence():
        return fit_losses.pose_prior(
            centers, *PoseVAE().apply(prior, centers, each_stack(inputs["noise"]))
        )

    add("mv_projection", projection)
    if across:
        add("mv_consistency", consistency)
    add("uv_hm_mean", lambda: fit_losses.heat_mean(heat_of(maps)))
    add("pose_prior", divergence)
    add("collision", lambda: fit_losses.collision(centers))
    add("bone_length", lambda: fit_losses.bone_length(centers))


def decoded_views(maps: Float[Array, "b v t n n c"], inputs: Inputs) -> Float[Array, "b v t s 3"]:
    """Maps of each view and stack → centers, mm, with the scale of the augmentation undone."""
    centers = decoded(maps)
    return centers.at[..., :2].divide(inputs["scales"][:, :, None, None])
