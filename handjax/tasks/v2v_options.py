"""What the config of V2V-PoseNet may be."""

from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.config import Rule
from handjax.targets import offset, voxel
from handjax.tasks.rules import DTYPE, above, one_of


def check(config: ConfigDict) -> None:
    """ValueError for a value that cannot be, or values that do not go together."""
    configs.check(
        config,
        {
            "task.decode": one_of(voxel.DECODES),
            "task.targets": one_of(offset.CHANNELS),
            "task.radius": above(0, "more than 0 cells"),
            "task.sigma": above(0, "more than 0 cells"),
            "task.beta": above(0),
            "model.dtype": DTYPE,
            "model.widths": Rule(lambda w: len(w) == 4 and min(w) > 0, "four numbers of channels"),
            "model.stem_size": Rule(lambda n: n > 0 and n % 2 == 1, "an odd number of cells"),
            "augment.scale": Rule(lambda s: len(s) == 2 and min(s) > 0, "two factors above 0"),
            "augment.probability": Rule(lambda p: 0 <= p <= 1, "0 to 1"),
        },
    )
    task = config.task
    if task.global_joints and task.get("targets", "heatmap") == "offset":
        raise ValueError("config.task.targets=offset: not with global_joints; use heatmap")
    if task.global_joints and (task.joints_weight or task.decode == "soft_argmax"):
        raise ValueError(
            "config.task.global_joints: one map has no soft-argmax; use decode=centroid and "
            "joints_weight=0.0"
        )
    if task.heatmap_weight <= 0 and task.joints_weight <= 0:
        raise ValueError(
            "config.task.heatmap_weight and joints_weight are both zero: there is nothing to learn "
            "from"
        )
