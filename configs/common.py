"""What every config shares: the run around the task. One place for names, units and consequences."""

from ml_collections import ConfigDict


def common() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0  # of the initial weights, the order of the samples and every random transform
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
            schedule="constant",  # constant, cosine, step
            warmup=100,  # steps; cosine
            boundaries=(),  # steps; step
            factor=0.1,  # step
            weight_decay=0.0,  # added to the gradient, as torch does
            clip_norm=0.0,  # 0: off
        )
    )
    return config
