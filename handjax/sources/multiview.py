"""Several depth cameras around one hand, for the sphere hand: synthetic hands, and NYU's three
Kinects. Training reads no joint labels from them."""

from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Int, Key
from ml_collections import ConfigDict

from handjax.data import left_out
from handjax.engine import config as configs
from handjax.engine.contracts import Batch
from handjax.pose.align import rigid_transform
from handjax.pose.center import hand_center
from handjax.pose.cube import EXTENT_MM, parallel_rays
from handjax.pose.joint_orders import ORDERS
from handjax.pose.skeleton import SKELETONS
from handjax.rigs import hand
from handjax.sources.base import Source, required_path, unchanged
from handjax.sources.crop_center import CropCenter, crop_center
from handjax.sources.mixed_synthetic import with_synthetic
from handjax.sources.synthetic import Sampler, custom_skin, endless
from handjax.sources.watch import Watch
from handjax.synthetic import spherehand

_NYU = ORDERS["nyu36"]
_PALM = _NYU.joints.index("palm_3")  # center of the original's crops


def multiview_world(config: ConfigDict, train: bool = True) -> Source:
    """Synthetic hands of a second population, seen by several cameras with other noise.

    `joints_xyz`, mm in the cube of the first view, serve evaluation only; the batch holds no label
    that training reads. `config.data.synthetic` adds labelled hands (`with_synthetic`).
    """
    data = config.data
    skeleton = configs.lookup(
        {name: SKELETONS[name] for name in hand.JOINT_SPHERES}, config, "data.joints"
    )
    configs.lookup(dict.fromkeys(("spheres", "skin")), config, "data.surface")
    if not data.cameras.turns_deg or any(len(turn) != 2 for turn in data.cameras.turns_deg):
        raise ValueError(
            f"config.data.cameras.turns_deg={data.cameras.turns_deg}: expected two angles per "
            "camera, about x and y"
        )
    joints = np.array(hand.JOINT_SPHERES[skeleton.name])
    draw: Sampler = partial(
        spherehand.spherehand_views,
        surface=data.surface,
        skin=custom_skin(data.mesh),
        image_size=data.image_size,
        **data.cameras,
        **data.sensor,
        **data.pose,
    )

    def sample(key: Key[Array, ""]) -> dict[str, Array]:
        made = draw(key)
        return {
            "cube_depth": made["depth"],
            "cameras": made["cameras"],
            "joints_xyz": made["centers"][0, joints],
        }

    description = (
        f"synthetic hands of the second population, held out by seed {data.eval_seed}; centered "
        "in their cube"
    )
    return with_synthetic(endless(config, sample, skeleton, description), config)


def nyu_views(config: ConfigDict, train: bool = True) -> Source:
    """NYU's configuration `multiview`, prepared by `handjax prepare`: three Kinects' depth of a
    cube, along parallel rays. `config.data.synthetic` adds labelled hands (`with_synthetic`).

    The cube's middle is the palm's joint 32 of each view, as in the original ("label"), or, from
    the first view and transformed to the others, V2V-PoseNet's refined center ("refined") or the
    center of mass of the nearest thing within `data.depth_mm` ("depth"). A frame without a center
    is masked in training and an error in an evaluation.

    The set lacks the poses of the cameras. As in the original they follow from the 36 joints of
    each view (`rigid_transform`), frame by frame; the original writes the translation where its
    losses do not read it. So training reads labels for the cameras and, with "label", for the crop,
    and for nothing else. Evaluations use the first view.
    """
    from handjax.data.records import RecordDataset  # synthetic sources work without TensorFlow

    data = config.data
    center = crop_center(config, "joint 32, the palm")
    path = required_path(config, "folder of the prepared nyu_hand/multiview", bucket=True)
    keys = ("depth", "k", "joints_xyz", *center.features)
    finish = partial(_to_batch, center=center, size=data.image_size)
    eval_set = RecordDataset(path, data.eval_split, keys=keys, postprocess=finish)
    train_set = (
        RecordDataset(path, data.train_split, keys=keys, postprocess=finish) if train else eval_set
    )

    def rows(numbers: Int[np.ndarray, " b"], records: RecordDataset) -> Batch:
        batch = records.rows(numbers)
        valid = batch.pop("center_valid")
        if records is eval_set:
            center.require(valid, numbers, records.names, path)
        return {**batch, "mask": valid}

    watch = partial(Watch, skeleton=SKELETONS["nyu14"], where=path)
    source = Source(
        skeleton=SKELETONS["nyu14"],
        train_size=len(train_set),
        eval_size=len(eval_set),
        train_rows=watch(partial(rows, records=train_set), size=len(train_set), train=True),
        eval_rows=watch(partial(rows, records=eval_set), size=len(eval_set), train=False),
        materialize=unchanged,
        names=eval_set.names,
        description=f"{len(eval_set)} frames of nyu_hand, {data.eval_split}, first of three views; "
        f"crop center {center.description}{left_out.told(path, data.eval_split)}",
    )
    return with_synthetic(source, config)


def _to_batch(
    features: dict[str, np.ndarray], *, center: CropCenter, size: int
) -> dict[str, np.ndarray]:
    """Entire frames of three Kinects → the cube of each view; `center_valid`: it has a center."""
    depth, k, joints = features["depth"], features["k"], features["joints_xyz"]
    if depth.ndim == 5:
        depth = depth[..., 0]
    if depth.ndim != 4 or joints.shape[2:] != (len(_NYU.joints), 3):
        raise ValueError(
            f"joints of a sample are {list(joints.shape[1:])}; several views of nyu_hand have "
            "[views, 36, 3]: prepare its configuration multiview"
        )
    cameras = rigid_transform(joints, np.broadcast_to(joints[:, :1], joints.shape))

    # --- the middle of each view's cube
    valid = np.ones(len(depth), bool)
    if center.rule == "label":
        middles = joints[:, :, _PALM].astype(np.float64)
    else:
        if center.rule == "refined":
            first, valid = features["center_xyz"][:, 0], features["center_valid"][:, 0]
        else:
            valid = center.has_depth(depth[:, 0])
            first = _center_of_mass(depth[:, 0], k[:, 0], center.range_mm)
        # Columns times the inverse of R are rows times R.
        rotation, shift = cameras[..., :3, :3], cameras[..., :3, 3]
        middles = ((first[:, None] - shift)[..., None, :] @ rotation)[..., 0, :]

    # --- the cubes, and the cameras between points relative to the middles of the cubes
    views = depth.shape[:2]
    images, matrices, centers = (x.reshape(-1, *x.shape[2:]) for x in (depth, k, middles))
    cubes = [
        parallel_rays(image, matrix, middle, size)
        for image, matrix, middle in zip(images, matrices, centers, strict=True)
    ]
    rotated = (cameras[..., :3, :3] @ middles[..., None])[..., 0]
    cameras[..., :3, 3] += rotated - middles[:, :1]
    return {
        "cube_depth": np.stack(cubes).reshape(*views, size, size),
        "cameras": cameras.astype(np.float32),
        "joints_xyz": joints[:, 0, list(_NYU.to_common)],
        "center_xyz": middles[:, 0].astype(np.float32),
        "cube_mm": np.full((len(depth), 3), EXTENT_MM, np.float32),
        "center_valid": valid,
    }


def _center_of_mass(depth, k, range_mm):
    """`hand_center` on the CPU, in the reading threads: the accelerator gets the cubes alone."""
    cube_mm = np.full((len(depth), 3), EXTENT_MM, np.float32)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return np.asarray(_hand_center(depth.astype(np.float32), k, cube_mm, range_mm=range_mm))


_hand_center = jax.jit(hand_center, static_argnames="range_mm")
