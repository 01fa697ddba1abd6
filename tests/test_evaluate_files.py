"""python -m handjax.evaluate on prediction files: the printed table, metrics.json, report.html, and users' mistakes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from handjax import evaluate
from handjax.data.formats.hand_labels import write_hands_json
from handjax.data.formats.predictions_npz import write_predictions
from handjax.data.formats.uvd_text import UVD_FORMATS, write_uvd
from handjax.pose.skeleton import COLOURS, ORDERS, SKELETONS
from handjax.reports.base import _pick
from handjax.reports.drawing import Frame, Picture, draw_frames, front_and_side
from handjax.reports.keypoints2d import Joints2d

PUBLISHED = [
    ("nyu", "CVPR18_NYU_V2V_PoseNet.txt", 8.419),
    ("nyu", "NEUCOM18_NYU_Pose_REN.txt", 11.811),
    ("icvl", "CVPR18_ICVL_V2V_PoseNet.txt", 6.284),
    ("icvl", "NEUCOM18_ICVL_Pose_REN.txt", 6.791),
]


@pytest.fixture
def files(tmp_path):
    """Small prediction and ground-truth files in MSRA's form, and the flags that name them."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 50, (12, len(UVD_FORMATS["msra"].order), 3)) + [0, 0, 500]
    truth = write_uvd(tmp_path / "truth.txt", true, "msra")
    ours = write_uvd(tmp_path / "ours.txt", true + rng.normal(0, 5, true.shape), "msra")
    return [
        "--predictions",
        str(ours),
        "--groundtruth",
        str(truth),
        "--dataset",
        "msra",
        "--workdir",
        str(tmp_path / "w"),
    ]


def changed(flags: list[str], name: str, value: str) -> list[str]:
    return [value if i and flags[i - 1] == name else flag for i, flag in enumerate(flags)]


def door(*flags: str, cwd) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "handjax.evaluate", *flags], cwd=cwd, capture_output=True, text=True
    )


@pytest.mark.parametrize(("dataset", "file", "mean"), PUBLISHED)
def test_published_files(real_data, tmp_path, capsys, dataset, file, mean):
    folder = real_data / "metrics"
    flags = (
        "--predictions",
        folder / file,
        "--groundtruth",
        folder / f"{dataset}_test_groundtruth_uvd.txt",
    )
    evaluate.main([*map(str, flags), "--dataset", dataset, "--workdir", str(tmp_path)])
    out = capsys.readouterr().out
    assert f"{mean:.3f} mm" in out and str(tmp_path / "report.html") in out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mpjpe_mm"] == pytest.approx(mean, abs=5.1e-4)
    for percent in metrics["success_max_percent"].values():
        assert f"{percent:.2f} %" in out
    for joint, error in metrics["per_joint_mm"].items():
        assert any(
            line.startswith(joint.replace("_", " ")) and f"{error:.2f} mm" in line
            for line in out.splitlines()
        )
    page = (tmp_path / "report.html").read_text()
    assert f">{mean:.3f}<" in page and "Pose-REN" in page
    assert ("not comparable" in page) == (dataset == "nyu")


def test_a_data_set_without_published_results(files, tmp_path):
    evaluate.main(files)
    page = (tmp_path / "w" / "report.html").read_text()
    assert "Best and worst frames" in page and "published" not in page


def test_earlier_results_are_kept(files, tmp_path, capsys):
    evaluate.main(files)
    assert "kept the earlier" not in capsys.readouterr().out
    first = {name: (tmp_path / "w" / name).read_bytes() for name in ("metrics.json", "report.html")}
    truth = files[3]
    evaluate.main(changed(files, "--predictions", truth))
    assert (
        "kept the earlier metrics.json as metrics.1.json and report.html as report.1.html\n"
        in capsys.readouterr().out
    )
    assert json.loads((tmp_path / "w" / "metrics.json").read_text())["mpjpe_mm"] == 0
    for name, content in first.items():
        assert (tmp_path / "w" / name.replace(".", ".1.")).read_bytes() == content


def test_a_mistake_leaves_earlier_results_alone(files, tmp_path):
    evaluate.main(files)
    before = {path: path.read_bytes() for path in (tmp_path / "w").iterdir()}
    (tmp_path / "bad.txt").write_text("1 2 3\n")
    with pytest.raises(ValueError, match="3 numbers"):
        evaluate.main(changed(files, "--predictions", str(tmp_path / "bad.txt")))
    assert {path: path.read_bytes() for path in (tmp_path / "w").iterdir()} == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("--predictions", "none.txt", "none.txt: no such file"),
        ("--dataset", "icvl", "ICVL has 16 joints"),
        ("--dataset", "hands19", "invalid choice: 'hands19'"),
        ("--dataset", "", "invalid choice"),
        ("--groundtruth", "", "--groundtruth missing"),
    ],
)
def test_mistakes(files, tmp_path, name, value, message):
    with pytest.raises((ValueError, OSError), match=message):
        evaluate.main(changed(files, name, value))
    assert not (tmp_path / "w").exists()


def test_workdir_that_is_a_file(files, tmp_path):
    (tmp_path / "w").write_text("mine")
    with pytest.raises(OSError, match="a file, not a folder"):
        evaluate.main(files)
    assert (tmp_path / "w").read_text() == "mine"


def test_the_door_answers_a_mistake_in_one_line(files, repo, tmp_path):
    done = door(*changed(files, "--predictions", str(tmp_path / "none.txt")), cwd=repo)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "none.txt: no such file" in done.stderr


def test_measuring_files_starts_without_jax(repo):
    script = "import sys, handjax.evaluate; sys.exit(bool({'jax', 'flax', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], cwd=repo).returncode == 0


def test_drawn_frames_lie_apart():
    order = np.array([5, 6, 4, 20, 21, 40, 0])
    assert _pick(order, 1) == [5, 6, 4, 20]
    assert _pick(order, 10) == [5, 20, 40]


@pytest.mark.parametrize("name", SKELETONS)
def test_every_skeleton_is_drawn(name):
    skeleton = SKELETONS[name]
    joints, bones = len(skeleton.joints), len(skeleton.bones)
    pose = np.random.default_rng(1).normal(0, 50, (joints, 3))
    visible = np.ones(joints, dtype=bool)
    visible[skeleton.bones[-1][1]] = False  # a joint that is only an end of one bone
    ends = sum(skeleton.bones[-1][1] in bone for bone in skeleton.bones)
    picture = Picture(np.where(np.eye(8), 1.0, np.nan), (-80.0, 80.0, -80.0, 80.0))
    plot = draw_frames(
        [
            Frame("a", front_and_side(pose, pose + 1)),
            Frame("b", front_and_side(pose, None, picture, picture), visible),
        ],
        skeleton,
    )
    full, masked = plot.axes[0], plot.axes[1]
    assert (len(full.lines), len(masked.lines)) == (
        2 * bones + 1,
        bones - ends + 1,
    )  # and the scale bar
    assert (len(full.images), len(masked.images)) == (0, 1)
    for axes, across in ((plot.axes[0], 0), (plot.axes[2], 2)):
        dots = axes.collections[-1].get_offsets()
        np.testing.assert_allclose(dots, pose[:, [across, 1]])
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert left < dots[:, 0].min() and dots[:, 0].max() < right
        assert bottom > dots[:, 1].max() and dots[:, 1].min() > top  # y points down


NAMES_21 = SKELETONS["hand21"].joints


@pytest.fixture
def hands():
    """Truth and predictions of nine hands [9, 21, 2], and x y v in the common order: the last joint is hidden in one picture, the
    first has no label in another."""
    rng = np.random.default_rng(3)
    true = rng.uniform(20, 300, (9, 21, 2)).round(3)
    points = np.concatenate([true, np.ones((9, 21, 1))], axis=-1)
    points[4, 20, 2] = 0
    points[5, 0] = 0
    return points, (true + rng.normal(0, 4, true.shape)).round(3)


def write_labels(folder, points, order="handdb", named=True):
    """One json a picture, in a data set's own joint order."""
    folder.mkdir()
    own = np.argsort(ORDERS[order].to_common)
    for n, hand in enumerate(points):
        told = {"hand_pts": hand[own].tolist()} | ({"img_name": f"{n:05d}.png"} if named else {})
        (folder / f"{n:05d}.json").write_text(json.dumps(told))
    return folder


def measured(folder, *flags) -> dict:
    evaluate.main([*map(str, flags), "--workdir", str(folder)])
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("order", ["rhd", "stb", "handdb"])
@pytest.mark.parametrize("named", [True, False])
def test_hands_in_json_files(hands, tmp_path, order, named):
    """Pictures are told apart by their names without ending, or by those of the files."""
    points, pred = hands
    truth = write_labels(tmp_path / "truth", points, order, named)
    found = np.concatenate([pred, np.full((9, 21, 1), 0.5)], axis=-1)
    ours = tmp_path / "predictions.json"
    write_hands_json(
        ours,
        NAMES_21,
        [{"img_name": f"{n:05d}.png", "hand_pts": hand.tolist()} for n, hand in enumerate(found)],
    )
    metrics = evaluate._hands(str(ours), str(truth), order).metrics()
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


def test_hands_of_a_run_are_measured_again(hands, tmp_path, capsys):
    """predictions.npz holds all that its metrics.json was made of."""
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
    evaluated = evaluate.kind_of(rows).of_rows(
        "ours", [f"h{n}" for n in range(9)], rows, SKELETONS["hand21"]
    )
    first = evaluated.metrics()
    assert "0.05" in first["pck_image"] and "0.2" in first["pck_box"]
    path = write_predictions(tmp_path / "predictions.npz", evaluated.predictions())
    again = measured(tmp_path / "w", "--predictions", path)
    assert {key: again[key] for key in first} == first
    assert f"{first['epe_px']:.3f} px" in capsys.readouterr().out
    page = (tmp_path / "w" / "report.html").read_text()
    assert "Beside published results on RHD" in page and "only shows the scale" in page
    # Against truth in other files, and only what these know.
    ids = {f"h{n}": hand for n, hand in enumerate(points)}
    truth = tmp_path / "truth.json"
    write_hands_json(
        truth,
        NAMES_21,
        [{"img_name": name, "hand_pts": hand.tolist()} for name, hand in ids.items()],
    )
    other = evaluate._hands(str(path), str(truth), "").metrics()
    assert other["epe_px"] == pytest.approx(first["epe_px"], rel=1e-5) and "pck_image" not in other


def test_a_keypoint_list_as_truth(hands, tmp_path):
    points, pred = hands
    lines = [f"{n}.jpg " + " ".join(map(str, hand.ravel())) for n, hand in enumerate(points)]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    found = [
        {"img_name": f"{n}.jpg", "hand_pts": np.pad(hand, ((0, 0), (0, 1))).tolist()}
        for n, hand in enumerate(pred)
    ]
    write_hands_json(tmp_path / "p.json", NAMES_21, found)
    evaluated = evaluate._hands(str(tmp_path / "p.json"), str(tmp_path / "list.txt"), "handdb")
    assert evaluated.metrics()["counted"] == 9 * 21 - 1


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        (None, ["--groundtruth", "none.json"], "none.json: no such file; expected labels as json"),
        (None, [], "--groundtruth missing: .*p.json holds no truth"),
        (
            None,
            ["--groundtruth", "t.json", "--dataset", "nyu"],
            "--dataset nyu is for text files of u v d",
        ),
        (None, ["--groundtruth", "t.json", "--checkpoint", "best"], "belong to a trained run"),
        ("[1, 2", ["--groundtruth", "t.json"], "t.json: not json"),
        (
            "{}",
            ["--groundtruth", "t.json", "--dataset", "rhd"],
            "t.json: no hand_pts of numbers in it; expected 21",
        ),
        (
            '{"hand_pts": [[1, 2, 3]]}',
            ["--groundtruth", "t.json"],
            "does not say in which order its joints are",
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
            "its joints, a, ..., are none of hand21",
        ),
        ("LOST", ["--groundtruth", "t.json"], "p.json has 00008, .*t.json has not"),
        ("TWICE", ["--groundtruth", "t.json"], "another hand in 00000.png"),
        ("NAN", ["--groundtruth", "t.json"], "hand 0: hand_pts is .*finite px"),
    ],
)
def test_mistakes_in_json_files(hands, tmp_path, monkeypatch, change, flags, message):
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


def test_a_picture_with_colours_is_shown_whole():
    """Joints of a crop are drawn where they are in it, whatever lies beside; the letters keep the page's ink, the lines do not."""
    skeleton = SKELETONS["hand21"]
    rng = np.random.default_rng(5)
    view = rng.uniform(0, 40, (21, 2))
    source_from_view = np.array([[2.0, 0.5, 100], [-0.5, 2.0, 50]])
    source = view @ source_from_view[:, :2].T + source_from_view[:, 2]
    evaluated = Joints2d("ours", ["a"], source[None], source[None] + 3, skeleton)
    pixels = rng.integers(0, 255, (48, 48, 3), np.uint8)
    (drawn,) = evaluated.views(0, ((pixels, source_from_view), {}))
    np.testing.assert_allclose(drawn.pred, view, atol=1e-9)
    (axes,) = draw_frames([Frame("a", (drawn,))], skeleton).axes
    assert axes.get_xlim() == (-0.5, 47.5) and axes.get_ylim() == (47.5, -0.5)
    np.testing.assert_allclose(axes.collections[-1].get_offsets(), view, atol=1e-9)
    np.testing.assert_allclose(axes.collections[0].get_offsets(), drawn.true, atol=1e-9)
    fingers = {COLOURS[group] for group in skeleton.groups if group != "palm"}
    assert {line.get_color() for line in axes.lines} == {"white"} | fingers
    assert not axes.texts  # no scale: a crop's pixels are not those of the source
