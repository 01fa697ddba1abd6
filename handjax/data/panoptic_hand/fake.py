"""A few pictures and json files as HandDB has them: left and right hands, some points not labelled."""

import json
from pathlib import Path

import numpy as np

from handjax.data import fake_hand
from handjax.data.panoptic_hand.raw import FOLDERS
from handjax.pose.skeleton import ORDERS

_HEIGHT, _WIDTH = 360, 480
_K = np.array([[500, 0, _WIDTH / 2], [0, 500, _HEIGHT / 2], [0, 0, 1]], np.float32)


def write(root: Path, n: int, seed: int) -> None:
    """n pictures a folder, of the right hand and the left in turn. Hidden joints are not labelled, and 0 in rendered pictures."""
    own = np.argsort(ORDERS["handdb"].to_common)  # own joint → common joint
    for number, folder in enumerate(sum(FOLDERS.values(), ())):
        (root / folder).mkdir(parents=True)
        positions = np.array([0, 0, 550]) + np.random.default_rng((seed, number)).uniform(-40, 40, (n, 3))
        left = np.arange(n) % 2 == 1
        for i, (centers, radii, joints) in enumerate(zip(*fake_hand.hands(seed + 100 * number, positions, left), strict=True)):
            depth, winner = fake_hand.look(centers, radii, _K, _HEIGHT, _WIDTH)
            seen = fake_hand.visible(joints, centers, radii)[:, None]
            uv = fake_hand.project(joints, _K)
            rendered = folder.startswith("hand_labels_synth")
            labels = {
                "hand_pts": np.concatenate([np.where(seen, uv, 0) if rendered else uv, seen], axis=-1)[own].astype(float).tolist(),
                "is_left": int(left[i]),
            }
            if not rendered:
                labels["hand_box_center"] = ((uv[seen[:, 0]].min(axis=0) + uv[seen[:, 0]].max(axis=0)) / 2).astype(float).tolist()
            name = f"{i:08d}" if rendered else f"Somebody.flv_{i:06d}_{'rl'[int(left[i])]}"
            (root / folder / f"{name}.json").write_text(json.dumps(labels))
            picture = fake_hand.picture(seed + i, depth, winner >= 0)
            (root / folder / f"{name}.jpg").write_bytes(fake_hand.encode(picture, ".jpg"))
