"""The figures of benchmarks/hand_network.py."""

import json

import numpy as np
import pytest

from benchmarks import hand_network


def test_figures_of_hands_and_of_crops_without_them():
    truth = np.zeros((3, 21, 3), np.float32)
    joints = truth + np.float32([3, 0, 4])
    joints[1] *= 2
    visible = np.zeros((3, 21), bool)
    visible[1] = True
    std, logits = np.full((3, 21), 2, np.float32), np.array([1.0, -1.0, 5.0])
    right = np.array([True, True, False])
    rest = truth, visible, right, joints, std, logits
    found = hand_network._figures("all directions", *rest)
    assert found["hands"] == 2
    assert found["mean_mm"] == found["median_mm"] == pytest.approx(7.5)
    assert found["visible_mm"] == pytest.approx(10)
    assert found["error_mm"] == pytest.approx(np.sqrt((25 + 100) / 2 / 3))
    assert (found["deviation_mm"], found["said_to_be_there"]) == (2, 0.5)
    assert hand_network._figures("no hand", *rest) == {"said_to_be_there": pytest.approx(2 / 3)}


@pytest.mark.slow
@pytest.mark.optimized
def test_the_included_network_is_measured(tmp_path, capsys):
    hand_network.main(["--hands", "8", "--json", str(tmp_path / "out.json")])
    (rows,) = json.loads((tmp_path / "out.json").read_text()).values()
    assert set(hand_network._ROWS) < set(rows)
    assert rows["turned to point up"]["mean_mm"] < rows["all directions"]["mean_mm"] + 10
    assert rows["and alone, exact"]["mean_mm"] < 20
    assert rows["no hand"]["said_to_be_there"] < 0.3 < rows["and alone, exact"]["said_to_be_there"]
    assert "turned to point up" in capsys.readouterr().out


def test_no_hands_are_refused():
    with pytest.raises(SystemExit, match="--hands"):
        hand_network.main(["--hands", "0"])
