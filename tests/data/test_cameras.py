"""Cameras as users give them, and the rule that says whether one can be that of an image."""

import warnings

import cv2
import numpy as np
import pytest

from handjax.data.camera_presets import NAMES, preset
from handjax.data.cameras import Camera, CameraWarning, intrinsics, read_camera
from handjax.pose.lens import Lens
from handjax.pose.pinhole import depth_to_points

SR305 = "476.007,476.007,313.683,242.755"


def silent(camera, width, height):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_camera(camera).of_image(height, width)


@pytest.mark.parametrize(
    ("camera", "width", "height"),
    [
        (SR305, 640, 480),
        ("588.03,587.07,320,240", 640, 480),  # NYU
        ("240.99,240.96,160,120", 320, 240),  # ICVL
        ("1145.05,1143.78,512.54,515.45", 1000, 1002),  # Human3.6M
        ("365.4,365.4,260.9,205.6,0.0956,-0.277,0,0,0.0975", 512, 424),  # Kinect v2
        ("503.8,503.7,321,328.5", 640, 576),  # Azure Kinect, NFOV
        ("286,286,421,398", 848, 800),  # T265
        ("fisheye:286,286,421,398,-0.01,0.05,-0.04,0.01", 848, 800),
        ("20,20,8,6", 16, 12),
        ("crop:476,476,-100,50", 200, 200),
        ("crop:nyu", 640, 480),
    ],
)
def test_cameras_of_real_devices_are_accepted(camera, width, height):
    assert silent(camera, width, height).k.shape == (3, 3)


@pytest.mark.parametrize(
    ("camera", "size", "reason"),
    [
        (
            "0.4966,0.5085,0.4788,0.6384",
            (640, 480),
            "order CX,CY,FX,FY? expected px: 306.432,306.4",
        ),
        (
            "0.74,0.99,0.49,0.5",
            (640, 480),
            "fractions of the picture? expected px: 473.6,475.2,313.1",
        ),
        ("0.476,0.476,0.313,0.242", (640, 480), "far too small for px"),
        (
            SR305,
            (320, 240),
            "of 640 x 480 px? scaled to 320 x 240: 238.003,238.003,156.592,121.128",
        ),
        ("237.75,237.75,156.6,121.1", (640, 480), "scaled to 640 x 480: 475.5,475.5,313.7,242.7"),
        ("918.6,915.97,631.38,356.67", (640, 360), "of 1280 x 720 px? scaled to 640 x 360: 459.3"),
        ("918.6,915.97,631.38,356.67", (640, 480), "of 1280 x 720 px? that is another shape"),
        ("252,252,160,164", (640, 576), "of 320 x 288 px? scaled to 640 x 576: 504,504"),
        (SR305, (480, 640), "of 640 x 480 px, from before the image was turned?"),
        (
            "313.683,242.755,476.007,476.007",
            (640, 480),
            "CX,CY,FX,FY? expected FX,FY,CX,CY: 476.007",
        ),
        ("476.007,313.683,476.007,242.755", (640, 480), "in the order FX,CX,FY,CY?"),
        ("476,476,242.755,313.683", (640, 480), "or CX and CY in the other order"),
        ("1.88,1.88,320,240", (640, 480), "it would see 179°; a focal length in mm?"),
        ("4.74,4.74,2.4,1.8", (640, 480), "mm? expected px: about 631"),
        ("57,43,320,240", (640, 480), "degrees of the field of view? expected px: 589"),
        ("476,476,0,0", (640, 480), "from the image's middle? expected from its first pixel"),
        ("476,476,3136.8,2427.5", (640, 480), "is outside the image; for a part of a larger image"),
        ("90000,90000,320,240", (640, 480), "it would see no more than 0.4°"),
        ("476,476,313,242,-9,0,0,0", (640, 480), "no ray would meet more than the middle"),
        ("476,476,313,242,0,0,3,0", (640, 480), "OpenCV's order is K1,K2,P1,P2,K3"),
        ("fisheye:90,90,320,240,0,0,0,0", (640, 480), "it would see 407°"),
        ("crop:476,476,-10000,50", (200, 200), "it would see the image 87° from its axis"),
        ("nyu", (320, 240), "its images are 640 x 480 px, this one is 320 x 240; scaled from 640"),
        ("azure_kinect", (640, 480), "its images are 640 x 576 or 320 x 288 or"),
    ],
)
def test_impossible_cameras_are_refused_with_the_likely_cause(camera, size, reason):
    with pytest.raises(ValueError) as error:
        read_camera(camera).of_image(size[1], size[0])
    assert f"camera {camera}: " in str(error.value) and reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        ("476,476,450,240", "the axis, at 450,240, is far from its middle"),
        ("473,236.5,310,242", "FX 473 and FY 236.5 differ"),
        ("4760,4760,313,242", "no more than 7.7°"),
        ("130,130,313,242", "it would see 136°"),
        ("476,476,313,242,-0.05,0.02,0.3,0.0001,0.0002", "P1 0.3 and P2 0.0001 are large"),
        ("476,476,313,242,100,0,0,0", "this lens would move its edge"),
    ],
)
def test_unusual_cameras_warn(camera, reason):
    with pytest.warns(CameraWarning) as found:
        read_camera(camera).of_image(480, 640)
    (message,) = (str(warning.message) for warning in found)
    assert reason in message and "unusual for an image of 640 x 480 px" in message


@pytest.mark.parametrize("scale", [1 / 4, 1 / 2, 2 / 3, 3 / 2, 2, 3])
@pytest.mark.parametrize("size", [(640, 480), (512, 424), (640, 576), (1280, 720), (600, 500)])
def test_numbers_of_another_resolution_are_named_and_scaled(size, scale):
    """Whatever the camera: the scaled numbers in the message are those of the image."""
    rng = np.random.default_rng(int(scale * 100) + size[0])
    own = tuple(round(n * scale) for n in size)
    focal = rng.uniform(0.6, 1.1) * size[0]
    cx, cy = (n / 2 + rng.uniform(-0.03, 0.03) * n for n in size)
    given = [focal * scale, focal * scale, cx * scale, cy * scale]
    with pytest.raises(ValueError, match=r"scaled to \d+ x \d+: ([\d.,]+)") as error:
        read_camera(given).of_image(size[1], size[0])
    text = str(error.value)
    assert f"the numbers of {own[0]} x {own[1]} px?" in text
    found = [float(v) for v in text.rpartition(": ")[2].split(",")]
    np.testing.assert_allclose(found, [focal, focal, cx, cy], rtol=0.01, atol=1.5)


@pytest.mark.parametrize("name", NAMES)
def test_presets_fit_their_images(name):
    known = preset(name)
    for (width, height), numbers in known.modes.items():
        camera = silent(name, width, height)
        np.testing.assert_allclose(camera.k[[0, 1, 0, 1], [0, 1, 2, 2]], numbers, rtol=1e-6)
        assert camera.lens == known.lens
        # The numbers of each are told from those of its other modes, unless they differ little.
        silent(numbers, width, height)


def test_typical_numbers_are_near_published_ones_of_other_units():
    """Other units' calibrations: realsense-ros 2788 and 2935, Open3D's Kinect 2."""
    for name, size, (f, cx, cy) in [
        ("d435", (640, 480), (384.207, 319.480, 236.352)),
        ("d435", (640, 480), (385.240, 319.218, 236.774)),
        ("d435", (480, 270), (240.130, 239.675, 132.762)),
        ("d435", (640, 360), (320.173, 319.567, 177.016)),
        ("d415", (640, 480), (597.267, 319.115, 234.382)),
        ("kinect_v2", (512, 424), (365.456, 254.878, 205.395)),
    ]:
        fx, fy, x, y = preset(name).modes[size]
        assert abs(fx / f - 1) < 0.02 and abs(fy / f - 1) < 0.02
        assert abs(x - cx) < 10 and abs(y - cy) < 10


# ---------------------------------------------------------------- forms


K = np.array([[476, 0, 313], [0, 475, 242], [0, 0, 1.0]])


@pytest.mark.parametrize(
    "camera",
    ["476,475,313,242", " 476 475 313 242 ", "476,0,313,0,475,242,0,0,1", K, (476, 475, 313, 242)],
)
def test_forms_of_a_pinhole(camera):
    np.testing.assert_array_equal(intrinsics(camera), K)
    assert read_camera(camera).lens is None


LENS = Lens("opencv", (0.1, -0.2, 0.003, 0.004))


@pytest.mark.parametrize(
    "camera",
    [
        "476,475,313,242,.1,-.2,.003,.004",
        (K, [0.1, -0.2, 0.003, 0.004]),
        (K, np.array([[0.1, -0.2, 0.003, 0.004]])),
        Camera("mine", K.astype(np.float32), LENS),
    ],
)
def test_forms_of_a_lens(camera):
    found = read_camera(camera)
    np.testing.assert_array_equal(found.k, K)
    assert found.lens == LENS
    with pytest.raises(ValueError, match="expected one without distortion"):
        intrinsics(camera)


def test_a_lens_of_zeros_is_none():
    assert read_camera("476,475,313,242,0,0,0,0,0").lens is None
    assert read_camera("fisheye:476,475,313,242,0,0,0,0").lens.model == "fisheye"
    assert read_camera("inverse:476,475,313,242,0.1,0,0,0,0").lens.model == "inverse"
    assert read_camera("inverse:476,475,313,242,0,0,0,0,0").lens is None


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        ("476,475,313,242,.1", "1 distortion coefficients; expected 4 or 5 or 8 or 12 or 14"),
        ("fisheye:476,475,313,242", "0 distortion coefficients; expected 4"),
        ("fisheye:476,475,313,242,1,2,3,4,5", "5 distortion coefficients; expected 4"),
        ("476,475,313,242,nan,0,0,0", "distortion coefficients"),
        ("476,-475,313,242", "FY is below 0, but y points down here"),
        (K.T, "a matrix of columns; give its transpose"),
        (K + np.array([[0, 3, 0], [0, 0, 0], [0, 0, 0]]), "a skew of 3 px"),
        ((K, "wide"), "expected FX,FY,CX,CY"),
        ("fisheye:nyu", "expected FX,FY,CX,CY"),
        ("inverse:476,475,313,242", "0 distortion coefficients; expected 5"),
        ("inverse:476,475,313,242,1,2,3,4,5,6", "OpenCV's order: K1,K2,P1,P2,K3"),
        ("inverse:sr300", "expected FX,FY,CX,CY"),
        ("d455", "d435"),
    ],
)
def test_invalid_cameras_are_named(camera, reason):
    with pytest.raises(ValueError) as error:
        read_camera(camera)
    assert reason in str(error.value) and "\n" not in str(error.value)


# ---------------------------------------------------------------- lenses

# Of the unit in librealsense's issue 10838.
SR300 = "inverse:472.95,472.95,310.21,245.26,0.0981389,0.2033020,0.0031004,0.0026419,-0.1123854"


@pytest.mark.parametrize(
    "camera",
    [SR300, "inverse:600,600,320,240,-0.055,0.066,0.0005,-0.0004,-0.02"],
)
def test_points_behind_an_inverse_lens(camera):
    """The ray of a pixel is OpenCV's polynomial of it; a tilted plane seen along these comes back
    as that plane, and its points are seen where they were."""
    found = read_camera(camera).of_image(480, 640)
    k, d = found.k.astype(np.float64), np.array(found.lens.coefficients)
    v, u = np.mgrid[:480, :640].astype(np.float64)
    uv = np.stack([u.ravel(), v.ravel()], axis=-1)
    places = (uv - k[:2, 2]) / np.diag(k)[:2]
    bent = np.concatenate([places, np.ones((len(uv), 1))], axis=1)
    rays = cv2.projectPoints(bent, np.zeros(3), np.zeros(3), np.eye(3), d)[0][:, 0]
    np.testing.assert_allclose(found.rays(uv)[:, :2], rays, atol=1e-6)
    normal = np.array([0.2, -0.1, 1.0])
    depth = (600 / (rays @ normal[:2] + 1)).reshape(480, 640)
    xyz = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) * depth.reshape(-1, 1)
    np.testing.assert_allclose(found.project(xyz), uv, atol=0.01)
    points, measured = depth_to_points(*found.pinhole(depth))
    away = np.abs(points[measured] @ normal - 600)
    assert measured.sum() > 0.9 * depth.size
    assert np.median(away) < 0.2 and np.quantile(away, 0.999) < 1.5


@pytest.mark.parametrize(
    "camera",
    ["290,292,163,118,-0.3,0.12,0.001,-0.002,-0.02", "fisheye:200,202,163,118,-0.02,0.004,0,0"],
)
def test_points_behind_a_lens_are_where_they_were(camera):
    """A tilted plane, drawn through OpenCV's lens, comes back as that plane."""
    found = read_camera(camera)
    k, d = found.k.astype(np.float64), np.array(found.lens.coefficients)
    v, u = np.mgrid[:240, :320].astype(np.float64)
    uv = np.stack([u.ravel(), v.ravel()], axis=-1)[:, None]
    many = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
    rays = (
        cv2.fisheye.undistortPoints(uv, k, d, criteria=many)
        if "fisheye" in camera
        else cv2.undistortPoints(uv, k, d, criteria=many)
    )[:, 0]
    normal = np.array([0.2, -0.1, 1.0])
    depth = (600 / (rays @ normal[:2] + 1)).reshape(240, 320)
    flat, own = found.pinhole(depth)
    assert flat.shape[0] > 240 and flat.shape[1] > 320  # barrels grow
    points, measured = depth_to_points(flat, own)
    away = np.abs(points[measured] @ normal - 600)
    assert np.median(away) < 0.5 and away.max() < 4
    # Without the lens the corners are off by centimetres.
    plain, _ = depth_to_points(depth, k)
    assert np.abs(plain @ normal - 600).max() > 15
    # And a point is projected to the pixel that shows it.
    xyz = points[measured][::97]
    at = found.of_image(240, 320).project(xyz)
    shown = depth[tuple(np.rint(at[:, ::-1]).astype(int).T)]
    assert np.abs(shown - xyz[:, 2]).max() < 3


def test_an_image_without_a_lens_is_returned_as_it_is():
    depth = np.full((480, 640), 500, np.float32)
    found = read_camera(SR305).pinhole(depth)
    assert found.depth is depth


def test_docs_list_the_presets(repo):
    text = (repo / "docs" / "cameras.md").read_text(encoding="utf-8")
    table = text.partition("<!-- checked: cameras -->")[2].partition("<!-- end -->")[0]
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[3:]]
    want = []
    for name in NAMES:
        known = preset(name)
        sizes = ", ".join(f"{width} x {height}" for width, height in known.modes)
        want.append([f"`{name}`", known.title, sizes, "yes" if known.lens else "–"])
    assert found == want
