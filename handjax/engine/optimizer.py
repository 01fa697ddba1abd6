"""Optimizers by name, with PyTorch's meaning of their numbers."""

import re

import jax
import optax

from handjax.engine.schedules import make_schedule

Optimizer = optax.GradientTransformation

MOMENTUM = 0.9  # of sgd, where `momentum` is not given


def make_optimizer(config, steps: int) -> optax.GradientTransformation:
    """`rmsprop`, `adam` and `sgd` take the same steps as torch.optim's with the same numbers: epsilon outside the root, decay .99,
    weight decay added to the gradient (coupled L2), before the momentum.

    `multipliers`, where given, are pairs (pattern, factor): a parameter's learning rate is multiplied by the factor of the
    first regular expression that matches the whole of its path, as in "stage1_conv1/kernel".
    """
    lr = make_schedule(config, steps)
    if config.name == "rmsprop":
        update = optax.rmsprop(lr, decay=0.99, eps=1e-8, eps_in_sqrt=False)
    elif config.name == "adam":
        update = optax.adam(lr)
    elif config.name == "sgd":
        update = optax.sgd(lr, momentum=getattr(config, "momentum", MOMENTUM))
    else:
        raise ValueError(
            f"config.optimizer.name {config.name!r} is unknown: use rmsprop, adam or sgd"
        )
    parts = [update]
    if config.weight_decay:
        parts.insert(0, optax.add_decayed_weights(config.weight_decay))
    if config.clip_norm:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    if getattr(config, "multipliers", ()):
        parts.append(scale_by_path(config.multipliers))
    return optax.chain(*parts)


def scale_by_path(multipliers) -> optax.GradientTransformation:
    """Updates times the factor of the first pattern that matches the parameter's path. Every parameter has one, and every pattern
    has a parameter: what is left over on either side is a mistake."""
    try:
        patterns = {re.compile(pattern): factor for pattern, factor in multipliers}
    except re.error as error:
        raise ValueError(
            f"config.optimizer.multipliers: {error.pattern!r} is no regular expression: {error.msg}"
        ) from None

    def scale(updates, params):
        unused = set(patterns)

        def one(path, update):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            pattern = next((p for p in patterns if p.fullmatch(name)), None)
            if pattern is None:
                raise ValueError(
                    f"config.optimizer.multipliers: no pattern matches the parameter {name}"
                )
            unused.discard(pattern)
            return patterns[pattern] * update

        updates = jax.tree_util.tree_map_with_path(one, updates)
        if unused:
            raise ValueError(
                f"config.optimizer.multipliers: {unused.pop().pattern!r} is first to match for no parameter"
            )
        return updates

    return optax.stateless(scale)
