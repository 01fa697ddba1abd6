"""Learning rates by name.

Numbers mean what they mean in Caffe, as in namedBen/Convolutional-Pose-Machines-Pytorch. Each
schedule takes `config.optimizer` and the number of steps of the run and gives the rate of a step i,
counted from 0; `lr` is the base rate.

| name | rate | numbers |
|---|---|---|
| constant, fixed | lr | |
| cosine | 0 to lr over `warmup` steps, then half a cosine to 0 at the last step | warmup |
| step | lr · factor^⌊i / step_size⌋ | factor, step_size |
| exp | lr · factor^i | factor |
| inv | lr · (1 + factor · i)^-power | factor, power |
| multistep | lr · factor^(boundaries reached) | factor, boundaries |
| poly | lr · (1 - i / steps)^power | power |
| sigmoid | lr / (1 + exp(-factor · (i - step_size))) | factor, step_size |
| multistep-poly | multistep · poly from boundary to boundary, at least factor | those of both |
| piecewise | rates[boundaries reached], whatever lr is | rates, boundaries |

The originals call `factor` gamma, `boundaries` stepvalue and the number of steps `max_iter`.
"""

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from handjax.engine.promotion import any_promotion

# The rate of every step depends on the length of the run.
OF_THE_WHOLE_RUN = ("cosine", "poly", "multistep-poly")


def make_schedule(config: ConfigDict, steps: int) -> optax.Schedule:
    """The schedule `config.schedule` of the table above; ValueError for invalid numbers."""
    if config.schedule not in SCHEDULES:
        raise ValueError(
            f"config.optimizer.schedule {config.schedule!r} is unknown: "
            f"use one of {', '.join(SCHEDULES)}"
        )
    make, needs = SCHEDULES[config.schedule]
    for name in needs:
        if not hasattr(config, name):
            raise ValueError(
                f"config.optimizer.schedule={config.schedule} needs config.optimizer.{name}"
            )
        if name == "step_size" and config.step_size <= 0:
            raise ValueError(
                f"config.optimizer.step_size={config.step_size}: expected steps, more than 0"
            )
        if name == "boundaries" and list(config.boundaries) != sorted(set(config.boundaries)):
            raise ValueError(
                f"config.optimizer.boundaries={tuple(config.boundaries)}: "
                "expected steps in ascending order"
            )
    return any_promotion(make(config, steps))


def _constant(config, steps):
    return optax.constant_schedule(config.lr)


def _cosine(config, steps):
    return optax.warmup_cosine_decay_schedule(
        0.0, config.lr, min(config.warmup, max(steps - 1, 1)), max(steps, 2)
    )


def _step(config, steps):
    return lambda i: config.lr * config.factor ** (i // config.step_size)


def _exp(config, steps):
    return lambda i: config.lr * config.factor**i


def _inv(config, steps):
    return lambda i: config.lr * (1.0 + config.factor * i) ** -config.power


def _multistep(config, steps):
    return lambda i: config.lr * config.factor ** _reached(config, i)


def _poly(config, steps):
    return lambda i: config.lr * jnp.maximum(0.0, 1.0 - i / float(steps)) ** config.power


def _sigmoid(config, steps):
    return lambda i: config.lr / (1.0 + jnp.exp(-config.factor * (i - config.step_size)))


def _multistep_poly(config, steps):
    def rate(i):
        reached = _reached(config, i)
        edges = jnp.asarray((0, *config.boundaries, steps))
        begin, end = edges[reached], edges[reached + 1]
        left = jnp.maximum(0.0, 1.0 - (i - begin) / (end - begin))
        return config.lr * config.factor**reached * jnp.maximum(config.factor, left**config.power)

    return rate


def _piecewise(config, steps):
    if len(config.rates) != len(config.boundaries) + 1:
        raise ValueError(
            f"config.optimizer.rates={tuple(config.rates)}: "
            f"expected one more than the boundaries {tuple(config.boundaries)}"
        )
    return lambda i: jnp.asarray(config.rates)[_reached(config, i)]


def _reached(config, i):
    """Number of boundaries that step i has reached."""
    return sum(
        (jnp.asarray(i >= boundary, jnp.int32) for boundary in config.boundaries),
        jnp.zeros((), jnp.int32),
    )


SCHEDULES = {
    "constant": (_constant, ()),
    "fixed": (_constant, ()),
    "cosine": (_cosine, ("warmup",)),
    "step": (_step, ("factor", "step_size")),
    "exp": (_exp, ("factor",)),
    "inv": (_inv, ("factor", "power")),
    "multistep": (_multistep, ("factor", "boundaries")),
    "poly": (_poly, ("power",)),
    "sigmoid": (_sigmoid, ("factor", "step_size")),
    "multistep-poly": (_multistep_poly, ("factor", "boundaries", "power")),
    "piecewise": (_piecewise, ("rates", "boundaries")),
}
