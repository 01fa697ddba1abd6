"""V2V-PoseNet (Moon, Chang, Lee 2018, arXiv 1711.07399): 3D hand pose from a depth image.

    handjax train --config configs/v2v.py --workdir DIR
        synthetic hands, the paper's network at 88³
    handjax train --config configs/v2v.py:quick --workdir DIR
        the same, small: minutes on two CPU cores
    handjax train --config configs/v2v.py:camera --workdir DIR
        hands before the depth cameras of users, as hand-depth crops them: the included network
    handjax train --config configs/v2v.py:h5 --workdir DIR \\
        --config.data.path=FILE.h5 [--config.data.val_path=…]
    handjax train --config configs/v2v.py:nyu --workdir DIR --config.data.path=PREPARED
        also icvl, msra, hands2017, bighand, dexycb, ho3d, and itop: people, of whose joints the
        paper finds 88.74 % within 10 cm from the side and 83.44 % from above
    handjax train --config configs/v2v.py:own --workdir DIR --config.data.path=FOLDER
        your own labelled depth frames, as they are (docs/real_frames.md): joints of a hand or of
        anything

As in the paper: RMSprop at 2.5e-4, batches of 8, no schedule, and ten epochs (of NYU's 72,757
frames: 90,000 steps) with a checkpoint after each.

Published mean error: 8.42 mm on NYU, 6.28 mm on ICVL, 7.59 mm on MSRA (the mean over its nine
people, each left out in turn: `--config.data.subject`). These average the predictions of the ten
epochs' models, in crops around refined centers that the authors published:
`--config.data.center=refined`, if they lay next to the raw files.

Variants, joined by commas (`:h5,quick`): quick, global_joints, and one of camera, h5, own, nyu,
icvl, msra, hands2017, bighand, dexycb, ho3d, itop.
"""

from ml_collections import ConfigDict

from configs.common import (
    at_most_one,
    common,
    depth_camera_world,
    hand_pose,
    synthetic_eval,
    test_views,
)
from handjax.engine.config import variants
from handjax.rigs.poses import ROTATION_FRONTAL

DEPTH_SETS = ("nyu", "icvl", "msra", "hands2017", "bighand", "dexycb", "ho3d", "itop")


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick", "camera", "h5", "own", *DEPTH_SETS, "global_joints"))
    at_most_one(wanted, ("camera", "global_joints"), "not to be combined")
    data_set = at_most_one(wanted, ("camera", "h5", "own", *DEPTH_SETS), "data sets")
    config = common()
    # dtype: of the arithmetic; bfloat16 if the accelerator is faster with it.
    config.model = ConfigDict(
        dict(
            widths=(16, 32, 64, 128),
            stem_size=7,
            remat=False,  # half the memory of a step, a tenth more operations (docs/performance.md)
            dtype="float32",
        )
    )
    config.task = ConfigDict(
        dict(
            name="v2v",
            rule="paper",  # axes, cell centers and occupancy: paper or hpoes (targets/voxel.py)
            grid=88,  # cells per side of the cube
            heatmap_grid=44,  # equal to `grid` or half of it
            sigma=1.7,  # cells of the heat map
            decode="argmax",  # argmax, centroid, soft_argmax
            beta=1.0,  # inverse temperature of the soft-argmax
            heatmap_weight=1.0,  # mean squared error to Gaussians, or mean error of the offsets
            joints_weight=0.0,  # L1 of the soft-argmax, or of what the offsets decode to
            targets="heatmap",  # heatmap; offset: closeness and offsets (targets/offset.py)
            radius=5.0,  # of the offsets, cells of the heat map
            global_joints=False,  # hpoes: one map of all joints, at the resolution of `grid`
        )
    )
    config.task.update(test_views())
    config.augment = ConfigDict(
        dict(
            enabled=True,
            scale=(0.8, 1.2),
            rotation_deg=40.0,  # in the image plane
            tilt_deg=0.0,  # out of it, about x and about y
            shift=4.0,  # cells of 88
            probability=1.0,  # of each of the three
            isotropic=True,
        )
    )
    if data_set == "camera":
        _camera(config)
    elif data_set == "h5":
        _h5(config)
    elif data_set == "own":
        _own(config)
    elif data_set:
        _depth_hand(config, data_set)
    else:
        _world(config)
    if "quick" in wanted:
        _quick(config)
    if "global_joints" in wanted:
        config.task.update(global_joints=True, decode="centroid", heatmap_grid=config.task.grid)
        config.task.update(heatmap_weight=1.0, joints_weight=0.0)
    return config


def _world(config):
    """Synthetic depth images of hands."""
    config.data = ConfigDict(
        dict(
            name="hand_world",
            joints="hand21",  # hand21, nyu14
            surface="spheres",  # what the camera sees: spheres, or the skin over them
            mesh="",  # of the skin: .npz, .obj or sphereHand's .pkl; empty: our own
            image_size=176,  # px of the crop window
            cube_mm=300.0,
            center="depth",  # of the crop: depth (mean of the points) or label (mean of the joints)
            **synthetic_eval(),
            pose=hand_pose(left=0.0),  # left: fraction of left hands
            sensor=dict(depth_noise_mm=1.5, shift_px=0.3),
        )
    )


def _camera(config):
    """Synthetic hands as `handjax.load("v2v")` sees them: found and turned up by the hand network,
    before the depth cameras of users."""
    config.data = depth_camera_world(
        "handnet_world",
        none=0.0,
        hands=dict(upright=0.7),  # share turned to point up, as crops are once a hand is found
        image_size=64,  # px of the crop of 300 mm
        left=0.0,  # left hands are mirrored before the network sees them
        shift_mm=(10.0, 30.0),  # deviation of the crop's middle: of two thirds, of the others
        eval_shift_mm=10.0,
    )
    config.data.hands.frontal = 0.6
    _small(config)
    # After 11,000 hands the error is 35.8 mm with offsets, 40.8 mm with the soft-argmax alone.
    config.task.update(targets="offset", heatmap_weight=1.0, joints_weight=1.0)
    config.optimizer.update(schedule="constant", lr=2e-3)
    config.update(steps=30_000, eval_every=3_000, save_every=1_000, batch_size=16, average=0.999)


def _h5(config):
    """Voxel grids in an HDF5 file of hpoes_pytorch."""
    config.data = ConfigDict(
        dict(
            name="voxel_h5",
            path="",
            val_path="",  # empty: the training file is evaluated
            joints="",  # nyu14, icvl16, hand21; empty: nyu14 for 14 joints, else unnamed
            voxels_key="real_voxels",
            labels_key="labels",
            cube_key="cube",
            max_label=1.0,  # bound of the labels; 1 is the face of the cube
            in_memory=False,
        )
    )
    config.task.update(rule="hpoes", decode="centroid")
    config.augment.update(shift=8.0, probability=0.5, isotropic=False)


def _own(config):
    """Users' own labelled depth frames."""
    config.data = ConfigDict(
        dict(
            name="labelled_frames",
            path="",  # folder of frames.json and its images
            also=(),  # more such folders
            eval_path="",  # empty: the last people, sequences or frames of `path`
            held_out=0.2,  # the share of those that is evaluated
            center="depth",  # of the crop: depth (of the nearest thing), given (frames.json), label
            depth_mm=(150.0, 1500.0),  # where the nearest thing is searched for; center=depth
            cube_mm=300.0,
        )
    )
    config.update(steps=20_000, eval_every=1_000, save_every=1_000)


def _depth_hand(config, variant):
    """A prepared set of depth images."""
    # Cube and depth range: github.com/mks0601/V2V-PoseNet_RELEASE, src/data/*/data.lua; those of
    # DexYCB and HO-3D are as for NYU.
    name, cube_mm, depth_mm, epoch = {
        "nyu": ("nyu_hand", 250.0, (300.0, 1200.0), 9_000),
        "icvl": ("icvl", 200.0, (100.0, 600.0), 41_000),
        "msra": ("msra_hand", 200.0, (100.0, 700.0), 8_500),
        "hands2017": ("hands2017", 250.0, (100.0, 1500.0), 107_500),
        "bighand": ("bighand", 250.0, (100.0, 1500.0), 250_000),
        "dexycb": ("dexycb", 250.0, (300.0, 1200.0), 51_000),
        "ho3d": ("ho3d", 250.0, (300.0, 1200.0), 10_500),
        "itop": ("itop", 2000.0, (500.0, 5000.0), 2_250),
    }[variant]
    config.data = ConfigDict(
        dict(
            name=name,
            path="",  # the folder of the prepared set, with dataset_info.json
            # Of the crop: depth (center of mass of the nearest points), refined (from a file) or
            # label (mean joint). What is nearest may be the floor in ITOP, and an object in the
            # sets of hands that hold some.
            center={"itop": "refined", "dexycb": "label", "ho3d": "label"}.get(name, "depth"),
            depth_mm=depth_mm,  # search range of the hand; center=depth
            cube_mm=cube_mm,
        )
    )
    if name == "msra_hand":
        config.data.subject = 0  # the person, 0 to 8, who is evaluated and not trained on
    elif name == "bighand":
        config.data.subject = 1  # the person, 1 to 12, who is evaluated and not trained on
    elif name == "hands2017":  # the labels of its test frames are not published
        config.data.update(train_split="train[:90%]", eval_split="train[90%:]")
    else:
        config.data.update(train_split="train", eval_split="test")  # or a part, as in test[:10%]
    config.update(steps=10 * epoch, eval_every=epoch, save_every=epoch)


def _small(config):
    """A network that two CPU cores train."""
    config.model.update(widths=(8, 16, 32, 64), stem_size=3)
    # Coarse cells, but the soft-argmax interpolates between them.
    config.task.update(
        grid=24, heatmap_grid=12, decode="soft_argmax", heatmap_weight=0.0, joints_weight=1.0
    )
    config.optimizer.update(name="adam", lr=3e-3, schedule="cosine", warmup=50, clip_norm=1.0)
    # Synthetic samples never repeat: a new hand is worth more than an augmented one.
    config.augment.enabled = False
    config.update(keep=3, eval_batch_size=32)


def _quick(config):
    config.update(steps=2000, eval_every=500, save_every=500)
    if config.data.name == "handnet_world":  # small already
        return
    enabled = config.augment.enabled
    _small(config)
    config.augment.enabled = enabled and config.data.name != "hand_world"
    if config.data.name == "voxel_h5":
        config.task.update(grid=48, heatmap_grid=24, decode="centroid", sigma=1.0)
        config.task.update(heatmap_weight=1.0, joints_weight=0.0)
        config.update(batch_size=6, eval_batch_size=6)
    if config.data.name == "hand_world":
        config.data.update(image_size=64, eval_size=256)
        config.data.pose.rotation = ROTATION_FRONTAL
