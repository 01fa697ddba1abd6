"""Text files of joints: the real ones, round trips, and invalid files."""

import gzip

import numpy as np
import pytest

from handjax.data.formats import uvd_text
from handjax.data.formats.uvd_text import UVD_FORMATS

LINE = " ".join(f"{100 + j}.5 {120 + j} 700" for j in range(14))


def write(path, *lines: str):
    path.write_text("\n".join(lines) + "\n")
    return path


def hands(dataset: str, frames: int = 5) -> np.ndarray:
    joints = len(UVD_FORMATS[dataset].order)
    return np.random.default_rng(3).normal(0, 60, (frames, joints, 3)) + [0, 0, 600]


@pytest.mark.parametrize(("dataset", "frames", "joints"), [("nyu", 8252, 14), ("icvl", 1596, 16)])
def test_real_ground_truth(real_data, dataset, frames, joints):
    path = real_data / "metrics" / f"{dataset}_test_groundtruth_uvd.txt"
    uvd = uvd_text.read_uvd(path, dataset)
    assert uvd.shape == (frames, joints, 3)
    np.testing.assert_array_equal(
        uvd[0].ravel(), np.array(path.read_text().split("\n", 1)[0].split(), dtype=float)
    )
    xyz = uvd_text.uvd_to_camera(uvd, dataset)
    fingers = [
        j for j, name in enumerate(UVD_FORMATS[dataset].skeleton.joints) if name.endswith("tip")
    ]
    palm = UVD_FORMATS[dataset].skeleton.root
    size = np.linalg.norm(xyz[:, fingers] - xyz[:, [palm]], axis=-1)
    assert 30 < np.median(size) < 120  # a hand, in mm


@pytest.mark.parametrize("dataset", UVD_FORMATS)
def test_projection_round_trip(dataset):
    xyz = hands(dataset)
    uvd = uvd_text.camera_to_uvd(xyz, dataset)
    np.testing.assert_allclose(uvd_text.uvd_to_camera(uvd, dataset), xyz, atol=1e-9)
    assert (
        np.corrcoef(uvd[..., 1].ravel(), xyz[..., 1].ravel())[0, 1] > 0.9
    )  # y points down, as v does


@pytest.mark.parametrize("dataset", UVD_FORMATS)
def test_text_round_trip(tmp_path, dataset):
    xyz = hands(dataset)
    path = uvd_text.write_uvd(tmp_path / "ours.txt", xyz, dataset)
    pred, true = uvd_text.read_pair(path, path, dataset)
    np.testing.assert_allclose(pred, xyz, atol=2e-3)  # three decimals of a pixel
    np.testing.assert_array_equal(pred, true)
    with pytest.raises(FileExistsError, match="exists already"):
        uvd_text.write_uvd(path, xyz, dataset)


def test_msra_lines_end_with_the_thumb(tmp_path):
    joints = UVD_FORMATS["msra"].skeleton.joints
    line = [f"{place} 0 1" for place in range(21)]
    uvd = uvd_text.read_uvd(write(tmp_path / "msra.txt", " ".join(line)), "msra")
    place = {name: int(u) for name, u in zip(joints, uvd[0, :, 0], strict=True)}
    assert place["wrist"] == 0 and place["index_base"] == 1 and place["little_tip"] == 16
    assert [place[f"thumb_{part}"] for part in ("base", "mid", "end", "tip")] == [17, 18, 19, 20]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt"])
def test_files_compressed_by_gzip(tmp_path, name):
    plain = write(tmp_path / "plain.txt", LINE, LINE)
    path = tmp_path / name
    path.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(uvd_text.read_uvd(path, "nyu"), uvd_text.read_uvd(plain, "nyu"))
    whole = path.read_bytes()
    for damaged in (whole[:-12], whole[:30] + b"?" + whole[31:], whole[:12]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name}: damaged gzip .*; copy it again") as caught:
            uvd_text.read_uvd(path, "nyu")
        assert "\n" not in str(caught.value)


def test_line_ends_spaces_and_commas_do_not_matter(tmp_path):
    plain = uvd_text.read_uvd(write(tmp_path / "a.txt", LINE, LINE), "nyu")
    (tmp_path / "b.txt").write_bytes(f"  {LINE.replace(' ', chr(9))} \r\n{LINE}\r\n\r\n\n".encode())
    (tmp_path / "c.txt").write_text(f"{LINE}\n{LINE}")
    write(tmp_path / "d.txt", LINE.replace(" ", ","), LINE.replace(" ", ", "))
    write(tmp_path / "e.txt", LINE.replace(" ", ";"), LINE.replace(" ", "; ") + ";")
    for name in ("b.txt", "c.txt", "d.txt", "e.txt"):
        np.testing.assert_array_equal(uvd_text.read_uvd(tmp_path / name, "nyu"), plain)


def test_a_header_and_the_names_of_frames_are_left_out(tmp_path):
    plain = uvd_text.read_uvd(write(tmp_path / "a.txt", LINE, LINE), "nyu")
    named = [f"test_1/image_{i}.png {LINE}" for i in range(2)]
    header = "frame " + " ".join(f"u{j} v{j} d{j}" for j in range(14))
    write(tmp_path / "b.txt", header, *named)
    write(
        tmp_path / "d.txt",
        "\ufeff" + header.replace(" ", ","),
        *(n.replace(" ", ",") for n in named),
    )
    for name in ("b.txt", "d.txt"):
        np.testing.assert_array_equal(uvd_text.read_uvd(tmp_path / name, "nyu"), plain)


def test_of_all_joints_of_nyu_the_evaluated_ones_are_read(tmp_path):
    every = np.arange(2 * 36 * 3, dtype=float).reshape(2, 36, 3)
    lines = [" ".join(f"{value:g}" for value in frame.ravel()) for frame in every]
    evaluated = [0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32]
    read = uvd_text.read_uvd(write(tmp_path / "all.txt", *lines), "nyu")
    np.testing.assert_array_equal(read, every[:, evaluated])
    with pytest.raises(ValueError, match="line 2 has 42 numbers, the lines before it 108"):
        uvd_text.read_uvd(write(tmp_path / "mixed.txt", lines[0], LINE), "nyu")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "file is empty"),
        ([LINE, LINE[:-4]], "line 2 has 41 numbers, the lines before it 42"),
        ([LINE, "", LINE], "line 2 has 0 numbers"),
        ([LINE[:-4]], "line 1 has 41 numbers; NYU has 14 joints, 42 numbers per line"),
        ([LINE + " 1 2 3 4 5 6"], "line 1 has 48 numbers.*fits --dataset icvl"),
        ([LINE, LINE.replace("700", "7oo", 1)], "line 2: '7oo' is not a number"),
        ([LINE, LINE.replace("700", "7_0", 1)], "line 2: '7_0' is not a number"),
        (["frame u v d", LINE, LINE[:-4]], "line 3 has 41 numbers, the lines before it 42"),
        (["frame u v d"] * 2, "file is empty"),
        (["frame u v d"] * 11 + [LINE], "line 11: 'u' is not a number"),
        ([LINE, "a.png b.png " + LINE], "line 2: 'a.png' is not a number"),
        ([LINE, "a.png " + LINE[:-4]], "line 2: 'a.png' is not a number"),
        ([LINE.replace("700", "70,0", 1)], "line 1 has 43 numbers"),
        ([LINE.replace("700", "nan", 1)], "line 1: 'nan' is not a position"),
        ([LINE.replace("700", "1e999", 1)], "line 1: '1e999' is not a position"),
        ([LINE, "x" * 100_000], "line 2 is longer than 13824 characters"),
        ([LINE, "x" * 3000], r"line 2: 'x{26}\.\.\. is not a number"),
    ],
)
def test_bad_lines(tmp_path, lines, message):
    path = write(tmp_path / "bad.txt", *lines)
    with pytest.raises(ValueError, match=message) as caught:
        uvd_text.read_uvd(path, "nyu")
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
        uvd_text.read_uvd(path, "nyu")
    assert str(caught.value).isascii() and str(caught.value).isprintable()


def test_endless_file_is_left_early(tmp_path, monkeypatch):
    monkeypatch.setattr(uvd_text, "MAX_FRAMES", 3)
    assert len(uvd_text.read_uvd(write(tmp_path / "three.txt", *[LINE] * 3), "nyu")) == 3
    with pytest.raises(ValueError, match="more than 3 lines"):
        uvd_text.read_uvd(write(tmp_path / "four.txt", *[LINE] * 4), "nyu")


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of joint positions"):
        uvd_text.read_uvd(tmp_path / "none.txt", "nyu")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        uvd_text.read_uvd(tmp_path, "nyu")


def test_frame_counts_must_agree(tmp_path):
    two, three = (
        write(tmp_path / "two.txt", *[LINE] * 2),
        write(tmp_path / "three.txt", *[LINE] * 3),
    )
    with pytest.raises(
        ValueError, match=r"two.txt has 2 frames, .*three.txt has 3; both must list the same"
    ):
        uvd_text.read_pair(two, three, "nyu")
    line = LINE + " 1 2 3 4 5 6"
    half, full = (
        write(tmp_path / "half.txt", *[line] * 702),
        write(tmp_path / "full.txt", *[line] * 1596),
    )
    with pytest.raises(ValueError, match="702 frames are the first of ICVL's two test sequences"):
        uvd_text.read_pair(half, full, "icvl")


def test_writing_rejects_unreadable_values(tmp_path):
    xyz = hands("nyu")
    path = tmp_path / "out.txt"
    with pytest.raises(ValueError, match="14 joints per frame; ICVL files have 16"):
        uvd_text.write_uvd(path, xyz, "icvl")
    with pytest.raises(ValueError, match="frame 2 of the predictions is not finite"):
        uvd_text.write_uvd(path, np.where(np.arange(5)[:, None, None] == 2, np.nan, xyz), "nyu")
    with pytest.raises(ValueError, match="in front of the camera"):
        uvd_text.write_uvd(path, -xyz, "nyu")
    assert not path.exists()
