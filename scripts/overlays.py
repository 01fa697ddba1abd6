"""Draws labelled joints over real pictures: python scripts/overlays.py FOLDER --order NAME --out DIR

FOLDER holds pictures and `annotations.json`, COCO's form (images, annotations with keypoints as x y v) or MPII's (a list of image,
joints, joints_vis), or pairs of X.jpg and X.json under data/ and label/ (`hand_pts_crop`). NAME, one of pose/skeleton.ORDERS, says
what each joint is; what is drawn has gone through it, so a wrong order shows.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from handjax.pose.skeleton import COLOURS, ORDERS, SKELETONS

Labelled = tuple[Path, np.ndarray, np.ndarray]  # picture, joints [j, 2] px, visible [j]


def labelled(folder: Path) -> Iterator[Labelled]:
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


def draw(axes, picture: np.ndarray, joints: np.ndarray, visible: np.ndarray, order) -> None:
    skeleton = SKELETONS[order.common]
    joints, visible = order.convert(joints), order.convert(visible[:, None])[:, 0]
    axes.imshow(picture)
    for a, b in skeleton.bones:
        if visible[a] and visible[b]:
            axes.plot(
                joints[[a, b], 0], joints[[a, b], 1], color=COLOURS[skeleton.groups[b]], lw=1.5
            )
    axes.scatter(*joints[visible].T, s=8, color="white", edgecolors="black", lw=0.5, zorder=3)
    low, high = joints[visible].min(0), joints[visible].max(0)
    middle, reach = (low + high) / 2, 0.75 * (high - low).max() + 5
    axes.set(
        xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] + reach, middle[1] - reach)
    )
    axes.axis("off")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Draws labelled joints over real pictures.")
    parser.add_argument("folder", type=Path, help="pictures and their annotations")
    parser.add_argument("--order", required=True, choices=sorted(ORDERS), help="what each joint is")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="the picture to write, .png or .jpg; not over an earlier one",
    )
    args = parser.parse_args(argv)
    if args.out.exists():
        parser.error(f"--out {args.out} exists; name another file")
    people = list(labelled(args.folder))
    if not people:
        parser.error(
            f"{args.folder}: no labelled picture; expected annotations.json, or data/ and label/"
        )
    figure = Figure(figsize=(3 * len(people), 3))
    for axes, (path, joints, visible) in zip(
        figure.subplots(1, len(people), squeeze=False)[0], people, strict=True
    ):
        picture = cv2.imread(str(path))
        if picture is None:
            parser.error(f"{path}: no picture that can be read")
        draw(axes, picture[..., ::-1], joints, visible, ORDERS[args.order])
    figure.subplots_adjust(left=0, right=1, top=1, bottom=0, wspace=0.01)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=80)
    print(args.out)


if __name__ == "__main__":
    main(sys.argv[1:])
