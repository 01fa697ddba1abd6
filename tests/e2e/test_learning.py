"""Training works: the quick variant, shortened, on unseen synthetic hands."""

import json

import pytest

from handjax import train

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_the_error_on_unseen_hands_falls(repo, tmp_path):
    steps = [
        "--config.steps=110",
        "--config.eval_every=110",
        "--config.save_every=110",
        "--config.data.eval_size=32",
    ]
    steps += ["--config.data.image_size=48", "--config.optimizer.warmup=10"]
    train.main(
        [
            "--config",
            f"{repo / 'configs' / 'v2v.py'}:quick",
            "--workdir",
            str(tmp_path),
            "--config.devices=1",
            *steps,
        ]
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    before, after = (line["eval_mpjpe_mm"] for line in lines if "eval_mpjpe_mm" in line)
    assert after < 0.75 * before
    assert json.loads((tmp_path / "metrics.json").read_text())["mpjpe_mm"] == pytest.approx(after)
