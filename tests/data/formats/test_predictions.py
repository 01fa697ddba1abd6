"""Prediction files: the real ones, round trips, and everything that can be wrong with one."""

import numpy as np
import pytest

from handjax.data.formats import predictions
from handjax.data.formats.predictions import FORMATS, Predictions

LINE = " ".join(f"{100 + j}.5 {120 + j} 700" for j in range(14))


def write(path, *lines: str):
    path.write_text("\n".join(lines) + "\n")
    return path


def hands(dataset: str, frames: int = 5) -> np.ndarray:
    joints = len(FORMATS[dataset].order)
    return np.random.default_rng(3).normal(0, 60, (frames, joints, 3)) + [0, 0, 600]


@pytest.mark.parametrize(("dataset", "frames", "joints"), [("nyu", 8252, 14), ("icvl", 1596, 16)])
def test_reads_the_real_ground_truth(real_data, dataset, frames, joints):
    path = real_data / "metrics" / f"{dataset}_test_groundtruth_uvd.txt"
    uvd = predictions.read_uvd(path, dataset)
    assert uvd.shape == (frames, joints, 3)
    np.testing.assert_array_equal(
        uvd[0].ravel(), np.array(path.read_text().split("\n", 1)[0].split(), dtype=float)
    )
    xyz = predictions.uvd_to_xyz(uvd, dataset)
    fingers = [j for j, name in enumerate(FORMATS[dataset].skeleton.joints) if name.endswith("tip")]
    palm = FORMATS[dataset].skeleton.root
    size = np.linalg.norm(xyz[:, fingers] - xyz[:, [palm]], axis=-1)
    assert 30 < np.median(size) < 120  # a hand, in mm


@pytest.mark.parametrize("dataset", FORMATS)
def test_projection_round_trip(dataset):
    xyz = hands(dataset)
    uvd = predictions.xyz_to_uvd(xyz, dataset)
    np.testing.assert_allclose(predictions.uvd_to_xyz(uvd, dataset), xyz, atol=1e-9)
    assert (
        np.corrcoef(uvd[..., 1].ravel(), xyz[..., 1].ravel())[0, 1] > 0.9
    )  # y points down, as v does


@pytest.mark.parametrize("dataset", FORMATS)
def test_text_round_trip(tmp_path, dataset):
    xyz = hands(dataset)
    path = predictions.write_uvd(tmp_path / "ours.txt", xyz, dataset)
    pred, true = predictions.read_pair(path, path, dataset)
    np.testing.assert_allclose(pred, xyz, atol=2e-3)  # three decimals of a pixel
    np.testing.assert_array_equal(pred, true)
    with pytest.raises(FileExistsError, match="exists already"):
        predictions.write_uvd(path, xyz, dataset)


def test_msra_lines_end_with_the_thumb(tmp_path):
    joints = FORMATS["msra"].skeleton.joints
    line = [f"{place} 0 1" for place in range(21)]
    uvd = predictions.read_uvd(write(tmp_path / "msra.txt", " ".join(line)), "msra")
    place = {name: int(u) for name, u in zip(joints, uvd[0, :, 0], strict=True)}
    assert place["wrist"] == 0 and place["index_base"] == 1 and place["little_tip"] == 16
    assert [place[f"thumb_{part}"] for part in ("base", "mid", "end", "tip")] == [17, 18, 19, 20]


def test_line_ends_and_spaces_do_not_matter(tmp_path):
    plain = predictions.read_uvd(write(tmp_path / "a.txt", LINE, LINE), "nyu")
    (tmp_path / "b.txt").write_bytes(f"  {LINE.replace(' ', chr(9))} \r\n{LINE}\r\n\r\n\n".encode())
    (tmp_path / "c.txt").write_text(f"{LINE}\n{LINE}")
    for name in ("b.txt", "c.txt"):
        np.testing.assert_array_equal(predictions.read_uvd(tmp_path / name, "nyu"), plain)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "file is empty"),
        ([LINE, LINE[:-4]], "line 2 has 41 numbers, the lines before it 42"),
        ([LINE, "", LINE], "line 2 has 0 numbers"),
        ([LINE[:-4]], "line 1 has 41 numbers; NYU has 14 joints, 42 numbers a line"),
        ([LINE + " 1 2 3 4 5 6"], "line 1 has 48 numbers.*fits --dataset icvl"),
        ([LINE, LINE.replace("700", "7oo", 1)], "line 2: '7oo' is not a number"),
        ([LINE, LINE.replace("700", "7_0", 1)], "line 2: '7_0' is not a number"),
        ([LINE.replace(" ", ",")], "line 1: .* is not a number"),
        ([LINE.replace("700", "nan", 1)], "line 1: 'nan' is no position"),
        ([LINE.replace("700", "1e999", 1)], "line 1: '1e999' is no position"),
        ([LINE, "x" * 100_000], "line 2 is longer than 5376 characters"),
        ([LINE, "x" * 3000], r"line 2: 'x{26}\.\.\. is not a number"),
    ],
)
def test_bad_lines(tmp_path, lines, message):
    path = write(tmp_path / "bad.txt", *lines)
    with pytest.raises(ValueError, match=message) as caught:
        predictions.read_uvd(path, "nyu")
    assert (
        str(path) in str(caught.value)
        and "\n" not in str(caught.value)
        and len(str(caught.value)) < 300
    )


@pytest.mark.parametrize(
    "content", [bytes(range(256)) * 4000, b"\0" * 2_000_000, b"\x89HDF\r\n\x1a\n" + b"\xff" * 99]
)
def test_binary_files(tmp_path, content):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model.bin: line 1") as caught:
        predictions.read_uvd(path, "nyu")
    assert str(caught.value).isascii() and str(caught.value).isprintable()


def test_a_file_without_end_is_left_early(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "MAX_FRAMES", 3)
    assert len(predictions.read_uvd(write(tmp_path / "three.txt", *[LINE] * 3), "nyu")) == 3
    with pytest.raises(ValueError, match="more than 3 lines"):
        predictions.read_uvd(write(tmp_path / "four.txt", *[LINE] * 4), "nyu")


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of joint positions"):
        predictions.read_uvd(tmp_path / "none.txt", "nyu")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        predictions.read_uvd(tmp_path, "nyu")


def test_frame_counts_must_agree(tmp_path):
    two, three = (
        write(tmp_path / "two.txt", *[LINE] * 2),
        write(tmp_path / "three.txt", *[LINE] * 3),
    )
    with pytest.raises(
        ValueError, match=r"two.txt has 2 frames, .*three.txt has 3; both must list the same"
    ):
        predictions.read_pair(two, three, "nyu")
    line = LINE + " 1 2 3 4 5 6"
    half, full = (
        write(tmp_path / "half.txt", *[line] * 702),
        write(tmp_path / "full.txt", *[line] * 1596),
    )
    with pytest.raises(ValueError, match="702 frames are the first of ICVL's two test sequences"):
        predictions.read_pair(half, full, "icvl")


def test_writing_refuses_what_cannot_be_read(tmp_path):
    xyz = hands("nyu")
    path = tmp_path / "out.txt"
    with pytest.raises(ValueError, match="14 joints a frame; ICVL files have 16"):
        predictions.write_uvd(path, xyz, "icvl")
    with pytest.raises(ValueError, match="frame 2 of the predictions is not finite"):
        predictions.write_uvd(path, np.where(np.arange(5)[:, None, None] == 2, np.nan, xyz), "nyu")
    with pytest.raises(ValueError, match="in front of the camera"):
        predictions.write_uvd(path, -xyz, "nyu")
    assert not path.exists()


@pytest.mark.parametrize("labelled", [True, False])
def test_npz_round_trip(tmp_path, labelled):
    xyz = hands("nyu").astype(np.float32)
    ours = Predictions(
        tuple(f"frame/{n:06d} ä" for n in range(5)), xyz, xyz + 1 if labelled else None
    )
    path = predictions.write_predictions(tmp_path / "predictions.npz", ours)
    back = predictions.read_predictions(path)
    assert back.ids == ours.ids
    np.testing.assert_array_equal(back.joints_xyz, xyz)
    assert (back.truth is None) == (not labelled)
    if labelled:
        np.testing.assert_array_equal(back.truth, xyz + 1)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        predictions.write_predictions(path, ours)
    assert path.read_bytes() == before
    with np.load(path, allow_pickle=False) as plain:  # readable without this package
        assert set(plain.files) == {"ids", "joints_xyz"} | ({"truth"} if labelled else set())


def test_npz_errors(tmp_path):
    xyz = hands("nyu").astype(np.float32)
    path = tmp_path / "predictions.npz"
    with pytest.raises(ValueError, match="4 ids for 5 frames"):
        predictions.write_predictions(path, Predictions(("a",) * 4, xyz))
    with pytest.raises(ValueError, match="truth has shape"):
        predictions.write_predictions(path, Predictions(("a",) * 5, xyz, xyz[:, :3]))
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        predictions.read_predictions(path)
    good = predictions.write_predictions(
        tmp_path / "good.npz", Predictions(("a",) * 5, xyz)
    ).read_bytes()
    np.save(tmp_path / "array.npy", xyz)
    np.savez(tmp_path / "other.npz", joints=xyz)
    np.savez(tmp_path / "objects.npz", ids=np.array([None] * 5), joints_xyz=xyz)
    (tmp_path / "cut.npz").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("array.npy", "other.npz", "objects.npz", "cut.npz", "text.npz", "empty.npz"):
        with pytest.raises(ValueError, match=f"{name}: not a predictions.npz"):
            predictions.read_predictions(tmp_path / name)
    np.savez(tmp_path / "flat.npz", ids=np.array(["a"] * 5), joints_xyz=xyz[..., 0])
    with pytest.raises(ValueError, match="expected ids"):
        predictions.read_predictions(tmp_path / "flat.npz")
