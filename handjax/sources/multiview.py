"""Several depth cameras about one hand, for the sphere hand: synthetic, and NYU's three Kinects. No labels are learnt from."""

from functools import partial

import jax
import numpy as np

from handjax.engine import config as configs
from handjax.pose.align import rigid_transform
from handjax.pose.center import STEPS, hand_center
from handjax.pose.cube import EXTENT_MM, parallel_rays
from handjax.pose.skeleton import ORDERS, SKELETONS
from handjax.rigs import hand
from handjax.sources.base import Source
from handjax.sources.synthetic import endless, own_skin
from handjax.synthetic import hands as world

_NYU = ORDERS["nyu36"]
_PALM = _NYU.joints.index("palm_3")  # the middle of the original's crops


def hand_views_world(config, train: bool = True) -> Source:
    """Hands of another build than training's, seen by several cameras with another noise. `joints_xyz`, in mm of the first view's
    cube, are there to be measured by; nothing that is learnt from them is in a batch."""
    data = config.data
    skeleton = configs.choose(
        {name: SKELETONS[name] for name in hand.JOINT_SPHERES}, config, "data.joints"
    )
    configs.choose(dict.fromkeys(("spheres", "skin")), config, "data.surface")
    if not data.cameras.turns_deg or any(len(turn) != 2 for turn in data.cameras.turns_deg):
        raise ValueError(
            f"config.data.cameras.turns_deg={data.cameras.turns_deg}: expected two angles a camera, about x and y"
        )
    joints = np.array(hand.JOINT_SPHERES[skeleton.name])
    drawn = partial(
        world.fitting_views,
        surface=data.surface,
        skin=own_skin(data.mesh),
        image_size=config.task.image_size,
        **data.cameras,
        **data.sensor,
        **data.pose,
    )

    def sample(key):
        made = drawn(key)
        return {
            "cube_depth": made["depth"],
            "cameras": made["cameras"],
            "joints_xyz": made["centers"][0, joints],
        }

    about = f"synthetic hands of the second population, held out by seed {data.eval_seed}; in the middle of their cube"
    return endless(config, sample, skeleton, about)


def nyu_views(config, train: bool = True) -> Source:
    """NYU as `handjax.prepare` leaves its configuration `multiview`: three Kinects' depth of a cube, along parallel rays.

    The cube's middle is the palm's joint 32, each view's own, as in the original ("label"); V2V-PoseNet's refined one ("refined")
    or the center of mass of what is nearest within `data.depth_mm` ("depth"), both of the first view, brought to the others.
    Where a frame has none, it counts nowhere in training and is an error in an evaluation.

    How the Kinects stand to each other the set does not say: as in the original it follows from the 36 joints of each view
    (`rigid_transform`), a frame at a time. The original writes the shift where its losses do not look for it. So training reads
    labels for the cameras, and for "label" the crop, and for nothing else. An evaluation is of the first view.
    """
    from handjax.data.records import Records  # the synthetic world needs no TensorFlow

    data = config.data
    if len(data.depth_mm) != 2 or not 0 < data.depth_mm[0] < data.depth_mm[1] < float("inf"):
        raise ValueError(
            f"config.data.depth_mm={data.depth_mm}: expected two distances in mm, the nearer above 0 and first"
        )
    near, far = data.depth_mm
    center = configs.choose(
        {
            "label": "from the label: joint 32, the palm",
            "refined": "from the file of refined ones",
            "depth": f"from the depth: center of mass in {STEPS} steps, of what is nearest within {near:g} to {far:g} mm",
        },
        config,
        "data.center",
    )
    if not data.path:
        raise ValueError(
            "config.data.path is empty: name the folder of the prepared nyu_hand/multiview by --config.data.path=DIR"
        )
    keys = (
        "depth",
        "k",
        "joints_xyz",
        *(("center_xyz", "center_valid") if data.center == "refined" else ()),
    )
    finish = partial(
        _finished, center=data.center, range_mm=(near, far), size=config.task.image_size
    )
    heldout = Records(data.path, data.eval_split, keys=keys, finish=finish)
    seen = Records(data.path, data.train_split, keys=keys, finish=finish) if train else heldout

    def rows(numbers, records):
        batch = records.rows(numbers)
        valid = batch.pop("center_valid")
        if records is heldout and not valid.all():
            lacks = {
                "refined": "no refined center",
                "depth": "no depth within config.data.depth_mm to find a center in",
            }[data.center]
            frame = records.names(numbers[~valid][:1])[0]
            raise ValueError(f"{data.path}: {frame} has {lacks}; use config.data.center=label")
        return {**batch, "mask": valid}

    return Source(
        skeleton=SKELETONS["nyu14"],
        train_size=len(seen),
        eval_size=len(heldout),
        train_rows=partial(rows, records=seen),
        eval_rows=partial(rows, records=heldout),
        materialize=lambda batch: batch,
        names=heldout.names,
        description=f"{len(heldout)} frames of nyu_hand, {data.eval_split}, first of three views; crop center {center}",
    )


def _finished(
    batch: dict[str, np.ndarray], *, center: str, range_mm: tuple[float, float], size: int
) -> dict[str, np.ndarray]:
    """Whole frames of three Kinects → what lies in a cube of each. `center_valid`: whether there is one."""
    depth, k, joints = batch["depth"], batch["k"], batch["joints_xyz"]
    if depth.ndim == 5:
        depth = depth[..., 0]
    if depth.ndim != 4 or joints.shape[2:] != (len(_NYU.joints), 3):
        raise ValueError(
            f"joints of a sample are {list(joints.shape[1:])}; several views of nyu_hand have [views, 36, 3]: prepare its "
            "configuration multiview"
        )
    cameras = rigid_transform(joints, np.broadcast_to(joints[:, :1], joints.shape))
    valid = np.ones(len(depth), bool)
    if center == "label":
        middles = joints[:, :, _PALM].astype(np.float64)
    else:
        if center == "refined":
            first, valid = batch["center_xyz"][:, 0], batch["center_valid"][:, 0]
        else:
            near, far = range_mm
            valid = ((depth[:, 0] >= near) & (depth[:, 0] <= far)).any((1, 2))
            cube_mm = np.full((len(depth), 3), EXTENT_MM, np.float32)
            # Here, among the threads that read, and not on the accelerator, which gets the small images alone.
            with jax.default_device(jax.local_devices(backend="cpu")[0]):
                first = np.asarray(
                    _FOUND(depth[:, 0].astype(np.float32), k[:, 0], cube_mm, range_mm=range_mm)
                )
        # Columns times R's inverse are rows times R.
        middles = ((first[:, None] - cameras[..., :3, 3])[..., None, :] @ cameras[..., :3, :3])[
            ..., 0, :
        ]
    views = depth.shape[:2]
    each_view = (x.reshape(-1, *x.shape[2:]) for x in (depth, k, middles))
    cubes = [parallel_rays(*view, size) for view in zip(*each_view, strict=True)]
    # x' = R x + t of the cameras, between points that are counted from the cubes' middles.
    turned = (cameras[..., :3, :3] @ middles[..., None])[..., 0]
    cameras[..., :3, 3] += turned - middles[:, :1]
    return {
        "cube_depth": np.stack(cubes).reshape(*views, size, size),
        "cameras": cameras.astype(np.float32),
        "joints_xyz": joints[:, 0, list(_NYU.to_common)],
        "center_xyz": middles[:, 0].astype(np.float32),
        "cube_mm": np.full((len(depth), 3), EXTENT_MM, np.float32),
        "center_valid": valid,
    }


_FOUND = jax.jit(hand_center, static_argnames="range_mm")
