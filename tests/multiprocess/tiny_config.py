"""The config of tiny_train.py."""

from configs.common import common


def get_config(variant=""):
    config = common()
    config.update(batch_size=8, eval_batch_size=8, steps=40, eval_every=10, save_every=5, keep=3)
    config.update(log_every=1, compile_cache=False)
    config.optimizer.update(name="sgd", lr=0.05)
    # pause: seconds per read. NaN are: all of a sample of training, its label alone, all of one of
    # an evaluation; and the weights from the beginning of a step.
    config.data = dict(name="tiny", pause=0.0, bad=-1, bad_label=-1, bad_eval=-1, bad_weights=-1)
    config.model = dict(width=8)
    config.task = dict(name="tiny")
    return config
