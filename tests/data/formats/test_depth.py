"""Depth images: PNG, TIFF, PGM, PFM, NumPy."""

import io
import struct
import tracemalloc
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
        (b"GIF89a", "a GIF image; expected a 16-bit single-channel PNG"),
        (b"", "an empty file"),
        (good[:-12], "a PNG image; .* cut short or damaged"),
        (header_only(60000, 60000), "claims 60000 x 60000 pixels"),
        (header_only(64, 64), "does not decode"),
        (noise[:1000] + bytes(400) + noise[1400:], "cut short or damaged"),
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


def pfm(depth):
    return b"Pf\n%d %d\n-1.0\n" % depth.shape[::-1] + depth[::-1].astype("<f4").tobytes()


# Ending → the bytes of DEPTH in that form.
FORMS = {
    ".tif": lambda: cv2.imencode(".tiff", DEPTH)[1].tobytes(),
    ".float.tif": lambda: cv2.imencode(".tiff", DEPTH.astype(np.float32))[1].tobytes(),
    ".double.tif": lambda: cv2.imencode(".tiff", DEPTH.astype(np.float64))[1].tobytes(),
    ".pgm": lambda: b"P5\n# mm\n4 2\n65535\n" + DEPTH.astype(">u2").tobytes(),
    ".text.pgm": lambda: b"P2 4 2 65535\n" + " ".join(map(str, DEPTH.flat)).encode(),
    ".pfm": lambda: pfm(DEPTH),
    ".npy": lambda: npy(DEPTH),
    ".int.npy": lambda: npy(np.asfortranarray(DEPTH.astype(np.int32))),
    ".npz": lambda: npz(depth=DEPTH, color=np.zeros(3)),
    ".one.npz": lambda: npz(frame=DEPTH.astype(np.float64)),
}


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_other_files_are_read_by_their_content(tmp_path, form):
    """Whatever the name says, and whatever the form of PNG files is."""
    for name, png_form in (("frame" + form, "png16"), ("frame.png", "nyu")):
        (tmp_path / name).write_bytes(FORMS[form]())
        depth = read_depth(tmp_path / name, form=png_form, scale=0.5)
        assert depth.dtype == np.float32
        np.testing.assert_array_equal(depth, DEPTH / 2)


@pytest.mark.parametrize("form", FORMS)
def test_cut_files_of_every_form_are_refused(tmp_path, form):
    whole, path = FORMS[form](), tmp_path / "frame"
    for length in range(0, len(whole) - 4, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError) as caught:
            read_depth(path, form="png16")
        text = str(caught.value)
        assert text.startswith(f"{path}: ") and "\n" not in text and "expected" in text, text


def test_what_is_not_measured_is_missing(tmp_path):
    odd = np.array([[np.nan, np.inf, -np.inf], [-1, 0, 700]])
    np.save(tmp_path / "a.npy", odd)
    depth = read_depth(tmp_path / "a.npy", form="png16")
    np.testing.assert_array_equal(depth, [[0, 0, 0], [0, 0, 700]])


def test_other_files_that_are_no_depth(tmp_path):
    grey = DEPTH.astype(np.uint8)
    pages = cv2.imencodemulti(".tiff", [DEPTH, DEPTH])[1].tobytes()
    picture = cv2.imencode(".tiff", np.zeros((4, 5, 3), np.uint8))[1].tobytes()
    cases = [
        (cv2.imencode(".jpg", grey)[1].tobytes(), "a JPEG of 1 channels of 8 bits; expected a 16"),
        (picture, "a TIFF of 3 channels of 8 bits"),
        (pages, "a TIFF of 2 images; expected one depth image per file"),
        (npz(a=DEPTH, b=DEPTH), r"a .npz of 2 arrays \(a, b\); expected .* called 'depth'"),
        (npy(np.zeros((2, 3, 4))), r"float64 of shape \[2, 3, 4\]; expected one depth image"),
        (npy(np.array([["a"]])), r"<U1 of shape \[1, 1\]; expected one depth image"),
        (b"\0\0\0\x18ftypmp42" + bytes(100), "an MP4 video; .*ffmpeg"),
        (b"#ROSBAG V2.0\n" + bytes(100), "a ROS bag .*; expected .*; export its frames"),
        (bytes(1000), "nothing but zeros"),
    ]
    for data, words in cases:
        (tmp_path / "d").write_bytes(data)
        with pytest.raises(ValueError, match=words) as caught:
            read_depth(tmp_path / "d", form="png16")
        assert str(tmp_path / "d: ") in str(caught.value) and "\n" not in str(caught.value)


def test_archives_and_headers_that_claim_too_much(tmp_path):
    """Refused before the memory is taken."""
    bomb = bytearray(npz(depth=DEPTH))
    size = bomb.index(b"PK\x01\x02") + 24  # of the unpacked array, in the list of files
    bomb[size : size + 4] = (3 << 30).to_bytes(4, "little")
    claim = npy(np.zeros((2, 3), np.float32)).replace(b"(2, 3)", b"(60000, 60000)")[:128]
    tiff = cv2.imencode(".tiff", DEPTH)[1].tobytes()
    header = struct.pack("<HHII", 256, 4, 1, 4), struct.pack("<HHII", 256, 4, 1, 1 << 30)
    assert header[0] in tiff or struct.pack("<HHIHH", 256, 3, 1, 4, 0) in tiff
    huge = tiff.replace(struct.pack("<HHIHH", 256, 3, 1, 4, 0), header[1])
    huge = huge.replace(header[0], header[1])
    cases = [
        (bytes(bomb), "unpacks to 3221225472 bytes; expected at most"),
        (claim, "cut short or damaged"),
        (huge, "claims 1073741824 x 2 pixels"),
        (b"P5 60000 60000 65535\n" + bytes(64), "cut short"),
    ]
    for data, words in cases:
        (tmp_path / "d").write_bytes(data)
        tracemalloc.start()
        with pytest.raises(ValueError, match=words):
            read_depth(tmp_path / "d", form="png16")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 3 * len(data) + (1 << 20)
