"""What the configs share: the run around the task, and the data of hands."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from handjax.rigs.poses import ALL_MODES, ROTATION_ANY
from handjax.synthetic.camera_world import ADULT_AND_CHILD
from handjax.synthetic.depth_cameras import KINDS
from handjax.synthetic.surroundings import USUAL


def common() -> ConfigDict:
    """The run: seed, devices, batches, intervals, optimizer."""
    config = ConfigDict()
    config.seed = 0  # of the initial weights, the order of samples and every random transform
    # Initial weights: a run's folder, .npz (scripts/convert_torch.py), hand-depth, or v2v.
    config.init = ""
    config.init_skip = ()  # arrays that stay random, by name, as in params/out/*
    config.devices = 0  # 0: all
    config.batch_size = 8  # global: divided over devices and accumulation steps
    config.accumulate = 1  # slices of a batch whose gradients are averaged
    config.shard_optimizer = False  # each device keeps a part of the optimizer's state
    config.reduce_dtype = "float32"  # of gradients between devices; or bfloat16, half the bytes
    config.eval_batch_size = 8
    config.steps = 90_000
    config.log_every = 10  # steps
    config.eval_every = 9_000  # steps; also before the first and after the last
    config.save_every = 9_000  # steps; also after the last
    config.save_minutes = 10.0  # a checkpoint at least this often; 0: by steps alone
    config.checkpoints = ""  # folder, also gs://bucket/run; empty: checkpoints/ of the run's folder
    config.keep = 10  # newest checkpoints kept, in addition to the best
    # Decay of a moving average of the weights, as 0.999; it is then evaluated and exported;
    # 0: off.
    config.average = 0.0
    config.skip_nonfinite = 0  # steps at most that are skipped because they are not finite
    config.export = True  # model.stablehlo after the last step: the network for JAX alone
    config.wandb = ""  # a project of Weights & Biases that gets the metrics as well; extra wandb
    config.compile_cache = True  # keep compiled steps in the user's cache folder for the next run
    config.optimizer = ConfigDict(
        dict(
            name="rmsprop",  # rmsprop, adam, sgd
            lr=2.5e-4,
            schedule="constant",  # constant, cosine, step, multistep, …: engine/schedules.py
            warmup=100,  # steps; cosine
            boundaries=(),  # steps; multistep, multistep-poly, piecewise
            step_size=1,  # steps; step, sigmoid
            power=1.0,  # inv, poly, multistep-poly
            rates=(),  # piecewise: one more than boundaries
            factor=0.1,  # step, exp, inv, multistep, sigmoid, multistep-poly
            weight_decay=0.0,  # added to the gradient, as torch does
            clip_norm=0.0,  # 0: off
        )
    )
    return config


def at_most_one(wanted: set[str], names: Iterable[str], kind: str) -> str:
    """The one of `names` that is wanted, or ""; ValueError if there are several."""
    both = sorted(wanted & set(names))
    if len(both) > 1:
        raise ValueError(f"variants {' and '.join(both)} are {kind}: use one of them")
    return both[0] if both else ""


def synthetic_eval() -> dict:
    """The evaluation split of a synthetic source."""
    return dict(
        eval_size=512,
        eval_seed=1,  # another random stream than training's, whatever the seeds
    )


def test_views() -> dict:
    """How often a test sample is seen; also for `handjax evaluate`."""
    return dict(
        rotations_deg=(),  # turned about the line of sight, beside the camera's own view
        views=1,  # 9, 25: seen from a grid of directions, rendered (targets/virtual_views.py)
        view_deg=20.0,  # the furthest of them, about x and about y
        keep_views=0,  # the most confident views whose answers are averaged; 0: all
    )


def hand_pose(**changes) -> dict:
    """Pose and build of synthetic hands."""
    pose = dict(
        rotation=ROTATION_ANY,  # of the palm about x, y, z, rad
        modes=ALL_MODES,  # finger poses; see rigs/poses.py
        scale=(0.85, 0.95),  # of the hand's three axes
        fingers=(1.0, 1.0),  # size of each finger relative to the palm
    )
    return pose | changes


def depth_camera_world(name: str, none: float, hands: dict, **more) -> ConfigDict:
    """`config.data`: hands before the depth cameras of users, rendered on the device."""
    return ConfigDict(
        dict(
            name=name,
            mesh="",  # of the skin: .npz, .obj or sphereHand's .pkl; empty: our own
            none=none,  # share of the samples without a hand, or without their first
            **more,
            shares=USUAL._asdict(),  # how often each thing is around the hand
            sensors=tuple(KINDS),  # empty: no sensor's effects
            hands=dict(
                distance_mm=(250.0, 1200.0),
                frontal=0.35,  # share of the hands held out to the camera
                scale=ADULT_AND_CHILD,  # of the hand
                **hands,
            ),
            **synthetic_eval(),
        )
    )


def our_own(config: ConfigDict, quick: bool) -> None:
    """The run of the hand network and of its finder."""
    config.update(batch_size=128, eval_batch_size=128, save_every=1_000, keep=3)
    config.optimizer.update(name="adam", lr=2e-3, schedule="cosine", warmup=500, clip_norm=2.0)
    if quick:
        config.update(batch_size=32, eval_batch_size=64)
        config.update(steps=1_250, eval_every=625, save_every=625)
        config.optimizer.warmup = 100
        config.data.eval_size = 256


def hand_rgb_world() -> ConfigDict:
    """`config.data`: synthetic RGB images of hands, rendered on the device."""
    return ConfigDict(
        dict(
            name="hand_rgb_world",
            image_size=256,  # px, square
            supersampling=2,  # rays per pixel and axis, averaged
            mesh="",  # of the skin: .npz, .obj or sphereHand's .pkl; empty: our own
            **synthetic_eval(),
            camera=dict(
                fraction=(0.6, 1.0),  # of the image's side that the hand covers
                distance_mm=(300.0, 900.0),
                offset=0.2,  # from the optical axis, relative to the distance
                blur_px=(0.0, 1.2),
                noise=(0.0, 0.04),
            ),
            pose=hand_pose(fingers=(0.9, 1.1), left=0.5),  # left: fraction of left hands
        )
    )


# Variant → sets below `data.path`, image size, and crop around the hand in boxes (0: none).
RGB_HANDS = {
    "rhd": (("rhd",), (320, 320), 0.0),
    "stb": (("stb/bb",), (480, 640), 0.0),
    "rs": (("rhd", "stb/bb"), (480, 640), 0.0),
    "freihand": (("freihand",), (224, 224), 0.0),
    "dexycb": (("dexycb/s0",), (320, 320), 3.0),
    "ho3d": (("ho3d/v3",), (320, 320), 3.0),
    "interhand": (("interhand",), (512, 334), 0.0),
    "handdb": (("panoptic_hand/manual",), (640, 640), 3.0),
    "list": (("keypoint_list",), (640, 640), 3.0),
}


def rgb_hand(variant: str) -> ConfigDict:
    """`config.data`: prepared RGB images of hands."""
    sets, image_size, crop_boxes = RGB_HANDS[variant]
    return ConfigDict(
        dict(
            name="rgb_hand",
            path="",  # the folder of the prepared sets, or that of one set
            sets=sets,  # folders below `path`
            weights=(),  # of several sets: their shares of a batch; empty: all samples alike
            train_split="train",
            eval_split="",  # empty: each set's own
            eval_sets=(),  # empty: all
            root="palm" if variant == "rs" else "as_labelled",  # joint 0: as_labelled, palm, wrist
            image_size=image_size,  # height, width in px; larger images are scaled down
            crop_boxes=crop_boxes,  # side of the cropped image, in boxes; 0: the entire image
        )
    )


# Variants of data sets with prepared RGB images: of hands, and of anything with your own joints.
RGB_DATA = (*RGB_HANDS, "own")


def rgb_data(variant: str) -> ConfigDict:
    """`config.data` of a variant of RGB_DATA; synthetic hands without one."""
    if variant == "own":
        return own_landmarks()
    return rgb_hand(variant) if variant else hand_rgb_world()


def own_landmarks() -> ConfigDict:
    """`config.data`: prepared RGB images with your own joints."""
    return ConfigDict(
        dict(
            name="landmarks",
            path="",  # the folder of the prepared sets, or that of one set
            sets=("landmarks",),  # folders below `path`
            weights=(),  # of several sets: their shares of a batch; empty: all samples alike
            train_split="train",
            eval_split="",  # empty: test, validation or val
            eval_sets=(),  # empty: all
            image_size=(640, 640),  # height, width in px; larger images are scaled down
            crop_boxes=3.0,  # side of the cropped image, in boxes; 0: the entire image
        )
    )


def own_joints(config: ConfigDict) -> None:
    """Crop and augmentation for joints of anything: around its box, as much turned as resized."""
    config.crop.update(rule="labelled", scale=1.25, pad_px=0.0, side_px=(8.0, 1e5))
    config.augment.update(enabled=True, scale=(0.75, 1.25), rotation_deg=30.0)
    config.augment.update(shift_px=0.06 * config.crop.size, brightness=0.2, contrast=0.2)
    # Mirror images need pairs of left and right joints (docs/landmarks.md).
    config.augment.update(flip=0.0, center_sigma_px=0.0, joint_sigma_px=0.0)
