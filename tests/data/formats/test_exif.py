"""Pictures that show turned, compared with Pillow, which turns them as viewers do."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from handjax.data.formats.depth import read_depth
from handjax.data.formats.exif import orientation
from handjax.data.formats.image import read_image

KINDS = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


def picture(kind, turn, grey=False, size=(40, 60)):
    """A file with an EXIF orientation, and its pixels as stored."""
    small = np.random.default_rng(0).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    pixels = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    pixels = pixels[..., 0] if grey else pixels
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", turn
    file = io.BytesIO()
    more = {"tiffinfo": {0x0112: turn}} if kind == "TIFF" else {"exif": exif.tobytes()}
    Image.fromarray(pixels).save(file, kind, **KINDS[kind], **more)
    return file.getvalue()


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_upright(tmp_path, kind, turn, grey):
    data = picture(kind, turn, grey)
    (tmp_path / "a").write_bytes(data)
    stored, pixels = read_image(tmp_path / "a")
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    want = np.asarray(shown.convert("L" if pixels.ndim == 2 else "RGB"), int)
    assert pixels.shape[:2] == want.shape[:2] == ((60, 40) if turn >= 5 else (40, 60))
    np.testing.assert_allclose(pixels, want, atol=3 if kind == "JPEG" else 0)
    # The file that is kept is upright for readers that know no EXIF, and the original if it can be.
    again = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_UNCHANGED)
    again = again if again.ndim == 2 else again[..., ::-1]
    np.testing.assert_array_equal(again, pixels)
    assert (stored == data) == (turn == 1 and kind in ("JPEG", "PNG"))
    assert Image.open(io.BytesIO(stored)).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("turn", [0, 9, 77])
def test_orientations_that_do_not_exist_are_none(tmp_path, turn):
    data = picture("JPEG", turn)
    (tmp_path / "a").write_bytes(data)
    assert read_image(tmp_path / "a")[1].shape[:2] == (40, 60)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_exif_is_no_orientation_or_the_right_one(kind):
    data, name = bytearray(picture(kind, 6)), {"WEBP": "WebP"}.get(kind, kind)
    assert orientation(bytes(data), name) == 6
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = data.copy()
        for at in rng.integers(0, len(data), 3):
            broken[at] = rng.integers(256)
        assert orientation(bytes(broken[: rng.integers(len(data))]), name) in range(1, 9)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_depth_images_that_show_turned_are_refused(tmp_path, kind):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"tiffinfo": {0x0112: 6}} if kind == "TIFF" else {"exif": exif.tobytes()}
    Image.fromarray(np.full((4, 6), 500, np.uint16)).save(file, kind, **more)
    (tmp_path / "a").write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="EXIF orientation of 6: turned, it would not fit"):
        read_depth(tmp_path / "a", form="png16")
