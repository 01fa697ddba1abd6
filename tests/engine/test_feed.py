import dataclasses
from collections import Counter

import numpy as np
import pytest

from handjax.engine import feed, sharding


def stream(steps, batch, size, seed=0):
    return np.concatenate([feed.train_indices(step, batch, size, seed) for step in range(steps)])


@pytest.mark.parametrize(("batch", "size"), [(4, 12), (5, 12), (8, 3), (12, 12), (1, 7)])
def test_each_epoch_has_each_sample_once_in_another_order(batch, size):
    order = stream(steps=5 * size, batch=batch, size=size)
    epochs = order[: len(order) // size * size].reshape(-1, size)
    assert (np.sort(epochs, axis=1) == np.arange(size)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_order_depends_on_the_seed():
    assert (stream(6, 5, 12, seed=1) == stream(6, 5, 12, seed=1)).all()
    assert (stream(6, 5, 12, seed=1) != stream(6, 5, 12, seed=2)).any()


def test_an_endless_source_counts():
    assert (stream(4, 3, None) == np.arange(12)).all()


def test_a_resumed_run_sees_the_remaining_batches(tiny_source):
    mesh = sharding.make_mesh(2)
    straight = [
        np.asarray(b["index"]) for b in feed.train_batches(tiny_source(7), mesh, 4, 0, 0, 10)
    ]
    resumed = [
        np.asarray(b["index"]) for b in feed.train_batches(tiny_source(7), mesh, 4, 0, 6, 10)
    ]
    assert len(straight) == 10 and len(resumed) == 4
    np.testing.assert_array_equal(straight[6:], resumed)
    np.testing.assert_array_equal(np.concatenate(straight), stream(10, 4, 7))


def test_nothing_is_read_after_the_last_step(tiny_source):
    seen = []
    assert (
        len(list(feed.train_batches(tiny_source(7, seen), sharding.make_mesh(1), 4, 0, 3, 5))) == 2
    )
    assert len(seen) == 2
    assert list(feed.train_batches(tiny_source(7, seen), sharding.make_mesh(1), 4, 0, 5, 5)) == []


def test_two_batches_are_read_ahead(tiny_source):
    seen = []
    batches = feed.train_batches(tiny_source(7, seen), sharding.make_mesh(1), 4, 0, 0, 10)
    next(batches)
    batches.close()  # waits for the reader
    assert len(seen) == 1 + feed.AHEAD


def test_a_reading_error_is_raised_at_its_step(tiny_source):
    def rows(indices):
        if 6 in indices:
            raise ValueError("row 6 is bad")
        return {"index": indices}

    broken = dataclasses.replace(tiny_source(9), train_size=None, train_rows=rows)
    batches = feed.train_batches(broken, sharding.make_mesh(1), 2, 0, 0, 9)
    assert [np.asarray(next(batches)["index"]).tolist() for _ in range(3)] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]
    with pytest.raises(ValueError, match="row 6 is bad"):
        next(batches)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_read_disjoint_shares_of_each_batch(monkeypatch, processes):
    monkeypatch.setattr(sharding.jax, "process_count", lambda: processes)
    for step in range(4):
        whole, shares = feed.train_indices(step, 6, 9, 0), []
        for process in range(processes):
            monkeypatch.setattr(sharding.jax, "process_index", lambda process=process: process)
            shares.append(sharding.process_rows(feed.train_indices(step, 6, 9, 0)))
        assert Counter(np.concatenate(shares).tolist()) == Counter(whole.tolist())
        assert (np.concatenate(shares) == whole).all()
        assert {len(share) for share in shares} == {6 // processes}
