"""Optimizers and schedules by name, with PyTorch's meaning of their numbers."""

import optax


def make_schedule(config, steps: int) -> optax.Schedule:
    """`constant`; `cosine`: warm-up over `warmup` steps, then a half cosine down to zero at the last step; `step`: times
    `factor` at each of `boundaries`."""
    kind = config.schedule
    if kind == "constant":
        return optax.constant_schedule(config.lr)
    if kind == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, config.lr, min(config.warmup, max(steps - 1, 1)), max(steps, 2))
    if kind == "step":
        return optax.piecewise_constant_schedule(config.lr, {b: config.factor for b in config.boundaries})
    raise ValueError(f"config.optimizer.schedule {kind!r} is unknown: use constant, cosine or step")


def make_optimizer(config, steps: int) -> optax.GradientTransformation:
    """`rmsprop` and `adam` take the same steps as torch.optim's with the same numbers: epsilon outside the root, decay .99,
    weight decay added to the gradient (coupled L2)."""
    lr = make_schedule(config, steps)
    if config.name == "rmsprop":
        update = optax.rmsprop(lr, decay=0.99, eps=1e-8, eps_in_sqrt=False)
    elif config.name == "adam":
        update = optax.adam(lr)
    elif config.name == "sgd":
        update = optax.sgd(lr, momentum=0.9)
    else:
        raise ValueError(f"config.optimizer.name {config.name!r} is unknown: use rmsprop, adam or sgd")
    parts = [update]
    if config.weight_decay:
        parts.insert(0, optax.add_decayed_weights(config.weight_decay))
    if config.clip_norm:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    return optax.chain(*parts)
