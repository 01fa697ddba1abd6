"""A V2V-PoseNet so small that a run takes seconds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from handjax.data.formats.voxel_h5_writer import write_voxel_h5

# Large steps: ten of them change every metric. The export takes longer than the training: only
# `finished` has one.
TINY = """
--config.model.widths=(2,4,4,4) --config.task.grid=16 --config.task.heatmap_grid=8
--config.batch_size=8 --config.eval_batch_size=8 --config.steps=10 --config.eval_every=5
--config.save_every=5 --config.log_every=1 --config.optimizer.name=rmsprop
--config.optimizer.lr=0.02 --config.optimizer.schedule=constant --config.task.decode=soft_argmax
--config.task.heatmap_weight=1.0 --config.task.joints_weight=1.0 --config.export=False
""".split()


@pytest.fixture(scope="package", autouse=True)
def compile_cache(shared_compile_cache):
    with shared_compile_cache():
        yield


def hands(number: int, seed: int = 0, size: int = 16):
    """Samples for `write_voxel_h5`: voxels at the positions of 14 joints."""
    rng = np.random.default_rng(seed)
    for n in range(number):
        joints = rng.uniform(-0.8, 0.8, (14, 3)).astype(np.float32)
        voxels = np.zeros((size,) * 3, bool)
        x, y, z = ((joints + 1) / 2 * (size - 1)).round().astype(int).T
        voxels[y, x, z] = True
        center = rng.uniform([-50, -50, 600], [50, 50, 800]).astype(np.float32)
        yield voxels, center[None] + joints * 150, center, np.full(3, 300, np.float32), f"frame_{n}"


@pytest.fixture(scope="session")
def voxels(tmp_path_factory) -> Path:
    """A file of 11 samples of 16³ voxels; 11 is divisible by no batch size."""
    path = tmp_path_factory.mktemp("data") / "hands.h5"
    write_voxel_h5(path, hands(11))
    return path


@pytest.fixture(scope="session")
def tiny(repo, voxels):
    """tiny(workdir, *more, source="h5") → arguments of handjax.train."""

    def arguments(workdir, *more, source="h5") -> list[str]:
        config = f"{repo / 'configs' / 'v2v.py'}:" + ("h5,quick" if source == "h5" else "quick")
        data = (
            [f"--config.data.path={voxels}"]
            if source == "h5"
            else ["--config.data.eval_size=11", "--config.data.image_size=32"]
        )
        return [
            "--config",
            config,
            *TINY,
            *data,
            "--config.devices=1",
            *more,
            "--workdir",
            str(workdir),
        ]

    return arguments


@pytest.fixture(scope="session")
def command(repo):
    """command("-m", "handjax.train", *arguments) → the finished process."""

    def run(*arguments) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=repo, capture_output=True, text=True
        )

    return run


@pytest.fixture(scope="package")
def finished(tmp_path_factory, tiny, command, compile_cache) -> Path:
    """The folder of an uninterrupted run of ten steps; copy it, never change it."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    done = command("-m", "handjax.train", *tiny(workdir, "--config.export=True"))
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir


@pytest.fixture(scope="session")
def snapshot():
    """snapshot(folder) → the content and modification time of every file."""

    def take(folder: Path) -> dict:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}

    return take
