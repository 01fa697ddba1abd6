"""Depth images as PNG files."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from handjax.data.formats.depth import read_depth

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


def test_bad_frames_are_rejected(tmp_path):
    good = png(tmp_path / "good.png", DEPTH).read_bytes()
    rng = np.random.default_rng(0)
    noise = png(
        tmp_path / "noise.png", rng.integers(0, 60000, (64, 64)).astype(np.uint16)
    ).read_bytes()
    cases = [
        (b"GIF89a", "not a PNG"),
        (good[:-12], "not a PNG, or one cut short"),
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
