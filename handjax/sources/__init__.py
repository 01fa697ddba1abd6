"""Where batches come from, by name: `SOURCES[config.data.name](config)` → Source.

`train=False` opens the evaluation split only.
"""

from handjax.sources.base import Source
from handjax.sources.body import body
from handjax.sources.camera_world import handfinder_world, handnet_world
from handjax.sources.depth_hand import DEPTH_SETS, depth_hand
from handjax.sources.labelled_crops import labelled_crops
from handjax.sources.labelled_frames import labelled_frames
from handjax.sources.landmarks import landmarks
from handjax.sources.multiview import multiview_world, nyu_views
from handjax.sources.rgb_hand import rgb_hand
from handjax.sources.synthetic import body_world, hand_rgb_world, hand_world, spherehand_world
from handjax.sources.voxel_h5 import voxel_h5

__all__ = ["DEPTH_SETS", "SOURCES", "Source"]

SOURCES = {
    "hand_world": hand_world,
    "spherehand_world": spherehand_world,
    "multiview_world": multiview_world,
    "handnet_world": handnet_world,
    "handfinder_world": handfinder_world,
    "nyu_views": nyu_views,
    "voxel_h5": voxel_h5,
    **dict.fromkeys(DEPTH_SETS, depth_hand),
    "hand_rgb_world": hand_rgb_world,
    "rgb_hand": rgb_hand,
    "landmarks": landmarks,
    "labelled_frames": labelled_frames,
    "labelled_crops": labelled_crops,
    "body": body,
    "body_world": body_world,
}
