"""The training loop copies nothing between host and device by accident."""

import pytest

from handjax import train
from handjax.engine import feed

pytestmark = pytest.mark.slow


def test_an_implicit_transfer_in_the_loop_raises(tiny, tmp_path, monkeypatch):
    train_batches = feed.train_batches

    def on_the_host(source, mesh, *rest):
        monkeypatch.setattr(feed.sharding, "put_batch", lambda batch, mesh: batch)
        yield from train_batches(source, mesh, *rest)

    monkeypatch.setattr(feed, "train_batches", on_the_host)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        train.main(tiny(tmp_path / "run"))
