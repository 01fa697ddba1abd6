"""The table of scripts/switches.py."""

import json
import runpy

import pytest


@pytest.fixture(scope="module")
def switches(repo):
    return runpy.run_path(str(repo / "scripts" / "switches.py"))


def test_the_table_compares_the_same_seeds(switches):
    found = {
        "net/none/0": {"none": 20.0, "average": 19.0},
        "net/none/1": {"none": 22.0, "average": 22.0},
        "net/offsets/1": {"none": 15.0},
        "net/turns/0": {"none": 21.0, "average": 18.0},
    }
    rows = [row.strip("| ").split(" | ") for row in switches["_table"](found).splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["net", "none", "21.00", "± 1.41"],
        ["net", "average", "20.50", "± 2.12", "-0.50", "-1.00 to +0.00"],
        ["net", "offsets", "15.00", "", "-7.00", "-7.00 to -7.00"],
        ["net", "turns", "21.00", "", "+1.00", "+1.00 to +1.00"],
        ["net", "turns; average", "18.00", "", "-2.00", "-2.00 to -2.00"],
    ]


def test_results_of_another_budget_are_kept(switches, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"sizes": [400, 128], "mm": {}}))
    with pytest.raises(ValueError, match="results.json: of --steps and --hands .400, 128.; use an"):
        switches["main"](["--out", str(tmp_path), "--steps", "3"])
    assert json.loads(path.read_text())["sizes"] == [400, 128]
    with pytest.raises(ValueError, match="--steps, --seeds and --hands: expected 1 or more"):
        switches["main"](["--out", str(tmp_path), "--seeds", "0"])
