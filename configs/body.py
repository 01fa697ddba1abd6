"""3D pose of a person from one picture (Sun et al. 2018, arXiv 1711.08229; JimmySuen/integral-human-pose; its kinematic fork
ajdroid/integral-human-pose).

    python -m handjax.train --config configs/body.py:integral --workdir DIR             synthetic people
    python -m handjax.train --config configs/body.py:kinematic,quick --workdir DIR      small: minutes on two CPU cores
    python -m handjax.train --config configs/body.py:integral,h36m --workdir DIR --config.data.path=PREPARED
    python -m handjax.train --config configs/body.py:challenge --workdir DIR --config.data.path=PREPARED

The head is one of direct, integral (the default) and kinematic; challenge is integral with ResNet-152, 384 x 288 px and boxes of
1485 x 1980 mm on the sets of the ECCV 2018 challenge. What is learnt from: h36m; h36m_mpii and mixed, as many samples of
Human3.6M as of MPII, or as of MPII and of COCO, of which x and y alone are learnt; else the synthetic world. Flavours join by
commas.

As in the originals: Adam at 1e-3 and 32 pictures on each of four GPUs, of two for kinematic; batch normalization is here over all
of them. The rate falls to a tenth at the 90th and the 120th of 140 epochs, of integral at the 270th and the 290th of 300. Their
published errors: integral on Human3.6M with MPII 49.6 mm in the paper, 53.9 by mks0601's hand; on the challenge's validation set
57.5, and 56.9 with the flip test; of the kinematic head there is none. They begin from ImageNet's weights: config.init.
"""

from ml_collections import ConfigDict

from configs.common import common
from handjax.engine.config import variants

HEADS = ("direct", "integral", "kinematic", "challenge")
# Samples of an epoch: Human3.6M's 600 sequences with 200 frames each, and MPII's people, of whom a mixture sees each once.
H36M, MPII = 120_000, 22_246
# Flavour → sets below `data.path`, their shares of a batch, the sets that are evaluated, and samples of an epoch.
SETS = {
    "h36m": (("human36m/train",), (), ("human36m/validmin",), H36M),
    "h36m_mpii": (("human36m/train", "mpii"), (1.0, 1.0), ("human36m/validmin",), 2 * MPII),
    "mixed": (
        ("human36m/train", "mpii", "coco_person"),
        (1.0, 1.0, 1.0),
        ("human36m/validmin",),
        3 * MPII,
    ),
}
# The challenge's own pictures are seen whole.
CHALLENGE = (
    ("human36m_challenge", "mpii", "coco_person"),
    (1.0, 1.0, 1.0),
    ("human36m_challenge",),
    3 * MPII,
)

# The options and yaml keys of JimmySuen/integral-human-pose and ajdroid/integral-human-pose, and what they are here.
OPTIONS = {
    "cfg": "--config configs/body.py:FLAVOUR",
    "model": "--workdir and --checkpoint of python -m handjax.evaluate",
    "detector": "not needed: samples have their boxes",
    "det_bbox_src": "not needed: samples have their boxes",
    "dataroot": "--config.data.path",
    "gpus": "the environment's CUDA_VISIBLE_DEVICES",
    "frequent": "--config.log_every",
    "output_path": "--workdir",
    "log_path": "--workdir, where tensorboard/ is",
    "block": "a flavour: configs/body.py:direct, integral or kinematic",
    "train_image_set": "--config.data.sets",
    "test_image_set": "--config.data.eval_sets",
    "target_id": "--config.data.eval_sets",
    "batch_images_per_ctx": "--config.batch_size, of all devices together",
    "threads": "not needed",
    "use_color_normalize": "--config.task.pixel_mean and --config.task.pixel_std",
    "mean": "--config.task.pixel_mean",
    "std": "--config.task.pixel_std",
    "lr": "--config.optimizer.lr",
    "lr_epoch_step": "--config.optimizer.boundaries, in steps",
    "lr_factor": "--config.optimizer.factor",
    "optimizer_name": "--config.optimizer.name",
    "wd": "--config.optimizer.weight_decay",
    "begin_epoch": "not needed: a run goes on from its newest checkpoint",
    "end_epoch": "--config.steps",
    "model_prefix": "--workdir, which names a run",
    "resume": "not needed: a run goes on from its newest checkpoint",
    "patch_width": "--config.crop.size=(HEIGHT, WIDTH)",
    "patch_height": "--config.crop.size=(HEIGHT, WIDTH)",
    "rect_3d_width": "--config.crop.box_mm=(WIDTH, HEIGHT)",
    "rect_3d_height": "--config.crop.box_mm=(WIDTH, HEIGHT)",
    "scale_factor": "--config.augment.scale",
    "rot_factor": "--config.augment.rotation_deg",
    "rot_aug_rate": "--config.augment.rotated",
    "color_factor": "--config.augment.colour",
    "do_flip_aug": "--config.augment.flip=0.0, or how often",
    "flip_aug_rate": "--config.augment.flip",
    "loss_type": "--config.task.loss",
    "output_3d": "always",
    "num_layers": "--config.model.layers",
    "num_deconv_layers": "--config.model.deconvolutions, one number of channels a layer",
    "num_deconv_filters": "--config.model.deconvolutions, one number of channels a layer",
    "num_deconv_kernel": "always 4",
    "final_conv_kernel": "always 1",
    "depth_dim": "--config.model.depth",
    "fea_map_size": "not needed: it follows from --config.crop.size",
}


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick", *HEADS, *SETS))
    for kind, names in (("heads", set(HEADS)), ("data sets", set(SETS))):
        if len(both := sorted(wanted & names)) > 1:
            raise ValueError(f"flavours {' and '.join(both)} are {kind}: use one of them")
    head = next((head for head in HEADS if head in wanted), "integral")
    config = common()
    config.update(batch_size=64 if head == "kinematic" else 128, eval_batch_size=128)
    config.optimizer.update(name="adam", lr=1e-3, schedule="multistep", factor=0.1)
    config.model = ConfigDict(
        dict(
            head="integral" if head == "challenge" else head,
            layers=50,  # of the ResNet: 18, 34, 50, 101, 152
            width=64,  # channels of its first layer
            depth=64,  # cells of the volume along z; integral
            deconvolutions=(256, 256, 256),  # channels of each; integral
            remat=False,  # blocks are computed again on the way back: less memory, a third more time
            dtype="float32",  # of the network's arithmetic; bfloat16 where the accelerator is faster with it
        )
    )
    config.crop = ConfigDict(
        dict(
            size=(256, 256),  # px that the network sees: height, width
            box_mm=(2000.0, 2000.0),  # that they show at the pelvis: width, height
            mip_levels=1,  # of a picture read at less than half its size; the originals skip pixels: 0
        )
    )
    config.task = ConfigDict(
        dict(
            name="body",
            loss="l1",  # l1, l2; of the labels, sides of the patch
            monitor="mpjpe_mm",  # ranks checkpoints: mpjpe_mm, epe_px where no pose in space is evaluated
            root_depth="label",  # how far away the pelvis of an evaluated person is: label, as the originals; box
            flip_test=False,  # an evaluation sees each person mirrored, too, and takes the mean
            skeleton_mm=4502.881,  # length of all bones, of poses without a camera
            pixel_mean=(123.675, 116.28, 103.53),  # R, G, B of 0 to 255
            pixel_std=(58.395, 57.12, 57.375),
            rig="default",  # default, original; kinematic, as what follows
            lengths=(),  # of the 12 bones of rigs/body.py, mm; empty: an adult's
            learn_scale=True,  # of all bones together, by the network; False: as long as they are
            limits=0.0,  # weight of how far, rad², joints turn beyond what they can
        )
    )
    config.augment = ConfigDict(
        dict(
            enabled=True,
            scale=0.25,  # of the box: times 1 + clip(N, ±1) · scale
            rotation_deg=30.0,  # clip(N, ±2) · rotation_deg
            rotated=0.6,  # part that is turned
            flip=0.5,  # part that is mirrored
            colour=0.2,  # each colour times U(1 ± colour)
        )
    )
    if head == "challenge":
        config.model.update(layers=152, depth=72)
        config.crop.update(size=(384, 288), box_mm=(1485.0, 1980.0))
        config.optimizer.lr = 1e-4
        config.batch_size = 48
        config.task.flip_test = True
    if sets := wanted & set(SETS):
        *sets, epoch = SETS[sets.pop()]
    elif head == "challenge":
        *sets, epoch = CHALLENGE
    else:
        sets, epoch = (), H36M
    config.data = _people(*sets) if sets else _world()
    epoch //= config.batch_size
    epochs, drops = (300, (270, 290)) if config.model.head == "integral" else (140, (90, 120))
    config.update(steps=epochs * epoch, eval_every=5 * epoch, save_every=5 * epoch)
    config.optimizer.boundaries = tuple(drop * epoch for drop in drops)
    if "quick" in wanted:
        _quick(config, head == "challenge")
    return config


def _people(sets, weights, eval_sets) -> ConfigDict:
    """`config.data`: prepared pictures of people."""
    return ConfigDict(
        dict(
            name="body",
            path="",  # where handjax.prepare put the sets, or the prepared folder of one
            sets=sets,  # folders below `path`
            weights=weights,  # of several sets: their shares of a batch; empty: all samples are alike
            train_split="",  # empty: train
            eval_split="",  # empty: each set's own
            eval_sets=eval_sets,  # empty: all
            image_size=(
                512,
                512,
            ),  # height, width in px that pictures are brought to; larger ones are scaled down
            crop_boxes=1.5,  # boxes that a picture is cut to; 0: whole pictures
            box_mm=2000.0,  # of that box at the pelvis, Human3.6M
        )
    )


def _world() -> ConfigDict:
    """`config.data`: synthetic people, made on the device; ranges as in synthetic/people.py."""
    return ConfigDict(
        dict(
            name="body_world",
            image_size=320,  # px of the square picture
            samples=1,  # points a side of a pixel that are averaged
            eval_size=512,
            eval_seed=1,  # another stream of numbers than training's, whatever the seeds
            camera=dict(
                fraction=(0.75, 1.0),  # part of the picture's side that 2000 mm at the pelvis take
                distance_mm=(2500.0, 6000.0),
                offset=0.2,  # how far off the axis, of the distance
                blur_px=(0.0, 0.8),
                noise=(0.0, 0.04),
            ),
            pose=dict(
                scale=(0.85, 1.1),  # of the person
                length=(0.94, 1.06),  # of each bone beside it
                girth=(0.85, 1.25),
                yaw=(
                    -3.14159,
                    3.14159,
                ),  # rad, of the whole person, which way it looks; 0: into the camera
                pitch=(-0.35, 0.25),
                roll=(-0.15, 0.15),
                liveliness=(0.2, 0.8),  # how far joints turn, of what they can
            ),
        )
    )


def _quick(config, challenge):
    """The same steps and samples for all heads."""
    config.model.update(layers=18, width=16, depth=16, deconvolutions=(64, 64, 64))
    config.crop.size = tuple(side // (3 if challenge else 4) for side in config.crop.size)
    config.optimizer.update(lr=2e-3, schedule="cosine", warmup=100, clip_norm=10.0)
    config.update(
        batch_size=16, eval_batch_size=64, steps=2400, eval_every=800, save_every=800, keep=3
    )
    if config.data.name == "body_world":
        config.data.update(image_size=64, eval_size=256)
        config.data.pose.yaw = (-0.8, 0.8)
        config.augment.enabled = False  # its people are all different as it is
