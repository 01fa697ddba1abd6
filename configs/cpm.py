"""Convolutional Pose Machines (Wei et al. 2016, arXiv 1602.00134) for hands, after namedBen and Kwai.

    python -m handjax.train --config configs/cpm.py --workdir DIR                     synthetic pictures, 368 px, six stages
    python -m handjax.train --config configs/cpm.py:quick --workdir DIR               the same, small: minutes on two CPU cores
    python -m handjax.train --config configs/cpm.py:handdb --workdir DIR --config.data.path=PREPARED     also rhd, stb, rs, list
    python -m handjax.train --config configs/cpm.py:kwai,list --workdir DIR --config.data.path=PREPARED

Network, targets, loss, crop and optimizer: namedBen/Convolutional-Pose-Machines-Pytorch, SGD at 4e-6, times 4 for weights and 8
for biases, times .333 every 13,275 steps, batches of 16, 62,500 steps. `kwai`: what chrisliu54/Hand-Keypoint-Estimation has
beside it (no background, smooth L1, key area, Adam at 1e-4, batches of 128, 16,000 steps at 64 px), with this network. Its authors
expect of a ResNet-34 trained on synthetic hands a PCK@.2 above 78 % and a PCK@.05 above 28 % on photographs.
Flavours join by commas (`:kwai,list`): quick, kwai, and one of rhd, stb, rs, handdb, list.
"""

from ml_collections import ConfigDict

from configs.common import RGB_HANDS, common, hand_rgb_world, rgb_hand
from handjax.engine.config import variants
from handjax.rigs.poses import ROTATION_FRONTAL

SIZE = 368
FILLED = (
    0.7  # of the crop by the hand in evaluation: the middle of the original's .3 to 1.1 in training
)

# The options of namedBen's and Kwai's code (its config's keys in small letters) and what they are here.
OPTIONS = {
    "workers": "not needed: pictures are read ahead by threads",
    "weight_decay": "--config.optimizer.weight_decay",
    "momentum": "--config.optimizer.momentum",
    "display": "--config.log_every",
    "disp_interval": "--config.log_every",
    "max_iter": "--config.steps",
    "batch_size": "--config.batch_size",
    "test_interval": "--config.eval_every",
    "topk": "not needed: metrics.json has every figure",
    "base_lr": "--config.optimizer.lr",
    "start_iters": "not needed: a run goes on from its newest checkpoint",
    "resume": "not needed: a run goes on from the newest checkpoint of its --workdir",
    "best_model": "not needed: the best checkpoint is kept; --checkpoint best of python -m handjax.evaluate",
    "lr_policy": "--config.optimizer.schedule",
    "policy_parameter": "--config.optimizer.factor and what else a schedule needs (engine/schedules.py)",
    "img_size": "--config.crop.size",
    "heatmap_stride": "--config.model.pools: 2 to that power",
    "num_joints": "not needed: the data set's",
    "random_seed": "--config.seed",
    "gpus": "--config.devices, how many; the environment's CUDA_VISIBLE_DEVICES, which",
    "task": "the door: python -m handjax.train, handjax.evaluate or handjax.predict",
}


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick", "kwai", *RGB_HANDS))
    sets = sorted(wanted & set(RGB_HANDS))
    if len(sets) > 1:
        raise ValueError(f"flavours {' and '.join(sets)} are data sets: use one of them")
    config = common()
    config.update(batch_size=16, steps=62_500, eval_every=6_250, save_every=6_250)
    # The multipliers are those that the original's code applies; its paper's stage 1 has 1 and 2:
    # ((r"stage1_.*kernel", 1.0), (r"stage1_.*bias", 2.0), (r".*kernel", 4.0), (r".*bias", 8.0)).
    config.optimizer.update(
        name="sgd",
        lr=4e-6,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="step",
        step_size=13_275,
        factor=0.333,
    )
    config.optimizer.multipliers = ((r".*kernel", 4.0), (r".*bias", 8.0))
    # dtype is the arithmetic's: bfloat16 where the accelerator is faster with it.
    config.model = ConfigDict(
        dict(
            name="cpm",
            stages=6,
            background=True,  # a map of where there is no joint
            widths=(
                128,
                32,
                512,
            ),  # of trunk and refinement, of the features a stage sees, of the first stage's head
            kernels=(9, 5, 11),  # of trunk and first head, of those features, of the refinement
            pools=3,
            pool_padding=1,  # 0: HowieMa's 45 cells
            dtype="float32",
        )
    )
    config.crop = ConfigDict(
        dict(
            rule="height",  # palm, height, box, file or picture (pose/crop2d.py)
            size=SIZE,  # px that the network sees a side
            pad_px=4.0,  # added to the hand's height, px of the picture
            scale=1 / FILLED,  # side of the crop in evaluation, in that height
            side_px=(8.0, 1e5),  # least and greatest, px of the picture
            mip_levels=2,  # of a picture read at less than half its size; the original skips pixels: 0
        )
    )
    config.task = ConfigDict(
        dict(
            name="keypoints2d",
            loss="cpm",  # cpm, kwai
            decode="argmax",  # argmax, centroid, soft_argmax
            sigma=3.0,  # cells
            cut=0.0099,  # values below are 0
            whole_pixels=True,  # a joint's place is cut to a whole px for the targets
            center_sigma=3.0,  # px; of the centre map: which hand is meant
            center_cut=0.0099,
            visible_only=False,  # hidden joints count nothing
            pixel_mean=(128.0,)
            * 3,  # of 0 to 255, in the order of the colours that the network sees
            pixel_std=(256.0,) * 3,
            bgr=True,  # that order
            flip_test=False,  # an evaluation sees each hand mirrored, too, and takes the mean
            mirror_left=False,  # left hands become right ones; where the set says which they are
            fwhm=1.0,  # PoseNet2D's alone
        )
    )
    config.augment = ConfigDict(
        dict(
            enabled=True,
            scale=(
                0.3 / FILLED,
                1.1 / FILLED,
            ),  # of the hand's size: its height is .3 to 1.1 of the crop's
            rotation_deg=40.0,  # either way
            shift_px=5.0,  # of the crop's middle, px of the crop, either way
            flip=0.5,  # probability; a body's left and right change their names, a hand's joints keep theirs
            **dict(center_sigma_px=0.0, joint_sigma_px=0.0),  # PoseNet2D's noise
            **dict(brightness=0.0, contrast=0.0, saturation=0.0),  # parts of 1, either way
        )
    )
    config.data = rgb_hand(sets[0]) if sets else hand_rgb_world()
    if "handdb" in wanted:
        config.crop.update(rule="file", pad_px=0.0, scale=2.2)  # of the hand, as its authors crop
        config.augment.scale = (0.7, 1.3)
    if "kwai" in wanted:
        _kwai(config)
    if "quick" in wanted:
        _quick(config)
    return config


def _kwai(config):
    config.update(
        batch_size=128,
        eval_batch_size=128,
        steps=16_000,
        eval_every=1_600,
        save_every=1_600,
        seed=1234,
    )
    config.optimizer.update(
        name="adam", lr=1e-4, weight_decay=5e-4, schedule="constant", multipliers=()
    )
    config.model.update(background=False, pools=1)  # its maps have half the picture's resolution
    config.task.update(loss="kwai")
    # Its pixels are normalized by mean and deviation of its training pictures: task.pixel_mean, pixel_std (docs/cpm.md).
    config.crop.update(
        rule="box", size=64, pad_px=40.0, scale=1.0
    )  # the key area: 20 px around the hand
    # A turned picture is larger, and fitted to the same 64 px the hand in it smaller: by up to cos 40° + sin 40°.
    config.augment.update(scale=(0.71, 1.0), shift_px=0.0)


def _quick(config):
    config.model.update(stages=3, widths=(32, 16, 64), kernels=(5, 3, 7), pools=2)
    config.crop.size = 64
    config.task.update(sigma=1.5, center_sigma=6.0, decode="centroid")
    config.optimizer.update(
        name="adam",
        lr=3e-3,
        weight_decay=0.0,
        schedule="cosine",
        warmup=50,
        clip_norm=300.0,
        multipliers=(),
    )
    config.update(
        batch_size=16, eval_batch_size=32, steps=1500, eval_every=500, save_every=500, keep=3
    )
    if config.data.name == "hand_rgb_world":
        config.data.update(image_size=64, samples=1, eval_size=256)
        config.data.pose.rotation = ROTATION_FRONTAL
        config.augment.enabled = (
            False  # the world never repeats itself: another hand beats an altered one
        )
