"""A run's parts without training: checkpoints by name, ensembles, configs on disk."""

import numpy as np
import pytest

from handjax import run
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.pose.skeleton import SKELETONS


def test_ensembles():
    rng = np.random.default_rng(0)
    runs = [
        {
            "joints_xyz": rng.normal(size=(4, 3, 3)),
            "confidence": rng.random((4, 3)),
            "index": np.arange(4),
        }
        for _ in range(3)
    ]
    assert run.combine(runs[:1], "mean") is runs[0]
    mean, best = run.combine(runs, "mean"), run.combine(runs, "max")
    np.testing.assert_allclose(mean["joints_xyz"], sum(rows["joints_xyz"] for rows in runs) / 3)
    for frame in range(4):
        for joint in range(3):
            surest = max(runs, key=lambda rows: rows["confidence"][frame, joint])
            np.testing.assert_array_equal(
                best["joints_xyz"][frame, joint], surest["joints_xyz"][frame, joint]
            )
            assert best["confidence"][frame, joint] == surest["confidence"][frame, joint]
    np.testing.assert_array_equal(best["index"], np.arange(4))


class Saved(Checkpoints):
    def __init__(self, folder, steps, best):
        self.folder, self.steps, self.best = folder, lambda: steps, lambda: best


def test_checkpoints_are_chosen():
    saved = Saved("f", [5, 10, 15], 10)
    assert run.choose_steps(saved, "last") == [15]
    assert run.choose_steps(saved, "best") == [10]
    assert run.choose_steps(saved, "all") == [5, 10, 15]
    assert run.choose_steps(saved, "5,15") == [5, 15]
    for which, words in (
        ("7", "there is none of step 7; there are 5, 10, 15"),
        ("newest", "expected last, best, all"),
    ):
        with pytest.raises(ValueError, match=words):
            run.choose_steps(saved, which)
    with pytest.raises(ValueError, match="use --checkpoint last"):
        run.choose_steps(Saved("f", [5], None), "best")
    with pytest.raises(FileNotFoundError, match="f: no checkpoint there"):
        run.choose_steps(Saved("f", [], None), "last")


def test_a_run_without_samples_of_its_own(repo):
    config = configs.load(f"{repo}/configs/posenet2d.py:quick", ["config.eval_batch_size=7"])
    built = run.build(config, train=False, source=run.no_source(SKELETONS["hand21"]))
    assert built.eval_batch_size == 8  # eight devices
    assert built.target.params and built.source.skeleton.name == "hand21"
    with pytest.raises(ValueError, match="no samples of its own"):
        built.source.eval_rows(np.arange(2))
    with pytest.raises(ValueError, match="not on disk"):
        next(built.restore("last"))
