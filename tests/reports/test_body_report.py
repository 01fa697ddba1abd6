"""Reports of bodies: what is in them for frames with truth in space, in the picture, in both, in neither; and what leaves them."""

import json
import re

import numpy as np
import pytest

from handjax import evaluate
from handjax.data.formats.predictions_npz import write_predictions
from handjax.metrics import body as body_metrics
from handjax.metrics.published.body import by_action, published_body
from handjax.pose.skeleton import SKELETONS
from handjax.reports import base as results
from handjax.reports.body import Bodies
from handjax.run import combine

SKELETON = SKELETONS["body18"]
REST = 100.0 * np.array(  # a person, dm: x right, y down, z away
    [
        (0, 0, 0),
        (-1, 0, 0),
        (-1, 4, 0),
        (-1, 8, 0),
        (1, 0, 0),
        (1, 4, -1),
        (1, 8, 0),
        (0, -2.5, 0),
        (0, -5, 0),
    ]
    + [
        (0, -5.6, -1),
        (0, -7, 0),
        (1.7, -4.7, 0),
        (2, -2, 0),
        (2, 0, -1),
        (-1.7, -4.7, 0),
        (-4, -5, 0),
        (-6, -6, 0),
        (0, -4.7, 0),
    ]
)


def rows_of(n=8, space=True, picture=True, heads=False, action=False, seed=0) -> dict:
    rng = np.random.default_rng(seed)
    true = (
        REST + rng.normal(0, 30, (n, 18, 3)) + [0, 0, 4500] + rng.normal(0, 200, (n, 1, 3))
    ).astype(np.float32)
    pred = (
        true
        + rng.normal(0, 1, (n, 18, 3)).astype(np.float32) * np.linspace(5, 60, n)[:, None, None]
    )
    uv, found = (1145 * joints[..., :2] / joints[..., 2:] + 500 for joints in (true, pred))
    labelled = np.full((n, 18), picture)
    labelled[0, 3] = False
    return {
        **{"joints_xyz": np.float32(pred), "joints_uv": found, "index": np.arange(n)},
        "true_joints_xyz": true if space else np.zeros_like(true),
        "true_joints_uv": np.where(labelled[..., None], uv, 0).astype(np.float32),
        **{"true_visible": labelled, "true_labelled": labelled},
        **{"true_has_xyz": np.full(n, space), "true_has_uv": np.full(n, picture)},
        "true_action": np.arange(n) % 3 if action else np.full(n, -1),
        "true_head_px": np.full(n, 30.0 if heads else 0.0),
    }


def made(rows: dict, ids=None) -> Bodies:
    ids = ids or [f"frame {n}" for n in range(len(rows["index"]))]
    assert evaluate.kind_of(rows) is Bodies
    return evaluate.kind_of(rows).of_rows("ours", ids, rows, SKELETON)


def pictures(n):
    """A patch of 64 x 48 px that shows what lies about the person, a quarter as large."""
    pixels = np.full((64, 48, 3), 40 + n, np.uint8)
    return (pixels, np.float32([[12, 0, 220], [0, 12, 120]])), {}


def headings(pages) -> list[str]:
    return [page.heading for page in pages]


def keys(pages) -> dict:
    return {key.name: key.value for key in pages[0].blocks[0].items}


def test_space_and_picture(tmp_path):
    evaluated = made(rows_of(action=True))
    metrics = evaluated.metrics()
    pages = evaluated.sections(metrics, *evaluated.benchmark(""), pictures=pictures)
    assert headings(pages) == [
        *(
            "Summary",
            "The mean error by each protocol",
            "Joints within a distance",
            "Along each axis",
            "Error of each action",
        ),
        *(
            "Beside published results on Human3.6M",
            "Error of each joint",
            "In the picture",
            "Best and worst frames",
        ),
        "How the numbers are made",
    ]
    assert keys(pages) == {name: metrics[name] for name in keys(pages)} and len(keys(pages)) == 7
    protocols = pages[1].blocks[0]
    assert [row[0] for row in protocols.rows] == list(body_metrics.JOINT_SETS) and len(
        protocols.columns
    ) == 7
    assert (
        protocols.rows[0][3] == metrics["mpjpe_mm"]
        and protocols.rows[2][5] == metrics["protocols_mm"]["h36m14_similarity"]
    )
    actions = pages[4].blocks[1]
    assert [row[0] for row in actions.rows] == [
        "directions",
        "discussion",
        "eating",
        "mean over actions",
    ]
    assert actions.rows[0][3:] == (47.5, 36.9, 50.8, 39.0) and actions.rows[-1][3:] == (
        49.6,
        40.6,
        53.9,
        41.5,
    )
    assert actions.rows[1][1:3] == tuple(metrics["per_action_mm"]["discussion"].values())
    joints = {row[0]: row[1] for row in pages[6].blocks[1].rows}
    assert (
        joints["right ankle"] == pytest.approx(metrics["per_joint_mm"]["right_ankle"])
        and joints["thorax"] is None
    )
    page = results.write_results(tmp_path, metrics, pages, "Body", "test", evaluated.predictions())
    assert (
        "only shows the scale" in page.read_text()
        and f"{metrics['mpjpe_mm']:.2f}" in page.read_text()
    )
    text = results.as_text(evaluated.figures(metrics))
    assert (
        f"{metrics['pa_mpjpe_mm']:.2f} mm" in text
        and "PA-MPJPE, mean over actions" in text
        and "median error" in text
    )


def test_predictions_are_measured_again(tmp_path, capsys):
    """predictions.npz holds all that metrics.json was made of."""
    evaluated = made(rows_of(action=True, heads=True))
    first = evaluated.metrics()
    path = write_predictions(tmp_path / "predictions.npz", evaluated.predictions())
    evaluate.main(["--predictions", str(path), "--workdir", str(tmp_path / "w")])
    again = json.loads((tmp_path / "w" / "metrics.json").read_text())
    assert {name: again[name] for name in first} == first and "pckh_percent" in first
    assert f"{first['mpjpe_mm']:.2f} mm" in capsys.readouterr().out
    with np.load(path) as arrays:
        assert arrays["joints"].tolist() == list(SKELETON.joints) and arrays["truth"].shape == (
            8,
            18,
            3,
        )
        broken = dict(arrays) | {"labelled": arrays["labelled"][:3]}
    np.savez(tmp_path / "broken.npz", **broken)
    for flags, message in (
        (
            ["--predictions", str(tmp_path / "broken.npz")],
            r"broken.npz: labelled is \[3, 18\]; expected \[8, 18\] for its 8 ids",
        ),
        (["--predictions", str(path), "--dataset", "rhd"], "holds its own truth"),
        (
            ["--predictions", str(path), "--submission", str(tmp_path / "s")],
            "frame 0 is no frame of the challenge, whose names end in five",
        ),
        (
            ["--predictions", str(path), "--submission", str(tmp_path)],
            "not empty, has .*; name a new folder",
        ),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            evaluate.main([*flags, "--workdir", str(tmp_path / "v")])
    assert not (tmp_path / "v").exists() and not (tmp_path / "s").exists()


def test_the_picture_alone():
    evaluated = made(rows_of(space=False, heads=True))
    metrics = evaluated.metrics()
    pages = evaluated.sections(metrics, *evaluated.benchmark(""), pictures=pictures)
    assert headings(pages) == [
        *(
            "Summary",
            "In the picture",
            "Error of each joint",
            "Best and worst frames",
            "How the numbers are made",
        )
    ]
    assert set(keys(pages)) == {"epe_px", "pckh_percent.mean", "frames"}
    assert "MPJPE" not in results.as_text(
        evaluated.figures(metrics)
    ) and "PCKh @ 0.5, mean" in dict(evaluated.figures(metrics))
    # A joint without a label counts nowhere.
    right = {row[0]: row[1] for row in pages[2].blocks[1].rows}["right ankle"]
    assert right == pytest.approx(metrics["per_joint_px"]["right_ankle"])
    assert not evaluated.picture.drawn(0)[3] and evaluated.picture.drawn(1).all()


def test_space_alone_and_nothing_at_all():
    """The challenge has no places in the picture, and its test set no truth."""
    rows = rows_of(picture=False)
    rows["true_joints_xyz"] -= rows["true_joints_xyz"][:, :1]
    evaluated = made(rows, [f"validation/{n:05d}" for n in range(8)])
    metrics = evaluated.metrics()
    assert evaluated.benchmark("human36m_challenge") == ("human36m_challenge", False)
    pages = evaluated.sections(metrics, "human36m_challenge", False)
    assert "In the picture" not in headings(pages) and "root_mm" not in keys(pages)
    rivals = next(page for page in pages if page.heading.startswith("Beside")).blocks[0].rows
    assert len(rivals) == 9 and sorted(row[1] for row in rivals) == [row[1] for row in rivals]
    patch, front, side = evaluated.views(0, pictures(0))
    assert patch.true is None and front.true is not None and side.unit == "mm"
    rows = rows_of(space=False, picture=False)
    blind = made(rows, evaluated.ids)
    pages = blind.sections(blind.metrics(), *blind.benchmark(""))
    assert (
        headings(pages)[0] == "Summary"
        and "nothing to measure" in pages[0].blocks[1]
        and len(pages) == 2
    )
    assert dict(blind.figures(blind.metrics())) == {"frames x joints": "8 x 18"}


def test_frames_are_drawn_in_the_patch_and_about_the_pelvis():
    rows = rows_of()
    evaluated = made(rows)
    patch, front, side = evaluated.views(2, pictures(2))
    np.testing.assert_allclose(12 * patch.pred + (220, 120), rows["joints_uv"][2], atol=1e-3)
    np.testing.assert_allclose(front.true, (evaluated.true[2] - evaluated.true[2, 0])[:, :2])
    np.testing.assert_allclose(side.pred, (evaluated.pred[2] - evaluated.pred[2, 0])[:, [2, 1]])
    assert patch.picture.pixels[0, 0, 0] == 42 and len(evaluated.views(2, None)) == 2
    from handjax.reports.drawing import Frame, draw_frames

    views = evaluated.views(2, pictures(2))
    far = views[0].pred + 1e4  # beside the patch: no reason to draw the others small
    shapes = [
        [axes.get_xlim() for axes in draw_frames([Frame("a", (first, *views[1:]))], SKELETON).axes]
        for first in (views[0], views[0].__class__(far, views[0].true, views[0].picture))
    ]
    assert shapes[0] == shapes[1] and shapes[0][0] == (-0.5, 47.5)


def test_the_challenges_files(tmp_path):
    rows = rows_of(3)
    evaluated = made(rows, [f"test/{n:05d}" for n in (3, 1, 24416)])
    evaluate.submit(str(tmp_path / "s"), evaluated)
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        "00001.csv",
        "00003.csv",
        "24416.csv",
    ]
    assert (tmp_path / "s" / "00001.csv").read_text() == body_metrics.challenge_text(
        rows["joints_xyz"][1]
    )
    with pytest.raises(FileExistsError, match="not empty"):
        evaluate.submit(str(tmp_path / "s"), evaluated)
    with pytest.raises(ValueError, match="3 frames have 2 numbers"):
        evaluate.submit(
            str(tmp_path / "t"), made(rows, ["test/00001", "validation/00001", "test/00002"])
        )
    assert not (tmp_path / "t").exists()


def test_checkpoints_are_averaged_in_space_and_in_the_picture():
    runs = [rows_of(seed=seed) for seed in range(2)]
    merged = combine(runs, "mean")
    for name in ("joints_xyz", "joints_uv"):
        np.testing.assert_allclose(merged[name], (runs[0][name] + runs[1][name]) / 2)
    with pytest.raises(
        ValueError, match="--ensemble max needs a confidence, which this system does not give"
    ):
        combine(runs, "max")


def test_published_figures_are_consistent():
    """What is printed as the mean is near the mean of the row by action."""
    for row in published_body("human36m"):
        means = np.mean(row.by_action, axis=0)
        np.testing.assert_allclose(means, (row.mpjpe_mm, row.pa_mpjpe_mm), atol=0.35)
    assert (
        set(by_action("human36m")) == set(body_metrics.ACTIONS)
        and by_action("human36m_challenge") == {}
    )


def test_every_kind_says_how_it_is_drawn():
    with pytest.raises(TypeError, match=re.escape("abstract")):
        results.Evaluated("ours", ["a"], np.zeros((1, 18, 3)), np.zeros((1, 18, 3)), SKELETON)
