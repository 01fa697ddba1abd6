"""python -m handjax.evaluate on prediction files: the printed table, metrics.json, report.html, and users' mistakes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from handjax import evaluate, results
from handjax.data.predictions import FORMATS, write_uvd
from handjax.pose.draw import Frame, Picture, draw_frames
from handjax.pose.skeleton import SKELETONS

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
    true = rng.normal(0, 50, (12, len(FORMATS["msra"].order), 3)) + [0, 0, 500]
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
    return subprocess.run([sys.executable, "-m", "handjax.evaluate", *flags], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(("dataset", "file", "mean"), PUBLISHED)
def test_published_files(real_data, tmp_path, capsys, dataset, file, mean):
    folder = real_data / "metrics"
    flags = ("--predictions", folder / file, "--groundtruth", folder / f"{dataset}_test_groundtruth_uvd.txt")
    evaluate.main([*map(str, flags), "--dataset", dataset, "--workdir", str(tmp_path)])
    out = capsys.readouterr().out
    assert f"{mean:.3f} mm" in out and str(tmp_path / "report.html") in out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mpjpe_mm"] == pytest.approx(mean, abs=5.1e-4)
    for percent in metrics["success_max_percent"].values():
        assert f"{percent:.2f} %" in out
    for joint, error in metrics["per_joint_mm"].items():
        assert any(line.startswith(joint.replace("_", " ")) and f"{error:.2f} mm" in line for line in out.splitlines())
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
    assert "kept the earlier metrics.json as metrics.1.json and report.html as report.1.html\n" in capsys.readouterr().out
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
    assert results._pick(order, 1) == [5, 6, 4, 20]
    assert results._pick(order, 10) == [5, 20, 40]


@pytest.mark.parametrize("name", SKELETONS)
def test_every_skeleton_is_drawn(name):
    skeleton = SKELETONS[name]
    joints, bones = len(skeleton.joints), len(skeleton.bones)
    pose = np.random.default_rng(1).normal(0, 50, (joints, 3))
    visible = np.ones(joints, dtype=bool)
    visible[skeleton.bones[-1][1]] = False  # a joint that is only an end of one bone
    ends = sum(skeleton.bones[-1][1] in bone for bone in skeleton.bones)
    picture = Picture(np.where(np.eye(8), 1.0, np.nan), (-80.0, 80.0, -80.0, 80.0))
    plot = draw_frames([Frame("a", pose, pose + 1), Frame("b", pose, None, visible, picture, picture)], skeleton)
    full, masked = plot.axes[0], plot.axes[1]
    assert (len(full.lines), len(masked.lines)) == (2 * bones + 1, bones - ends + 1)  # and the scale bar
    assert (len(full.images), len(masked.images)) == (0, 1)
    for axes, across in ((plot.axes[0], 0), (plot.axes[2], 2)):
        dots = axes.collections[-1].get_offsets()
        np.testing.assert_allclose(dots, pose[:, [across, 1]])
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert left < dots[:, 0].min() and dots[:, 0].max() < right
        assert bottom > dots[:, 1].max() and dots[:, 1].min() > top  # y points down
