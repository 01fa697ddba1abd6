"""Where batches come from, by name: `SOURCES[config.data.name](config)` → Source; `train=False`: for evaluation alone."""

from handjax.sources.base import Source
from handjax.sources.body import body
from handjax.sources.depth_hand import DEPTH_HANDS, depth_hand, voxel_h5
from handjax.sources.multiview import hand_views_world, nyu_views
from handjax.sources.rgb_hand import rgb_hand
from handjax.sources.synthetic import body_world, hand_fit_world, hand_rgb_world, hand_world

__all__ = ["SOURCES", "Source"]

SOURCES = {
    "hand_world": hand_world,
    "hand_fit_world": hand_fit_world,
    "hand_views_world": hand_views_world,
    "nyu_views": nyu_views,
    "voxel_h5": voxel_h5,
    **dict.fromkeys(DEPTH_HANDS, depth_hand),
    "hand_rgb_world": hand_rgb_world,
    "rgb_hand": rgb_hand,
    "body": body,
    "body_world": body_world,
}
