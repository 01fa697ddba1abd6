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
    (tmp_path / "a").write_bytes(encode(image, ".jpg") + bytes(100))
    assert read_image(tmp_path / "a")[1].shape == (40, 60, 3)


@pytest.mark.parametrize("form", [".png", ".jpg"])
def test_cuts_and_flipped_bytes_raise_value_error(tmp_path, image, form, capfd):
    path, whole = tmp_path / "a", encode(image, form)
    for length in range(0, len(whole) - 2, 11):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut short") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)
    refused = 0
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x7F]) + whole[at + 1 :])
        try:
            assert read_image(path)[1].dtype == np.uint8
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error) and str(path) in str(error)
    assert (
        refused == len(range(0, len(whole), 5)) if form == ".png" else refused > 10
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
    with pytest.raises(ValueError, match="deep: (not a PNG|does not decode to 8 bits)"):
        read_image(tmp_path / "deep")
    with pytest.raises(FileNotFoundError, match="lost: no such file; expected a PNG or JPEG image"):
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
