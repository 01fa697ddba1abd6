"""Optimizers by name; their numbers mean what they mean in PyTorch."""

import math
import re
from collections.abc import Iterable
from typing import TypeAlias

import jax
import optax
from ml_collections import ConfigDict

from handjax.engine.config import Rule, check
from handjax.engine.promotion import any_promotion
from handjax.engine.schedules import make_schedule

Optimizer: TypeAlias = optax.GradientTransformation

MOMENTUM = 0.9  # of sgd, if the config has no `momentum`
_POSITIVE = Rule(lambda v: 0 < v < math.inf, "a number above 0")
_NOT_NEGATIVE = Rule(lambda v: 0 <= v < math.inf, "0 or a number above it")
RULES = {
    "optimizer.lr": _POSITIVE,
    "optimizer.factor": _POSITIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.clip_norm": _NOT_NEGATIVE,
    "optimizer.warmup": _NOT_NEGATIVE,
    "optimizer.momentum": Rule(lambda v: 0 <= v < 1, "0 to less than 1"),
    "optimizer.rates": Rule(lambda v: all(0 <= r < math.inf for r in v), "no negative rate"),
    "optimizer.boundaries": Rule(lambda v: all(b >= 0 for b in v), "no negative step"),
}


def make_optimizer(config: ConfigDict, steps: int) -> Optimizer:
    """The optimizer `config.optimizer` of a run of `steps` steps.

    `rmsprop`, `adam` and `sgd` take the same steps as torch.optim's with the same numbers: epsilon
    outside the root, decay .99, weight decay added to the gradient (coupled L2) before momentum.

    `multipliers` are pairs (pattern, factor): the learning rate of a parameter is multiplied by the
    factor of the first regular expression that matches its entire path, as in
    "stage1_conv1/kernel". Raises ValueError for a name that does not exist, and for numbers with
    which no run learns, such as a negative learning rate.
    """
    check(ConfigDict({"optimizer": config}), RULES)
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
    chain = optax.chain(*parts)
    return optax.GradientTransformation(chain.init, any_promotion(chain.update))


def scale_by_path(multipliers: Iterable[tuple[str, float]]) -> Optimizer:
    """Multiplies updates by the factor of the first pattern that matches the parameter's path.

    The optimizer's update raises ValueError if a parameter has no pattern or a pattern is the first
    match of no parameter.
    """
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
                f"config.optimizer.multipliers: {unused.pop().pattern!r} is the first match of "
                "no parameter"
            )
        return updates

    return optax.stateless(scale)
