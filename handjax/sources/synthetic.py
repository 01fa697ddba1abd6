"""Sources without files: synthetic hands and people, drawn on the device."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key
from ml_collections import ConfigDict

from handjax.data.formats.mesh import read_skin
from handjax.engine import config as configs
from handjax.engine.contracts import Batch
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.rigs import hand, skinning
from handjax.sources.base import Source, check_cube
from handjax.synthetic import hands, spherehand
from handjax.synthetic.people import BOX_MM, body_sample

Sampler = Callable[[Key[Array, ""]], dict[str, Array]]  # a key → one row of a batch


def hand_world(config: ConfigDict, train: bool = True) -> Source:
    """Hands in front of a depth camera (`hands.depth_sample`)."""
    data = config.data
    skeleton = configs.lookup(
        {name: SKELETONS[name] for name in ("hand21", "nyu14")}, config, "data.joints"
    )
    configs.lookup(dict.fromkeys(("depth", "label")), config, "data.center")
    check_cube(config)
    configs.require(config, 1, "data.image_size")
    configs.lookup(dict.fromkeys(("spheres", "skin")), config, "data.surface")
    if data.mesh and data.surface != "skin":
        raise ValueError(
            f"config.data.mesh={data.mesh} is used with config.data.surface=skin only; it is "
            f"{data.surface}"
        )
    sample: Sampler = partial(
        hands.depth_sample,
        joints=data.joints,
        surface=data.surface,
        skin=custom_skin(data.mesh),
        image_size=data.image_size,
        cube_mm=data.cube_mm,
        center=data.center,
        **data.sensor,
        **data.pose,
    )
    description = (
        f"synthetic hands held out by seed {data.eval_seed}; crop center from the {data.center}"
    )
    return endless(config, sample, skeleton, description)


def hand_rgb_world(config: ConfigDict, train: bool = True) -> Source:
    """Hands in RGB images (`hands.rgb_sample`). Each image counts as its own source file, so errors
    in px are measured in the generated image."""
    data = config.data
    configs.require(config, 1, "data.image_size", "data.supersampling")
    draw: Sampler = partial(
        hands.rgb_sample,
        skin=custom_skin(data.mesh),
        image_size=data.image_size,
        supersampling=data.supersampling,
        **data.camera,
        **data.pose,
    )

    def sample(key: Key[Array, ""]) -> dict[str, Array]:
        made = draw(key)
        kept = ("image", "k", "joints_xyz", "joints_uv", "visible", "left")
        return {**{name: made[name] for name in kept}, "source_from_image": jnp.eye(2, 3)}

    description = f"synthetic images of hands held out by seed {data.eval_seed}"
    return endless(config, sample, SKELETONS["hand21"], description)


def spherehand_world(config: ConfigDict, train: bool = True) -> Source:
    """Hands as the sphere hand's network sees them (`spherehand.spherehand_sample`): one view along
    parallel rays each, with the centers of its spheres."""
    data = config.data
    skeleton = configs.lookup(
        {name: SKELETONS[name] for name in hand.JOINT_SPHERES}, config, "data.joints"
    )
    configs.lookup(dict.fromkeys(("spheres", "skin")), config, "data.surface")
    joints = np.array(hand.JOINT_SPHERES[skeleton.name])
    draw: Sampler = partial(
        spherehand.spherehand_sample,
        surface=data.surface,
        skin=custom_skin(data.mesh),
        image_size=data.image_size,
        resample=data.depth_resample,
        **data.sensor,
        **data.pose,
    )

    def sample(key: Key[Array, ""]) -> dict[str, Array]:
        made = draw(key)
        return {
            "cube_depth": made["depth"][None],
            "centers": made["centers"][None],
            "joints_xyz": made["centers"][joints],
        }

    description = f"synthetic hands held out by seed {data.eval_seed}; centered in their cube"
    return endless(config, sample, skeleton, description)


def body_world(config: ConfigDict, train: bool = True) -> Source:
    """People in RGB images, with every key of a `sources.body` batch: all joints are labelled, and
    `box` is the square of 2000 mm around the pelvis."""
    data = config.data
    configs.require(config, 1, "data.image_size", "data.supersampling")
    draw: Sampler = partial(
        body_sample,
        image_size=data.image_size,
        supersampling=data.supersampling,
        **data.camera,
        **data.pose,
    )

    def sample(key: Key[Array, ""]) -> dict[str, Array]:
        made = draw(key)
        (fx, fy), z = jnp.diag(made["k"])[:2], made["joints_xyz"][0, 2]
        sides = jnp.stack([fx, fy]) * BOX_MM / z
        return {
            **{name: made[name] for name in ("image", "k", "joints_xyz", "joints_uv", "visible")},
            "box": jnp.concatenate([made["joints_uv"][0] - sides / 2, sides]),
            "source_from_image": jnp.eye(2, 3),
            "labelled": jnp.ones(18, bool),
            "has_uv": jnp.array(True),
            "has_xyz": jnp.array(True),
            "head_px": jnp.zeros(()),
            **dict.fromkeys(("subject", "action", "camera"), jnp.int32(-1)),
        }

    description = f"synthetic people held out by seed {data.eval_seed}"
    return endless(config, sample, SKELETONS["body18"], description)


def endless(
    config: ConfigDict,
    sample: Sampler,
    skeleton: Skeleton,
    description: str,
    eval_sample: Sampler | None = None,
) -> Source:
    """A source that draws row i of its batches by `sample(key of sample i)`, on the device; in an
    evaluation by `eval_sample`, if there is one.

    Training counts through an endless stream, numbered by `config.seed`. The evaluation split has
    its own stream, numbered by `config.data.eval_seed`, and `config.data.eval_size` samples.
    """
    data = config.data
    configs.require(config, 1, "data.eval_size")
    configs.require(config, 0, "seed", "data.eval_seed")
    streams = {"train": config.seed, "eval": data.eval_seed}

    def rows(indices: Int[np.ndarray, " b"], split: str) -> Batch:
        count = len(indices)
        return {
            "index": indices.astype(np.int32),
            "mask": np.ones(count, bool),
            "stream": np.full(count, streams[split], np.uint32),
            "heldout": np.full(count, split == "eval"),
        }

    def materialize(batch: Batch, keys: Key[Array, " b"] | None = None) -> Batch:
        draw = sample if keys is not None or eval_sample is None else eval_sample

        def one(index, stream, heldout):
            return draw(hands.sample_key(stream, heldout, index))

        made = jax.vmap(one)(batch["index"], batch["stream"], batch["heldout"])
        return {**made, "mask": batch["mask"], "index": batch["index"]}

    return Source(
        skeleton=skeleton,
        train_size=None,
        eval_size=data.eval_size,
        train_rows=partial(rows, split="train"),
        eval_rows=partial(rows, split="eval"),
        materialize=materialize,
        names=lambda indices: [f"synthetic-{i}" for i in indices],
        description=f"{data.eval_size} {description}",
    )


def custom_skin(path: str) -> skinning.Skin | None:
    """The skin in a mesh file (.npz, .obj or sphereHand's .pkl); None, the built-in one, for ""."""
    return skinning.bind_mesh(*read_skin(path, bones=len(hand.HAND.bones))) if path else None
