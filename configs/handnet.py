"""The hand network: 21 joints of a hand in mm, with a standard deviation each, from the depth of
any camera. Ours, learnt from synthetic hands alone.

    python -m handjax.train --config configs/handnet.py --workdir DIR
        five million hands: hours on two CPU cores, minutes on a GPU
    python -m handjax.train --config configs/handnet.py:quick --workdir DIR
        the same world, 40,000 hands

A run that ends early goes on where it was; more steps continue a finished one under another
`--workdir` by `--config.init=DIR`.
"""

from ml_collections import ConfigDict

from configs.common import common, synthetic_eval
from handjax.engine.config import variants
from handjax.synthetic.depth_cameras import KINDS
from handjax.synthetic.surroundings import Shares


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick",))
    config = common()
    config.update(batch_size=128, eval_batch_size=128, steps=40_000)
    config.update(eval_every=4_000, save_every=1_000, keep=3)
    config.optimizer.update(
        name="adam", lr=2e-3, schedule="cosine", warmup=500, clip_norm=2.0, weight_decay=0.0
    )
    config.model = ConfigDict(
        dict(
            widths=(64, 128, 192),  # channels at a quarter, an eighth and a sixteenth of the crop
            blocks=(2, 2, 2),  # residual blocks there
            dtype="float32",
        )
    )
    config.task = ConfigDict(
        dict(
            name="handnet",
            weights=dict(heat=0.05, deviation=0.02, presence=0.1),
        )
    )
    config.data = ConfigDict(
        dict(
            name="handnet_world",
            image_size=64,  # px of the crop of 300 mm
            mesh="",  # of the skin: .npz, .obj or sphereHand's .pkl; empty: our own
            none=0.1,  # share of the crops without a hand
            left=0.08,  # share of the crops with a left hand, which is to be told from a right one
            shift_mm=(10.0, 30.0),  # deviation of the crop's middle: of two thirds, of the others
            eval_shift_mm=10.0,
            shares=Shares()._asdict(),  # how often each thing is around the hand
            sensors=tuple(KINDS),  # empty: no sensor's effects
            hands=dict(
                distance_mm=(250.0, 1200.0),
                frontal=0.35,  # share of the hands held out to the camera
                upright=0.6,  # share turned to point up, as crops are once a hand is found
                scale=(0.68, 1.02),  # of the hand, from a child's to a large man's
            ),
            **synthetic_eval(),
        )
    )
    if "quick" in wanted:
        config.update(batch_size=32, eval_batch_size=64, steps=1_250, eval_every=625)
        config.update(save_every=625)
        config.optimizer.warmup = 100
        config.data.eval_size = 256
    return config
