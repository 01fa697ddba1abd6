"""Synthetic samples per second."""

import functools
from collections.abc import Iterator

import jax

from benchmarks.harness import Case, Effort
from handjax.synthetic import hands, spherehand

# Kind of sample → the function that draws one from a key, and the batch size.
WORLD = {
    "depth 64 x 64, spheres": (hands.depth_sample, 64),
    "depth 64 x 64, skin": (functools.partial(hands.depth_sample, surface="skin"), 64),
    "fitting 64 x 64, skin": (spherehand.spherehand_sample, 64),
    "color 256 x 256": (hands.rgb_sample, 8),
}


def cases(effort: Effort) -> Iterator[Case]:
    """Batches of each kind of synthetic sample."""
    for name, (sample, batch) in WORLD.items():
        batch = effort.batch(batch)
        draw = jax.jit(jax.vmap(sample))
        keys = jax.random.split(jax.random.key(0), batch)

        def notes(seconds, batch=batch):
            return [f"{batch / seconds['handjax']:,.0f} samples/s"]

        yield Case(
            f"{name}, {batch} samples",
            batch,
            "sample",
            {"handjax": functools.partial(draw, keys)},
            notes,
        )
