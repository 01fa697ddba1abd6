"""Sources of the hand network and the finder: synthetic hands before the depth cameras of users."""

from functools import partial

from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.config import Rule
from handjax.pose.skeleton import HAND_MIDDLE, SKELETONS
from handjax.sources.base import Source
from handjax.sources.synthetic import Sampler, custom_skin, endless
from handjax.synthetic import camera_world, depth_cameras
from handjax.synthetic.surroundings import Shares

_SHARE = Rule(lambda p: 0 <= p <= 1, "a share of the samples, 0 to 1")


def handnet_world(config: ConfigDict, train: bool = True) -> Source:
    """Crops around hands (`camera_world.crop_sample`). Held-out crops all have a right hand."""
    data = config.data
    sample, heldout = crop_samplers(config)
    description = (
        f"synthetic hands held out by seed {data.eval_seed}, in every direction and before every "
        f"kind of sensor; the crop's middle is {data.eval_shift_mm:g} mm off on each axis"
    )
    return endless(config, sample, SKELETONS["hand21"], description, heldout)


def crop_samplers(config: ConfigDict) -> tuple[Sampler, Sampler]:
    """The crops that `config.data` describes, to train on and held out: functions of a key."""
    data = config.data
    configs.require(config, 1, "data.image_size")
    _check(config)
    draw = partial(
        camera_world.crop_sample,
        skin=custom_skin(data.mesh),
        image_size=data.image_size,
        shares=Shares(**data.shares),
        sensors=tuple(data.sensors),
        **data.hands,
    )
    sample = partial(draw, none=data.none, left=data.left, shift_mm=tuple(data.shift_mm))
    return sample, partial(draw, none=0.0, left=0.0, shift_mm=(data.eval_shift_mm,) * 2)


def handfinder_world(config: ConfigDict, train: bool = True) -> Source:
    """Whole depth images with up to two hands (`camera_world.frame_sample`)."""
    data = config.data
    _check(config)
    sample = partial(
        camera_world.frame_sample,
        skin=custom_skin(data.mesh),
        shares=Shares(**data.shares),
        sensors=tuple(data.sensors),
        none=data.none,
        **data.hands,
    )
    description = f"synthetic depth images held out by seed {data.eval_seed}"
    return endless(config, sample, HAND_MIDDLE, description)


def _check(config: ConfigDict) -> None:
    configs.check(
        config,
        {
            "data.none": _SHARE,
            "data.left": _SHARE,
            **{f"data.shares.{name}": _SHARE for name in Shares._fields},
            "data.sensors": Rule(
                lambda kinds: set(kinds) <= set(depth_cameras.KINDS),
                f"any of {', '.join(depth_cameras.KINDS)}",
            ),
        },
    )
