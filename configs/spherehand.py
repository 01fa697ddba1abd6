"""The sphere hand (Wan et al. 2019, github.com/melonwan/sphereHand): 3D hand pose from depth,
trained with and without labels.

    handjax train --config configs/spherehand.py --workdir A
        labelled synthetic hands
    handjax train --config configs/spherehand.py:selfsup --workdir B --config.init=A
        unlabelled synthetic hands of a second population, in three views
    handjax train --config configs/spherehand.py:nyu --workdir B --config.init=A \\
        --config.data.path=PREPARED
        the same with the frames of NYU's three cameras
    python scripts/selfsup.py --workdir DIR
        both trainings and an ablation of the loss, in minutes

As in the original: Adam at 1e-3 and a weight decay of 1e-5, a tenth after each third of 75 epochs.
With labels, an epoch is 1000 steps of 128 hands. Without, it is the set, in steps of 24 frames of
three views and 48 labelled synthetic hands (the original: 25 and 48), or with
`config.data.synthetic.count=0` of those frames alone. The second population has hands of another
build in front of another sensor.

Our results are in docs/results.md. Metrics are those of the first view; `config.task.denoise` and
`config.task.fuse` can also be given to handjax evaluate.

Variants, joined by commas (`:selfsup,quick`): quick, and one of synthetic, selfsup, nyu.
"""

from ml_collections import ConfigDict

from configs.common import at_most_one, common, hand_pose, synthetic_eval, test_views
from handjax.engine.config import variants
from handjax.fitting.losses import WEIGHTS
from handjax.rigs.poses import ROTATION_FRONTAL

# Finger poses of `quick`: fingers rarely hide one another, which is what takes long to learn.
QUICK = ("straight", "open", "half_open")
_NEARLY_FRONTAL = tuple(
    ((low + high) / 2 - 0.2, (low + high) / 2 + 0.2) for low, high in ROTATION_FRONTAL
)

# Options of melonwan/sphereHand → their equivalents.
OPTIONS = {
    "synthesize": "--config.data.synthetic.count=0, labelled hands per sample; "
    "there the switch turns them OFF",
    "mv_projection": "--config.task.weights.mv_projection=0; there the switch turns the term OFF",
    "mv_consistency": "--config.task.weights.mv_consistency=0; there the switch turns the term OFF",
    "collision": "--config.task.weights.collision=0; there the switch turns the term OFF",
    "bone_length": "--config.task.weights.bone_length=0; there the switch turns the term OFF",
    "prior": "--config.task.weights.pose_prior=0; there the switch turns the term OFF",
    "temporal": "not for training, whose batches have frames in no order",
    "mode": "the command: handjax train or handjax evaluate",
    "model": "the command: handjax train or handjax evaluate; "
    "the original takes --model for --model_dir and evaluates",
    "model_dir": "--workdir",
    "initial_model": "--config.init, the folder of another run",
    "restore_from_model": "not needed: a run resumes from the newest checkpoint of its --workdir",
    "restore_from_epoch": "--checkpoint of handjax evaluate; training resumes from the newest",
    "num_stacks": "--config.model.stacks",
    "epoch": "--config.steps and, a third of them, --config.optimizer.step_size",
    "dataset_dir": "--config.data.path",
    "depth_resample": "--config.data.depth_resample",
    "lr": "--config.optimizer.lr",
    "tag": "--workdir, which names a run",
    "nyu_path": "handjax prepare",
}


def get_config(variant: str = "") -> ConfigDict:
    kinds = {"synthetic": _synthetic, "selfsup": _selfsup, "nyu": _nyu}
    wanted = variants(variant, ("quick", *kinds))
    kind = at_most_one(wanted, kinds, "data sets") or "synthetic"
    config = common()
    config.optimizer.update(name="adam", lr=1e-3, schedule="step", factor=0.1, weight_decay=1e-5)
    # dtype: of the arithmetic; bfloat16 if the accelerator is faster with it.
    config.model = ConfigDict(dict(stacks=1, width=128, dtype="float32"))
    config.task = ConfigDict(
        dict(
            name="spherehand",
            weights={name: weight for name, weight in WEIGHTS.items() if name != "temporal_smooth"},
            across=True,  # compare spheres with the depth of all views; False: of their own view
            single_view=0.0,  # fraction of the samples that use their own view all the same
            original=False,  # use the original's translation of cameras, which is none
            prior="",  # .npz of scripts/train_priors.py; empty: ours
            denoise=False,  # in an evaluation, infer the palm from the fingers
            fuse=False,  # in an evaluation, take each sphere from its most confident view
            offsets=False,  # maps of offsets as well: x and y between the cells
            **test_views(),
        )
    )
    config.augment = ConfigDict(
        dict(
            enabled=True,  # of unlabelled depth, and by turn_deg of labelled hands
            scale=(0.75, 0.95),
            stretch=0.05,  # of x relative to y
            turn_deg=0.0,  # labelled hands about x, y and z, rendered from elsewhere
            probability=0.5,
        )
    )
    kinds[kind](config)
    if "quick" in wanted:
        _quick(config)
    return config


def _sensor():
    return dict(depth_noise_mm=5.0, shift_px=0.5, supersampling=2)


def _images():
    return dict(
        image_size=64,  # px of the 300 mm cube
        depth_resample=0,  # 3, 5: lost pixels and a blur in labelled synthetic depth
    )


def _synthetic_hands():
    """Labelled hands next to unlabelled samples."""
    return ConfigDict(
        dict(
            count=2,  # per unlabelled sample
            surface="skin",
            **hand_pose(focal=(0.9, 1.1)),
            **_sensor(),
        )
    )


def _world(name):
    return ConfigDict(
        dict(
            name=name,
            joints="nyu14",  # nyu14, hand21: the spheres that are evaluated
            surface="skin",  # what the camera sees: spheres, or the skin over them
            mesh="",  # of the skin: .npz, .obj or sphereHand's .pkl; empty: our own
            **_images(),
            **synthetic_eval(),
            pose=hand_pose(focal=(0.9, 1.1)),  # focal: x and y relative to z
            sensor=_sensor(),
        )
    )


def _synthetic(config):
    config.update(batch_size=128, eval_batch_size=64)
    config.update(steps=75_000, eval_every=5_000, save_every=5_000)
    config.optimizer.step_size = 25_000
    config.data = _world("spherehand_world")


def _unlabelled(config):
    epoch = 3_032  # of NYU's 72,757 frames
    config.update(batch_size=24, eval_batch_size=24)
    config.update(steps=75 * epoch, eval_every=epoch, save_every=epoch)
    config.optimizer.step_size = 25 * epoch


def _selfsup(config):
    _unlabelled(config)
    config.data = _world("multiview_world")
    config.data.synthetic = _synthetic_hands()
    config.data.pose.update(scale=(0.78, 0.85), focal=(1.0, 1.0), fingers=(1.0, 1.2))
    config.data.sensor.update(depth_noise_mm=8.0, holes=0.2)  # holes: fraction of lost pixels
    config.data.cameras = ConfigDict(
        dict(
            # Rotation of each camera about x and y of the first.
            turns_deg=((0.0, 0.0), (0.0, 25.0), (0.0, -25.0)),
            offset_mm=10.0,  # largest offset of the other cubes from the first
            thickness_mm=(0.0, 0.0),  # of flesh over the spheres
        )
    )


def _nyu(config):
    _unlabelled(config)
    config.task.single_view = 0.48  # the original: all samples from step 1500 of an epoch's 2911 on
    config.data = ConfigDict(
        dict(
            name="nyu_views",
            path="",  # the folder of the prepared set nyu_hand/multiview, with dataset_info.json
            # Of the crop: label (joint 32), refined (from a file) or depth (center of mass of the
            # nearest points).
            center="label",
            depth_mm=(300.0, 1200.0),  # search range of the hand; center=depth
            train_split="train",
            eval_split="test",  # or a part, as in test[:10%]
            **_images(),
            synthetic=_synthetic_hands(),
        )
    )


def _quick(config):
    config.model.width = 32
    config.update(keep=3)
    config.optimizer.update(schedule="cosine", warmup=50, clip_norm=1.0)
    if "synthetic" in config.data:
        config.update(batch_size=8, eval_batch_size=32, steps=600, eval_every=200, save_every=200)
        config.optimizer.lr = 5e-4
        # With the original's weights the projection is a hundred times all other terms together.
        # With these the other terms count, and the result is as good after fewer steps.
        config.task.weights.update(mv_projection=0.05, mv_consistency=0.1)
        config.task.weights.update(collision=1.0, bone_length=3.0)
        # Synthetic samples never repeat: a new hand is worth more than an augmented one.
        config.augment.enabled = False
        config.data.synthetic.update(rotation=ROTATION_FRONTAL, modes=QUICK, supersampling=1)
    else:
        config.update(batch_size=32, eval_batch_size=64, steps=1200, eval_every=400, save_every=400)
        config.optimizer.lr = 3e-3
    if config.data.name != "nyu_views":
        config.data.update(eval_size=256)
        config.data.pose.update(rotation=ROTATION_FRONTAL, modes=QUICK)
        config.data.sensor.supersampling = 1
    if config.data.name == "multiview_world":
        # No camera may see a hand from a side from which no labelled hand is seen.
        config.data.pose.rotation = _NEARLY_FRONTAL
