"""What every config shares: the run around the task. One place for names, units and consequences."""

from ml_collections import ConfigDict

from handjax.rigs.poses import ALL_MODES, ROTATION_ANY


def common() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0  # of the initial weights, the order of the samples and every random transform
    config.init = ""  # weights to begin with: the folder of another run, or .npz, as scripts/convert_torch.py writes it
    config.init_skip = ()  # arrays that begin at random all the same, by their names, as in params/out/*
    config.devices = 0  # 0: all
    config.batch_size = 8  # global: divided over devices and accumulation steps
    config.accumulate = 1  # gradients averaged over this many slices of a batch
    config.eval_batch_size = 8
    config.steps = 90_000
    config.log_every = 10  # steps
    config.eval_every = 9_000  # steps; also before the first and after the last
    config.save_every = 9_000  # steps; also after the last
    config.keep = 10  # newest checkpoints kept; the best is kept beside them
    config.compile_cache = True  # compiled steps lie in the user's cache folder for the next run
    config.optimizer = ConfigDict(
        dict(
            name="rmsprop",  # rmsprop, adam, sgd
            lr=2.5e-4,
            schedule="constant",  # constant, cosine, step, multistep, poly, …: the table in engine/schedules.py
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


def hand_rgb_world() -> ConfigDict:
    """`config.data`: synthetic hands in colour, made on the device."""
    return ConfigDict(
        dict(
            name="hand_rgb_world",
            image_size=256,  # px of the square picture
            samples=2,  # points a side of a pixel that are averaged
            mesh="",  # of the skin: .npz, .obj or sphereHand's .pkl; empty: our own
            eval_size=512,
            eval_seed=1,  # another stream of numbers than training's, whatever the seeds
            camera=dict(
                fill=(0.6, 1.0),  # the hand's part of the picture's side
                distance_mm=(300.0, 900.0),
                aside=0.2,  # how far off the axis, of the distance
                blur_px=(0.0, 1.2),
                noise=(0.0, 0.04),
            ),
            pose=dict(
                rotation=ROTATION_ANY,  # of the palm about x, y, z, rad
                modes=ALL_MODES,  # what the fingers do; see rigs/poses.py
                scale=(0.85, 0.95),  # of the hand's three axes
                fingers=(0.9, 1.1),  # size of each finger beside the palm
                left=0.5,  # part of left hands
            ),
        )
    )


# Flavour → sets below `data.path`, size of the pictures, and their window about the hand in boxes (0: whole pictures).
RGB_HANDS = {
    "rhd": (("rhd",), (320, 320), 0.0),
    "stb": (("stb/bb",), (480, 640), 0.0),
    "rs": (("rhd", "stb/bb"), (480, 640), 0.0),
    "handdb": (("panoptic_hand/manual",), (640, 640), 3.0),
    "list": (("keypoint_list",), (640, 640), 3.0),
}


def rgb_hand(flavour: str) -> ConfigDict:
    """`config.data`: prepared pictures of hands."""
    sets, image_size, room = RGB_HANDS[flavour]
    return ConfigDict(
        dict(
            name="rgb_hand",
            path="",  # where handjax.prepare put the sets, or the prepared folder of one
            sets=sets,  # folders below `path`
            weights=(),  # of several sets: their shares of a batch; empty: all samples are alike
            train_split="train",
            eval_split="",  # empty: each set's own
            eval_sets=(),  # empty: all
            root="palm"
            if flavour == "rs"
            else "as_labelled",  # what joint 0 is: as_labelled, palm or wrist
            image_size=image_size,  # height, width in px that pictures are brought to; larger ones are scaled down
            room=room,
        )
    )
