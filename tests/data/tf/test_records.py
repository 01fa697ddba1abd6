import dataclasses
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

tf = pytest.importorskip(
    "tensorflow",
    reason="tensorflow is not installed: pip install 'handjax[data]'",
    exc_type=ImportError,
)

import tensorflow_datasets as tfds  # noqa: E402
from tfds_frames import frame, write  # noqa: E402

from handjax.data.batch import check_batch  # noqa: E402
from handjax.data.records import RecordDataset, describe  # noqa: E402
from handjax.data.resize import resize_pad  # noqa: E402
from handjax.engine import evaluation, feed, sharding  # noqa: E402
from handjax.pose.skeleton import SKELETONS  # noqa: E402
from handjax.run import no_source  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp("prepared"), "tiny", {"train": range(23), "test": range(100, 105)}
    )


@pytest.fixture(scope="module")
def records(folder):
    return RecordDataset(folder, "train")


def damaged(folder, tmp_path, name="tiny-train.tfrecord-00001"):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (file,) = copy.glob(f"{name}*")
    return copy, file


def test_every_record_is_what_was_written(records):
    rows = records.rows(np.arange(23))
    check_batch(rows)
    assert set(rows) == {
        "image",
        "depth",
        "k",
        "joints_xyz",
        "joints_uv",
        "visible",
        "mask",
        "index",
    }
    names = records.names(np.arange(23))
    assert sorted(names) == [f"frame-{i:03d}" for i in range(23)] and names != sorted(names)
    assert rows["mask"].all() and rows["index"].tolist() == list(range(23))
    for row, name in enumerate(names):
        true = frame(int(name[-3:]))
        np.testing.assert_array_equal(rows["depth"][row], true["depth"][..., 0].astype(np.float32))
        for key in ("image", "k", "joints_xyz", "joints_uv", "visible"):
            np.testing.assert_array_equal(rows[key][row], true[key])


def test_agrees_with_as_dataset(folder, records):
    rows = records.rows(np.arange(23))
    read = {
        s["id"].decode(): s
        for s in tfds.builder_from_directory(folder).as_dataset(split="train").as_numpy_iterator()
    }
    for row, name in enumerate(records.names(np.arange(23))):
        np.testing.assert_array_equal(rows["image"][row], read[name]["image"])


def test_numbers_in_any_order_and_twice(records):
    every = records.rows(np.arange(23))
    numbers = np.array([17, 3, 3, 22, 0])
    rows = records.rows(numbers)
    for key in every:
        np.testing.assert_array_equal(rows[key], every[key][numbers])
    with pytest.raises(IndexError, match="records -1 to 4 requested; train has 0 to 22"):
        records.rows(np.array([-1, 4]))


@pytest.mark.parametrize("split", ["train[:7]", "train[5:11]", "train[50%:]", "train+test", "test"])
def test_splits_are_tfds_expressions(folder, split):
    records = RecordDataset(folder, split, keys=("joints_uv",))
    read = tfds.builder_from_directory(folder).as_dataset(split=split).as_numpy_iterator()
    names = records.names(np.arange(len(records)))
    assert sorted(names) == sorted(sample["id"].decode() for sample in read)
    rows = records.rows(np.arange(len(records)))
    assert set(rows) == {"joints_uv", "mask", "index"}
    for name, uv in zip(names, rows["joints_uv"], strict=True):
        np.testing.assert_array_equal(uv, frame(int(name[-3:]))["joints_uv"])


def test_no_copy_to_numpy(records):
    tensor = records._read(records._files[:4], records._starts[:4])["image"]
    array = np.asarray(tensor)
    assert not array.flags.owndata and np.shares_memory(array, np.asarray(tensor))


def test_extra_features_by_name(folder):
    rows = RecordDataset(folder, "test", keys=("side", "visible")).rows(np.arange(2))
    assert rows["side"].tolist() == [1, 1]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_an_epoch(records, processes):
    """The engine's order over this source: the shares of P processes make up the batch, and an
    epoch holds each id once."""
    seen = [[] for _ in range(processes)]
    batch = 6
    for step in range(4):
        indices = feed.train_indices(step, batch, len(records), seed=5)
        for rank, share in enumerate(np.split(indices, processes)):
            seen[rank] += records.names(share)
    together = [
        name
        for step in range(4)
        for rank in range(processes)
        for name in seen[rank][step * batch // processes : (step + 1) * batch // processes]
    ]
    alone = records.names(
        np.concatenate([feed.train_indices(step, batch, len(records), seed=5) for step in range(4)])
    )
    assert together == alone
    assert sorted(alone[:23]) == [f"frame-{i:03d}" for i in range(23)]


def test_epochs_differ_and_restart_anywhere(records):
    def read(step, seed=0):
        return records.rows(feed.train_indices(step, 4, len(records), seed))["joints_uv"]

    run = [read(step) for step in range(12)]
    for step in (3, 7, 11):  # without the steps before
        np.testing.assert_array_equal(read(step), run[step])
    flat = np.concatenate(run)
    assert not np.array_equal(flat[:23], flat[23:46])
    assert {uv.tobytes() for uv in flat[:23]} == {uv.tobytes() for uv in flat[23:46]}
    assert not np.array_equal(read(0, seed=1), run[0])


def test_evaluation_pads_and_drops_nothing(folder, records):
    """The engine's walk over splits of 5 and 23 in batches of 8: each record once and in order,
    with masked padding."""
    mesh = sharding.make_mesh()

    @jax.jit
    def eval_step(state, batch):
        rows = {"mask": batch["mask"], "index": batch["index"], "uv": batch["joints_uv"]}
        total = jax.numpy.where(batch["mask"], batch["joints_uv"][:, 0, 0], 0).sum()
        return rows, total / batch["mask"].sum().astype(total.dtype)

    for split in (records, RecordDataset(folder, "test")):
        source = dataclasses.replace(
            no_source(SKELETONS["hand21"]), eval_size=len(split), eval_rows=split.rows
        )
        rows, mean = evaluation.predict_split(eval_step, None, source, 8, mesh)
        assert rows["index"].tolist() == list(range(len(split)))
        every = split.rows(np.arange(len(split)))["joints_uv"]
        np.testing.assert_array_equal(rows["uv"], every)
        np.testing.assert_allclose(mean, every[:, 0, 0].mean(), rtol=1e-5)


def test_tensorflow_sees_no_gpu(folder, monkeypatch):
    calls = []
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: calls.append((devices, kind))
    )
    describe(folder)
    assert calls == [([], "GPU")]


def test_postprocess(folder):
    plain = RecordDataset(folder, "test", keys=("side",)).rows(np.arange(5))
    records = RecordDataset(
        folder, "test", keys=("side",), postprocess=lambda batch: {"left": batch["side"] == 0}
    )
    assert set(records.rows(np.arange(2))) == {"left", "mask", "index"}
    assert records.rows(np.arange(5))["left"].tolist() == (plain["side"] == 0).tolist()


# --- frames of different sizes


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp("uneven"),
        "uneven",
        {"train": range(6)},
        size=lambda i: (20 + 10 * i, 40),
    )


def test_uneven_frames_need_resizing(uneven):
    with pytest.raises(
        ValueError,
        match=r"frames of 'train' differ in size: .* transform=resize_pad\(height, width\)",
    ):
        RecordDataset(uneven, "train").rows(np.arange(6))


def test_resize_pad(uneven):
    rows = RecordDataset(uneven, "train", transform=resize_pad(30, 60)).rows(np.arange(6))
    check_batch(rows)
    assert rows["image"].shape == (6, 30, 60, 3) and rows["depth"].shape == (6, 30, 60)
    names = RecordDataset(uneven, "train").names(np.arange(6))
    for row, name in enumerate(names):
        i = int(name[-3:])
        true = frame(i, (20 + 10 * i, 40))
        scale = min(30 / (20 + 10 * i), 60 / 40, 1)
        h, w = round((20 + 10 * i) * scale), round(40 * scale)
        image = rows["image"][row]
        assert (
            (image[h:] == 128).all()
            and (image[:, w:] == 128).all()
            and (image[:h, :w] != 128).any()
        )
        assert set(np.unique(rows["depth"][row])) <= {
            0,
            *true["depth"].ravel(),
        }  # no depth between two surfaces
        # A point keeps its place in the image: the new k projects it to the moved joint.
        old, new = true["k"], rows["k"][row]
        ray = np.linalg.solve(old, np.append(true["joints_uv"][0], 1))
        np.testing.assert_allclose((new @ ray)[:2], rows["joints_uv"][row, 0], atol=1e-4)
        uv = (true["joints_uv"] + 0.5) * [w / 40, h / (20 + 10 * i)] - 0.5
        np.testing.assert_allclose(rows["joints_uv"][row], uv, atol=1e-4)
        np.testing.assert_allclose(new[0, 0], old[0, 0] * w / 40, rtol=1e-6)
        back = np.append(uv, np.ones((21, 1)), 1) @ rows["source_from_image"][row].T
        np.testing.assert_allclose(back, true["joints_uv"], atol=1e-4)
    for i in (0, 1):  # frames that fit are unchanged
        row, size = names.index(f"frame-{i:03d}"), (20 + 10 * i, 40)
        np.testing.assert_array_equal(rows["image"][row, : size[0], :40], frame(i, size)["image"])
        np.testing.assert_array_equal(
            rows["depth"][row, : size[0], :40], frame(i, size)["depth"][..., 0]
        )
        np.testing.assert_array_equal(rows["k"][row], frame(i)["k"])
        np.testing.assert_array_equal(rows["source_from_image"][row], np.eye(2, 3))


# --- errors


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_set_there(folder, tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match="no dataset_info.json.; create one with `handjax prepare`",
    ) as error:
        RecordDataset(tmp_path, "train")
    one_line(error)
    above = folder.rsplit("/", 2)[0]
    with pytest.raises(FileNotFoundError, match=f"use {folder}"):
        RecordDataset(above, "train")


@pytest.mark.parametrize("split", ["val", "train[", "train[90:95]"])
def test_no_such_split(folder, split):
    with pytest.raises(ValueError, match="split") as error:
        RecordDataset(folder, split)
    assert folder in one_line(error)


def test_no_such_feature(folder):
    with pytest.raises(ValueError, match="no feature 'voxels'; the set has depth, id, image"):
        RecordDataset(folder, "train", keys=("voxels",))


def test_flipped_byte(folder, tmp_path):
    copy, file = damaged(folder, tmp_path)
    data = bytearray(file.read_bytes())
    first = 16 + int.from_bytes(data[:8], "little")
    data[first + 40] ^= 1  # in the shard's second record
    file.write_bytes(data)
    records = RecordDataset(copy, "train")
    bad = int(np.flatnonzero((records._files == 1) & (records._starts == first))[0])
    with pytest.raises(
        ValueError, match=f"{file}: record {bad} of 'train' cannot be read .corrupted record"
    ) as error:
        records.rows(np.arange(23))
    assert "prepare the data set again" in one_line(error)
    rest = np.delete(np.arange(23), bad)
    assert records.rows(rest)["index"].tolist() == rest.tolist()


@pytest.mark.parametrize(
    ("change", "whole"),
    [
        (lambda d: d[:-5], "6 complete"),
        (lambda d: b"", "0 complete"),
        (lambda d: b"\xff" * 64, "0 complete"),
    ],
)
def test_truncated_or_foreign_file(folder, tmp_path, change, whole):
    copy, file = damaged(folder, tmp_path)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(
        ValueError, match=rf"{file}: {whole} records, expected \d+; prepare the data set again"
    ) as error:
        RecordDataset(copy, "train")
    one_line(error)


def test_file_missing(folder, tmp_path):
    copy, file = damaged(folder, tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{file}: missing"):
        RecordDataset(copy, "train")


def test_image_that_does_not_decode(folder, tmp_path):
    """A complete TFRecord with an invalid PNG."""
    copy, file = damaged(folder, tmp_path)
    kept = [record.numpy() for record in tf.data.TFRecordDataset(str(file))]
    example = tf.train.Example.FromString(kept[3])
    (png,) = example.features.feature["image"].bytes_list.value
    example.features.feature["image"].bytes_list.value[:] = [png[: len(png) // 2]]
    kept[3] = example.SerializeToString()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in kept:
            writer.write(record)
    records = RecordDataset(copy, "train")
    with pytest.raises(ValueError, match=rf"{file}: record \d+ of 'train' cannot be read") as error:
        records.rows(np.arange(23))
    one_line(error)


def test_damaged_description(folder, tmp_path):
    copy, _ = damaged(folder, tmp_path)
    (copy / "features.json").write_text("{")
    with pytest.raises(ValueError, match=f"{copy}: not a readable data set") as error:
        RecordDataset(copy, "train")
    one_line(error)


def test_other_file_format(folder, tmp_path):
    copy, _ = damaged(folder, tmp_path)
    info = json.loads((copy / "dataset_info.json").read_text())
    info["fileFormat"] = "array_record"
    (copy / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=f"{copy}: "):
        RecordDataset(copy, "train")


def test_default_needs_no_tensorflow(repo):
    script = (
        "import sys, handjax, handjax.train, handjax.evaluate, handjax.sources, handjax.data.batch;"
        "sys.exit(bool({'tensorflow', 'tensorflow_datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=repo).returncode == 0
