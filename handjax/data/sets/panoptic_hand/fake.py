"""A few pictures and json files as HandDB has them: left and right hands, some points not labelled. The studio has right hands."""

import json
from pathlib import Path

import numpy as np

from handjax.data.sets import fake_hand
from handjax.data.sets.panoptic_hand.raw import FOLDERS, STUDIO
from handjax.pose.skeleton import ORDERS

_HEIGHT, _WIDTH = 360, 480
_K = np.array([[500, 0, _WIDTH / 2], [0, 500, _HEIGHT / 2], [0, 0, 1]], np.float32)


def write(root: Path, n: int, seed: int) -> None:
    """n pictures a folder, of the right hand and the left in turn. Hidden joints are not labelled, and 0 in rendered pictures."""
    own = np.argsort(ORDERS["handdb"].to_common)  # own joint → common joint
    studio, studio_hands = Path(STUDIO).parent / "imgs", []
    for number, folder in enumerate((*sum(FOLDERS.values(), ()), str(studio))):
        (root / folder).mkdir(parents=True)
        positions = np.array([0, 0, 550]) + np.random.default_rng((seed, number)).uniform(
            -40, 40, (n, 3)
        )
        left = np.arange(n) % 2 == 1 if folder != str(studio) else np.zeros(n, bool)
        for i, (centers, radii, joints) in enumerate(
            zip(*fake_hand.hands(seed + 100 * number, positions, left), strict=True)
        ):
            depth, winner = fake_hand.look(centers, radii, _K, _HEIGHT, _WIDTH)
            seen = fake_hand.visible(joints, centers, radii)[:, None]
            uv = fake_hand.project(joints, _K)
            rendered = folder.startswith("hand_labels_synth")
            points = (
                np.concatenate([np.where(seen, uv, 0) if rendered else uv, seen], axis=-1)[own]
                .astype(float)
                .tolist()
            )
            middle = (
                ((uv[seen[:, 0]].min(axis=0) + uv[seen[:, 0]].max(axis=0)) / 2)
                .astype(float)
                .tolist()
            )
            name = f"Somebody.flv_{i:06d}_{'rl'[int(left[i])]}"
            if folder == str(studio):
                name = f"{i:08d}"
                told = {"img_paths": f"imgs/{name}.jpg", "joint_self": points, "objpos": middle}
                studio_hands.append({**told, "img_width": _WIDTH, "img_height": _HEIGHT})
            else:
                labels = {"hand_pts": points, "is_left": int(left[i])}
                if rendered:
                    name = f"{i:08d}"
                else:
                    labels["hand_box_center"] = middle
                (root / folder / f"{name}.json").write_text(json.dumps(labels))
            picture = fake_hand.picture(seed + i, depth, winner >= 0)
            (root / folder / f"{name}.jpg").write_bytes(fake_hand.encode(picture, ".jpg"))
    (root / STUDIO).write_text(json.dumps({"root": studio_hands}))
