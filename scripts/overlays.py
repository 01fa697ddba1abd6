"""Draw labelled joints over real images: python scripts/overlays.py FOLDER --order NAME --out FILE

FOLDER contains images and `annotations.json` in the format of COCO (images, annotations with
keypoints as x y v) or MPII (a list of image, joints, joints_vis), or pairs of X.jpg and X.json in
data/ and label/ (`hand_pts_crop`). NAME is the order of the joints, one of
pose/joint_orders.ORDERS. The joints are drawn after conversion, so a wrong order is visible.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from handjax.engine import cli
from handjax.pose.joint_orders import ORDERS, Order
from handjax.pose.skeleton import COLOURS, SKELETONS

Labelled = tuple[Path, np.ndarray, np.ndarray]  # image, joints [j, 2] px, visible [j]


def labelled(folder: Path) -> Iterator[Labelled]:
    """Every labelled person or hand of a folder."""
    file = folder / "annotations.json"
    if not file.is_file():
        for path in sorted((folder / "label").glob("*.json")):
            points = np.float64(json.loads(path.read_text())["hand_pts_crop"])
            yield folder / "data" / f"{path.stem}.jpg", points[:, :2], np.ones(len(points), bool)
        return
    annotations = json.loads(file.read_text())
    if isinstance(annotations, list):
        for person in annotations:
            yield (
                folder / person["image"],
                np.float64(person["joints"]),
                np.asarray(person["joints_vis"], bool),
            )
        return
    names = {image["id"]: image["file_name"] for image in annotations["images"]}
    for person in annotations["annotations"]:
        points = np.float64(person["keypoints"]).reshape(-1, 3)
        if points[:, 2].any():
            yield folder / names[person["image_id"]], points[:, :2], points[:, 2] > 0


def draw(
    axes: Axes, image: np.ndarray, joints: np.ndarray, visible: np.ndarray, order: Order
) -> None:
    """Draw the skeleton of one person over the part of the image around it."""
    skeleton = SKELETONS[order.common]
    joints, visible = order.convert(joints), order.convert(visible[:, None])[:, 0]
    axes.imshow(image)
    for a, b in skeleton.bones:
        if visible[a] and visible[b]:
            axes.plot(
                joints[[a, b], 0], joints[[a, b], 1], color=COLOURS[skeleton.groups[b]], lw=1.5
            )
    axes.scatter(*joints[visible].T, s=8, color="white", edgecolors="black", lw=0.5, zorder=3)
    low, high = joints[visible].min(0), joints[visible].max(0)
    center, reach = (low + high) / 2, 0.75 * (high - low).max() + 5
    axes.set(
        xlim=(center[0] - reach, center[0] + reach), ylim=(center[1] + reach, center[1] - reach)
    )
    axes.axis("off")


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Draw labelled joints over real images.")
    parser.add_argument("folder", type=cli.path, help="images and their annotations")
    parser.add_argument(
        "--order", required=True, choices=sorted(ORDERS), help="order of the joints"
    )
    parser.add_argument(
        "--out",
        type=cli.path,
        required=True,
        help="image to write, .png or .jpg; must not exist",
    )
    args = parser.parse_args(argv)
    if args.out.exists():
        parser.error(f"--out {args.out} exists; name another file")
    people = list(labelled(args.folder))
    if not people:
        parser.error(
            f"{args.folder}: no labelled image; expected annotations.json, or data/ and label/"
        )
    figure = Figure(figsize=(3 * len(people), 3))
    for axes, (path, joints, visible) in zip(
        figure.subplots(1, len(people), squeeze=False)[0], people, strict=True
    ):
        image = cv2.imread(str(path))
        if image is None:
            parser.error(f"{path}: not a readable image")
        draw(axes, image[..., ::-1], joints, visible, ORDERS[args.order])
    figure.subplots_adjust(left=0, right=1, top=1, bottom=0, wspace=0.01)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=80)
    print(args.out)


if __name__ == "__main__":
    main(sys.argv[1:])
