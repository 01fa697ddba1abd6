"""A wheel, installed where there is no clone, trains a config that it brings along.

The wheel is built without its kernels, which the other tests build and run. Its environment borrows
the packages that handjax depends on.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.e2e.conftest import TINY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory, repo) -> Path:
    """The folder of programs of an environment with the wheel."""
    pytest.importorskip("scikit_build_core", reason="the extra `test-all` is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-C", "wheel.cmake=false"]
    done = subprocess.run([*build, "-w", folder, repo], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")

    venv.create(folder / "env", with_pip=False, symlinks=True)
    programs = folder / "env" / "bin"
    install = [*pip, "--python", programs / "python", "install", "-q", "--no-deps", "--no-index"]
    done = subprocess.run([*install, wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    # A folder named in a .pth file is searched, but its own .pth files are not read: handjax is
    # the wheel's, although the borrowed packages may include an editable install.
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return programs


def run(installed: Path, cwd: Path, *argv: str) -> str:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [installed / "handjax", *argv], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_trains_by_the_name_of_a_config(installed, tmp_path):
    # The programs of `tiny`, which other tests have compiled.
    few = ("--config.steps=2", "--config.data.eval_size=11", "--config.data.image_size=32")
    few += ("--config.devices=1",)
    out = run(installed, tmp_path, "train", "--config", "v2v:quick", "--workdir=a", *TINY, *few)
    assert "v2v:quick in a, 2 steps" in out and "start at step 0 of 2" in out
    done = json.loads((tmp_path / "a" / "done.json").read_text())
    assert done["step"] == 2 and (tmp_path / "a" / "report.html").is_file()


def test_a_wheel_lists_its_own_models_and_configs(installed, tmp_path, repo):
    out = run(installed, tmp_path, "models")
    home = installed.parent / "lib"
    names = sorted({file.stem for file in (repo / "configs").glob("*.py")} - {"common"})
    assert f"(in {home}" in out and f"  {', '.join(names)}\n" in out
    assert "spherehand  sphere hand" in out
