"""The sphere hand (Wan et al. 2019, github.com/melonwan/sphereHand).

    python -m handjax.train --config configs/spherehand.py --workdir A                 synthetic hands, with labels
    python -m handjax.train --config configs/spherehand.py:selfsup --workdir B --config.init=A     other hands in three views, without
    python -m handjax.train --config configs/spherehand.py:nyu --workdir B --config.init=A --config.data.path=PREPARED
    python scripts/selfsup.py --workdir DIR                                     both and what each term is worth, in minutes

As in the original: Adam at 1e-3 and a weight decay of 1e-5, a tenth after each third of 75 epochs. With labels an epoch is 1000
steps of 128 hands; without, the set, in steps of 24 frames of three views and 48 labelled synthetic hands (the original: 25 and
48), or with `config.data.synthetic.count=0` of those frames alone. `:selfsup` is the same on synthetic views of a second population:
hands of another build before another sensor. Figures of an evaluation are of the first view; `config.task.denoise` and `fuse`
can be given to python -m handjax.evaluate, too.
Flavours join by commas (`:selfsup,quick`): quick, and one of synthetic, selfsup, nyu.
"""

from ml_collections import ConfigDict

from configs.common import common
from handjax.engine.config import variants
from handjax.fitting.losses import WEIGHTS
from handjax.rigs.poses import ALL_MODES, ROTATION_ANY, ROTATION_FRONTAL

# The options of melonwan/sphereHand and what they are here.
OPTIONS = {
    "synthesize": "--config.data.synthetic.count=0, labelled hands per sample; there the switch turns them OFF",
    "mv_projection": "--config.task.weights.mv_projection=0; there the switch turns the term OFF",
    "mv_consistency": "--config.task.weights.mv_consistency=0; there the switch turns the term OFF",
    "collision": "--config.task.weights.collision=0; there the switch turns the term OFF",
    "bone_length": "--config.task.weights.bone_length=0; there the switch turns the term OFF",
    "prior": "--config.task.weights.pose_prior=0; there the switch turns the term OFF",
    "temporal": "not for training, whose batches have frames in no order",
    "mode": "the door: python -m handjax.train or handjax.evaluate",
    "model": "the door: python -m handjax.train or handjax.evaluate; the original takes --model for --model_dir and evaluates",
    "model_dir": "--workdir",
    "initial_model": "--config.init, the folder of another run",
    "restore_from_model": "not needed: a run goes on from the newest checkpoint of its --workdir",
    "restore_from_epoch": "--checkpoint of python -m handjax.evaluate; a run goes on from its newest",
    "num_stacks": "--config.model.stacks",
    "epoch": "--config.steps and, a third of them, --config.optimizer.step_size",
    "dataset_dir": "--config.data.path",
    "depth_resample": "--config.data.depth_resample",
    "lr": "--config.optimizer.lr",
    "tag": "--workdir, which names a run",
    "nyu_path": "python -m handjax.prepare",
}


def get_config(variant: str = "") -> ConfigDict:
    kinds = {"synthetic": _synthetic, "selfsup": _selfsup, "nyu": _nyu}
    wanted = variants(variant, ("quick", *kinds))
    if len(both := sorted(wanted & set(kinds))) > 1:
        raise ValueError(f"flavours {' and '.join(both)} are data sets: use one of them")
    config = common()
    config.optimizer.update(name="adam", lr=1e-3, schedule="step", factor=0.1, weight_decay=1e-5)
    config.model = ConfigDict(dict(stacks=1, width=128, dtype="float32"))  # bfloat16: compute
    config.task = ConfigDict(
        dict(
            name="spherehand",
            weights={name: weight for name, weight in WEIGHTS.items() if name != "temporal_smooth"},
            across=True,  # each view's spheres are held against all views' depth; False: against its own
            single_view=0.0,  # share of the samples that are held against their own all the same
            original=False,  # the original's translation of cameras, which is none
            prior="",  # .npz of scripts/train_priors.py; empty: ours
            denoise=False,  # an evaluation replaces the palm by what the fingers say
            fuse=False,  # an evaluation takes each sphere from the view that is surest
        )
    )
    config.augment = ConfigDict(
        dict(
            enabled=True,  # of depth without labels
            scale=(0.75, 0.95),
            stretch=0.05,  # of x beside y
            probability=0.5,
        )
    )
    (kind,) = wanted & set(kinds) or {"synthetic"}
    kinds[kind](config)
    if "quick" in wanted:
        _quick(config)
    return config


def _build():
    return dict(
        rotation=ROTATION_ANY,  # of the palm about x, y, z, rad
        modes=ALL_MODES,  # what the fingers do; see rigs/poses.py
        scale=(0.85, 0.95),  # of the hand's three axes
        focal=(0.9, 1.1),  # x and y beside z
        fingers=(1.0, 1.0),  # size of each finger beside the palm
    )


def _sensor():
    return dict(depth_noise_mm=5.0, shift_px=0.5, samples=2)


def _images():
    return dict(
        image_size=64,  # px of the 300 mm cube
        depth_resample=0,  # 3, 5: lost pixels and a blur in labelled synthetic depth
    )


def _synthetic_hands():
    return ConfigDict(
        dict(
            count=2,  # labelled hands per unlabelled sample
            surface="skin",
            **_build(),
            **_sensor(),
        )
    )


def _world(name):
    return ConfigDict(
        dict(
            name=name,
            joints="nyu14",  # nyu14, hand21: which spheres are scored
            surface="skin",  # what the sensor sees: spheres, or the skin over them
            mesh="",  # of the skin: .npz, .obj or sphereHand's .pkl; empty: our own
            **_images(),
            eval_size=512,
            eval_seed=1,  # another stream of numbers than training's, whatever the seeds
            pose=_build(),
            sensor=_sensor(),
        )
    )


def _synthetic(config):
    config.update(
        batch_size=128, eval_batch_size=64, steps=75_000, eval_every=5_000, save_every=5_000
    )
    config.optimizer.step_size = 25_000
    config.data = _world("spherehand_world")


def _unlabelled(config):
    epoch = 3_032  # of NYU's 72,757 frames
    config.update(
        batch_size=24, eval_batch_size=24, steps=75 * epoch, eval_every=epoch, save_every=epoch
    )
    config.optimizer.step_size = 25 * epoch


def _selfsup(config):
    _unlabelled(config)
    config.data = _world("multiview_world")
    config.data.synthetic = _synthetic_hands()
    config.data.pose.update(scale=(0.78, 0.85), focal=(1.0, 1.0), fingers=(1.0, 1.2))
    config.data.sensor.update(depth_noise_mm=8.0, holes=0.2)  # the part of the pixels that are lost
    config.data.cameras = ConfigDict(
        dict(
            turns_deg=(
                (0.0, 0.0),
                (0.0, 25.0),
                (0.0, -25.0),
            ),  # of each camera about x and y of the first
            offset_mm=10.0,  # how far the other cubes are beside the first, at most
            thickness_mm=(0.0, 0.0),  # of flesh over the spheres
        )
    )


def _nyu(config):
    _unlabelled(config)
    config.task.single_view = 0.48  # the original: all samples from step 1500 of an epoch's 2911 on
    config.data = ConfigDict(
        dict(
            name="nyu_views",
            path="",  # of the prepared set nyu_hand/multiview: the folder that holds dataset_info.json
            center="label",  # the crop's center: label (joint 32), refined (from a file) or depth (of mass, of what is nearest)
            depth_mm=(300.0, 1200.0),  # where the hand is looked for; center=depth
            train_split="train",
            eval_split="test",  # or a part, as in test[:10%]
            **_images(),
            synthetic=_synthetic_hands(),
        )
    )


# What the hands of `quick` do: few fingers hide one another, which is what takes long to learn.
QUICK = ("straight", "open", "half_open")
_NEARLY_FRONTAL = tuple(
    ((low + high) / 2 - 0.2, (low + high) / 2 + 0.2) for low, high in ROTATION_FRONTAL
)


def _quick(config):
    config.model.width = 32
    config.update(keep=3)
    config.optimizer.update(schedule="cosine", warmup=50, clip_norm=1.0)
    if "synthetic" in config.data:
        config.update(batch_size=8, eval_batch_size=32, steps=600, eval_every=200, save_every=200)
        config.optimizer.lr = 5e-4
        # With the original's weights the projection is a hundred times all the rest together. With these the hand comes out as
        # well in fewer steps, and the other terms count for something.
        config.task.weights.update(
            mv_projection=0.05, mv_consistency=0.1, collision=1.0, bone_length=3.0
        )
        config.augment.enabled = (
            False  # the world never repeats itself: another hand beats an altered one
        )
        config.data.synthetic.update(rotation=ROTATION_FRONTAL, modes=QUICK, samples=1)
    else:
        config.update(batch_size=32, eval_batch_size=64, steps=1200, eval_every=400, save_every=400)
        config.optimizer.lr = 3e-3
    if config.data.name != "nyu_views":
        config.data.update(eval_size=256)
        config.data.pose.update(rotation=ROTATION_FRONTAL, modes=QUICK)
        config.data.sensor.samples = 1
    if config.data.name == "multiview_world":
        config.data.pose.rotation = (
            _NEARLY_FRONTAL  # so that no camera sees a hand from where no labelled one is seen
        )
