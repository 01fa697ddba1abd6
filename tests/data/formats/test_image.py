import zlib

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.formats.image import below, read_image


@pytest.fixture
def image():
    small = np.random.default_rng(0).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    return cv2.resize(small, (60, 40), interpolation=cv2.INTER_CUBIC)


def encode(image, form):
    return cv2.imencode(form, image)[1].tobytes()


@pytest.mark.parametrize("form", [".png", ".jpg"])
def test_complete_file_gives_bytes_and_rgb_pixels(tmp_path, image, form):
    (tmp_path / "a").write_bytes(encode(image[..., ::-1], form))
    data, pixels = read_image(tmp_path / "a")
    assert data == (tmp_path / "a").read_bytes()
    np.testing.assert_allclose(pixels.astype(int), image, atol=0 if form == ".png" else 40)
    (tmp_path / "gray").write_bytes(encode(image[..., 0], form))
    assert read_image(tmp_path / "gray")[1].shape == (40, 60)


def test_jpeg_with_trailing_bytes(tmp_path, image):
    """A phone's video, zeros, a second image: the picture ends where it ends."""
    jpeg = encode(image, ".jpg")
    video = b"\0\0\0\x18ftypmp42" + np.random.default_rng(1).bytes(5000)
    whole = read_image(write(tmp_path / "whole", jpeg))[1]
    for number, more in enumerate((bytes(100), bytes(9000), video, jpeg, video + b"\xff\xd9")):
        data, pixels = read_image(write(tmp_path / f"{number}", jpeg + more))
        assert data == jpeg
        np.testing.assert_array_equal(pixels, whole)
    with pytest.raises(ValueError, match="a JPEG image; expected .*cut short or damaged"):
        read_image(write(tmp_path / "cut", jpeg[:-300] + video))


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("form", [".webp", ".bmp", ".tiff", ".ppm"])
def test_other_pictures(tmp_path, image, form):
    """Read by their content, and handed on as PNG, which TensorFlow decodes."""
    exact = [cv2.IMWRITE_WEBP_QUALITY, 101] if form == ".webp" else []
    whole = cv2.imencode(form, image[..., ::-1], exact)[1].tobytes()
    data, pixels = read_image(write(tmp_path / "a.jpg", whole))
    np.testing.assert_array_equal(pixels, image)
    assert data.startswith(b"\x89PNG")
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), -1), image[..., ::-1])
    for length in range(0, len(whole) - 4, 97):
        with pytest.raises(ValueError) as caught:
            read_image(write(tmp_path / "cut", whole[:length]))
        assert str(tmp_path / "cut: ") in str(caught.value) and "\n" not in str(caught.value)


OTHERS = {
    "an MP4 video; .*ffmpeg": b"\0\0\0\x18ftypisom" + bytes(99),
    "an AVI video; .*ffmpeg": b"RIFF\x10\0\0\0AVI LIST" + bytes(99),
    "a HEIC image; .*convert it to PNG": b"\0\0\0\x18ftypheic" + bytes(99),
    "a GIF image; .*PNG": b"GIF89a" + bytes(99),
    "a web page, as a server sends": b"<!DOCTYPE html><html>sign in</html>",
    "a JSON text": b'{"hands": []}',
    "a text; expected a picture": b"name 1 2 3\n",
    "a pointer of Git LFS, .*git lfs pull": b"version https://git-lfs.github.com/spec/v1\n",
    "a companion file of macOS": b"\0\x05\x16\x07" + bytes(99),
    "nothing but zeros": bytes(5000),
    "an empty file": b"",
    "a file of an unknown kind": b"\xfe\xdc\xba\x98" * 9,
    "a zip or .npz archive, cut short": b"PK\x03\x04" + bytes(99),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(99),
}


@pytest.mark.parametrize("words", OTHERS)
def test_files_of_other_kinds_are_called_what_they_are(tmp_path, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_image(write(tmp_path / "a.jpg", OTHERS[words]))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'a.jpg'}: ") and "\n" not in text
    assert ("damaged" in text) == ("zip" in words)


@pytest.mark.parametrize("form", [".png", ".jpg"])
def test_cuts_and_flipped_bytes_raise_value_error(tmp_path, image, form, capfd):
    path, whole = tmp_path / "a", encode(image, form)
    for length in range(0, len(whole) - 2, 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut short|empty|unknown kind") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)
    refused = 0
    for at in range(0, len(whole), 19):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x7F]) + whole[at + 1 :])
        try:
            assert read_image(path)[1].dtype == np.uint8
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error)
    assert (
        refused == len(range(0, len(whole), 19)) if form == ".png" else refused > 5
    )  # only PNG has checksums
    capfd.readouterr()  # what OpenCV says about them


def test_image_that_claims_to_be_huge_is_not_decoded(tmp_path, image):
    png = bytearray(encode(image, ".png"))
    png[16:24] = (1 << 17).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, "big")
    jpeg = bytearray(encode(image, ".jpg"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff" * 4
    for data, claimed in ((png, "131072 x 131072"), (jpeg, "65535 x 65535")):
        (tmp_path / "huge").write_bytes(data)
        with pytest.raises(ValueError, match=f"huge: claims {claimed} pixels"):
            read_image(tmp_path / "huge")


def test_16_bit_image_is_rejected(tmp_path, image):
    (tmp_path / "deep").write_bytes(encode(image.astype(np.uint16), ".png"))
    with pytest.raises(ValueError, match="deep: a PNG of 16 bits per channel; expected 8"):
        read_image(tmp_path / "deep")
    with pytest.raises(FileNotFoundError, match="lost: no such file; expected a picture"):
        read_image(tmp_path / "lost")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../a",
        "a/../../b",
        "..\\a",
        "C:\\a",
        "\\\\host\\a",
        "gs://bucket/a",
        "a\0b",
    ],
)
def test_name_must_stay_below_its_folder(name):
    with pytest.raises(
        ValueError, match="list.txt, line 3: names the file .*expected a path below"
    ):
        below(epath.Path("/data"), name, "list.txt, line 3")
    assert below(epath.Path("/data"), "a b/c..d.jpg", "list.txt, line 3") == epath.Path(
        "/data/a b/c..d.jpg"
    )
