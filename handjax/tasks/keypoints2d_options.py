"""Options of CPM and PoseNet2D, and their check."""

import dataclasses

from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.config import Rule
from handjax.pose import crop2d
from handjax.pose.skeleton import Skeleton
from handjax.targets import keypoints2d as targets
from handjax.tasks import rules
from handjax.tasks.rules import above, at_least, one_of

# Network → the losses it can learn by (tasks/keypoints2d_losses.py).
LOSSES_OF = {"cpm": ("cpm", "kwai"), "posenet2d": ("heatmap", "dsnt")}
_WIDTHS_OF = {"cpm": 3, "posenet2d": 5}


@dataclasses.dataclass(frozen=True)
class MapOptions:
    """What the network sees and how its maps are read; the fields of `config.task` are explained in
    configs/cpm.py and configs/posenet2d.py."""

    loss: str
    decode: str
    sigma: float
    cut: float
    whole_pixels: bool
    visible_only: bool
    fwhm: float
    center_sigma: float
    center_cut: float
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    bgr: bool
    flip_test: bool
    mirror_left: bool
    size: int  # px of the crop
    stride: int  # px per cell
    background: bool  # channel 0 stands for no joint
    centered: bool  # the network takes a center map
    flip: tuple[int, ...]  # the joint that a joint becomes in the mirror


def check(config: ConfigDict, skeleton: Skeleton) -> None:
    """Validate the config of a keypoints2d task; raises ValueError."""
    configs.check(config, _rules(config.model))
    task, model, crop, augment = config.task, config.model, config.crop, config.augment
    if task.loss not in LOSSES_OF[model.name]:
        raise ValueError(
            f"config.task.loss={task.loss} does not go with config.model.name={model.name}: use "
            f"{' or '.join(LOSSES_OF[model.name])}"
        )
    if task.decode == "dsnt" and task.loss != "dsnt":
        raise ValueError(
            f"config.task.decode=dsnt reads maps learnt by task.loss=dsnt: with {task.loss} use "
            "argmax or centroid"
        )
    if crop.rule == "palm" and "middle_base" not in skeleton.joints:
        raise ValueError(
            f"config.crop.rule=palm: {skeleton.name} has no joint middle_base; use height or box"
        )
    if task.mirror_left and (task.flip_test or (augment.enabled and augment.flip)):
        raise ValueError(
            "config.task.mirror_left shows right hands only: use config.task.flip_test=False and "
            "config.augment.flip=0.0"
        )


def _rules(model: ConfigDict) -> dict[str, Rule]:
    widths, stride = _WIDTHS_OF.get(model.name), 2 ** model.get("pools", 3)
    return {
        "model.name": one_of(LOSSES_OF),
        "model.dtype": rules.DTYPE,
        "model.pools": Rule(
            lambda n: (model.name == "cpm") <= n <= 3, "1 to 3 halvings, of posenet2d 0 to 3"
        ),
        "model.widths": Rule(lambda w: len(w) == widths, f"{widths} numbers of channels"),
        "model.stages": above(0, "1 or more"),
        "model.refinements": at_least(0, "0 or more"),
        "task.loss": one_of(loss for losses in LOSSES_OF.values() for loss in losses),
        "task.decode": one_of(targets.DECODES),
        "task.sigma": above(0),
        "task.fwhm": above(0, "more than 0 cells"),
        "task.center_sigma": above(0, "more than 0 px"),
        "task.pixel_mean": rules.PIXEL_MEAN,
        "task.pixel_std": rules.PIXEL_STD,
        "crop.rule": one_of(crop2d.RULES),
        "crop.size": Rule(
            lambda n: n > 0 and n % stride == 0,
            f"a multiple of the network's stride, {stride} px",
        ),
        "crop.scale": above(0),
        "crop.pad_px": at_least(0, "0 px or more"),
        "crop.mip_levels": rules.MIP_LEVELS,
        "crop.side_px": Rule(
            lambda s: len(s) == 2 and 0 < s[0] <= s[1], "two sides, the smaller one first"
        ),
        "augment.scale": Rule(
            lambda s: len(s) == 2 and 0 < s[0] <= s[1], "two factors, the smaller one first"
        ),
        "augment.rotation_deg": at_least(0, "0 degrees or more"),
        "augment.flip": rules.PROBABILITY,
        "augment.brightness": rules.FRACTION,
        "augment.contrast": rules.FRACTION,
        "augment.saturation": rules.FRACTION,
    }
