"""The hand network: 21 joints of a hand in mm, with a standard deviation each, from the depth of
any camera. Ours, learnt from synthetic hands alone.

    python -m handjax.train --config configs/handnet.py --workdir DIR
        five million hands: hours on two CPU cores, minutes on a GPU
    python -m handjax.train --config configs/handnet.py:quick --workdir DIR
        the same world, 40,000 hands
    handjax train --config configs/handnet.py:own --workdir DIR --config.data.path=FOLDER
        your own labelled frames (docs/real_frames.md) among synthetic hands, from the included
        weights

A run that ends early goes on where it was; more steps continue a finished one under another
`--workdir` by `--config.init=DIR`.
"""

from ml_collections import ConfigDict

from configs.common import common, depth_camera_world, our_own
from handjax.engine.config import variants


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick", "own"))
    config = common()
    config.update(steps=40_000, eval_every=4_000)
    config.model = ConfigDict(
        dict(
            widths=(64, 128, 192),  # channels at a quarter, an eighth and a sixteenth of the crop
            blocks=(2, 2, 2),  # residual blocks there
            dtype="float32",
        )
    )
    weights = dict(heat=0.05, deviation=0.02, presence=0.1)
    config.task = ConfigDict(dict(name="handnet", weights=weights))
    config.data = depth_camera_world(
        "handnet_world",
        none=0.1,
        hands=dict(upright=0.6),  # share turned to point up, as crops are once a hand is found
        image_size=64,  # px of the crop of 300 mm
        left=0.08,  # share of the crops with a left hand, which is to be told from a right one
        shift_mm=(10.0, 30.0),  # deviation of the crop's middle: of two thirds, of the others
        eval_shift_mm=10.0,
    )
    our_own(config, quick="quick" in wanted)
    if "own" in wanted:
        _own(config)
    return config


def _own(config):
    """Users' own labelled frames."""
    config.data.update(
        name="labelled_crops",
        path="",  # folder of frames.json and its images
        also=(),  # more such folders
        eval_path="",  # empty: the last people, sequences or frames of `path`
        held_out=0.2,  # the share of those that is evaluated
        drawn=0.5,  # share of the crops from the synthetic world: what own frames lack stays known
    )
    config.init = "hand-depth"
    config.update(batch_size=32, steps=4_000, eval_every=500, save_every=500)
    config.optimizer.update(lr=3e-4, warmup=100)
