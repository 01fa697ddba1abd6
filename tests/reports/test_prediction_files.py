"""Evaluation of image joints from json files, text lists and predictions.npz."""

import json

import numpy as np
import pytest

from handjax import evaluate
from handjax.data.formats.hand_labels import write_hands_json
from handjax.data.formats.predictions_npz import write_predictions
from handjax.metrics import keypoints2d
from handjax.pose.joint_orders import ORDERS
from handjax.pose.skeleton import SKELETONS
from handjax.reports import KINDS, prediction_files

NAMES_21 = SKELETONS["hand21"].joints


@pytest.fixture
def hands():
    """x, y, v of nine hands [9, 21, 3] in the common joint order, and predictions [9, 21, 2].

    The last joint is hidden in one image, the first has no label in another.
    """
    rng = np.random.default_rng(3)
    true = rng.uniform(20, 300, (9, 21, 2)).round(3)
    points = np.concatenate([true, np.ones((9, 21, 1))], axis=-1)
    points[4, 20, 2] = 0
    points[5, 0] = 0
    return points, (true + rng.normal(0, 4, true.shape)).round(3)


def write_labels(folder, points, order="handdb", named=True):
    """One json per image, in the joint order of a data set."""
    folder.mkdir()
    own = np.argsort(ORDERS[order].to_common)
    for n, hand in enumerate(points):
        label = {"hand_pts": hand[own].tolist()} | ({"img_name": f"{n:05d}.png"} if named else {})
        (folder / f"{n:05d}.json").write_text(json.dumps(label))
    return folder


def evaluated(folder, *flags) -> dict:
    evaluate.main([*map(str, flags), "--workdir", str(folder)])
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("order", ["rhd", "stb", "handdb"])
@pytest.mark.parametrize("named", [True, False])
def test_json_files(hands, tmp_path, order, named):
    """Hands are matched by img_name without suffix, or by file name."""
    points, pred = hands
    truth = write_labels(tmp_path / "truth", points, order, named)
    found = np.concatenate([pred, np.full((9, 21, 1), 0.5)], axis=-1)
    ours = tmp_path / "predictions.json"
    write_hands_json(
        ours,
        NAMES_21,
        [{"img_name": f"{n:05d}.png", "hand_pts": hand.tolist()} for n, hand in enumerate(found)],
    )
    metrics = prediction_files.keypoints2d_report(str(ours), str(truth), order).metrics
    errors = np.linalg.norm(pred - points[..., :2], axis=-1)
    labelled = (points[..., :2] != 0).any(-1)
    assert metrics["epe_px"] == pytest.approx(errors[labelled].mean())
    assert metrics["visible"]["epe_px"] == pytest.approx(errors[points[..., 2] > 0].mean())
    assert metrics["visible"]["counted"] == metrics["counted"] - 1 == 9 * 21 - 2
    # The box is that of the labelled joints.
    side = [
        np.ptp(hand[seen, :2], axis=0).max() for hand, seen in zip(points, labelled, strict=True)
    ]
    expected = np.mean(
        [
            (errors[labelled[:, j], j] / np.array(side)[labelled[:, j]] < 0.04).mean()
            for j in range(21)
        ]
    )
    assert metrics["pck_box"]["0.04"] == pytest.approx(expected)


@pytest.mark.slow
def test_predictions_npz_reproduces_metrics_json(hands, tmp_path, capsys):
    """predictions.npz contains everything that metrics.json is computed from."""
    points, pred = hands
    visible, labelled = points[..., 2] > 0, (points[..., :2] != 0).any(-1)
    rng = np.random.default_rng(4)
    sides = {"box_px": rng.uniform(80, 120, 9), "image_px": rng.uniform(200, 300, 9)}
    sides = {name: side.astype(np.float32) for name, side in sides.items()}
    f32 = {
        "joints_uv": pred.astype(np.float32),
        "true_joints_uv": points[..., :2].astype(np.float32),
    }
    rows = f32 | {
        "true_visible": visible,
        "true_labelled": labelled,
        "confidence": rng.random((9, 21)).astype(np.float32),
    }
    rows |= {f"true_{name}": side for name, side in sides.items()}
    names = ("visible", "box_px", "image_px", "labelled")
    first = keypoints2d.summarize(
        rows["joints_uv"],
        rows["true_joints_uv"],
        NAMES_21,
        **{name: rows[f"true_{name}"] for name in names},
    )
    ids = [f"h{n}" for n in range(9)]
    report = KINDS["keypoints2d"].of_rows("ours", ids, rows, SKELETONS["hand21"], first)
    assert "0.05" in first["pck_image"] and "0.2" in first["pck_box"]
    path = write_predictions(tmp_path / "predictions.npz", report.predictions())
    again = evaluated(tmp_path / "w", "--predictions", path)
    assert {key: again[key] for key in first} == first
    assert f"{first['epe_px']:.3f} px" in capsys.readouterr().out
    page = (tmp_path / "w" / "report.html").read_text()
    assert "Comparison with published results on RHD" in page
    assert "only indicates the scale" in page
    # With ground truth from another file, which has no sizes.
    truth = tmp_path / "truth.json"
    write_hands_json(
        truth,
        NAMES_21,
        [{"img_name": f"h{n}", "hand_pts": hand.tolist()} for n, hand in enumerate(points)],
    )
    other = prediction_files.keypoints2d_report(str(path), str(truth), None).metrics
    assert other["epe_px"] == pytest.approx(first["epe_px"], rel=1e-5) and "pck_image" not in other


def test_a_keypoint_list_as_ground_truth(hands, tmp_path):
    points, pred = hands
    lines = [f"{n}.jpg " + " ".join(map(str, hand.ravel())) for n, hand in enumerate(points)]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    found = [
        {"img_name": f"{n}.jpg", "hand_pts": np.pad(hand, ((0, 0), (0, 1))).tolist()}
        for n, hand in enumerate(pred)
    ]
    write_hands_json(tmp_path / "p.json", NAMES_21, found)
    files = str(tmp_path / "p.json"), str(tmp_path / "list.txt")
    report = prediction_files.keypoints2d_report(*files, "handdb")
    assert report.metrics["counted"] == 9 * 21 - 1


def test_the_kind_of_a_file(tmp_path):
    """Files of earlier versions have no `kind`."""
    uv, ids = np.zeros((1, 21, 2), np.float32), np.array(["a"])
    for name, arrays, kind in (
        ("new", {"joints_uv": uv, "kind": np.array("keypoints2d")}, "keypoints2d"),
        ("old", {"joints_uv": uv}, "keypoints2d"),
        ("body", {"has_xyz": np.array([True]), "kind": np.array("body")}, "body"),
        ("old_body", {"has_xyz": np.array([True])}, "body"),
    ):
        np.savez(tmp_path / f"{name}.npz", ids=ids, **arrays)
        assert prediction_files.kind_of(str(tmp_path / f"{name}.npz")) == kind
    assert prediction_files.kind_of("p.json") == "keypoints2d"
    assert prediction_files.kind_of("p.txt", "nyu") == "joints3d"


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        (None, ["--groundtruth", "none.json"], "none.json: no such file; expected labels as json"),
        (None, [], "--groundtruth missing: .*p.json contains no ground truth"),
        (
            None,
            ["--groundtruth", "t.json", "--dataset", "nyu"],
            "--dataset nyu is for text files of u v d",
        ),
        (None, ["--groundtruth", "t.json", "--checkpoint", "best"], "are for a trained run"),
        ("[1, 2", ["--groundtruth", "t.json"], "t.json: not json"),
        (
            "{}",
            ["--groundtruth", "t.json", "--dataset", "rhd"],
            "t.json: no hand_pts of numbers in it; expected 21",
        ),
        (
            '{"hand_pts": [[1, 2, 3]]}',
            ["--groundtruth", "t.json"],
            "does not name the order of its joints",
        ),
        (
            '{"hand_pts": [[1, 2, 3]]}',
            ["--groundtruth", "t.json", "--dataset", "rhd"],
            r"hand_pts is \[1, 3\]; expected 21",
        ),
        ("[3]", ["--groundtruth", "t.json", "--dataset", "rhd"], "t.json, hand 0: no hand_pts"),
        (
            '{"joints": ["a"], "hands": [{}]}',
            ["--groundtruth", "t.json"],
            "t.json, hand 0: no hand_pts of numbers in it; expected 1 times",
        ),
        ("LOST", ["--groundtruth", "t.json"], "p.json has 00008, .*t.json has not"),
        ("TWICE", ["--groundtruth", "t.json"], "another hand in 00000.png"),
        ("NAN", ["--groundtruth", "t.json"], "hand 0: hand_pts is .*finite px"),
    ],
)
def test_invalid_json_files(hands, tmp_path, monkeypatch, change, flags, message):
    monkeypatch.chdir(tmp_path)
    points, pred = hands
    named = [
        {"img_name": f"{n:05d}.png", "hand_pts": hand.tolist()} for n, hand in enumerate(points)
    ]
    write_hands_json(tmp_path / "p.json", NAMES_21, named)
    write_hands_json(
        tmp_path / "t.json",
        NAMES_21,
        {"LOST": named[:-1], "TWICE": [named[0], *named]}.get(change, named),
    )
    if change == "NAN":
        (tmp_path / "t.json").write_text(
            (tmp_path / "t.json").read_text().replace(f"[[{points[0, 0, 0]}", "[[1e9")
        )
    elif change and not change.isupper():
        (tmp_path / "t.json").write_text(change)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        evaluate.main(["--predictions", "p.json", "--workdir", "w", *flags])
    assert "\n" not in str(caught.value) and not (tmp_path / "w").exists()
