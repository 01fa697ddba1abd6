"""PoseNet2D (jiangxubin/hand_pose, after Zimmermann and Brox 2017, arXiv 1705.01389), with DSNT
(Nibali et al. 2018, arXiv 1801.07372): 2D joints of a hand in an RGB image.

    handjax train --config configs/posenet2d.py --workdir DIR
        synthetic images, heat maps
    handjax train --config configs/posenet2d.py:dsnt --workdir DIR
        the same, coordinates
    handjax train --config configs/posenet2d.py:quick,dsnt --workdir DIR
        small: minutes on two CPU cores
    handjax train --config configs/posenet2d.py:rhd,dsnt --workdir DIR \\
        --config.data.path=PREPARED

As in the original: Adam at 1e-4, 1e-5 from step 10,000 and 1e-6 from 20,000, batches of 8, 30,000
steps. The original starts from weights of Convolutional Pose Machines on MPII; here from scratch
(Xavier).

Published area under the PCK curve from 0 to 30 px, all joints: on RHD .837 with heat maps, .846
with DSNT, .855 with DSNT after 60,000 steps; on STB .898 and, with DSNT, .938.

Variants, joined by commas (`:rhd,dsnt`): quick, heatmap or dsnt, augment, and one of rhd, stb, rs,
freihand, dexycb, ho3d, interhand, handdb, list, own. `own` is for joints of your own, on anything
(docs/landmarks.md).
"""

from ml_collections import ConfigDict

from configs.common import RGB_DATA, at_most_one, common, own_joints, rgb_data
from handjax.engine.config import variants
from handjax.rigs.poses import ROTATION_FRONTAL

SIZE = 256

# Options of jiangxubin/hand_pose → their equivalents.
OPTIONS = {
    "data_path": "--config.data.path",
    "dataset_type": "a variant: configs/posenet2d.py:rhd, stb or rs",
    "crop_size": "--config.crop.size",
    "image_size_h": "--config.data.image_size=(HEIGHT, WIDTH)",
    "image_size_w": "--config.data.image_size=(HEIGHT, WIDTH)",
    "sigma": "--config.task.sigma, in px of the crop",
    "box_scale": "--config.crop.scale",
    "train_vis": "--config.task.visible_only, inverted: train_vis=True is visible_only=False",
    "augument": "the variant augment: configs/posenet2d.py:augment",
    "coord_uv_noise_sigma": "--config.augment.joint_sigma_px",
    "crop_center_noise_sigma": "--config.augment.center_sigma_px",
    "need_heatmap_gt": "not needed: the loss makes its targets",
    "train_mark": "--workdir, which names a run",
    "batch_size": "--config.batch_size",
    "lr": "--config.optimizer.lr, times --config.optimizer.factor at each boundary",
    "lr_iter": "--config.optimizer.boundaries",
    "max_iter": "--config.steps",
    "with_eval": "--config.eval_every, in steps",
    "with_dsnt": "the variant dsnt: configs/posenet2d.py:dsnt (heatmap: without)",
    "show_loss_freq": "--config.log_every",
    "snapshot_freq": "--config.save_every",
    "snapshot_path": "--workdir",
    "logdir": "--workdir, where tensorboard/ is",
    "plot_eval": "not needed: report.html has the curves",
    "save_eval_plot_path": "--output of handjax evaluate",
    "save_result_path": "--output of handjax evaluate",
    "eval_vis": "not needed: metrics.json has both, all joints and, as `visible`, visible ones",
    "load_path": "--workdir and --checkpoint of handjax evaluate",
    "test_data_path": "the input of handjax predict images",
    "save_test_plot_path": "--output of handjax predict images",
    "use_gpu": "the environment's JAX_PLATFORMS=cpu",
    "gpu_id": "the environment's CUDA_VISIBLE_DEVICES",
}


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick", "heatmap", "dsnt", "augment", *RGB_DATA))
    data_set = at_most_one(wanted, RGB_DATA, "data sets")
    loss = at_most_one(wanted, ("heatmap", "dsnt"), "losses") or "heatmap"
    config = common()
    config.update(steps=30_000, eval_every=5_000, save_every=5_000)
    config.optimizer.update(name="adam", lr=1e-4)
    config.optimizer.update(schedule="multistep", boundaries=(10_000, 20_000), factor=0.1)
    config.model = ConfigDict(
        dict(
            name="posenet2d",
            refinements=2,
            widths=(64, 128, 256, 512, 128),
            kernel=7,
            pools=3,
            dtype="float32",  # of the arithmetic; bfloat16 if the accelerator is faster with it
        )
    )
    config.crop = ConfigDict(
        dict(
            rule="palm",  # palm, height, box, labelled, file or image (pose/crop2d.py)
            size=SIZE,  # px, the network's square input
            # Side of the crop, relative to twice the distance from the middle finger's base to the
            # farthest joint.
            scale=1.2,
            pad_px=0.0,
            side_px=(50.0, 500.0),  # bounds, px of the image
            mip_levels=2,  # for images reduced to less than half; the original skips pixels: 0
        )
    )
    config.task = _task(loss)
    config.augment = ConfigDict(
        dict(
            enabled="augment" in wanted,
            center_sigma_px=20.0,  # of the crop's center, px of the image, normal, cut at two sigma
            joint_sigma_px=2.5,  # of the labels, likewise
            scale=(1.0, 1.0),  # of the hand's size
            rotation_deg=0.0,  # in both directions
            shift_px=0.0,  # of the crop's center, px of the crop, in both directions
            flip=0.0,  # probability
            **dict(brightness=0.0, contrast=0.0, saturation=0.0),  # fractions, in both directions
        )
    )
    config.data = rgb_data(data_set)
    if data_set == "rhd":
        # The original never shrinks an image of 320 px and truncates larger hands.
        config.crop.side_px = (50.0, 256.0)
    if "quick" in wanted:
        _quick(config)
    if data_set == "own":
        own_joints(config)
    return config


def _task(loss) -> ConfigDict:
    return ConfigDict(
        dict(
            name="keypoints2d",
            loss=loss,  # heatmap, dsnt
            decode="dsnt" if loss == "dsnt" else "argmax",  # argmax, centroid, soft_argmax, dsnt
            sigma=25.0,  # px of the crop; exp(-d²/sigma²), without the usual 2; heatmap
            fwhm=1.0,  # cells; dsnt
            visible_only=False,  # True: hidden joints do not count; the original's train_vis=False
            pixel_mean=(127.5,) * 3,  # of 0 to 255
            pixel_std=(255.0,) * 3,
            bgr=False,  # the network's order of colors
            # Average the predictions for each image and its mirror image; train with augment.flip.
            flip_test=False,
            mirror_left=False,  # turn left hands into right ones, if the set has the handedness
            **dict(cut=0.0, whole_pixels=True, center_sigma=3.0, center_cut=0.0),  # CPM only
        )
    )


def _quick(config):
    config.model.update(refinements=1, widths=(16, 32, 48, 64, 32), kernel=5, pools=2)
    config.crop.size = 64
    config.task.sigma = 25.0 * 64 / SIZE
    config.optimizer.update(lr=1e-3, schedule="cosine", warmup=50, clip_norm=1.0)
    config.update(batch_size=16, eval_batch_size=32, keep=3)
    config.update(steps=2000, eval_every=500, save_every=500)
    if config.data.name == "hand_rgb_world":
        config.data.update(image_size=64, supersampling=1, eval_size=256)
        config.data.pose.rotation = ROTATION_FRONTAL
        config.augment.update(center_sigma_px=4.0, joint_sigma_px=0.5)  # as the original's at 320
