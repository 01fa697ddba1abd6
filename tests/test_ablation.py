"""The table of scripts/ablation.py."""

import json
import runpy
from pathlib import Path

import pytest

from handjax.engine import config as configs


@pytest.fixture(scope="module")
def ablation(repo):
    return runpy.run_path(str(repo / "scripts" / "ablation.py"))


def test_a_row_per_part_beside_everything(ablation):
    synthetic = ablation["SYNTHETIC"]
    found = {
        "everything": {synthetic: 30.0, "data/sr305": 25.0},
        "without things": {synthetic: 33.04, "data/sr305": 24.5},
        "twice the hands": {synthetic: 28.0},
    }
    rows = [row.strip("| ").split(" | ") for row in ablation["table"](found).splitlines()]
    assert rows[0] == ["trained", "held-out synthetic hands, mm", "sr305, mm"]
    assert [[cell.strip() for cell in row] for row in rows[2:]] == [
        ["everything", "30.0", "25.0"],
        ["without things", "33.0 (+3.0)", "24.5 (-0.5)"],
        ["twice the hands", "28.0 (-2.0)"],
    ]


def test_every_part_is_a_config(ablation):
    whole = configs.load("handnet", ablation["SMALL"]).to_json()
    for name, options in ablation["PARTS"].items():
        own = [one for one in options if not one.startswith("steps=")]
        changed = configs.load("handnet", [*ablation["SMALL"], *own]).to_json()
        assert (changed != whole) == bool(own), name


def test_results_of_another_budget_are_kept(ablation, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"sizes": [400, 128], "mm": {}}))
    with pytest.raises(ValueError, match="results.json: of --steps and --hands .400, 128.; use an"):
        ablation["main"](["--out", str(tmp_path), "--steps", "3"])
    assert json.loads(path.read_text())["sizes"] == [400, 128]
    with pytest.raises(FileNotFoundError, match="--real nowhere: no such folder"):
        ablation["main"](["--out", str(tmp_path), "--real", "nowhere"])


def test_errors_are_read_from_what_the_commands_write(ablation, tmp_path, monkeypatch):
    def run(*command):
        out = Path(command[command.index("--output") + 1])
        out.mkdir(parents=True)
        found = {"mpjpe_mm": 31.5}
        if command[0] == "bench":
            stages = {"network": {"mean_mm": 24.5}}
            found = {"options": {}, "sets": {"hands": {"stages": stages}}}
        (out / "metrics.json").write_text(json.dumps(found))

    monkeypatch.setitem(ablation["_real"].__globals__, "_run", run)
    assert ablation["_held_out"](tmp_path, 8) == 31.5
    assert ablation["_real"](tmp_path, tmp_path / "hands") == 24.5
