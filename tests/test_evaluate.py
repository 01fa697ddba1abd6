"""handjax evaluate on text files of predictions: output, results, and invalid input."""

import json
import subprocess
import sys

import numpy as np
import pytest

from handjax import evaluate
from handjax.data.formats.uvd_text import UVD_FORMATS, write_uvd

PUBLISHED = [
    ("nyu", "CVPR18_NYU_V2V_PoseNet.txt", 8.419),
    ("nyu", "NEUCOM18_NYU_Pose_REN.txt", 11.811),
    ("icvl", "CVPR18_ICVL_V2V_PoseNet.txt", 6.284),
    ("icvl", "NEUCOM18_ICVL_Pose_REN.txt", 6.791),
]


@pytest.fixture
def files(tmp_path):
    """Small files of predictions and ground truth in MSRA's format, as flags."""
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


def replaced(flags: list[str], name: str, value: str) -> list[str]:
    return [value if i and flags[i - 1] == name else flag for i, flag in enumerate(flags)]


def command(*flags: str, cwd) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "handjax.evaluate", *flags], cwd=cwd, capture_output=True, text=True
    )


@pytest.mark.slow
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
    # Methods without a prediction file have a mean alone.
    assert ("† as published" in page) == ("HandDiff †" in page) == (dataset == "nyu")
    assert "over the years" in page and "2022 Virtual views" in page


def test_msra_has_no_comparison(files, tmp_path):
    evaluate.main(files)
    page = (tmp_path / "w" / "report.html").read_text()
    assert "Best and worst frames" in page and "published" not in page


@pytest.mark.slow
def test_earlier_results_are_kept(files, tmp_path, capsys):
    evaluate.main(files)
    assert "kept the earlier" not in capsys.readouterr().out
    first = {name: (tmp_path / "w" / name).read_bytes() for name in ("metrics.json", "report.html")}
    truth = files[3]
    evaluate.main(replaced(files, "--predictions", truth))
    assert (
        "kept the earlier metrics.json as metrics.1.json and report.html as report.1.html\n"
        in capsys.readouterr().out
    )
    assert json.loads((tmp_path / "w" / "metrics.json").read_text())["mpjpe_mm"] == 0
    for name, content in first.items():
        assert (tmp_path / "w" / name.replace(".", ".1.")).read_bytes() == content


@pytest.mark.slow
def test_invalid_input_keeps_earlier_results(files, tmp_path):
    evaluate.main(files)
    before = {path: path.read_bytes() for path in (tmp_path / "w").iterdir()}
    (tmp_path / "bad.txt").write_text("1 2 3\n")
    with pytest.raises(ValueError, match="3 numbers"):
        evaluate.main(replaced(files, "--predictions", str(tmp_path / "bad.txt")))
    assert {path: path.read_bytes() for path in (tmp_path / "w").iterdir()} == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("--predictions", "none.txt", "none.txt: no such file"),
        ("--dataset", "icvl", "ICVL has 16 joints"),
        ("--dataset", "hands19", "invalid choice: 'hands19'"),
        ("--dataset", "", "invalid choice"),
        ("--groundtruth", "", "--groundtruth is empty"),
    ],
)
def test_invalid_files(files, tmp_path, name, value, message):
    with pytest.raises((ValueError, OSError), match=message):
        evaluate.main(replaced(files, name, value))
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_workdir_that_is_a_file(files, tmp_path):
    (tmp_path / "w").write_text("mine")
    with pytest.raises(OSError, match="a file, not a folder"):
        evaluate.main(files)
    assert (tmp_path / "w").read_text() == "mine"


def test_invalid_input_prints_one_line(files, repo, tmp_path):
    done = command(*replaced(files, "--predictions", str(tmp_path / "none.txt")), cwd=repo)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "none.txt: no such file" in done.stderr


def test_files_are_evaluated_without_jax(files, repo):
    script = (
        "import sys; from handjax import evaluate; evaluate.main(sys.argv[1:]); "
        "sys.exit(bool({'jax', 'flax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, *files], cwd=repo, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_starts_without_heavy_packages(repo):
    heavy = "{'jax', 'flax', 'matplotlib', 'jinja2', 'cv2'}"
    script = f"import sys, handjax.evaluate; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], cwd=repo).returncode == 0
