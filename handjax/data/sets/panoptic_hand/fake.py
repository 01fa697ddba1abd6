"""Fake HandDB files: left and right hands, some points not labelled; the studio has right hands."""

import json
from pathlib import Path

import numpy as np

from handjax.data.sets import fake_hand
from handjax.data.sets.panoptic_hand.raw import FOLDERS, STUDIO
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project

_HEIGHT, _WIDTH = 360, 480
_K = np.array([[500, 0, _WIDTH / 2], [0, 500, _HEIGHT / 2], [0, 0, 1]], np.float32)


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` images per folder, of a right and a left hand in turn.

    Hidden joints are not labelled, and are 0 in the rendered images.
    """
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
            depth, winner = fake_hand.render_spheres(centers, radii, _K, _HEIGHT, _WIDTH)
            seen = fake_hand.visible(joints, centers, radii)[:, None]
            uv = project(joints, _K)
            rendered = folder.startswith("hand_labels_synth")
            points = (
                np.concatenate([np.where(seen, uv, 0) if rendered else uv, seen], axis=-1)[own]
                .astype(float)
                .tolist()
            )
            center = (
                ((uv[seen[:, 0]].min(axis=0) + uv[seen[:, 0]].max(axis=0)) / 2)
                .astype(float)
                .tolist()
            )
            name = f"Somebody.flv_{i:06d}_{'rl'[int(left[i])]}"
            if folder == str(studio):
                name = f"{i:08d}"
                entry = {"img_paths": f"imgs/{name}.jpg", "joint_self": points, "objpos": center}
                studio_hands.append({**entry, "img_width": _WIDTH, "img_height": _HEIGHT})
            else:
                labels = {"hand_pts": points, "is_left": int(left[i])}
                if rendered:
                    name = f"{i:08d}"
                else:
                    labels["hand_box_center"] = center
                (root / folder / f"{name}.json").write_text(json.dumps(labels))
            image = fake_hand.color_image(seed + i, depth, winner >= 0)
            (root / folder / f"{name}.jpg").write_bytes(fake_hand.encode(image, ".jpg"))
    (root / STUDIO).write_text(json.dumps({"root": studio_hands}))
