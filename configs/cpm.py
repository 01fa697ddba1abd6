"""Convolutional Pose Machines (Wei et al. 2016, arXiv 1602.00134) for hands in RGB images.

    handjax train --config configs/cpm.py --workdir DIR
        synthetic images, 368 px, six stages
    handjax train --config configs/cpm.py:quick --workdir DIR
        the same, small: minutes on two CPU cores
    handjax train --config configs/cpm.py:handdb --workdir DIR --config.data.path=PREPARED
        also rhd, stb, rs, freihand, dexycb, ho3d, interhand, list
    handjax train --config configs/cpm.py:kwai,list --workdir DIR \\
        --config.data.path=PREPARED

Network, targets, loss, crop and optimizer are those of
namedBen/Convolutional-Pose-Machines-Pytorch: SGD at 4e-6, times 4 for weights and 8 for biases,
times .333 every 13,275 steps, batches of 16, 62,500 steps.

`kwai` has the differences of chrisliu54/Hand-Keypoint-Estimation (no background, smooth L1, key
area, Adam at 1e-4, batches of 128, 16,000 steps at 64 px) with this network. Published for a
ResNet-34 trained on synthetic hands, on photographs: a PCK@.2 above 78 %, a PCK@.05 above 28 %.

Variants, joined by commas (`:kwai,list`): quick, kwai, and one of rhd, stb, rs, freihand,
dexycb, ho3d, interhand, handdb, list, own. `own` is for joints of your own, on anything
(docs/landmarks.md).
"""

from ml_collections import ConfigDict

from configs.common import RGB_DATA, at_most_one, common, own_joints, rgb_data
from handjax.engine.config import variants
from handjax.rigs.poses import ROTATION_FRONTAL

SIZE = 368
# Fraction of the crop that the hand fills in an evaluation: the middle of the original's range in
# training, .3 to 1.1.
FILLED = 0.7

# Options of namedBen's code and of Kwai's (its config's keys in lower case) → their equivalents.
OPTIONS = {
    "workers": "not needed: images are read ahead by threads",
    "weight_decay": "--config.optimizer.weight_decay",
    "momentum": "--config.optimizer.momentum",
    "display": "--config.log_every",
    "disp_interval": "--config.log_every",
    "max_iter": "--config.steps",
    "batch_size": "--config.batch_size",
    "test_interval": "--config.eval_every",
    "topk": "not needed: metrics.json has all metrics",
    "base_lr": "--config.optimizer.lr",
    "start_iters": "not needed: a run resumes from its newest checkpoint",
    "resume": "not needed: a run resumes from the newest checkpoint of its --workdir",
    "best_model": "not needed: the best checkpoint is kept; --checkpoint best of handjax evaluate",
    "lr_policy": "--config.optimizer.schedule",
    "policy_parameter": "--config.optimizer.factor and the schedule's other numbers "
    "(engine/schedules.py)",
    "img_size": "--config.crop.size",
    "heatmap_stride": "--config.model.pools: 2 to that power",
    "num_joints": "not needed: the data set's",
    "random_seed": "--config.seed",
    "gpus": "--config.devices, how many; the environment's CUDA_VISIBLE_DEVICES, which",
    "task": "the command: handjax train, handjax evaluate or handjax.predict",
}


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick", "kwai", *RGB_DATA))
    data_set = at_most_one(wanted, RGB_DATA, "data sets")
    config = common()
    config.update(batch_size=16, steps=62_500, eval_every=6_250, save_every=6_250)
    config.optimizer.update(name="sgd", lr=4e-6, momentum=0.9, weight_decay=5e-4)
    config.optimizer.update(schedule="step", step_size=13_275, factor=0.333)
    # As in the original's code; in its paper, stage 1 has 1 and 2:
    # ((r"stage1_.*kernel", 1.0), (r"stage1_.*bias", 2.0), (r".*kernel", 4.0), (r".*bias", 8.0)).
    config.optimizer.multipliers = ((r".*kernel", 4.0), (r".*bias", 8.0))
    config.model = ConfigDict(
        dict(
            name="cpm",
            stages=6,
            background=True,  # one more map: no joint is here
            # Channels of the trunk and refinement, of each stage's features, of the first head.
            widths=(128, 32, 512),
            kernels=(9, 5, 11),  # of the trunk and first head, of those features, of the refinement
            pools=3,
            pool_padding=1,  # 0: HowieMa's 45 cells
            dtype="float32",  # of the arithmetic; bfloat16 if the accelerator is faster with it
        )
    )
    config.crop = ConfigDict(
        dict(
            rule="height",  # palm, height, box, labelled, file or image (pose/crop2d.py)
            size=SIZE,  # px, the network's square input
            pad_px=4.0,  # added to the hand's height, px of the image
            scale=1 / FILLED,  # side of the crop in an evaluation, relative to that height
            side_px=(8.0, 1e5),  # bounds, px of the image
            mip_levels=2,  # for images reduced to less than half; the original skips pixels: 0
        )
    )
    config.task = _task()
    config.augment = ConfigDict(
        dict(
            enabled=True,
            # Of the hand's size: its height is .3 to 1.1 of the crop's.
            scale=(0.3 / FILLED, 1.1 / FILLED),
            rotation_deg=40.0,  # in both directions
            shift_px=5.0,  # of the crop's center, px of the crop, in both directions
            # Probability; left and right joints of a body swap names, those of a hand do not.
            flip=0.5,
            **dict(center_sigma_px=0.0, joint_sigma_px=0.0),  # PoseNet2D's noise
            **dict(brightness=0.0, contrast=0.0, saturation=0.0),  # fractions, in both directions
        )
    )
    config.data = rgb_data(data_set)
    if data_set == "handdb":
        config.crop.update(rule="file", pad_px=0.0, scale=2.2)  # of the hand, as its authors crop
        config.augment.scale = (0.7, 1.3)
    if "kwai" in wanted:
        _kwai(config)
    if "quick" in wanted:
        _quick(config)
    if data_set == "own":
        own_joints(config)
    return config


def _task() -> ConfigDict:
    return ConfigDict(
        dict(
            name="keypoints2d",
            loss="cpm",  # cpm, kwai
            decode="argmax",  # argmax, centroid, soft_argmax
            sigma=3.0,  # cells
            cut=0.0099,  # smaller values become 0
            whole_pixels=True,  # targets are at joints truncated to whole px
            center_sigma=3.0,  # px, of the center map that marks the hand
            center_cut=0.0099,
            visible_only=False,  # True: hidden joints do not count
            pixel_mean=(128.0,) * 3,  # of 0 to 255, in the network's order of colors
            pixel_std=(256.0,) * 3,
            bgr=True,  # that order
            flip_test=False,  # average the predictions for each image and its mirror image
            mirror_left=False,  # turn left hands into right ones, if the set has the handedness
            fwhm=1.0,  # PoseNet2D only
        )
    )


def _kwai(config):
    config.update(batch_size=128, eval_batch_size=128, seed=1234)
    config.update(steps=16_000, eval_every=1_600, save_every=1_600)
    config.optimizer.update(name="adam", lr=1e-4, weight_decay=5e-4)
    config.optimizer.update(schedule="constant", multipliers=())
    config.model.update(background=False, pools=1)  # its maps have half the input's resolution
    # The original normalizes pixels by the mean and deviation of its training images:
    # task.pixel_mean, task.pixel_std (docs/cpm.md).
    config.task.update(loss="kwai")
    # The key area: 20 px around the hand.
    config.crop.update(rule="box", size=64, pad_px=40.0, scale=1.0)
    # A rotated image is larger; fitted to the same 64 px, the hand in it is smaller, by up to
    # cos 40° + sin 40°.
    config.augment.update(scale=(0.71, 1.0), shift_px=0.0)


def _quick(config):
    config.model.update(stages=3, widths=(32, 16, 64), kernels=(5, 3, 7), pools=2)
    config.crop.size = 64
    config.task.update(sigma=1.5, center_sigma=6.0, decode="centroid")
    config.optimizer.update(name="adam", lr=3e-3, weight_decay=0.0, clip_norm=300.0)
    config.optimizer.update(schedule="cosine", warmup=50, multipliers=())
    config.update(batch_size=16, eval_batch_size=32, keep=3)
    config.update(steps=1500, eval_every=500, save_every=500)
    if config.data.name == "hand_rgb_world":
        config.data.update(image_size=64, supersampling=1, eval_size=256)
        config.data.pose.rotation = ROTATION_FRONTAL
        # Synthetic samples never repeat: a new hand is worth more than an augmented one.
        config.augment.enabled = False
