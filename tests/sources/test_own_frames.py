"""Users' own labelled depth frames, whole."""

import json

import cv2
import jax
import numpy as np
import pytest

from handjax.engine.config import load
from handjax.pose.pinhole import project
from handjax.sources import SOURCES
from tests.own_depth import HEIGHT, JOINTS, WIDTH, K, toy, write_toys


def opened(folder, *overrides):
    config = load("v2v:own", [f"config.data.path={folder}", *overrides])
    return SOURCES[config.data.name](config)


def first(source, split="train"):
    rows = source.train_rows if split == "train" else source.eval_rows
    return rows(np.arange(2))


def test_frames_and_joints_are_those_of_the_files(tmp_path):
    write_toys(tmp_path / "toys", 12)
    source = opened(tmp_path / "toys")
    assert source.skeleton.joints == JOINTS and source.skeleton.name == "own"
    # Three sequences of four frames: the last is held out.
    assert (source.train_size, source.eval_size) == (8, 4)
    assert source.names(np.arange(4))[0] == "toys/008.png"
    batch = first(source)
    depth, joints = toy(1)
    np.testing.assert_allclose(batch["depth"][1], depth, atol=0.26)
    np.testing.assert_allclose(batch["joints_xyz"][1], joints, atol=0.01)
    assert batch["labelled"].all() and batch["mask"].all()
    whole = jax.jit(lambda b: source.materialize(b, None))(batch)
    away = np.linalg.norm(whole["center_xyz"] - batch["joints_xyz"].mean(1), axis=-1)
    assert (away < 60).all()


def test_centers(tmp_path):
    content = write_toys(tmp_path / "toys", 4)
    for entry in content["frames"].values():
        entry["center"] = [1.0, 2.0, 600.0]
    (tmp_path / "toys" / "frames.json").write_text(json.dumps(content))
    given = opened(tmp_path / "toys", "config.data.center=given")
    np.testing.assert_array_equal(first(given)["center_xyz"], [[1, 2, 600]] * 2)
    label = opened(tmp_path / "toys", "config.data.center=label")
    batch = first(label)
    np.testing.assert_allclose(batch["center_xyz"], batch["joints_xyz"].mean(1), rtol=1e-5)


def test_left_hands_are_mirrored(tmp_path):
    write_toys(tmp_path / "right", 4)
    write_toys(tmp_path / "left", 4, hand="left")
    right, left = (first(opened(tmp_path / name)) for name in ("right", "left"))
    np.testing.assert_array_equal(left["depth"], right["depth"][..., ::-1])
    np.testing.assert_array_equal(left["joints_xyz"], right["joints_xyz"] * [-1, 1, 1])
    uv = [project(b["joints_xyz"][0].astype(np.float64), b["k"][0]) for b in (right, left)]
    np.testing.assert_allclose(uv[1], [WIDTH - 1, 0] + uv[0] * [-1, 1], atol=1e-3)


def test_joints_without_a_label(tmp_path):
    content = write_toys(tmp_path / "toys", 4)
    content["frames"]["000.png"]["xyz_mm"][2] = None
    (tmp_path / "toys" / "frames.json").write_text(json.dumps(content))
    batch = first(opened(tmp_path / "toys"))
    assert batch["labelled"].tolist() == [[True, True, False, True, True], [True] * 5]
    assert np.isfinite(batch["joints_xyz"]).all() and batch["mask"].all()


def test_labels_in_px_lie_on_the_surface(tmp_path):
    content = write_toys(tmp_path / "toys", 4, kind="surface")
    for entry in content["frames"].values():
        uv = project(np.array(entry.pop("xyz_mm")), K.astype(np.float64))
        entry["uv"] = uv.tolist()
    (tmp_path / "toys" / "frames.json").write_text(json.dumps(content))
    batch = first(opened(tmp_path / "toys"))
    for i in range(2):
        away = np.linalg.norm(batch["joints_xyz"][i] - toy(i)[1], axis=-1)
        assert (away < 8).all()


@pytest.mark.parametrize("split", ["person", "sequence", "name"])
def test_what_belongs_together_is_not_divided(tmp_path, split):
    content = write_toys(tmp_path / "toys", 8)
    for i, entry in enumerate(content["frames"].values()):
        entry["sequence"] = f"take{i % 2}" if split != "name" else ""
        entry["person"] = "ab"[i // 4] if split == "person" else ""
    (tmp_path / "toys" / "frames.json").write_text(json.dumps(content))
    source = opened(tmp_path / "toys")
    held = [int(name[5:8]) for name in source.names(np.arange(source.eval_size))]
    assert held == {"person": [4, 5, 6, 7], "sequence": [1, 3, 5, 7], "name": [6, 7]}[split]


def test_other_frames_to_evaluate(tmp_path):
    write_toys(tmp_path / "a", 4)
    write_toys(tmp_path / "b", 5)
    source = opened(tmp_path / "a", f"config.data.eval_path={tmp_path / 'b'}")
    assert (source.train_size, source.eval_size) == (4, 5)
    both = opened(tmp_path / "a", f"config.data.also=({str(tmp_path / 'b')!r},)")
    assert both.train_size + both.eval_size == 9


def small(folder):
    cv2.imwrite(str(folder / "001.png"), np.full((HEIGHT - 4, WIDTH - 4), 1200, np.uint16))


def unlabelled(folder):
    content = json.loads((folder / "frames.json").read_text())
    content["frames"] = {name: {} for name in content["frames"]}
    (folder / "frames.json").write_text(json.dumps(content))


def in_metres(folder):
    content = json.loads((folder / "frames.json").read_text())
    for entry in content["frames"].values():
        entry["xyz_mm"] = (np.array(entry["xyz_mm"]) / 1000).tolist()
    (folder / "frames.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        (small, (), "001.png: 76 x 56 px; expected 80 x 60 as the first image"),
        (unlabelled, (), "no frame has labels; expected 'uv' or 'xyz_mm'"),
        (in_metres, (), "metres"),
        (None, ("config.data.center=given",), "000.png: no 'center' in its file; give one"),
        (None, ("config.data.depth_mm=(100.0, 200.0)",), "000.png: no depth within 100 to 200 mm"),
        (None, ("config.data.depth_mm=(0.0, 200.0)",), "expected two distances in mm"),
        (None, ("config.data.held_out=1.0",), "config.data.held_out=1.0: expected a share"),
        (None, ("config.data.cube_mm=0.3",), "config.data.cube_mm=0.3"),
        (None, ("config.data.path=",), "config.data.path is empty: name the folder of your frames"),
    ],
)
def test_what_cannot_be_trained_on(tmp_path, change, overrides, message):
    write_toys(tmp_path / "toys", 4)
    if change:
        change(tmp_path / "toys")
    with pytest.raises(ValueError, match=message):
        first(opened(tmp_path / "toys", *overrides))


def test_one_frame_and_other_joints(tmp_path):
    write_toys(tmp_path / "one", 1)
    with pytest.raises(ValueError, match="one labelled frame; expected several, or others in conf"):
        opened(tmp_path / "one")
    write_toys(tmp_path / "more", 2)
    (tmp_path / "more" / "skeleton.json").write_text(json.dumps({"joints": list("abcde")}))
    with pytest.raises(ValueError, match="its joints are not those of .*one"):
        opened(tmp_path / "one", f"config.data.eval_path={tmp_path / 'more'}")
