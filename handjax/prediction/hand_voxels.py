"""V2V-PoseNet in the crops of the hand network: `handjax.load("v2v")` and runs of
configs/v2v.py:camera."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from handjax.engine.programs import kept
from handjax.ops import library
from handjax.pose import look_at
from handjax.pose.geometry import map_points
from handjax.pose.skeleton import SKELETONS
from handjax.prediction.depth_base import DepthPredictor
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.hand_search import RANGE_MM, SIZE, upright_crop
from handjax.prediction.network import TrainedNetwork, check_crops, open_included

_crop = partial(kept, kernels=library.registered)(upright_crop)


class HandVoxelPredictor(DepthPredictor):
    """V2V-PoseNet on depth images of any camera, around the hand that the hand network finds.

    The hand network says where the hand is, of which side, and how likely (`presence`); V2V-PoseNet
    then sees the crop in which that hand points up, as a right one. The joints are its own.
    """

    sides = ("auto", "right", "left")

    def __init__(self, name: str, network: TrainedNetwork):
        super().__init__(name, SKELETONS["hand21"], RANGE_MM)
        self.network, self.finder = network, HandDepthPredictor.included()

    @classmethod
    def included(cls) -> "HandVoxelPredictor":
        """The network that comes with handjax: models/v2v.md."""
        return cls("v2v", open_included("v2v"))

    @classmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "HandVoxelPredictor":
        """A run of configs/v2v.py:camera. ValueError for crops of another size, and for maps that
        do not name joints."""
        check_crops(name, network, SIZE)
        if network.config.task.global_joints:
            raise ValueError(f"{name}: expected config.task.global_joints=False, joints with names")
        return cls(name, network)

    def _rows(self, frames, k, centers, side, how):
        self.finder.range_mm = self.range_mm
        given = [None] * len(frames) if centers is None else centers
        hands, crops, rotations, distances = [], [], [], []
        for frame, own, center in zip(frames, k, given, strict=True):
            hand = self.finder.locate(frame, own, side, center)
            cropped = _crop(frame, own, np.asarray(hand.joints), np.asarray(hand.side))
            crop, rotation, distance = jax.device_get(cropped)
            hands.append(hand)
            crops.append(crop)
            rotations.append(rotation)
            distances.append(distance)
        batch = jax.device_get(crop_batch(np.stack(crops), np.stack(distances)))
        rows = self.network(batch)
        left = np.array([hand.side < 0 for hand in hands], bool)
        joints = from_crops(rows["joints_xyz"], np.stack(rotations), left)
        return {
            "joints_xyz": np.asarray(joints),
            "confidence": rows["confidence"],
            "presence": np.array([hand.presence for hand in hands]),
            "left": left,
            "center_xyz": np.stack([np.asarray(hand.joints).mean(0) for hand in hands]),
        }


def crop_batch(
    crops: Float[Array | np.ndarray, "n s s"], distances: Float[Array | np.ndarray, " n"]
) -> dict[str, Array]:
    """V2V-PoseNet's batch of crops around points `distances` mm ahead of their cameras."""
    distance = jnp.asarray(distances)  # of any number, in an export
    zero = jnp.zeros_like(distance)
    return {
        "depth": jnp.asarray(crops),
        "k": look_at.crop_camera(distance, SIZE),
        "center_xyz": jnp.stack([zero, zero, distance], axis=-1),
        "cube_mm": jnp.stack([zero + look_at.CROP_MM] * 3, axis=-1),
    }


def from_crops(
    joints: Float[Array | np.ndarray, "n 21 3"],
    rotations: Float[Array | np.ndarray, "n 3 3"],
    left: Bool[Array | np.ndarray, " n"],
) -> Float[Array, "n 21 3"]:
    """Joints in `upright_crop`s → camera mm; those of left hands are mirrored there."""
    side = jnp.where(left, -1.0, 1.0)
    mirror = jnp.stack([side, jnp.ones_like(side), jnp.ones_like(side)], axis=-1)
    turned = jnp.swapaxes(jnp.asarray(rotations), -1, -2)
    return map_points(turned, jnp.asarray(joints) * mirror[:, None])
