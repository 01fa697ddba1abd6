"""Sources that read no file: hands and people of the synthetic worlds, made on the device."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from handjax.data.formats.mesh import read_skin
from handjax.engine import config as configs
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.rigs import hand
from handjax.rigs import skinning as mesh
from handjax.sources.base import Source
from handjax.synthetic import hands as world
from handjax.synthetic.people import BOX_MM, body_sample


def hand_world(config, train: bool = True) -> Source:
    """Hands before a depth camera."""
    data = config.data
    skeleton = configs.choose(
        {name: SKELETONS[name] for name in ("hand21", "nyu14")}, config, "data.joints"
    )
    configs.choose(dict.fromkeys(("depth", "label")), config, "data.center")
    configs.require(config, 1, "data.image_size")
    configs.choose(dict.fromkeys(("spheres", "skin")), config, "data.surface")
    if data.mesh and data.surface != "skin":
        raise ValueError(
            f"config.data.mesh={data.mesh} is shown with config.data.surface=skin alone; it is {data.surface}"
        )
    sample = partial(
        world.hand_sample,
        joints=data.joints,
        surface=data.surface,
        skin=own_skin(data.mesh),
        image_size=data.image_size,
        cube_mm=data.cube_mm,
        center=data.center,
        **data.sensor,
        **data.pose,
    )
    return endless(
        config,
        sample,
        skeleton,
        f"synthetic hands held out by seed {data.eval_seed}; crop center from the {data.center}",
    )


def hand_rgb_world(config, train: bool = True) -> Source:
    """Hands in colour pictures. The picture is its own source file, so errors in px are in the generated picture's."""
    data = config.data
    configs.require(config, 1, "data.image_size", "data.samples")
    drawn = partial(
        world.rgb_sample,
        skin=own_skin(data.mesh),
        image_size=data.image_size,
        samples=data.samples,
        **data.camera,
        **data.pose,
    )

    def sample(key):
        made = drawn(key)
        kept = {
            name: made[name]
            for name in ("image", "k", "joints_xyz", "joints_uv", "visible", "left")
        }
        return {**kept, "source_from_image": jnp.eye(2, 3)}

    about = f"synthetic pictures of hands held out by seed {data.eval_seed}"
    return endless(config, sample, SKELETONS["hand21"], about)


def hand_fit_world(config, train: bool = True) -> Source:
    """Hands as sphereHand's network sees them, one view of parallel rays each, with the centres of their spheres."""
    data = config.data
    skeleton = configs.choose(
        {name: SKELETONS[name] for name in hand.JOINT_SPHERES}, config, "data.joints"
    )
    configs.choose(dict.fromkeys(("spheres", "skin")), config, "data.surface")
    joints = np.array(hand.JOINT_SPHERES[skeleton.name])
    drawn = partial(
        world.fitting_sample,
        surface=data.surface,
        skin=own_skin(data.mesh),
        image_size=config.task.image_size,
        resample=config.task.depth_resample,
        **data.sensor,
        **data.pose,
    )

    def sample(key):
        made = drawn(key)
        return {
            "cube_depth": made["depth"][None],
            "centers": made["centers"][None],
            "joints_xyz": made["centers"][joints],
        }

    return endless(
        config,
        sample,
        skeleton,
        f"synthetic hands held out by seed {data.eval_seed}; in the middle of their cube",
    )


def body_world(config, train: bool = True) -> Source:
    """People in colour pictures, as `samples.body` has them of a set that knows all: every joint is labelled, and `box` is the
    square of 2000 mm about the pelvis."""
    data = config.data
    configs.require(config, 1, "data.image_size", "data.samples")
    drawn = partial(
        body_sample, image_size=data.image_size, samples=data.samples, **data.camera, **data.pose
    )

    def sample(key):
        made = drawn(key)
        kept = {name: made[name] for name in ("image", "k", "joints_xyz", "joints_uv", "visible")}
        (fx, fy), z = jnp.diag(made["k"])[:2], made["joints_xyz"][0, 2]
        sides = jnp.stack([fx, fy]) * BOX_MM / z
        kept |= {
            "box": jnp.concatenate([made["joints_uv"][0] - sides / 2, sides]),
            "source_from_image": jnp.eye(2, 3),
        }
        kept |= {
            "labelled": jnp.ones(18, bool),
            "has_uv": jnp.array(True),
            "has_xyz": jnp.array(True),
            "head_px": jnp.zeros(()),
        }
        return kept | dict.fromkeys(("subject", "action", "camera"), jnp.int32(-1))

    return endless(
        config, sample, SKELETONS["body18"], f"synthetic people held out by seed {data.eval_seed}"
    )


def endless(config, sample: Callable, skeleton: Skeleton, about: str) -> Source:
    """`sample(key)` → one row. Held-out samples come from their own stream of numbers, fixed by `eval_seed`."""
    data = config.data
    configs.require(config, 1, "data.eval_size")
    configs.require(config, 0, "seed", "data.eval_seed")
    streams = {"train": config.seed, "eval": data.eval_seed}

    def rows(indices, stream):
        filled = np.full(len(indices), streams[stream], np.uint32)
        split = np.full(len(indices), stream == "eval")
        mask = np.ones(len(indices), bool)
        return {"index": indices.astype(np.int32), "mask": mask, "stream": filled, "heldout": split}

    def materialize(batch):
        def one(index, stream, heldout):
            return sample(world.sample_key(stream, heldout, index))

        made = jax.vmap(one)(batch["index"], batch["stream"], batch["heldout"])
        return {**made, "mask": batch["mask"], "index": batch["index"]}

    return Source(
        skeleton=skeleton,
        train_size=None,
        eval_size=data.eval_size,
        train_rows=partial(rows, stream="train"),
        eval_rows=partial(rows, stream="eval"),
        materialize=materialize,
        names=lambda indices: [f"synthetic-{i}" for i in indices],
        description=f"{data.eval_size} {about}",
    )


def own_skin(path: str) -> mesh.Skin | None:
    return mesh.skin_from(*read_skin(path, bones=len(hand.HAND.bones))) if path else None
