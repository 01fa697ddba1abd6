"""Options of the body task, and their check."""

import dataclasses
from typing import Literal

from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.config import Rule
from handjax.models.body import HEADS
from handjax.models.resnet import STAGES
from handjax.pose import losses
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.rigs import body as rig
from handjax.tasks import rules
from handjax.tasks.rules import above, at_least, one_of

ERRORS = {"l1": losses.absolute_error, "l2": losses.squared_error}
ROOT_DEPTHS = {
    "label": "depth of the pelvis as labelled",
    "box": "depth of the pelvis from the size of the joints' box",
}


@dataclasses.dataclass(frozen=True)
class BodyOptions:
    """What the network sees and how its outputs are read; the fields of `config.task` and
    `config.crop` are explained in configs/body.py."""

    loss: str
    root_depth: str
    flip_test: bool
    skeleton_mm: float
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    rig: Literal["default", "original"]
    lengths: tuple[float, ...]
    learn_scale: bool
    limits: float
    size: tuple[int, int]  # of the patch, px: height, width
    box_mm: tuple[float, float]  # that the patch shows: width, height
    mip_levels: int
    kinematic: bool
    skeleton: Skeleton


@dataclasses.dataclass(frozen=True)
class PatchAugment:
    """The random part of a patch (JimmySuen/integral-human-pose)."""

    scale: float  # the box's size times 1 + clip(N, ±1) · scale
    rotation_deg: float  # angle clip(N, ±2) · rotation_deg
    rotated: float  # fraction of the samples that are rotated
    flip: float  # fraction of the samples that are mirrored
    colour: float  # each channel times U(1 ± colour)


def check(config: ConfigDict, skeleton: Skeleton) -> None:
    """Validate the config of a body task; raises ValueError."""
    if skeleton != SKELETONS["body18"]:
        raise ValueError(
            f"config.task.name=body needs joints of body18, and the samples have {skeleton.name}"
        )
    configs.check(
        config,
        {
            "model.head": one_of(HEADS),
            "model.layers": one_of(STAGES),
            "model.width": above(0, "channels, 1 or more"),
            "model.depth": above(0, "cells, 1 or more"),
            "model.dtype": rules.DTYPE,
            "task.loss": one_of(ERRORS),
            "task.root_depth": one_of(ROOT_DEPTHS),
            "task.monitor": one_of(("mpjpe_mm", "epe_px")),
            "task.rig": one_of(rig.MODES),
            "task.lengths": Rule(
                lambda bones: len(bones) in (0, len(rig.LENGTH_NAMES)), "12 bones in mm, or none"
            ),
            "task.limits": at_least(0, "a weight, 0 or more"),
            "task.skeleton_mm": above(0, "more than 0 mm"),
            "task.pixel_mean": rules.PIXEL_MEAN,
            "task.pixel_std": rules.PIXEL_STD,
            "crop.size": Rule(
                lambda size: len(size) == 2 and all(n > 0 and n % 32 == 0 for n in size),
                "height and width, multiples of 32 px",
            ),
            "crop.box_mm": Rule(lambda box: len(box) == 2 and min(box) > 0, "width and height, mm"),
            "crop.mip_levels": rules.MIP_LEVELS,
            "augment.scale": rules.FRACTION,
            "augment.colour": rules.FRACTION,
            "augment.rotated": rules.PROBABILITY,
            "augment.flip": rules.PROBABILITY,
            "augment.rotation_deg": at_least(0, "0 degrees or more"),
        },
    )
    # --- combinations
    (height, width), (box_width, box_height) = config.crop.size, config.crop.box_mm
    if abs(width * box_height / (height * box_width) - 1) > 0.01:
        raise ValueError(
            f"config.crop.size={config.crop.size} (height, width) stretches "
            f"config.crop.box_mm={config.crop.box_mm} (width, height)"
        )
    task = config.task
    if config.model.head == "kinematic" and task.rig == "original" and task.limits:
        raise ValueError(
            f"config.task.limits={task.limits}: the original rig has no joint limits; use 0.0"
        )
