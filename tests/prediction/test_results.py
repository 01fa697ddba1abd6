"""Predictions as results: they print, draw and save themselves, one sample or several."""

import csv
import json

import numpy as np
import pytest

from handjax.pose.skeleton import SKELETONS, rgb
from handjax.prediction import drawing
from handjax.prediction.base import Prediction
from handjax.prediction.windows import SIZES_PX, window

HAND = SKELETONS["hand21"]
RNG = np.random.default_rng(0)
FRAMES = RNG.uniform(300, 900, (2, 60, 80)).astype(np.float32)


@pytest.fixture
def batch():
    xyz = RNG.uniform(-50, 50, (2, 21, 3)).astype(np.float32) + np.float32([0, 0, 600])
    uv = RNG.uniform(10, 50, (2, 21, 2)).astype(np.float32)
    return Prediction(
        HAND.joints,
        xyz=xyz,
        uv=uv,
        std=RNG.uniform(1, 9, (2, 21)).astype(np.float32),
        presence=np.float32([0.9, 0.25]),
        side=("left", "right"),
        center=xyz.mean(1),
        box=np.float32([[10, 12, 30, 20], [15, 5, 20, 40]]),
        pictures=tuple(FRAMES),
        skeleton=HAND,
        model="some network",
    )


def test_a_sample_of_a_batch(batch):
    one = batch[1]
    assert len(batch) == 2 and len(one) == 1 and not one.batched and one[0] is one
    np.testing.assert_array_equal(one.xyz, batch.xyz[1])
    np.testing.assert_array_equal(one["index_tip"], batch["index_tip"][1])
    assert one.side == "right" and float(one.presence) == 0.25 and one.pictures[0] is not FRAMES[0]
    np.testing.assert_array_equal(one.pictures[0], FRAMES[1])
    assert [float(own.presence) for own in batch] == pytest.approx([0.9, 0.25])
    np.testing.assert_array_equal(batch[-1].uv, one.uv)
    with pytest.raises(IndexError, match="sample 2 of 2"):
        batch[2]
    with pytest.raises(KeyError, match="did you mean 'index_tip'"):
        batch["index_tipp"]


def test_it_prints_its_joints_with_units(batch):
    head, columns, *rows = str(batch[0]).splitlines()
    assert head.endswith("mm") and "left hand, presence 0.90" in head
    assert columns.split() == "joint x_mm y_mm z_mm std_mm u_px v_px".split()
    assert [row.split()[0] for row in rows] == list(HAND.joints)
    assert float(rows[3].split()[3]) == pytest.approx(batch.xyz[0, 3, 2], abs=0.051)
    assert "[1] right hand, presence 0.25" in str(batch)
    assert repr(batch).startswith("Prediction(21 joints; xyz [2, 21, 3] mm (camera frame), uv [2,")


def test_json_holds_joints_by_name(batch, tmp_path):
    path = batch.save(tmp_path / "new" / "x.json")
    data = json.loads(path.read_text())
    assert data["units"]["xyz"] == "mm, camera frame" and data["model"] == "some network"
    assert [own["side"] for own in data["samples"]] == ["left", "right"]
    tip = data["samples"][1]["joints"]["index_tip"]
    np.testing.assert_allclose(tip["xyz"], batch["index_tip"][1], atol=1e-3)
    np.testing.assert_allclose(tip["uv"], batch.uv[1, HAND.joints.index("index_tip")], atol=1e-3)
    assert data["samples"][0]["box"] == [10, 12, 30, 20]
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="x.json: exists already; use overwrite=True"):
        batch[0].save(path)
    assert path.read_bytes() == before
    assert len(json.loads(batch[0].save(path, overwrite=True).read_text())["samples"]) == 1


def test_csv_has_a_line_per_joint(batch, tmp_path):
    with batch.save(tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 42 and rows[21]["sample"] == "1" and rows[21]["joint"] == "wrist"
    assert float(rows[21]["z_mm"]) == pytest.approx(float(batch.xyz[1, 0, 2]), abs=1e-3)
    assert (rows[0]["side"], float(rows[0]["presence"])) == ("left", pytest.approx(0.9))


@pytest.mark.parametrize("number", [None, 1])
def test_npz_has_a_first_axis_of_samples(batch, tmp_path, number):
    some = batch if number is None else batch[number]
    with np.load(some.save(tmp_path / "x.npz"), allow_pickle=False) as found:
        np.testing.assert_array_equal(found["xyz"], some.xyz.reshape(-1, 21, 3))
        assert tuple(found["joints"]) == HAND.joints
        assert found["side"].tolist() == ["left", "right"][slice(number, None)]
        assert "std: mm along each axis" in found["units"]


def test_another_ending_is_one_line(batch, tmp_path):
    with pytest.raises(ValueError, match="x.pkl: expected a name that ends in .json, .csv, .npz"):
        batch.save(tmp_path / "x.pkl")
    assert not list(tmp_path.iterdir())


def test_joints_are_drawn_where_they_are(batch):
    one = batch[0]
    drawn = np.asarray(one.plot())
    assert drawn.shape == (360, 480, 3)  # small frames are enlarged
    scale = 6
    for u, v in (np.float64(one.uv) + 0.5) * scale - 0.5:
        assert drawn[round(v), round(u)].min() > 200
    colours = {tuple(colour) for colour in drawn.reshape(-1, 3)}
    assert {rgb(group) for group in HAND.groups} <= colours
    # Zoomed in, the part around the box fills the picture.
    zoomed = np.asarray(one.plot(zoom=True))
    assert zoomed.shape[0] == zoomed.shape[1] == 480


def test_several_frames_are_a_sheet_and_several_boxes_one_picture(batch):
    sheet = np.asarray(batch.plot())
    assert sheet.shape == (270, 2 * 360 + 4, 3)
    frame = np.full((60, 80, 3), 90, np.uint8)
    same = Prediction(batch.joints, uv=batch.uv, box=batch.box, pictures=(frame,) * 2)
    assert np.asarray(same.plot()).shape == (360, 480, 3)


def test_a_notebook_shows_picture_and_table(batch):
    assert batch._repr_png_().startswith(b"\x89PNG")
    page = batch[0]._repr_html_()
    assert "data:image/png;base64," in page and "index_tip" in page and "<details>" in page
    no_pixels = Prediction(batch.joints, xyz=batch.xyz[0])
    assert no_pixels._repr_png_() is None and "<img" not in no_pixels._repr_html_()
    with pytest.raises(ValueError, match="no joints in px"):
        no_pixels.plot()


def test_depth_is_drawn_lighter_where_it_is_nearer():
    depth = np.float32([[0, 500, 600, 700, 2500, np.nan]]).repeat(3, 0)
    row = drawing.depth_picture(depth, 600.0)[1, :, 0].astype(int)
    assert row[1] > row[2] > row[3] > row[4] > row[0] == row[5]


@pytest.mark.parametrize("box", [(10, 20, 30, 40), (-0.5, -0.5, 300, 200), (-90, 150, 20, 20)])
@pytest.mark.parametrize("side", [64.0, 150.0, 700.0, 3000.0])
def test_a_window_is_a_part_of_the_picture(box, side):
    picture = np.mgrid[:200, :300].sum(0)[..., None].repeat(3, -1).astype(np.uint8)
    box = np.float32(box)
    cut = window(picture, box, side)
    assert cut.pixels.shape[0] in SIZES_PX
    affine = np.float64(cut.picture_from_window)
    corner = affine[:, :2] @ cut.box[:2] + affine[:, 2]
    np.testing.assert_allclose(corner, box[:2], atol=1e-2)
    # All that was asked for is in it.
    step = affine[0, 0]
    low, high = affine[:, 2] - step / 2, affine[:, 2] + step * (len(cut.pixels) - 0.5)
    middle = box[:2] + box[2:] / 2
    assert (low <= middle - side / 2 + 1).all() and (high >= middle + side / 2 - 1).all()
    if step == 1:
        left, top = affine[:, 2].astype(int)
        v, u = 120, 40
        inside = 0 <= v - top < len(cut.pixels) and 0 <= u - left < len(cut.pixels)
        assert not inside or (cut.pixels[v - top, u - left] == picture[v, u]).all()
