"""A part of the damaged and absurd inputs of scripts/fuzz.py; all of them: run that script."""

import importlib.util
import sys

import pytest


@pytest.fixture(scope="module")
def script(repo):
    spec = importlib.util.spec_from_file_location("fuzz_script", repo / "scripts" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_script"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz_script"]


AREAS = ("pictures", "depth", "predictions", "voxels")


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.filterwarnings("ignore")
def test_one_line_that_names_the_file(script, area):
    with script.quiet():
        found = list(script.fuzz([area], seed=3, every=11))
    assert len(found) >= 3
    wrong = [f"{what}: {case.name}: {text}" for case, what, text in found if what in script.BAD]
    assert not wrong
    assert any(what == "refused by name" for _, what, _ in found)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("area", ["labels", "meshes", "sets", "runs", "prepared"])
@pytest.mark.filterwarnings("ignore")
def test_sets_and_runs(script, area):
    with script.quiet():
        found = list(script.fuzz([area], seed=5, every=13))
    wrong = [f"{what}: {case.name}: {text}" for case, what, text in found if what in script.BAD]
    assert found and not wrong


def test_what_goes_wrong_is_counted(script, tmp_path):
    """The judge itself: each wrong outcome is told from the right one."""

    def fails(error):
        def run(folder):
            raise error

        return run

    def runs_code(folder):
        (folder / "code-run").mkdir()
        raise ValueError("a.txt: refused")

    cases = {
        "refused by name": (fails(ValueError("a.txt: cut short")), False),
        "file not named": (fails(ValueError("cut short")), False),
        "several lines": (fails(ValueError("a.txt\ncut")), False),
        "traceback": (fails(TypeError("a.txt")), False),
        "code run": (runs_code, False),
        "impossible, but read": (lambda folder: 1.0, True),
        "not finite": (lambda folder: [float("nan")], False),
        "read, other values": (lambda folder: 2.0, False),
        "read as if sound": (lambda folder: 1.0, False),
    }
    for expected, (run, impossible) in cases.items():
        case = script.Case("x", "y", run, ("a.txt",), 1.0, impossible)
        assert script.outcome(case)[0] == expected
