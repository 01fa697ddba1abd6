"""The hand network and its finder, trained for two steps on their own world, to the report."""

import json

import pytest

from handjax import train

pytestmark = pytest.mark.slow

TINY = """
--config.model.widths=(8,8,8) --config.model.blocks=(1,1,1) --config.batch_size=2
--config.eval_batch_size=4 --config.data.eval_size=8 --config.devices=1
--config.steps=2 --config.eval_every=2
""".split()


@pytest.mark.parametrize("name", ["handnet", "handfinder"])
def test_trained_to_the_report(name, tmp_path):
    train.main(["--config", name, "--workdir", str(tmp_path / "run"), *TINY])
    assert json.loads((tmp_path / "run" / "done.json").read_text())["step"] == 2
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["frames"] > 0
    assert "Best and worst frames" in (tmp_path / "run" / "report.html").read_text()
