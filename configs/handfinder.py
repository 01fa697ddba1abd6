"""The hand finder: where hands are in a whole depth image, of which side, how far and how large.
Ours, learnt from synthetic images alone; `handjax.load("hand-depth")` crops around what it finds.

    python -m handjax.train --config configs/handfinder.py --workdir DIR
        two million images: an hour or two on two CPU cores, minutes on a GPU
    python -m handjax.train --config configs/handfinder.py:quick --workdir DIR
        the same world, 40,000 images
"""

from ml_collections import ConfigDict

from configs.common import common, synthetic_eval
from handjax.engine.config import variants
from handjax.synthetic.depth_cameras import KINDS
from handjax.synthetic.surroundings import Shares


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick",))
    config = common()
    config.update(batch_size=128, eval_batch_size=128, steps=16_000)
    config.update(eval_every=2_000, save_every=1_000, keep=3)
    config.optimizer.update(
        name="adam", lr=2e-3, schedule="cosine", warmup=500, clip_norm=2.0, weight_decay=0.0
    )
    config.model = ConfigDict(
        dict(
            widths=(48, 96, 128),  # channels at a quarter, an eighth and a sixteenth of the image
            blocks=(1, 2, 2),  # residual blocks there
            dtype="float32",
        )
    )
    config.task = ConfigDict(
        dict(
            name="handfinder",
            weights=dict(place=1.0),
        )
    )
    config.data = ConfigDict(
        dict(
            name="handfinder_world",
            mesh="",  # of the skin: .npz, .obj or sphereHand's .pkl; empty: our own
            none=0.15,  # share of the images without their first hand
            shares=Shares()._asdict(),  # how often each thing is around the hand
            sensors=tuple(KINDS),  # empty: no sensor's effects
            hands=dict(
                distance_mm=(250.0, 1200.0),
                frontal=0.35,  # share of the hands held out to the camera
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
