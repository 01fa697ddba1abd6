import struct
import zlib

import cv2
import numpy as np
import pytest

from handjax.data.formats.depth import read_depth
from handjax.data.formats.label_text import read_centers, read_joints


def write(path, text):
    path.write_text(text)
    return path


# --- text ---


def test_real_texts(real_data):
    names, joints = read_joints(real_data / "voxel" / "joint_data_train.txt", y_up=True)
    centers, valid = read_centers(real_data / "voxel" / "center_train_refined.txt", y_up=True)
    assert (
        names[0] == "depth_1_0000001.png"
        and joints.shape == (6, 14, 3)
        and valid.tolist() == [True] * 6
    )
    np.testing.assert_allclose(joints[0, 0], [-173.8928, -55.5048, 731.0690], atol=1e-4)
    np.testing.assert_allclose(centers[0], [-110.0121, 11.1812, 751.8770], atol=1e-4)
    assert np.abs(joints - centers[:, None]).max() < 150


def test_texts_in_either_frame(tmp_path):
    path = write(
        tmp_path / "j.txt", "my frame.png\t1\t2\t3\t4\t5\t6\nb.png\t7\t8\t9\t-1\t-2\t3e2\n\n"
    )
    names, joints = read_joints(path, y_up=False)
    assert names == ["my frame.png", "b.png"] and joints[1].tolist() == [[7, 8, 9], [-1, -2, 300]]
    assert read_joints(path, y_up=True)[1][1].tolist() == [[7, -8, 9], [-1, 2, 300]]
    path = write(tmp_path / "c.txt", "1 2 700\ninvalid\ninvalid invalid invalid\n0 0 0\n")
    centers, valid = read_centers(path, y_up=True)
    assert valid.tolist() == [True, False, False, False] and centers[0].tolist() == [1, -2, 700]
    assert not centers[1:].any()


@pytest.mark.parametrize(
    "read, text, words",
    [
        (read_joints, "", "empty"),
        (
            read_joints,
            "a.png\t1\t2\t3\nb.png\t1\t2\n",
            "line 2: 2 numbers after the name; expected 3 ",
        ),
        (
            read_joints,
            "a.png\t1\t2\t3\nb.png\t1\t2\t3\t4\t5\t6\n",
            "line 2: 6 numbers after the name; expected 3 ",
        ),
        (
            read_joints,
            "a.png\t1\t2\n",
            "line 1: 2 numbers after the name; expected a multiple of 3",
        ),
        (read_joints, "a.png\n", "line 1: 0 numbers"),
        (read_joints, "a.png\t1\t2\t3\n\nb.png\t1\t2\t3\n", "line 2: blank"),
        (read_joints, "a.png\t1\tzwei\t3\n", "line 1: .*'zwei'; expected numbers in mm"),
        (read_joints, "a.png\t1\tnan\t3\n", "line 1: has NaN or Inf"),
        (read_centers, "1 2 3\n1 2\n", "line 2: 2 values; expected 'x y z' in mm, or 'invalid'"),
        (read_centers, "1 2 Inf\n", "line 1: has NaN or Inf"),
        (read_centers, "none\n", "line 1: 1 values"),
        (read_centers, "1 2 -700\n", "line 1: z is -700 mm"),
        (read_centers, "1 2 0\n", "line 1: z is 0 mm"),
    ],
)
def test_bad_texts_are_refused_by_line(tmp_path, read, text, words):
    with pytest.raises(ValueError, match=words) as caught:
        read(write(tmp_path / "t.txt", text), y_up=True)
    assert str(tmp_path / "t.txt") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_joints, read_centers])
def test_texts_that_are_none(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / "none.txt", y_up=True)
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="no UTF-8 text"):
        read(tmp_path / "t.txt", y_up=True)


# --- depth frames ---

DEPTH = np.asarray([[0, 1, 255, 256], [700, 1499, 4096, 65535]], np.uint16)


def png(path, image):
    assert cv2.imwrite(str(path), image)
    return path


def test_png16(tmp_path):
    path = png(tmp_path / "d.png", DEPTH)
    depth = read_depth(path, form="png16")
    assert depth.dtype == np.float32 and (depth == DEPTH).all()
    assert (read_depth(path, form="png16", scale=0.125) == DEPTH / 8).all()


def test_nyu_packing_is_green_over_blue(tmp_path):
    red = np.full_like(DEPTH, 77)
    rgb = np.stack([red, DEPTH >> 8, DEPTH & 255], axis=-1).astype(np.uint8)
    path = png(tmp_path / "d.png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert (read_depth(path, form="nyu") == DEPTH).all()


def test_real_frame_of_a_consumer_camera(real_data):
    depth = read_depth(real_data / "depth_sr305" / "50.png", form="png16", scale=0.125)
    assert (
        depth.shape == (480, 640)
        and 900 < depth.max() < 1000
        and 200 < depth[depth > 0].min() < 600
    )


def header_only(width, height):
    """A PNG that claims a size and holds one row of nothing."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_bad_frames_are_refused(tmp_path):
    good = png(tmp_path / "good.png", DEPTH).read_bytes()
    rng = np.random.default_rng(0)
    noise = png(
        tmp_path / "noise.png", rng.integers(0, 60000, (64, 64)).astype(np.uint16)
    ).read_bytes()
    cases = [
        (b"GIF89a", "no PNG"),
        (good[:-12], "no PNG, or one cut short"),
        (header_only(60000, 60000), "claims 60000 x 60000 pixels"),
        (header_only(64, 64), "does not decode"),
        (noise[:1000] + bytes(400) + noise[1400:], "does not decode"),
        (
            png(tmp_path / "8.png", DEPTH.astype(np.uint8)).read_bytes(),
            "8 bits and color type 0; .*16-bit single-channel",
        ),
        (
            png(tmp_path / "3.png", np.stack([DEPTH] * 3, -1)).read_bytes(),
            "16 bits and color type 2",
        ),
    ]
    for data, words in cases:
        (tmp_path / "d.png").write_bytes(data)
        with pytest.raises(ValueError, match=words) as caught:
            read_depth(tmp_path / "d.png", form="png16")
        assert str(tmp_path / "d.png") in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(
        ValueError, match="16 bits and color type 0; depth format 'nyu' is an 8-bit RGB"
    ):
        read_depth(tmp_path / "good.png", form="nyu")
    with pytest.raises(ValueError, match="depth format 'exr'; expected one of png16, nyu"):
        read_depth(tmp_path / "good.png", form="exr")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_depth(tmp_path / "none.png", form="png16")
