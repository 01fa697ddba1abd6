"""Labelled synthetic hands next to real ones: the joint training of the sphere hand."""

import dataclasses
from functools import partial

import jax
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.contracts import Batch
from handjax.sources.base import Source
from handjax.sources.synthetic import Sampler
from handjax.synthetic import spherehand


def with_synthetic(source: Source, config: ConfigDict) -> Source:
    """The source with `config.data.synthetic.count` synthetic hands per training sample, m.

    Adds `synthetic_depth` [b, m, n, n] and `synthetic_centers` [b, m, 41, 3] to training batches:
    `spherehand_sample` with the other options of `config.data.synthetic`. They come from the
    sample's key of the step, so every epoch has other hands. Evaluation batches stay unchanged.
    """
    configs.require(config, 0, "data.synthetic.count")
    options = dict(config.data.synthetic)
    count = options.pop("count")
    if not count:
        return source
    draw: Sampler = partial(
        spherehand.spherehand_sample,
        image_size=config.data.image_size,
        resample=config.data.depth_resample,
        **options,
    )

    def drawn(key: Key[Array, ""]) -> dict[str, Array]:
        draw_key = jax.random.split(key, 4)[0]  # the other three belong to the task
        return jax.vmap(draw)(jax.random.split(draw_key, count))

    def materialize(batch: Batch, keys: Key[Array, " b"] | None = None) -> Batch:
        batch = source.materialize(batch, keys)
        if keys is None:
            return batch
        made = jax.vmap(drawn)(keys)
        return {**batch, "synthetic_depth": made["depth"], "synthetic_centers": made["centers"]}

    return dataclasses.replace(source, materialize=materialize)
