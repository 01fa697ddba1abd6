import io
import json

import cv2
import numpy as np
import pytest

from handjax.data.preparation import validate
from handjax.data.preparation.examples import unreadable
from handjax.data.preparation.validate import Chosen, Findings, examine

K = np.array([[300, 0, 80], [0, 300, 60], [0, 0, 1]], np.float32)


def jpeg(height=120, width=160):
    return io.BytesIO(cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes())


def sample(**change):
    """A wall at 500 mm with 21 joints 5 mm behind its face."""
    x, y = np.meshgrid(np.linspace(-90, 90, 7), np.linspace(-60, 60, 3))
    xyz = np.stack([x.ravel(), y.ravel(), np.full(21, 505.0)], -1).astype(np.float32)
    uv = xyz[:, :2] / xyz[:, 2:] * 300 + K[:2, 2]
    depth = np.full((120, 160, 1), 500, np.uint16)
    known = {
        "image": jpeg(),
        "depth": depth,
        "k": K,
        "joints_xyz": xyz,
        "joints_uv": uv,
        "visible": np.ones(21, bool),
    }
    return {**known, "id": "a", "side": "left", **change}


def given(*samples):
    """Entries of samples that are there already."""
    return [(key, lambda told=told: told) for key, told in samples]


def faults(**change):
    found = examine(given(("a", sample(**change))))
    assert found.counts["frames"] == 1
    assert all(found.named[fault] == ["a"] for fault in found.named)
    return {fault for fault in validate.FAULTS if found.counts[fault]}


def moved(key, by, joint=slice(None)):
    value = sample()[key].copy()
    value[joint] = value[joint] + by
    return {key: value}


def test_a_sound_sample():
    numbers = examine(given(("a", sample()))).numbers(published=2)
    assert (
        numbers["frames"] == 1
        and numbers["published_frames"] == 2
        and not any(numbers["frames_with"].values())
    )
    assert (
        numbers["visible_joints"]
        == numbers["surface_joints"]
        == numbers["reprojected_joints"]
        == 21
    )
    assert numbers["surface_share_within_mm"] == {"10": 1, "20": 1, "50": 1}
    assert numbers["reprojection_largest_px"] < 1e-4


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"image": io.BytesIO(b"no picture")}, "undecodable"),
        ({"image": io.BytesIO(b"")}, "undecodable"),
        (moved("joints_xyz", np.nan, 3), "not_finite"),
        (moved("joints_uv", np.inf, 3), "not_finite"),
        (moved("joints_xyz", (0, 0, -600), 3), "behind"),
        ({"depth": np.zeros((120, 160, 1), np.uint16)}, "empty_depth"),
        ({"depth": np.full((120, 160, 1), 560, np.uint16)}, "off_surface"),
        (moved("joints_uv", (1.2, 0), 20), "reprojection"),
        (moved("joints_xyz", (4, 0, 0)), "reprojection"),
        ({"k": K + np.float32([[0, 0, 2], [0, 0, 0], [0, 0, 0]])}, "reprojection"),
    ],
)
def test_each_fault_is_found_and_no_other(change, fault):
    assert faults(**change) == {fault}


def test_joints_outside():
    xyz = sample()["joints_xyz"] + np.float32([60, 0, 0])
    uv = xyz[:, :2] / xyz[:, 2:] * 300 + K[:2, 2]
    change = {"joints_xyz": xyz, "joints_uv": uv}
    assert faults(**change) == {"outside"}
    out = uv[:, 0] > 159.5
    assert 0 < out.sum() < 21 and faults(**change, visible=~out) == set()
    assert examine(given(("a", sample(**change)))).counts["joints_outside"] == out.sum()
    # The outer edges of the outer pixels are still in the picture.
    corners = sample(joints_uv=np.resize(np.float32([[-0.5, -0.5], [159.4, 119.4]]), (21, 2)))
    del corners["joints_xyz"]
    assert not examine(given(("a", corners))).named


def test_a_lens_is_seen_through():
    from handjax.data.sets.human36m.raw import project

    lens = np.float32([-0.2, 0.2, 0, -0.001, 0.002])
    uv = project(sample()["joints_xyz"], K, lens)
    assert np.abs(uv - sample()["joints_uv"]).max() > 0.3
    found = examine(given(("a", sample(distortion=lens, joints_uv=uv))))
    assert found.largest_px < 1e-3


def test_views():
    one, other = sample(), sample(**moved("joints_uv", (2, 0)))
    both = {
        key: np.stack([one[key], other[key]])
        for key in ("depth", "k", "joints_xyz", "joints_uv", "visible")
    }
    found = examine(given(("two", both)))
    assert found.named == {"reprojection": ["two"]} and found.counts["reprojected_joints"] == 42
    sensor = {f"sensor_{key}": other[key] for key in ("depth", "k", "joints_xyz", "joints_uv")}
    found = examine(
        given(("s", {**{k: one[k] for k in ("image", "k", "joints_xyz", "joints_uv")}, **sensor}))
    )
    assert found.named == {"reprojection": ["s"]} and found.counts["surface_joints"] == 21
    right = {"image_right": io.BytesIO(b"-"), "joints_uv_right": one["joints_uv"]}
    assert examine(given(("r", {**one, **right}))).named == {"undecodable": ["r"]}


def test_findings_add_up_and_go_through_json():
    bad = sample(**moved("joints_uv", (3, 0), 0))
    lots = [[("a", sample())], [(f"b{i}", bad) for i in range(4)], [("c", bad), ("d", bad)]]
    whole, summed = examine(given(*sum(lots, []))), Findings()
    for lot in lots:
        summed += Findings.from_plain(json.loads(json.dumps(examine(given(*lot)).plain())))
    summed.px = pytest.approx(summed.px)
    assert summed == whole
    assert whole.numbers(None)["named"] == {"reprojection": ["b0", "b1", "b2", "b3", "c"]}
    assert whole.numbers(None)["frames_with"]["reprojection"] == 6
    np.testing.assert_allclose(whole.numbers(None)["reprojection_mean_px"], 18 / 147, rtol=1e-4)


def test_what_cannot_be_read_hides_nothing():
    def entries(kinds):
        errors = {"f": FileNotFoundError("x.png: gone"), "v": ValueError("bad\nline")}
        return [
            (f"{i}", unreadable(errors[kind]) if kind in errors else sample)
            for i, kind in enumerate(kinds)
        ]

    found = examine(entries("svsfvs"))
    told = found.numbers(None)
    assert (told["frames"], told["unreadable_frames"]) == (3, 3) and found.counts["joints"] == 63
    assert told["unreadable"] == {"bad line": 2, "x.png: gone": 1}
    both = examine(entries("vs"))
    both += Findings.from_plain(json.loads(json.dumps(found.plain())))
    assert both.unreadable == {"bad line": 3, "x.png: gone": 1} and both.counts["frames"] == 4
    many = examine([(f"{i}", unreadable(ValueError(f"line {i}"))) for i in range(300)])
    assert many.counts["unreadable"] == 300 and list(many.unreadable) == [
        f"line {i}" for i in range(200)
    ]
    with pytest.raises(KeyError):  # a mistake of ours is not the file's
        examine([("a", unreadable(KeyError("joints")))])


def test_a_dozen_is_chosen_the_same_ones_whatever_else_comes():
    names = [f"frame {i}" for i in range(100)]

    def chosen(names):
        by = Chosen()
        assert [
            key for key, _ in by.passing(iter(given(*((name, sample()) for name in names))))
        ] == names
        return [key for key, _ in by.drawn("hand21")]

    first = chosen(names)
    assert len(first) == 12 and first == sorted(chosen(names[::-1]))
    assert chosen(names[:3]) == names[:3]
    by = Chosen()
    list(by.passing(iter([*given(("a", sample())), ("b", unreadable(ValueError("gone")))])))
    assert [key for key, _ in by.drawn(None)] == ["a"]


@pytest.mark.parametrize(
    "change", [{}, {"visible": np.zeros(21, bool)}, {"image": io.BytesIO(b"-")}]
)
def test_drawn_joints_are_where_they_are_in_the_picture(change):
    """White squares of three pixels at the joints of a black picture: each dot covers its own."""
    made = sample()
    picture = np.zeros((120, 160, 3), np.uint8)
    u, v = np.rint(made["joints_uv"]).astype(int).T
    for a, b in zip(u, v, strict=True):
        picture[b - 1 : b + 2, a - 1 : a + 2] = 255
    made["image"] = io.BytesIO(cv2.imencode(".png", picture)[1].tobytes())
    tile = validate.draw({**made, **change}, validate.SKELETONS["hand21"])
    assert tile.shape == (validate.TILE_PX, validate.TILE_PX, 3)
    if not change:
        plain = validate.draw({**made, "joints_uv": made["joints_uv"]}, None)
        dots = (plain == (255, 212, 0)).all(-1)
        assert cv2.connectedComponents(dots.astype(np.uint8))[0] - 1 == 21
        marks = cv2.dilate((plain > 250).all(-1).astype(np.uint8), np.ones((5, 5)))
        assert marks[dots].all()


def test_depth_alone_is_drawn_too():
    made = sample()
    del made["image"]
    made["depth"][:, :80] = 0
    tile = validate.draw(made, None)
    assert tile[:, 0].max() == 0 and tile[120, -20].max() > 50


def test_a_sheet_holds_its_tiles():
    tiles = [np.full((240, 240, 3), value, np.uint8) for value in (10, 90, 170)]
    page = validate.opened(validate.sheet(tiles, columns=2))
    assert page.shape == (486, 486, 3)
    np.testing.assert_allclose(
        [page[120, 120], page[120, 366], page[366, 120]], [[10] * 3, [90] * 3, [170] * 3], atol=2
    )
