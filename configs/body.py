"""3D pose of a person in an RGB image (Sun et al. 2018, arXiv 1711.08229;
JimmySuen/integral-human-pose and its kinematic fork, ajdroid/integral-human-pose).

    handjax train --config configs/body.py:integral --workdir DIR
        synthetic people
    handjax train --config configs/body.py:kinematic,quick --workdir DIR
        small: minutes on two CPU cores
    handjax train --config configs/body.py:integral,h36m --workdir DIR \\
        --config.data.path=PREPARED
    handjax train --config configs/body.py:challenge --workdir DIR \\
        --config.data.path=PREPARED

As in the originals: Adam at 1e-3 and 32 images on each of four GPUs (two for kinematic); batch
normalization is here over all of them. The rate falls to a tenth at epochs 90 and 120 of 140; for
integral at 270 and 290 of 300. The originals start from ImageNet's weights: config.init.

Published mean error: integral on Human3.6M with MPII 49.6 mm in the paper, 53.9 reproduced by
mks0601; on the challenge's validation set 57.5, and 56.9 with the flip test. None is published for
the kinematic head.

Variants, joined by commas (`:integral,h36m`): quick; a head, direct, integral (default) or
kinematic, or challenge; and a training set.
  challenge  integral with ResNet-152, 384 x 288 px and boxes of 1485 x 1980 mm, on the sets of the
             ECCV 2018 challenge.
  h36m       Human3.6M. Without a set: synthetic people.
  h36m_mpii  as many samples of MPII as of Human3.6M; they train x and y only.
  mixed      the same of COCO in addition.
"""

from ml_collections import ConfigDict

from configs.common import at_most_one, common, synthetic_eval
from handjax.engine.config import variants

HEADS = ("direct", "integral", "kinematic", "challenge")
# Samples per epoch: 200 frames of each of Human3.6M's 600 sequences, and MPII's people, whom a
# mixture sees once each.
H36M, MPII = 120_000, 22_246
# Variant → sets below `data.path`, their shares of a batch, evaluated sets, samples per epoch.
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
# The challenge's own images are used uncropped.
CHALLENGE = (
    ("human36m_challenge", "mpii", "coco_person"),
    (1.0, 1.0, 1.0),
    ("human36m_challenge",),
    3 * MPII,
)

# Options and yaml keys of JimmySuen/integral-human-pose and ajdroid/integral-human-pose → their
# equivalents.
OPTIONS = {
    "cfg": "--config configs/body.py:VARIANT",
    "model": "--workdir and --checkpoint of handjax evaluate",
    "detector": "not needed: samples have their boxes",
    "det_bbox_src": "not needed: samples have their boxes",
    "dataroot": "--config.data.path",
    "gpus": "the environment's CUDA_VISIBLE_DEVICES",
    "frequent": "--config.log_every",
    "output_path": "--workdir",
    "log_path": "--workdir, where tensorboard/ is",
    "block": "a variant: configs/body.py:direct, integral or kinematic",
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
    "begin_epoch": "not needed: a run resumes from its newest checkpoint",
    "end_epoch": "--config.steps",
    "model_prefix": "--workdir, which names a run",
    "resume": "not needed: a run resumes from its newest checkpoint",
    "patch_width": "--config.crop.size=(HEIGHT, WIDTH)",
    "patch_height": "--config.crop.size=(HEIGHT, WIDTH)",
    "rect_3d_width": "--config.crop.box_mm=(WIDTH, HEIGHT)",
    "rect_3d_height": "--config.crop.box_mm=(WIDTH, HEIGHT)",
    "scale_factor": "--config.augment.scale",
    "rot_factor": "--config.augment.rotation_deg",
    "rot_aug_rate": "--config.augment.rotated",
    "color_factor": "--config.augment.colour",
    "do_flip_aug": "--config.augment.flip=0.0, or a probability",
    "flip_aug_rate": "--config.augment.flip",
    "loss_type": "--config.task.loss",
    "output_3d": "always",
    "num_layers": "--config.model.layers",
    "num_deconv_layers": "--config.model.deconvolutions, one number of channels per layer",
    "num_deconv_filters": "--config.model.deconvolutions, one number of channels per layer",
    "num_deconv_kernel": "always 4",
    "final_conv_kernel": "always 1",
    "depth_dim": "--config.model.depth",
    "fea_map_size": "not needed: it follows from --config.crop.size",
}


def get_config(variant: str = "") -> ConfigDict:
    wanted = variants(variant, ("quick", *HEADS, *SETS))
    head = at_most_one(wanted, HEADS, "heads") or "integral"
    sets = at_most_one(wanted, SETS, "data sets")
    config = common()
    config.update(batch_size=64 if head == "kinematic" else 128, eval_batch_size=128)
    config.optimizer.update(name="adam", lr=1e-3, schedule="multistep", factor=0.1)
    config.model = _model("integral" if head == "challenge" else head)
    config.crop = ConfigDict(
        dict(
            size=(256, 256),  # px, the network's input: height, width
            box_mm=(2000.0, 2000.0),  # shown there, at the depth of the pelvis: width, height
            mip_levels=1,  # for images reduced to less than half; the originals skip pixels: 0
        )
    )
    config.task = _task()
    config.augment = ConfigDict(
        dict(
            enabled=True,
            scale=0.25,  # the box is scaled by 1 + clip(N, ±1) · scale
            rotation_deg=30.0,  # clip(N, ±2) · rotation_deg
            rotated=0.6,  # fraction of samples that are rotated
            flip=0.5,  # fraction of samples that are mirrored
            colour=0.2,  # each color channel is multiplied by U(1 ± colour)
        )
    )
    if head == "challenge":
        config.model.update(layers=152, depth=72)
        config.crop.update(size=(384, 288), box_mm=(1485.0, 1980.0))
        config.optimizer.lr = 1e-4
        config.batch_size = 48
        config.task.flip_test = True
    if sets or head == "challenge":
        *parts, epoch = SETS[sets] if sets else CHALLENGE
        config.data = _people(*parts)
    else:
        config.data, epoch = _world(), H36M
    epoch //= config.batch_size
    epochs, drops = (300, (270, 290)) if config.model.head == "integral" else (140, (90, 120))
    config.update(steps=epochs * epoch, eval_every=5 * epoch, save_every=5 * epoch)
    config.optimizer.boundaries = tuple(drop * epoch for drop in drops)
    if "quick" in wanted:
        _quick(config, head == "challenge")
    return config


def _model(head) -> ConfigDict:
    return ConfigDict(
        dict(
            head=head,
            layers=50,  # of the ResNet: 18, 34, 50, 101, 152
            width=64,  # channels of its first layer
            depth=64,  # cells of the volume along z; integral
            deconvolutions=(256, 256, 256),  # channels of each; integral
            remat=False,  # compute blocks twice: a third of the memory, a third more operations
            dtype="float32",  # of the arithmetic; bfloat16 if the accelerator is faster with it
        )
    )


def _task() -> ConfigDict:
    return ConfigDict(
        dict(
            name="body",
            loss="l1",  # l1, l2; labels in sides of the patch
            monitor="mpjpe_mm",  # ranks checkpoints; epe_px if the evaluated sets lack 3D poses
            root_depth="label",  # pelvis depth in an evaluation: label, as the originals; box
            flip_test=False,  # average the predictions for each image and its mirror image
            skeleton_mm=4502.881,  # sum of all bone lengths, of poses without a camera
            pixel_mean=(123.675, 116.28, 103.53),  # R, G, B of 0 to 255
            pixel_std=(58.395, 57.12, 57.375),
            # Of the kinematic head alone:
            rig="default",  # default, original
            lengths=(),  # of the 12 bones of rigs/body.py, mm; empty: an adult's
            learn_scale=True,  # the network predicts a factor of all lengths; False: as they are
            limits=0.0,  # weight of rotations beyond the joints' limits, rad²
        )
    )


def _people(sets, weights, eval_sets) -> ConfigDict:
    """`config.data`: prepared RGB images of people."""
    return ConfigDict(
        dict(
            name="body",
            path="",  # the folder of the prepared sets, or that of one set
            sets=sets,  # folders below `path`
            weights=weights,  # of several sets: their shares of a batch; empty: all samples alike
            train_split="",  # empty: train
            eval_split="",  # empty: each set's own
            eval_sets=eval_sets,  # empty: all
            image_size=(512, 512),  # height, width in px; larger images are scaled down
            crop_boxes=1.5,  # side of the cropped image, in boxes; 0: the entire image
            box_mm=2000.0,  # of that box at the depth of the pelvis; Human3.6M
        )
    )


def _world() -> ConfigDict:
    """`config.data`: synthetic people, rendered on the device; ranges of synthetic/people.py."""
    return ConfigDict(
        dict(
            name="body_world",
            image_size=320,  # px, square
            supersampling=1,  # rays per pixel and axis, averaged
            **synthetic_eval(),
            camera=dict(
                fraction=(0.75, 1.0),  # of the image's side, covered by 2000 mm at the pelvis
                distance_mm=(2500.0, 6000.0),
                offset=0.2,  # from the optical axis, relative to the distance
                blur_px=(0.0, 0.8),
                noise=(0.0, 0.04),
            ),
            pose=dict(
                scale=(0.85, 1.1),  # of the person
                length=(0.94, 1.06),  # of each bone, relative to that
                girth=(0.85, 1.25),
                yaw=(-3.14159, 3.14159),  # rad, of the entire person; 0: facing the camera
                pitch=(-0.35, 0.25),
                roll=(-0.15, 0.15),
                liveliness=(0.2, 0.8),  # rotation of the joints, as a fraction of their limits
            ),
        )
    )


def _quick(config, challenge):
    """Equal steps and samples for all heads."""
    config.model.update(layers=18, width=16, depth=16, deconvolutions=(64, 64, 64))
    config.crop.size = tuple(side // (3 if challenge else 4) for side in config.crop.size)
    config.optimizer.update(lr=2e-3, schedule="cosine", warmup=100, clip_norm=10.0)
    config.update(batch_size=16, eval_batch_size=64, keep=3)
    config.update(steps=2400, eval_every=800, save_every=800)
    if config.data.name == "body_world":
        config.data.update(image_size=64, eval_size=256)
        config.data.pose.yaw = (-0.8, 0.8)
        # Synthetic samples never repeat: a new person is worth more than an augmented one.
        config.augment.enabled = False
