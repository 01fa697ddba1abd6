"""Disks that are really full, small ones in memory: one line, and nothing half written is taken for
whole. Mounting one needs root; what needs none is in tests/engine."""

import os
import subprocess
import sys

import numpy as np
import pytest

from handjax.data.formats.predictions_npz import Predictions3d
from handjax.data.sets.keypoint_list import fake
from handjax.engine.checkpoint import Checkpoints
from handjax.reports import page
from handjax.reports.results import write_results
from tests.devices import xla_flags

pytestmark = pytest.mark.slow
FULL = "No space left on device; free some space and run the command again"


class Disk:
    """A file system of some kB."""

    def __init__(self, folder, kilobytes):
        self.folder = folder
        self._mount(f"size={kilobytes}k", "-t", "tmpfs", "none")

    def _mount(self, options, *what):
        command = ["mount", "-o", options, *what, str(self.folder)]
        return subprocess.run(command, check=True, capture_output=True, text=True)

    def grow(self, kilobytes):
        self._mount(f"remount,size={kilobytes}k")


@pytest.fixture
def disk(tmp_path):
    """disk(kilobytes) → a new Disk."""
    mounted = []

    def make(kilobytes):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        try:
            mounted.append(Disk(folder, kilobytes))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no small disk can be mounted, which needs root: {error}")
        return mounted[-1]

    yield make
    for one in mounted:
        subprocess.run(["umount", "-l", str(one.folder)], check=True)


def one_line(done, *words):
    """The command ended with 2 and one line, which has these words."""
    assert done.returncode == 2, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "Traceback" not in done.stderr, done.stderr
    for word in (FULL, *words):
        assert word in said[0]


def report(folder):
    """metrics.json, predictions.npz and report.html, of several blocks each."""
    joints = np.random.default_rng(0).normal(size=(200, 21, 3)).astype(np.float32)
    predictions = Predictions3d(tuple(f"{n}" for n in range(200)), joints, joints + 1)
    sections = [page.section("section", "words " * 4000)]
    metrics = {f"joint_{n}_mm": float(n) for n in range(1000)}
    write_results(folder, metrics, sections, "title", "subtitle", predictions)


def test_while_a_report_is_written(disk, tmp_path):
    """At whatever file the disk is full: those that are there are whole."""
    report(tmp_path / "whole")
    names, sizes = ("metrics.json", "predictions.npz", "report.html"), [0]
    for name in names:
        blocks = -(-(tmp_path / "whole" / name).stat().st_size // 4096)  # as tmpfs counts
        sizes.append(sizes[-1] + 4 * blocks)
    for number, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False)):
        small = disk((before + after) // 2 // 4 * 4)
        with pytest.raises(OSError, match=FULL) as caught:
            report(small.folder)
        assert str(caught.value).startswith(f"{small.folder / names[number]}: ")
        assert {path.name for path in small.folder.iterdir()} == {*names[:number]}
        small.grow(64_000)
        report(small.folder)
        for name in names[:2]:
            whole = (tmp_path / "whole" / name).stat().st_size
            assert (small.folder / name).stat().st_size == whole
        assert (small.folder / "report.html").read_text().rstrip().endswith("</html>")


@pytest.mark.tensorflow
def test_while_a_set_is_prepared(disk, command, tmp_path):
    pytest.importorskip("tensorflow", reason="the extra handjax[data] has it")
    fake.write(tmp_path / "raw", 40, 0)
    flags = ("-m", "handjax.prepare", "keypoint_list", "--workers=1", "--shard_mb=0.5")
    flags += ("--manual_dir", tmp_path / "raw", "--data_dir")
    small = disk(400)
    one_line(command(*flags, small.folder), str(small.folder))
    assert not (small.folder / "keypoint_list").exists()  # where a whole set is
    left = {path.name for path in small.folder.rglob("*") if path.is_file()}
    assert not {name for name in left if name.endswith(".part") or name == "dataset_info.json"}
    small.grow(64_000)
    done = command(*flags, small.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming in" in done.stdout
    done = command(*flags, tmp_path / "undisturbed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert records(small.folder) == records(tmp_path / "undisturbed")


def records(folder):
    """Name of each shard → its size: protobuf's maps have no order, so bytes may differ."""
    found = {path.name: path.stat().st_size for path in folder.rglob("*.tfrecord-*")}
    assert found
    return found


def test_while_a_checkpoint_is_saved(disk, repo, tmp_path):
    small = disk(360)
    command = [sys.executable, "-m", "tests.multiprocess.tiny_train", "--config"]
    command += ["tests/multiprocess/tiny_config.py", "--config.keep=100", "--workdir"]
    options = dict(cwd=repo, capture_output=True, text=True, timeout=300)
    options["env"] = os.environ | {"XLA_FLAGS": xla_flags(1)}
    done = subprocess.run([*command, str(small.folder / "run")], **options)
    one_line(done, "cannot be written", "from which it resumes")
    checkpoints = Checkpoints(small.folder / "run" / "checkpoints", read_only=True)
    newest = checkpoints.steps()[-1]
    checkpoints.tree(newest)
    checkpoints.close()
    small.grow(64_000)
    done = subprocess.run([*command, str(small.folder / "run")], **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"resume at step {newest} of 40" in done.stdout
