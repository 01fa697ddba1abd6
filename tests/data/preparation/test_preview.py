"""The drawings of samples in the report."""

import io

import cv2
import numpy as np
import pytest

from handjax.data.preparation import preview
from handjax.data.preparation.examples import unreadable
from handjax.pose.skeleton import SKELETONS


def sample():
    """A wall at 500 mm with 21 joints 5 mm behind its surface, in a grey image."""
    x, y = np.meshgrid(np.linspace(-90, 90, 7), np.linspace(-60, 60, 3))
    xyz = np.stack([x.ravel(), y.ravel(), np.full(21, 505.0)], -1).astype(np.float32)
    grey = np.full((120, 160, 3), 90, np.uint8)
    return {
        "image": io.BytesIO(cv2.imencode(".jpg", grey)[1].tobytes()),
        "depth": np.full((120, 160, 1), 500, np.uint16),
        "joints_xyz": xyz,
        "joints_uv": xyz[:, :2] / xyz[:, 2:] * 300 + np.float32([80, 60]),
        "visible": np.ones(21, bool),
    }


def given(*keys):
    """Lazy examples of existing samples."""
    return [(key, sample) for key in keys]


def test_sampled_tiles_do_not_depend_on_order():
    names = [f"frame {i}" for i in range(100)]

    def picked(names):
        sampler = preview.TileSampler()
        assert [key for key, _ in sampler.passing(iter(given(*names)))] == names
        return [key for key, _ in sampler.tiles(SKELETONS["hand21"])]

    first = picked(names)
    assert len(first) == 12 and first == sorted(picked(names[::-1]))
    assert picked(names[:3]) == names[:3]
    sampler = preview.TileSampler()
    list(sampler.passing(iter([*given("a"), ("b", unreadable(ValueError("gone")))])))
    assert [key for key, _ in sampler.tiles(None)] == ["a"]


@pytest.mark.parametrize(
    "change", [{}, {"visible": np.zeros(21, bool)}, {"image": io.BytesIO(b"-")}]
)
def test_joints_are_drawn_at_their_pixels(change):
    """White squares of three pixels at the joints of a black image: each dot covers its own."""
    made = sample()
    image = np.zeros((120, 160, 3), np.uint8)
    u, v = np.rint(made["joints_uv"]).astype(int).T
    for a, b in zip(u, v, strict=True):
        image[b - 1 : b + 2, a - 1 : a + 2] = 255
    made["image"] = io.BytesIO(cv2.imencode(".png", image)[1].tobytes())
    tile = preview.draw({**made, **change}, SKELETONS["hand21"])
    assert tile.shape == (preview.TILE_PX, preview.TILE_PX, 3)
    if not change:
        plain = preview.draw({**made, "joints_uv": made["joints_uv"]}, None)
        dots = (plain == (255, 212, 0)).all(-1)
        assert cv2.connectedComponents(dots.astype(np.uint8))[0] - 1 == 21
        marks = cv2.dilate((plain > 250).all(-1).astype(np.uint8), np.ones((5, 5)))
        assert marks[dots].all()


def test_depth_alone_is_drawn_too():
    made = sample()
    del made["image"]
    made["depth"][:, :80] = 0
    tile = preview.draw(made, None)
    assert tile[:, 0].max() == 0 and tile[120, -20].max() > 50


def test_contact_sheet():
    tiles = [np.full((240, 240, 3), value, np.uint8) for value in (10, 90, 170)]
    page = preview.decode_jpeg(preview.contact_sheet(tiles, columns=2))
    assert page.shape == (486, 486, 3)
    np.testing.assert_allclose(
        [page[120, 120], page[120, 366], page[366, 120]], [[10] * 3, [90] * 3, [170] * 3], atol=2
    )
