"""Prepared sets as one: concatenated and mixed."""

import numpy as np
import pytest

pytest.importorskip(
    "tensorflow",
    reason="tensorflow is not installed: pip install 'handjax[data]'",
    exc_type=ImportError,
)

from tfds_frames import frame, write  # noqa: E402

from handjax.data import mixture as mixing  # noqa: E402
from handjax.data.batch import check_batch  # noqa: E402
from handjax.data.mixture import Concat, Mixture  # noqa: E402
from handjax.data.records import RecordDataset  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp("prepared"), "tiny", {"train": range(23), "test": range(100, 105)}
    )


def test_shares():
    assert mixing.shares([3, 1]) == (750, 250)
    assert mixing.shares([1, 1, 1]) == (334, 333, 333)
    assert mixing.shares([2]) == (1000,)
    for weights, message in [
        ([1, 0], "must be a number > 0"),
        ([1, np.nan], "> 0"),
        ([], "> 0"),
        ([1, 1e-6], "at least 1/1000"),
    ]:
        with pytest.raises(ValueError, match=message):
            mixing.shares(weights)


def test_order_of_a_mixture():
    sizes, shares = (70, 5), (750, 250)
    part, record = mixing.order(np.arange(4000), sizes, shares, seed=3)
    for block in range(4):
        assert np.bincount(part[1000 * block : 1000 * (block + 1)]).tolist() == [750, 250]
    assert abs((part[:200] == 0).mean() - 0.75) < 0.1  # mixed, not one set after the other
    for i, size in enumerate(sizes):
        mine = record[part == i]
        whole = mine[: len(mine) // size * size].reshape(-1, size)
        assert (
            np.sort(whole, axis=1) == np.arange(size)
        ).all()  # each epoch holds each record once
        assert not (whole[0] == whole[1]).all()
    # A function of the position: any part, in any order, is the same.
    positions = np.array([3999, 17, 2500, 17, 999, 1000])
    for got, whole in zip(
        mixing.order(positions, sizes, shares, seed=3), (part, record), strict=True
    ):
        np.testing.assert_array_equal(got, whole[positions])
    assert not np.array_equal(mixing.order(np.arange(100), sizes, shares, seed=4)[1], record[:100])


def test_mixture(folder):
    parts = [RecordDataset(folder, split) for split in ("train", "test")]
    mixture = Mixture(parts, (0.8, 0.2), seed=1)
    rows = mixture.rows(np.arange(40))
    check_batch(rows)
    part, record = mixing.order(np.arange(40), (23, 5), (800, 200), seed=1)
    assert rows["index"].tolist() == (record + 23 * part).tolist() and {0, 1} == set(part)
    for name, uv, i in zip(mixture.names(rows["index"]), rows["joints_uv"], part, strict=True):
        assert name.startswith("tiny/frame-") and (int(name[-3:]) >= 100) == i
        np.testing.assert_array_equal(uv, frame(int(name[-3:]))["joints_uv"])
    later = mixture.rows(np.arange(32, 36))
    np.testing.assert_array_equal(later["image"], rows["image"][32:36])


def test_concat(folder):
    parts = [RecordDataset(folder, split, keys=("joints_uv",)) for split in ("train", "test")]
    both = Concat(parts)
    assert len(both) == 28
    numbers = np.array([27, 0, 22, 23, 5])
    rows = both.rows(numbers)
    check_batch(rows)
    assert rows["index"].tolist() == numbers.tolist() and rows["mask"].all()
    for name, uv, number in zip(both.names(numbers), rows["joints_uv"], numbers, strict=True):
        assert name.startswith("tiny/frame-") and (int(name[-3:]) >= 100) == (number > 22)
        np.testing.assert_array_equal(uv, frame(int(name[-3:]))["joints_uv"])
    with pytest.raises(IndexError, match="records 5 to 28 requested; the sets have 0 to 27"):
        both.rows(np.array([5, 28]))
    assert Concat(parts[:1]).names(numbers[1:2]) == parts[0].names(
        numbers[1:2]
    )  # one set: no name in front


def test_incompatible_sets(folder, tmp_path):
    records = RecordDataset(folder, "train")
    with pytest.raises(ValueError, match="2 sets and 1 weights"):
        Mixture([records, records], [1], 0)
    other = RecordDataset(write(tmp_path, "flat", {"train": range(4)}, leave=("depth",)), "train")
    with pytest.raises(
        ValueError,
        match=r"'depth' is float32 \[6, 8\] in .*tiny.* and absent in .*flat.*; sets that are",
    ):
        Mixture([records, other], [1, 1], 0)
    large = RecordDataset(
        write(tmp_path, "large", {"train": range(4)}, size=lambda i: (9, 9)), "train"
    )
    with pytest.raises(
        ValueError, match=r"'depth' is float32 \[6, 8\] in .* and float32 \[9, 9\] in .*large"
    ):
        Concat([records, large])
