"""The hand finder: where hands are in a whole depth image, of which side, how far and how large.
Ours, learnt from synthetic images alone; `handjax.load("hand-depth")` crops around what it finds.

    python -m handjax.train --config configs/handfinder.py --workdir DIR
        two million images: an hour or two on two CPU cores, minutes on a GPU
    python -m handjax.train --config configs/handfinder.py:quick --workdir DIR
        the same world, 40,000 images
"""

from ml_collections import ConfigDict

from configs.common import common, depth_camera_world, our_own
from handjax.engine.config import variants


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick",))
    config = common()
    config.update(steps=16_000, eval_every=2_000)
    config.model = ConfigDict(
        dict(
            widths=(48, 96, 128),  # channels at a quarter, an eighth and a sixteenth of the image
            blocks=(1, 2, 2),  # residual blocks there
            dtype="float32",
        )
    )
    config.task = ConfigDict(dict(name="handfinder", weights=dict(place=1.0)))
    config.data = depth_camera_world("handfinder_world", none=0.15, hands={})
    our_own(config, quick="quick" in wanted)
    return config
