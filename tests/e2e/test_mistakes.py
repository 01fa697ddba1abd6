"""User errors in training: one line with the problem and the fix, and nothing is overwritten."""

import io
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from handjax import train
from handjax.data.formats.voxel_h5 import VoxelH5

# An error leaves threads and files of the run open until the process ends.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
]


def refused(argv, *words, kind=ValueError):
    """train.main raises one line with these words."""
    with pytest.raises(kind) as caught:
        train.main(argv)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message
    return message


@pytest.fixture
def broken(tmp_path, voxels):
    """broken(change, name="broken.h5") → a copy of the good file after `change(file)`."""

    def make(change, name="broken.h5"):
        path = tmp_path / name
        shutil.copy(voxels, path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


def replace(key, value):
    def change(file):
        del file[key]
        if value is not None:
            file[key] = value

    return change


def edit(key, index, value):
    def change(file):
        file[key][index] = value

    return change


def blob(content: bytes):
    return np.asarray([np.void(content)])


def bomb() -> bytes:
    """The header of a grid and 200 MB of zeros, compressed to 200 kB."""
    npy, out = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        npy, dict(descr="|b1", fortran_order=False, shape=(584,) * 3)
    )
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("arr_0.npy", "w") as member,
    ):
        member.write(npy.getvalue())
        for _ in range(584):
            member.write(bytes(584 * 584))
    return out.getvalue()


FILES = {
    "missing key": (replace("labels", None), "no key 'labels'", "labels_key"),
    "wrong shape": (
        replace("cube", np.ones((11, 2), np.float32)),
        "cube has shape [11, 2]; expected [11, 3]",
    ),
    "NaN labels": (edit("labels", (3, 2, 1), np.nan), "labels of row 3 has NaN or Inf"),
    "labels outside": (
        edit("labels", (4, 0, 0), 1.5),
        "labels of row 4 reach 1.5, outside the cube",
        "max_label",
    ),
    "no archive": (replace("real_voxels/0", blob(b"hello")), "real_voxels/0 is not a readable zip"),
    "zip bomb": (replace("real_voxels/0", blob(bomb())), "real_voxels/0", "bomb"),
}


@pytest.mark.parametrize("case", FILES)
def test_broken_files(case, broken, tiny, tmp_path):
    change, *words = FILES[case]
    path = broken(change)
    content = path.read_bytes()
    refused(tiny(tmp_path / "run", f"--config.data.path={path}"), path, *words)
    assert not (tmp_path / "run").exists() and path.read_bytes() == content


def test_missing_files_and_files_that_are_not_hdf5(tiny, tmp_path):
    path = tmp_path / "some.h5"
    refused(
        tiny(tmp_path / "run", f"--config.data.path={path}"),
        f"{path}: no such file",
        kind=FileNotFoundError,
    )
    path.write_text("not HDF5")
    refused(tiny(tmp_path / "run", f"--config.data.path={path}"), f"{path}: not an HDF5 file")
    refused(
        tiny(tmp_path / "run", "--config.data.path="),
        "config.data.path is empty",
        "--config.data.path=FILE",
    )
    assert not (tmp_path / "run").exists()


SETTINGS = {
    "--config.step=5": ("--config.step: no such config key", "did you mean config.steps"),
    "--config.optimizer.learning_rate=1": ("no such config key", "config.optimizer."),
    "--config.steps=many": ("--config.steps=many: expected int",),
    "--config.optimizer.lr=fast": ("expected float",),
    "--config.steps": ("--config.steps has no value",),
    "--config.steps=0": ("config.steps=0: expected 1 or more",),
    "--config.save_every=0": ("config.save_every=0: expected 1 or more",),
    "--config.accumulate=0": ("config.accumulate=0: expected 1 or more",),
    "--config.seed=-1": ("config.seed=-1: expected 0 or more",),
    "--config.devices=8 --config.batch_size=12": (
        "config.batch_size=12 is not divisible by 8 devices; use 8 or 16",
    ),
    "--config.devices=8 --config.eval_batch_size=6": (
        "config.eval_batch_size=6 is not divisible by 8 devices; use 8",
    ),
    "--config.devices=8 --config.accumulate=2": (
        "batch_size=8 is not divisible by 8 devices × 2 accumulation steps; use 16",
    ),
    "--config.devices=9": ("config.devices=9, but the number of devices is 8; use 0 for all",),
    "--config.devices=-1": ("config.devices=-1",),
    "--config.data.name=h5": (
        "config.data.name=h5 is unknown: use hand_world or ",
        " or voxel_h5 or ",
    ),
    "--config.task.name=pose": ("config.task.name=pose is unknown: use v2v",),
    "--config.task.rule=paper": (
        "voxels from a file are in hpoes' order",
        "use config.task.rule=hpoes",
    ),
    "--config.task.decode=max": (
        "config.task.decode=max: expected argmax or centroid or soft_argmax",
    ),
    "--config.task.grid=24 --config.task.heatmap_grid=12": (
        "config.task.grid=24 is finer than the 16³ voxels",
    ),
    "--config.optimizer.name=lion": ("config.optimizer.name 'lion' is unknown",),
    "--config.optimizer.schedule=linear": ("config.optimizer.schedule 'linear' is unknown",),
    "--config.data.joints=hand21": (
        "config.data.joints=hand21 does not fit labels of 14 joints; use nyu14",
    ),
    "--conf x.py": ("unrecognized arguments: --conf x.py", "--help"),
    "--process_id=1": ("--coordinator, --num_processes and --process_id belong together",),
}


@pytest.mark.parametrize("flags", SETTINGS)
def test_invalid_settings(flags, tiny, tmp_path):
    refused(tiny(tmp_path / "run", *flags.split(" ")), *SETTINGS[flags])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.eval_size=0", "config.data.eval_size=0: expected 1 or more"),
        ("data.joints=nyu36", "config.data.joints=nyu36 is unknown: use hand21 or nyu14"),
        ("task.rule=moon", "voxel rule 'moon' is unknown: use one of paper, hpoes"),
        ("data.center=mean", "config.data.center=mean is unknown: use depth or label"),
    ],
)
def test_invalid_settings_of_synthetic_hands(setting, words, tiny, tmp_path):
    refused(tiny(tmp_path / "run", f"--config.{setting}", source="world"), words)
    assert not (tmp_path / "run").exists()


def test_unknown_configs_and_variants(tiny, repo, tmp_path):
    argv = tiny(tmp_path / "run")
    argv[1] = "configs/none.py:quick"
    refused(argv, "config configs/none.py: no such file", kind=FileNotFoundError)
    argv[1] = f"{repo / 'configs' / 'v2v.py'}:fast"
    refused(argv, "unknown variant fast: use quick, ", "h5, ")
    refused(argv[2:], "--config")
    assert not (tmp_path / "run").exists()


def test_the_command_prints_one_line(command, tiny, tmp_path):
    done = command(
        "-m",
        "handjax.train",
        *tiny(tmp_path / "run", "--config.devices=8", "--config.batch_size=12"),
    )
    assert done.returncode == 2 and len(done.stdout.splitlines()) == 1  # what is trained, and where
    assert done.stderr == "error: config.batch_size=12 is not divisible by 8 devices; use 8 or 16\n"
    assert not (tmp_path / "run").exists()


CLAIMED = {
    "--config.optimizer.lr=0.5": (
        "holds a run of another config (optimizer.lr: 0.02 → 0.5)",
        "--config.init=",
        "another --workdir",
    ),
    "--config.batch_size=16": ("batch_size: 8 → 16", "--config.init=", "another --workdir"),
    "--config.model.widths=(2,4,4,8) --config.seed=3": (
        "model.widths: (2, 4, 4, 4) → (2, 4, 4, 8); seed: 0 → 3",
    ),
    "--config.steps=5": ("is at step 10, beyond config.steps=5",),
}


@pytest.mark.parametrize("flags", CLAIMED)
def test_a_workdir_of_another_run_is_not_touched(flags, finished, tiny, snapshot):
    before = snapshot(finished)
    refused(tiny(finished, *flags.split(" ")), finished, *CLAIMED[flags])
    assert snapshot(finished) == before


def test_invalid_workdirs(finished, tiny, tmp_path, snapshot):
    (tmp_path / "file").write_text("mine")
    refused(tiny(tmp_path / "file"), f"--workdir {tmp_path / 'file'}: a file, not a folder")
    shutil.copytree(finished / "checkpoints", tmp_path / "bare" / "checkpoints")
    refused(tiny(tmp_path / "bare"), "bare holds checkpoints but no config.json")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"steps": ')
    before = snapshot(tmp_path)
    refused(tiny(tmp_path / "odd"), "odd/config.json: not a config")
    assert snapshot(tmp_path) == before


def test_the_end_of_a_cosine_cannot_be_moved(finished, tiny, tmp_path, snapshot):
    shutil.copytree(finished / "checkpoints", tmp_path / "run" / "checkpoints")
    config = json.loads((finished / "config.json").read_text())
    config["optimizer"]["schedule"] = "cosine"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    before = snapshot(tmp_path)
    more = ("--config.optimizer.schedule=cosine", "--config.steps=20")
    refused(tiny(tmp_path / "run", *more), "10 steps whose cosine schedule ends there")
    assert snapshot(tmp_path) == before


def test_unreadable_checkpoints_are_not_touched(finished, tiny, tmp_path, snapshot):
    workdir = shutil.copytree(finished, tmp_path / "run")
    for file in (workdir / "checkpoints").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:9])
    before = snapshot(workdir)
    refused(
        tiny(workdir),
        workdir / "checkpoints" / "10",
        "cannot be read",
        "nor any of the 1 before it",
        "another --workdir",
    )
    assert snapshot(workdir) == before


def test_a_bad_row_is_named_when_it_is_read(broken, voxels, tiny, tmp_path, monkeypatch):
    """By the thread that reads ahead of the training, and by the evaluation."""
    # Of so small a file, opening reads every row.
    monkeypatch.setattr(VoxelH5, "_check_surface", lambda self, offsets: None)
    path = broken(replace("real_voxels/6", blob(b"hello")))
    words = f"{path}: real_voxels/6 is not a readable zip archive"
    refused(
        tiny(tmp_path / "a", f"--config.data.path={path}", f"--config.data.val_path={voxels}"),
        words,
    )
    assert (tmp_path / "a" / "metrics.jsonl").read_text().startswith('{"step": 0, "eval_loss"')
    refused(
        tiny(tmp_path / "b", f"--config.data.path={voxels}", f"--config.data.val_path={path}"),
        words,
    )
    for name in "ab":
        assert (
            not (tmp_path / name / "checkpoints").exists()
            and not (tmp_path / name / "done.json").exists()
        )


def test_a_non_finite_step_stops_the_run(tiny, tmp_path):
    workdir = tmp_path / "run"
    message = refused(
        tiny(workdir, "--config.optimizer.lr=1e30", "--config.save_every=1"), "is not finite ("
    )
    step = int(message.split()[1])
    assert (
        2 <= step < 10
        and "loss " in message
        and f"the newest checkpoint is {workdir / 'checkpoints' / str(step - 1)}" in message
    )
    assert (workdir / "checkpoints" / str(step - 1)).is_dir()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == step - 1 and all(
        np.isfinite(list(line.values())).all() for line in lines
    )
    assert not (workdir / "done.json").exists()
