import jax
import numpy as np
import pytest

from handjax.engine import sharding


def test_the_mesh_has_the_requested_devices():
    assert sharding.make_mesh().size == jax.device_count() == 8
    assert sharding.make_mesh(3).size == 3
    for wrong in (9, -1):
        with pytest.raises(
            ValueError, match=f"config.devices={wrong}, but the number of devices is 8; use 0"
        ):
            sharding.make_mesh(wrong)


def test_several_processes_must_use_all_devices(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="every process takes part"):
        sharding.make_mesh(4)
    assert sharding.make_mesh().size == 8


@pytest.mark.parametrize("good", [(8, 1), (16, 2), (64, 4)])
def test_divisible_batch_sizes(good):
    sharding.check_batch_size(good[0], sharding.make_mesh(8), good[1])


@pytest.mark.parametrize(
    ("batch", "accumulate", "message"),
    [
        (30, 1, "config.batch_size=30 is not divisible by 8 devices; use 24 or 32"),
        (
            24,
            2,
            "batch_size=24 is not divisible by 8 devices × 2 accumulation steps; use 16 or 32",
        ),
        (4, 1, "config.batch_size=4 is not divisible by 8 devices; use 8"),
        (0, 1, "config.batch_size=0 is not divisible by 8 devices; use 8"),
        (-8, 1, "use 8"),
    ],
)
def test_indivisible_batch_sizes(batch, accumulate, message):
    with pytest.raises(ValueError) as caught:
        sharding.check_batch_size(batch, sharding.make_mesh(8), accumulate)
    assert message in str(caught.value)


def test_the_error_names_the_batch_size():
    with pytest.raises(ValueError, match="^config.eval_batch_size=6 is"):
        sharding.check_batch_size(6, sharding.make_mesh(4), name="eval_batch_size")


def test_rows_are_in_order_over_the_devices():
    mesh = sharding.make_mesh(4)
    batch = sharding.put_batch({"a": np.arange(8), "b": np.arange(16.0).reshape(8, 2)}, mesh)
    np.testing.assert_array_equal(batch["a"], np.arange(8))
    for array in batch.values():
        assert array.sharding == sharding.batch_sharded(mesh)
        assert all(len(shard.data) == 2 for shard in array.addressable_shards)
    placed = {
        shard.device.id: np.asarray(shard.data).tolist() for shard in batch["a"].addressable_shards
    }
    assert placed == {0: [0, 1], 1: [2, 3], 2: [4, 5], 3: [6, 7]}
    assert jax.device_put(np.ones(3), sharding.replicated(mesh)).is_fully_replicated
