"""Joints of one's own, from labels of CVAT's form to ONNX that runs without handjax."""

import base64
import importlib.metadata
import json
import re
import subprocess
import venv
from pathlib import Path

import jax
import numpy as np
import pytest

import handjax
from handjax import evaluate, export, predict, prepare, train
from handjax import run as runs
from handjax.data.formats.image import read_image, rgb_pixels
from handjax.data.sets.landmarks import fake
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.config import load
from handjax.pose.skeleton import SKELETONS

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

PICTURES, NOSE = 200, "#0b6e4f"
# PoseNet2D without refinements, in crops of 32 px.
SMALL = """
--config.model.refinements=0 --config.model.widths=(8,12,12,16,12) --config.model.kernel=3
--config.batch_size=16 --config.eval_batch_size=64 --config.devices=1
--config.crop.size=32 --config.optimizer.lr=0.005
""".split()
SHORT = "--config.steps={0} --config.eval_every={0} --config.save_every={0}"

# The reader of the exported file: NumPy, OpenCV and onnxruntime.
READER = """
import json, sys
import cv2, numpy as np, onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = json.loads(session.get_modelmeta().custom_metadata_map["joints"])
boxes = json.load(open(sys.argv[2]))
pixels = [cv2.imread(path)[..., ::-1] for path in boxes]
uv, confidence = session.run(
    ["uv", "confidence"], {"image": np.stack(pixels), "box": np.float32(list(boxes.values()))}
)
assert not {"jax", "handjax", "flax", "tensorflow"} & {m.split(".")[0] for m in sys.modules}
print(json.dumps([dict(zip(names, one)) for one in uv.tolist()]))
"""


def _elsewhere(folder: Path) -> Path:
    """Python in an environment with OpenCV, onnxruntime, what these need, and no more."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    for name in ("numpy", "opencv-python-headless", "onnxruntime", "flatbuffers", "protobuf"):
        for file in importlib.metadata.files(name):
            top = file.parts[0]
            if ".." not in file.parts and not (site / top).exists():
                root = Path(file.locate()).parents[len(file.parts) - 1]
                (site / top).symlink_to(root / top)
    python = folder / "bin" / "python"
    without = subprocess.run([python, "-c", "import jax"], capture_output=True, text=True)
    assert "No module named 'jax'" in without.stderr
    return python


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    """The folder of a run of the same network for hands of 21 joints: small random weights."""
    folder = tmp_path_factory.mktemp("hands")
    config = load("posenet2d:quick,dsnt", [flag.removeprefix("--") for flag in SMALL])
    made = runs.build(config, source=runs.no_source(SKELETONS["hand21"]))
    checkpoints = Checkpoints(folder / "checkpoints")
    rng = np.random.default_rng(0)
    state = jax.tree.map(
        lambda x: jax.device_put(rng.normal(0, 0.2, x.shape).astype(x.dtype), x.sharding),
        made.target,
    )
    checkpoints.save(state)
    checkpoints.close()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with raw/, 200 labelled pictures."""
    for package, extra in (("tensorflow", "data"), ("onnx", "export"), ("onnxruntime", "export")):
        reason = f"{package} is not installed; handjax[{extra}] has it"
        pytest.importorskip(package, reason=reason, exc_type=ImportError)
    root = tmp_path_factory.mktemp("toys")
    (root / "raw").mkdir()
    fake.write_labels(root / "raw", "labels", PICTURES, seed=0)
    return root


def test_labels_become_a_network_that_runs_elsewhere(folder, hands, tmp_path, capsys):
    # --- labels → set → run
    settings = {"colours": {"nose": NOSE}, "sigmas": dict.fromkeys(fake.JOINTS, 0.05)}
    (folder / "raw/landmarks.json").write_text(json.dumps(settings))
    prepare.main(
        ["landmarks", f"--manual_dir={folder / 'raw'}", f"--data_dir={folder}", "--workers=1"]
    )
    said = capsys.readouterr().out
    assert "mirrored pairs: left_top_front – right_top_front, " in said
    data = f"--config.data.path={folder}"
    # The pictures are as small as this, and an object is most of one.
    whole = ["--config.data.image_size=(96,128)", "--config.data.crop_boxes=0.0"]
    run = tmp_path / "run"
    config = ["--config", "posenet2d:own,quick,dsnt", "--workdir", str(run), data]
    init = [f"--config.init={hands}", "--config.augment.flip=0.5"]
    train.main([*config, *SMALL, *whole, *init, *SHORT.format(120).split()])
    said = capsys.readouterr().out
    left_out = said.split("at random, for another number of joints: ")[1].split("\n")[0]
    assert left_out == "params/conv5_2/bias, params/conv5_2/kernel"

    # --- evaluation in the user's names, without a word of hands
    evaluate.main(["--workdir", str(run)])
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    assert tuple(metrics["per_joint_px"]) == fake.JOINTS and metrics["joints"] == 11
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    errors = [line["eval_epe_px"] for line in steps if "eval_epe_px" in line]
    assert metrics["epe_px"] == pytest.approx(errors[-1], rel=1e-4)
    assert errors[-1] < 0.4 * errors[0] and errors[-1] < 6  # of 128 px
    page = (run / "evaluation/report.html").read_text()
    assert "left top front" in page and "all objects" in page and "all hands" not in page
    assert "Comparison with published results" not in page

    svgs = [base64.b64decode(one).decode() for one in re.findall('svg.xml;base64,([^"]+)', page)]
    assert sum(NOSE in svg for svg in svgs) >= 2  # bars of the joints, and frames
    assert 0.3 < metrics["oks"]["mean"] < 1 and "OKS" in page

    # --- prediction and export
    toys = handjax.load(run)
    assert toys.joints == fake.JOINTS
    labels = json.loads((folder / "raw/labels.json").read_text())["annotations"][:6]
    files = [folder / f"raw/images/labels/{i:05d}{('.png', '.jpg')[i % 2]}" for i in range(1, 7)]
    pictures = np.stack([rgb_pixels(read_image(file)[1]) for file in files])
    boxes = np.array([one["bbox"] for one in labels])
    found = toys(pictures, boxes)
    away = [np.reshape(one["keypoints"], (-1, 3))[:, :2] for one in labels] - found.uv
    assert np.median(np.linalg.norm(away, axis=-1)) < 5
    out = tmp_path / "joints"
    flags = [
        "--workdir",
        str(run),
        "--boxes",
        str(folder / "raw/labels.json"),
        "--output",
        str(out),
    ]
    predict.main(["images", *map(str, files), *flags])
    told = json.loads((out / "predictions.json").read_text())
    assert tuple(told["joints"]) == fake.JOINTS
    by_command = np.array([hand["hand_pts"] for hand in told["hands"]])[..., :2]
    near = np.abs(by_command - found.uv)  # it resizes a box rounded to whole px
    assert np.median(near) < 0.6 and near.max() < 5
    file = tmp_path / "toy.onnx"
    export.main([str(run), "--to", "onnx", "--output", str(file)])

    # --- in an environment that has neither handjax nor JAX
    given = {str(path): box.tolist() for path, box in zip(files, boxes, strict=True)}
    (tmp_path / "boxes.json").write_text(json.dumps(given))
    (tmp_path / "reader.py").write_text(READER)
    argv = [str(_elsewhere(tmp_path / "elsewhere")), "reader.py", str(file), "boxes.json"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    elsewhere = json.loads(done.stdout)
    assert all(tuple(one) == fake.JOINTS for one in elsewhere)
    uv = np.array([list(one.values()) for one in elsewhere])
    np.testing.assert_allclose(uv, found.uv, atol=0.02)
