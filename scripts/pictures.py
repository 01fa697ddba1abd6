"""Draw the images of the documentation: python scripts/pictures.py [--out docs/pictures] [--force]

skin.png     one pose per column, as skin, spheres and depth, seen by the same camera
rgb.jpg      samples of `synthetic.hands.rgb_sample`, without and with labels
fitting.png  samples of `synthetic.spherehand`, the inputs of the sphere hand's network
hand_crops.png  samples of `synthetic.camera_world.crop_sample`, those of the hand network, and
                frames, those of its finder

Seeds are fixed, so the hands are the same each time.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from make_skin import BIND_POSE
from matplotlib.figure import Figure

from handjax.engine import cli
from handjax.pose.pinhole import project
from handjax.pose.skeleton import COLOURS, SKELETONS
from handjax.rigs import hand, poses, skinning, spheres
from handjax.synthetic import camera_world, hands, render, shade, spherehand

PIXELS = 320
HELD_UP = np.float32([3.14, 0.0, 1.57] + [0.0] * 23)
LOOK = shade.Look(
    tone=jnp.asarray([0.52, 0.30, 0.21]),
    waves=jnp.zeros((1, 3)),
    phases=jnp.zeros(1),
    texture=jnp.asarray(0.0),
    directions=jnp.asarray([[-0.5, -0.6, -0.62], [0.8, 0.0, -0.6]]),
    lights=jnp.asarray([[0.9, 0.88, 0.82], [0.25, 0.28, 0.32]]),
    sky=jnp.asarray([0.25, 0.26, 0.28]),
    ground=jnp.asarray([0.12, 0.11, 0.1]),
    shine=jnp.asarray(0.12),
    hardness=jnp.asarray(18.0),
    exposure=jnp.asarray(0.55),
    blur_px=jnp.asarray(0.0),
    noise=jnp.asarray(0.0),
)


def example_poses() -> list[np.ndarray]:
    """A hand held up, the bind pose of the skin, and sampled poses."""
    spread = HELD_UP.copy()
    spread[6:] = np.asarray(BIND_POSE[6:])
    sample = partial(poses.sample_pose, rotation=poses.ROTATION_FRONTAL)
    keys = [(3, "half_open"), (5, "pinching"), (1, "closed"), (4, "index_middle")]
    drawn = [np.asarray(sample(jax.random.key(seed), modes=(mode,))) for seed, mode in keys]
    return [HELD_UP, spread, *drawn]


@jax.jit
def render_pose(pose: jax.Array) -> tuple[jax.Array, ...]:
    """One pose in one camera: RGB of the skin, sphere and normal per pixel, depth of the skin."""
    skin, at = skinning.hand_skin(), jnp.asarray([0.0, 0.0, 600.0])
    pose = pose.at[3:6].set(0.0)
    centers, radii, _ = render.hand_in_camera(pose, at)
    middle = jnp.mean(centers, axis=0)
    k = render.crop_intrinsics(middle, jnp.asarray(250.0), PIXELS)
    vertices = skinning.hand_vertices(skin, pose) + at[None]
    white = jnp.ones((PIXELS, PIXELS, 3))
    normals = skinning.hand_normals(skin, pose)
    picture = shade.hand_image(
        LOOK, white, vertices, normals, skin.faces, skin.vertices, shade.palm_side(skin), k, 3
    )
    depth, _ = render.mesh_depth(vertices, skin.faces, k, PIXELS, PIXELS, projection="pinhole")
    ball, winner = spheres.sphere_depth_pinhole(centers, radii, k, PIXELS, PIXELS)
    v, u = jnp.meshgrid(jnp.arange(PIXELS), jnp.arange(PIXELS), indexing="ij")
    points = jnp.stack(
        [(u - k[0, 2]) / k[0, 0] * ball, (v - k[1, 2]) / k[1, 1] * ball, ball], axis=-1
    )
    normal = (points - centers[winner]) / radii[winner][..., None]
    return picture, winner, normal, depth


def skin_picture() -> Figure:
    columns = example_poses()
    figure = Figure(figsize=(2.0 * len(columns), 6.0))
    grid = figure.subplots(3, len(columns))
    palette = {
        finger: np.asarray(matplotlib.colors.to_rgb(colour)) for finger, colour in COLOURS.items()
    }
    owners = (hand.HAND.bones[bone].split("_")[0] for bone in hand.HAND.sphere_bones)
    colours = np.stack([palette.get(owner, palette["palm"]) for owner in owners])
    for column, pose in enumerate(columns):
        picture, winner, normal, depth = jax.device_get(render_pose(jnp.asarray(pose)))
        light = np.clip(0.35 + 0.65 * (normal @ np.asarray([-0.4, -0.5, -0.77])), 0, 1)
        balls = np.where((winner >= 0)[..., None], colours[winner] * light[..., None], 1.0)
        grid[0, column].imshow(np.clip(picture, 0, 1) ** (1 / 2.2))
        grid[1, column].imshow(balls)
        grid[2, column].imshow(np.where(depth > 0, depth, np.nan), cmap="turbo_r")
    for axes in grid.flat:
        axes.axis("off")
    figure.subplots_adjust(left=0, right=1, top=1, bottom=0, wspace=0.02, hspace=0.02)
    return figure


def sheet(rows: int, columns: int, width: float) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, width * rows / columns))
    grid = figure.subplots(rows, columns)
    figure.subplots_adjust(left=0, right=1, top=1, bottom=0, wspace=0.02, hspace=0.02)
    for axes in grid.flat:
        axes.axis("off")
    return figure, grid


def rgb_picture() -> Figure:
    figure, grid = sheet(4, 8, 12.0)
    samples = draw_samples(hands.rgb_sample, 16, image_size=192)
    skeleton = SKELETONS["hand21"]
    for i, (image, uv, visible) in enumerate(
        zip(samples["image"], samples["joints_uv"], samples["visible"], strict=True)
    ):
        plain, labelled = grid.flat[2 * i], grid.flat[2 * i + 1]
        plain.imshow(image)
        labelled.imshow(image)
        for a, b in skeleton.bones:
            labelled.plot(uv[[a, b], 0], uv[[a, b], 1], color=COLOURS[skeleton.groups[b]], lw=1.5)
        labelled.scatter(*uv[visible].T, s=9, color="white", edgecolors="black", lw=0.5, zorder=3)
        labelled.set(xlim=(-0.5, 191.5), ylim=(191.5, -0.5))
    return figure


def fitting_picture() -> Figure:
    figure, grid = sheet(2, 8, 12.0)
    for row, surface in enumerate(("skin", "spheres")):
        samples = draw_samples(spherehand.spherehand_sample, 8, surface=surface)
        for axes, depth in zip(grid[row], samples["depth"], strict=True):
            axes.imshow(np.where(depth < 100, depth, np.nan), cmap="turbo_r", vmin=-100, vmax=100)
    return figure


def crops_picture() -> Figure:
    """Two rows of crops with the visible joints of right hands, two rows of frames with hands."""
    figure, grid = sheet(4, 8, 12.0)
    crops = draw_samples(camera_world.crop_sample, 16)
    skeleton = SKELETONS["hand21"]
    for i, axes in enumerate(grid[:2].flat):
        depth, distance = crops["depth"][i], crops["center_xyz"][i, 2]
        seen = np.where(depth > 0, np.clip((depth - distance) / 150, -1, 1), 1)
        axes.imshow(seen, cmap="gray_r", vmin=-1.3, vmax=1.0)
        if crops["right"][i]:
            uv = project(crops["joints_xyz"][i], crops["k"][i])
            for a, b in skeleton.bones:
                axes.plot(uv[[a, b], 0], uv[[a, b], 1], color=COLOURS[skeleton.groups[b]], lw=1.5)
        axes.set(xlim=(-0.5, 63.5), ylim=(63.5, -0.5))
    frames = draw_samples(camera_world.frame_sample, 16)
    colours = {1.0: COLOURS["index"], -1.0: COLOURS["ring"]}
    for i, axes in enumerate(grid[2:].flat):
        depth = frames["depth"][i]
        axes.imshow(np.where(depth > 0, depth, 1600), cmap="gray_r", vmin=0, vmax=1600)
        uv = project(frames["hands"][i], frames["k"][i])
        for at, side, there in zip(uv, frames["sides"][i], frames["present"][i], strict=True):
            if there:
                axes.plot(*at, "o", ms=14, mfc="none", mew=2, color=colours[float(side)])
    return figure


def draw_samples(sample: Callable, count: int, **options: Any) -> dict[str, np.ndarray]:
    keys = jax.vmap(lambda index: hands.sample_key(0, False, index))(jnp.arange(count))
    return jax.device_get(jax.jit(jax.vmap(partial(sample, **options)))(keys))


PICTURES = {
    "skin.png": skin_picture,
    "rgb.jpg": rgb_picture,
    "fitting.png": fitting_picture,
    "hand_crops.png": crops_picture,
}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Draw the images of the documentation.")
    parser.add_argument(
        "--out",
        type=cli.path,
        default=Path(__file__).parents[1] / "docs" / "pictures",
        help="default: docs/pictures",
    )
    parser.add_argument("--force", action="store_true", help="overwrite existing images")
    args = parser.parse_args(argv)
    existing = [name for name in PICTURES if (args.out / name).exists()]
    if existing and not args.force:
        parser.error(
            f"{args.out} contains {', '.join(existing)}; choose another --out, or overwrite them "
            "with --force"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw().savefig(args.out / name, dpi=80)
        print(args.out / name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
