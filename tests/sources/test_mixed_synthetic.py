"""Synthetic hands next to the samples of another source."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from handjax.data.batch import check_batch
from handjax.pose.skeleton import SKELETONS
from handjax.sources import Source, mixed_synthetic
from handjax.sources.base import unchanged

SIZE = 16


def mixed(count):
    def rows(numbers):
        b = len(numbers)
        return {
            "cube_depth": np.zeros((b, 3, SIZE, SIZE), np.float32),
            "mask": np.ones(b, bool),
            "index": numbers.astype(np.int32),
        }

    source = Source(SKELETONS["nyu14"], None, 1, rows, rows, unchanged, lambda n: [], "")
    data = dict(image_size=SIZE, depth_resample=3, synthetic=dict(count=count, scale=(0.8, 0.9)))
    return source, mixed_synthetic.with_synthetic(source, ConfigDict(dict(data=data)))


@pytest.fixture(autouse=True)
def options(monkeypatch):
    """What is passed to the sampler; its place is taken by random numbers."""
    given = {}

    def sample(key, **options):
        given.update(options)
        return {
            "depth": jax.random.uniform(key, (SIZE, SIZE)),
            "centers": jax.random.normal(key, (41, 3)),
        }

    monkeypatch.setattr(mixed_synthetic.spherehand, "spherehand_sample", sample)
    return given


@pytest.mark.slow
def test_training_batches_get_hands_by_their_keys(options):
    source, wrapped = mixed(2)
    keys = jax.random.split(jax.random.key(0), 4)
    batch = wrapped.materialize(wrapped.train_rows(np.arange(4)), keys)
    check_batch({name: np.asarray(value) for name, value in batch.items()})
    assert batch["synthetic_depth"].shape == (4, 2, SIZE, SIZE)
    assert batch["synthetic_centers"].shape == (4, 2, 41, 3)
    assert (
        len({np.asarray(hand).tobytes() for hand in batch["synthetic_centers"].reshape(8, -1)}) == 8
    )
    assert options == dict(image_size=SIZE, resample=3, scale=(0.8, 0.9))

    # A row depends on its own key only.
    other = wrapped.materialize(wrapped.train_rows(np.arange(2)), keys[2:])
    np.testing.assert_array_equal(other["synthetic_depth"], batch["synthetic_depth"][2:])


def test_evaluation_batches_stay_as_they_are():
    source, wrapped = mixed(2)
    batch = wrapped.eval_rows(np.arange(2))
    assert wrapped.materialize(batch, None) == batch
    assert jnp.shape(batch["cube_depth"]) == (2, 3, SIZE, SIZE)


def test_number_of_hands():
    source, wrapped = mixed(0)
    assert wrapped is source
    with pytest.raises(ValueError, match="config.data.synthetic.count=-1: expected 0 or more"):
        mixed(-1)
