"""Lenses compared with OpenCV's."""

import cv2
import numpy as np
import pytest

from handjax.pose.lens import Lens, Undistortion, project_through_lens
from handjax.pose.pinhole import depth_to_points, project

K = np.array([[1145.0, 0, 512.5], [0, 1144.0, 515.5], [0, 0, 1]])
K1, K2, K3, P1, P2 = LENS = np.array([-0.2, 0.24, -0.002, -0.0009, -0.0016])


def points():
    rng = np.random.default_rng(0)
    return rng.uniform([-900, -900, 2500], [900, 900, 5000], (50, 3))


def opencv(xyz, tangential):
    lens = np.array([K1, K2, P1 * tangential, P2 * tangential, K3])
    return cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), K, lens)[0][:, 0]


def test_without_distortion_it_is_a_pinhole():
    np.testing.assert_array_equal(
        project_through_lens(points(), K, np.zeros(5)), project(points(), K)
    )


def test_radial_terms_are_those_of_opencv():
    uv = project_through_lens(points(), K, LENS * [1, 1, 1, 0, 0])
    np.testing.assert_allclose(uv, opencv(points(), tangential=0), atol=1e-9)


def test_half_of_the_tangential_products():
    """OpenCV adds 2 p1 x y + p2 (r² + 2 x²) to x; Human3.6M's toolbox p1 x y + p2 (r² + x²)."""
    x, y = (points()[:, :2] / points()[:, 2:]).T
    missing = np.stack([P1 * x * y + P2 * x * x, P2 * x * y + P1 * y * y], axis=-1) * [
        1145.0,
        1144.0,
    ]
    uv = project_through_lens(points(), K, LENS)
    np.testing.assert_allclose(uv + missing, opencv(points(), tangential=1), atol=1e-9)


# ---------------------------------------------------------------- OpenCV's models

BROWN = (-0.28, 0.11, 0.0009, -0.0016, -0.02)
KINECT = (4.72, 3.21, 6e-6, 1.2e-4, 0.17, 5.06, 4.78, 0.886)  # of an Azure Kinect
LENSES = {
    "four": Lens("opencv", BROWN[:4]),
    "five": Lens("opencv", BROWN),
    "rational": Lens("opencv", KINECT),
    "thin_prism": Lens("opencv", (*KINECT, 0.001, -0.002, 0.003, 0.0005)),
    "tilted": Lens("opencv", (*KINECT, 0.001, -0.002, 0.003, 0.0005, 0.02, -0.03)),
    "fisheye": Lens("fisheye", (-0.03, 0.01, -0.004, 0.0008)),
    "inverse": Lens("inverse", (0.14, 0.1, 0.004, 0.006, -0.04)),  # much like an SR300's
}
CAMERA = np.array([[300.0, 0, 161], [0, 302, 118], [0, 0, 1]])


@pytest.mark.parametrize("name", sorted(LENSES.keys() - {"inverse"}))
def test_projection_is_opencvs(name):
    lens = LENSES[name]
    xyz = np.random.default_rng(1).uniform([-400, -300, 500], [400, 300, 900], (60, 3))
    if lens.model == "fisheye":
        want = cv2.fisheye.projectPoints(
            xyz[:, None], np.zeros(3), np.zeros(3), CAMERA, np.array(lens.coefficients)
        )[0]
    else:
        want = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), CAMERA, np.array(lens.coefficients))
        want = want[0]
    np.testing.assert_allclose(lens.project(xyz, CAMERA), want[:, 0], atol=1e-8)
    on_axis = lens.distort(np.zeros((1, 2)))
    np.testing.assert_allclose(on_axis, 0, atol=1e-12)


def test_inverse_leads_from_the_image_to_the_ray():
    """librealsense's header: "undistorts image instead of distorting it". OpenCV's polynomial, from
    pixels to rays."""
    lens = LENSES["inverse"]
    v, u = np.mgrid[:240:20, :320:20]
    bent = (np.stack([u, v], axis=-1).reshape(-1, 2) - CAMERA[:2, 2]) / np.diag(CAMERA)[:2]
    rays = np.concatenate([bent, np.ones((len(bent), 1))], axis=1)
    want = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.eye(3), np.array(lens.coefficients))
    found = lens.undistort(bent)
    np.testing.assert_allclose(found, want[0][:, 0], atol=1e-12)
    np.testing.assert_allclose(lens.distort(found), bent, atol=1e-12)
    assert np.abs(found - bent).max() > 0.02  # 10 mm at 500 mm
    far = 0.98 * lens.widest() * np.stack([np.cos(range(72)), np.sin(range(72))], axis=-1)
    met = lens.distort(far)
    seen = np.isfinite(met).all(-1)
    np.testing.assert_allclose(lens.undistort(met[seen]), far[seen], atol=1e-6)
    assert seen.mean() > 0.5 and np.isnan(lens.distort(10 * far)).all()
    # Where the polynomial turns back, at r = √(1 / 0.9), rays end: those of r - 0.3 r³.
    turns = np.sqrt(1 / 0.9)
    assert Lens("inverse", (-0.3, 0.0, 0.0, 0.0)).widest() == pytest.approx(turns * 2 / 3, rel=1e-3)


@pytest.mark.parametrize("name", LENSES)
def test_undistorted_plane_is_flat_and_in_place(name):
    """A tilted plane seen through the lens: every undistorted pixel is a point of the plane."""
    lens, normal = LENSES[name], np.array([0.2, -0.1, 1.0])
    inverse = Undistortion.of(lens, CAMERA, 240, 320)
    assert np.ptp(inverse.rows[inverse.rows >= 0]) == 239  # every row and column is used
    assert np.ptp(inverse.columns[inverse.columns >= 0]) == 319
    # Depth of the plane at the center of every distorted pixel, by inverting the lens iteratively.
    v, u = np.mgrid[:240, :320]
    bent = (np.stack([u, v], axis=-1) - CAMERA[:2, 2]) / np.diag(CAMERA)[:2]
    slopes = bent.copy()
    for _ in range(60):
        slopes += 0.8 * (bent - lens.distort(slopes))
    depth = 700 / (slopes @ normal[:2] + normal[2])
    flat = inverse(depth)
    points, measured = depth_to_points(flat, inverse.k)
    away = np.abs(points[measured] @ normal - 700)
    assert measured.mean() > 0.5
    assert np.median(away) < 0.4 and away.max() < 3  # half a pixel is 1.2 mm sideways


def test_fold_does_not_repeat_the_image():
    """Barrel lenses of few terms turn back beyond some ray; a copy of the hand must not appear."""
    lens = Lens("opencv", (-0.3, 0.0, 0.0, 0.0))
    assert lens.widest() == pytest.approx(np.sqrt(1 / 0.9), rel=2e-3)  # d(r - 0.3 r³) = 0
    inverse = Undistortion.of(lens, CAMERA, 240, 320)
    spot = np.zeros((240, 320))
    spot[118, 161] = 500
    assert (inverse(spot) > 0).sum() == 1
    assert Lens("opencv", (0.0,) * 4).widest() == pytest.approx(12)


def test_without_distortion_nothing_changes():
    inverse = Undistortion.of(Lens("opencv", (0.0,) * 5), CAMERA, 240, 320)
    depth = np.random.default_rng(0).uniform(0, 900, (240, 320)).astype(np.float32)
    np.testing.assert_array_equal(inverse(depth), depth)
    np.testing.assert_array_equal(inverse.k, CAMERA)
    assert inverse(depth).dtype == np.float32
