"""Two real processes with two devices each give the results of one process with four."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import h5py
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from handjax import evaluate, train
from handjax.data import surface_check
from handjax.data.formats.voxel_h5_writer import write_voxel_h5
from tests.devices import xla_flags

pytestmark = pytest.mark.slow

FLAGS = """
--config.model.widths=(2,4,4,4) --config.task.grid=16 --config.task.heatmap_grid=8
--config.batch_size=8 --config.eval_batch_size=8 --config.steps=4 --config.eval_every=2
--config.save_every=2 --config.log_every=1 --config.optimizer.name=sgd --config.optimizer.lr=0.005
--config.optimizer.schedule=constant --config.task.decode=soft_argmax
--config.task.heatmap_weight=1.0 --config.task.joints_weight=1.0
""".split()


def write_hands(path: Path, samples: int) -> Path:
    rng = np.random.default_rng(0)
    center, cube = np.float32([0, 0, 700]), np.full(3, 300, np.float32)
    joints = (center[None, None] + rng.uniform(-100, 100, (samples, 14, 3))).astype(np.float32)
    grids = (rng.random((16,) * 3) < 0.05 for _ in range(samples))
    write_voxel_h5(
        path,
        ((grid, joints[n], center, cube, f"frame_{n}") for n, grid in enumerate(grids)),
    )
    return path


@pytest.fixture(scope="module")
def voxels(tmp_path_factory) -> Path:
    """A file of 11 samples: the last batch of an evaluation is padded."""
    return write_hands(tmp_path_factory.mktemp("data") / "hands.h5", 11)


@pytest.fixture(scope="module")
def flags(repo, voxels):
    """flags(workdir, *more) → arguments of handjax.train."""

    def make(workdir, *more):
        config = f"{repo / 'configs' / 'v2v.py'}:h5,quick"
        return [
            "--config",
            config,
            *FLAGS,
            f"--config.data.path={voxels}",
            *more,
            "--workdir",
            str(workdir),
        ]

    return make


@pytest.fixture(scope="module", autouse=True)
def compile_cache(shared_compile_cache):
    with shared_compile_cache():
        yield


@pytest.fixture(scope="module")
def launch(repo, compile_cache):
    """launch(*arguments) → the finished launcher of two processes with two devices each."""

    def run(*arguments):
        devices = {"XLA_FLAGS": xla_flags(2)}
        command = [sys.executable, "scripts/launch.py", "local", "-n", "2", "--", *arguments]
        return subprocess.run(
            command, cwd=repo, env=os.environ | devices, capture_output=True, text=True, timeout=300
        )

    return run


@pytest.fixture(scope="module")
def pair(tmp_path_factory, flags, launch) -> Path:
    workdir = tmp_path_factory.mktemp("pair") / "run"
    done = launch(*flags(workdir))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[0] start at step 0 of 4 on 4 device(s)" in done.stdout
    assert "[1] start" not in done.stdout and "[1] step" not in done.stdout  # only process 0 prints
    return workdir


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def state(workdir: Path, step: int) -> dict:
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with ocp.StandardCheckpointer() as checkpointer:
        folder = workdir / "checkpoints" / str(step) / "default"
        shapes = checkpointer.metadata(folder).item_metadata.tree
        target = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=here), shapes
        )
        return jax.device_get(checkpointer.restore(folder, target))


def test_two_processes_train_like_one(pair, flags, tmp_path):
    train.main(flags(tmp_path / "one", "--config.devices=4"))
    ours, alone = lines(pair), lines(tmp_path / "one")
    assert (
        [line["step"] for line in ours] == [0, 1, 2, 2, 3, 4, 4] == [line["step"] for line in alone]
    )
    for a, b in zip(ours, alone, strict=True):
        assert set(a) == set(b)
        for name in a:
            assert a[name] == pytest.approx(b[name], abs=1e-5, rel=1e-5), (a["step"], name)
    assert ours[1]["loss"] != ours[-2]["loss"]
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=0, atol=1e-5),
        state(pair, 4),
        state(tmp_path / "one", 4),
    )
    with np.load(pair / "predictions.npz") as a, np.load(tmp_path / "one" / "predictions.npz") as b:
        for name in a:
            if a[name].dtype.kind == "f":
                np.testing.assert_allclose(a[name], b[name], atol=1e-2)
            else:
                np.testing.assert_array_equal(a[name], b[name])


def test_one_process_evaluates_the_run_of_two(pair, tmp_path):
    evaluate.main(["--workdir", str(pair), "--output", str(tmp_path), "--config.devices=1"])
    ours, theirs = (
        json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, pair)
    )
    assert ours["mpjpe_mm"] == pytest.approx(theirs["mpjpe_mm"], abs=1e-3) and ours["frames"] == 11


def test_one_process_resumes_the_run_of_two(pair, flags, tmp_path):
    workdir = shutil.copytree(pair, tmp_path / "run")
    train.main(flags(workdir, "--config.devices=4", "--config.steps=6"))
    assert [line["step"] for line in lines(workdir)] == [0, 1, 2, 2, 3, 4, 4, 5, 6, 6]
    assert lines(workdir)[:7] == lines(pair)


def test_an_error_of_both_is_shown_for_each(flags, launch, tmp_path):
    done = launch(*flags(tmp_path / "run", "--config.batch_size=6"))
    assert done.returncode == 2
    for rank in (0, 1):
        assert (
            f"[{rank}] error: config.batch_size=6 is not divisible by 4 devices; use 4 or 8"
            in done.stdout
        )
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()


def test_an_error_of_one_ends_both(flags, launch, voxels, tmp_path):
    """In a row that only the second process reads."""
    bad = write_hands(tmp_path / "bad.h5", 16)
    assert 6 not in surface_check.spread(16)  # the grids that both read when they open the file
    with h5py.File(bad, "r+") as file:
        del file["real_voxels/6"]  # of rows 0 to 7, process 1 evaluates 4 to 7
        file["real_voxels/6"] = np.asarray([np.void(b"hello")])
    done = launch(
        *flags(tmp_path / "run", f"--config.data.path={voxels}", f"--config.data.val_path={bad}")
    )
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1 and errors[0].startswith(
        f"[1] error: {bad}: real_voxels/6 is not a readable zip archive"
    )
    assert "process 1 ended with 2; the others were stopped" in done.stderr
    # The first process is stopped and does not wait until it fails as well.
    assert "Traceback" not in done.stdout
