"""benchmarks/convolutions.py: the convolutions of a network, and their figures."""

import json

import pytest

from benchmarks import convolutions


@pytest.mark.parametrize(("name", "count"), [("resnet", 53), ("v2v", 31)])
def test_every_convolution_is_found_once(name, count):
    """ResNet-50 has 49 and four at its shortcuts; V2V-PoseNet 31 that are not transposed."""
    found = convolutions.kinds(name, tiny=False)
    assert sum(found.values()) == count and len(found) < count


def test_figures_of_a_small_network(tmp_path, capsys):
    output = tmp_path / "found.json"
    argv = ["spherehand", "--tiny", "--batch", "1,2", "--gradients", "--json", str(output)]
    convolutions.main(argv)
    found = json.loads(output.read_text())
    rows = found["spherehand, 1"]
    assert rows and rows[0].keys() == {"kind", "times", "forward", "to input", "to kernel"}
    assert all(row["forward"]["ms"] > 0 < row["to kernel"]["xla"] for row in rows)
    assert len(found["spherehand, 2"]) == len(rows)
    said = capsys.readouterr().out
    assert f"| {rows[0]['kind']} | {rows[0]['times']} | " in said and "batch 2: ms" in said


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["v2"], "v2: expected one of v2v, cpm"),
        (["v2v", "--batch", "1,0"], "--batch 1,0: expected whole numbers from 1 on"),
    ],
)
def test_invalid_arguments(argv, words, capsys):
    with pytest.raises(SystemExit):
        convolutions.main(argv)
    assert words in capsys.readouterr().err
