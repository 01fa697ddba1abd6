"""Loss of the body networks, and the labels that their outputs stand for."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from handjax.engine.contracts import Inputs
from handjax.pose import losses
from handjax.rigs import body as rig
from handjax.targets import body as targets
from handjax.tasks.body_options import ERRORS, BodyOptions

# Nothing is nearer to the camera than this fraction of the root's depth: an untrained network may
# place joints anywhere.
_NEAREST = 0.1


def labels_of(
    outputs: Float[Array, "n ..."], inputs: Inputs, options: BodyOptions
) -> Float[Array, "b v 18 3"]:
    """The network's outputs for each view → labels of targets/body.py.

    The outputs of the kinematic head pose the rig of rigs/body.py at the pelvis of a sample with a
    camera, otherwise at the middle of the box. `rig="original"` uses the rig's mm as labels, as the
    original does; the head's scale has to learn 1/2000.
    """
    outputs = outputs.reshape(inputs["mask"].shape[0], -1, *outputs.shape[1:])
    if not options.kinematic:
        return outputs
    motion, scale = rig.motion_and_scale(outputs, options.rig)
    scale = scale if options.learn_scale else jnp.ones_like(scale)
    joints = rig.joints(motion, scale, options.lengths or None, options.rig)
    if options.rig == "original":
        return joints
    root_z, depth_mm = (
        jnp.broadcast_to(inputs[name][:, None], scale.shape) for name in ("root_z", "depth_mm")
    )
    xyz = joints + inputs["roots"][:, :, None]
    nearest = _NEAREST * root_z[..., None, None]
    xyz = jnp.concatenate([xyz[..., :2], jnp.maximum(xyz[..., 2:], nearest)], axis=-1)
    exact = targets.encode(xyz, root_z, inputs["cameras"], options.size, depth_mm)
    ratio = (options.box_mm[0] / depth_mm)[..., None, None]
    weak = targets.encode_weakly(joints, options.box_mm) * ratio
    return jnp.where(inputs["known"][:, None, None, None], exact, weak)


def loss(
    outputs: Float[Array, "n ..."], inputs: Inputs, *, options: BodyOptions
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """L1 or squared error of the labels that count, summed over joints and coordinates and averaged
    over samples, as in the original → the total, and its terms `xy` and `z`.

    `limits`, if it has a weight: how far the rig's joints exceed their limits, squared and summed,
    rad².
    """
    labels = labels_of(outputs, inputs, options)[:, 0]
    root = labels[:, options.skeleton.root][:, None]
    labels = labels - jnp.where(inputs["from_root"][:, None, None], root, 0.0)
    errors = jnp.where(inputs["counts"], ERRORS[options.loss](labels, inputs["labels"]), 0.0)
    terms = {
        "xy": losses.masked_total(errors[..., :2], inputs["mask"]),
        "z": losses.masked_total(errors[..., 2:], inputs["mask"]),
    }
    total = terms["xy"] + terms["z"]
    if options.kinematic and options.limits:
        views = outputs.shape[0] // inputs["mask"].shape[0]
        motion, _ = rig.motion_and_scale(outputs[::views], options.rig)
        terms["limits"] = losses.masked_total(rig.beyond_limits(motion) ** 2, inputs["mask"])
        total = total + options.limits * terms["limits"]
    return total, terms
