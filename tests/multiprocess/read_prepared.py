"""One of several processes that read a prepared set as a training does and print it.

    python scripts/launch.py local -n 3 --module tests.multiprocess.read_prepared -- PATH START STOP

Lines: `pid N`; `held NAME=GREY ...` of the evaluation split; `step N GREY ...` of this process's
rows of each step; `end` and the GPUs that TensorFlow would use. GREY, an image's gray value,
identifies it.
"""

import argparse
import os
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from handjax.engine import cli, evaluation, feed, runtime, sharding
from handjax.sources import SOURCES

BATCH, SEED = 6, 3
PAUSE_SECONDS = 0.05  # per step, so that a test can kill the process between steps


def source(path):
    data = dict(
        name="rgb_hand",
        path=path,
        sets=("keypoint_list",),
        eval_sets=(),
        weights=(),
        train_split="",
        eval_split="",
    )
    return SOURCES["rgb_hand"](
        ConfigDict(
            dict(
                seed=SEED, data=data | dict(root="as_labelled", image_size=(32, 32), crop_boxes=0.0)
            )
        )
    )


def held(source, mesh) -> list[str]:
    """What an evaluation of the split collects: every name once, if all is well."""
    eval_step = jax.jit(
        lambda state, batch: (
            {key: batch[key] for key in ("mask", "index", "image")},
            batch["mask"].sum(),
        ),
        out_shardings=sharding.replicated(mesh),
    )
    rows, _ = evaluation.predict_split(eval_step, None, source, BATCH, mesh)
    return [
        f"{name}={grey}"
        for name, grey in zip(source.names(rows["index"]), rows["image"][:, 0, 0, 0], strict=True)
    ]


def steps(source, mesh, start, stop):
    """The images of each step on this process's devices."""
    for batch in feed.train_batches(source, mesh, BATCH, SEED, start, stop):
        yield [
            str(grey)
            for shard in batch["image"].addressable_shards
            for grey in np.asarray(shard.data)[:, 0, 0, 0]
        ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("start", type=int)
    parser.add_argument("stop", type=int)
    cli.add_distributed(parser)
    args = parser.parse_args()
    runtime.start_distributed(args)
    mesh, hands = sharding.make_mesh(), source(args.path)
    print("pid", os.getpid(), flush=True)
    print("held", *held(hands, mesh), flush=True)
    for step, mine in enumerate(steps(hands, mesh, args.start, args.stop), args.start):
        print("step", step, *mine, flush=True)
        time.sleep(PAUSE_SECONDS)
    import tensorflow as tf

    print("end", tf.config.get_visible_devices("GPU"), flush=True)


if __name__ == "__main__":
    main()
