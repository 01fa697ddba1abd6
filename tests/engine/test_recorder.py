"""Terms of a step: written, reported, refused."""

from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from handjax.engine import checkpoint, recorder, writer
from handjax.engine.interruption import NOTHING, Interruption
from handjax.engine.recorder import Recorder, Spikes

NAN, INF = float("nan"), float("inf")
BAD = {"loss": NAN, "heatmap": INF, "joints": 1.0, "grad_norm": 2.0, "finite": False}


class Checkpoints(checkpoint.Checkpoints):
    """What a Recorder needs of checkpoints."""

    def __init__(self, steps=()):
        self.folder, self.steps, self.wait = Path("c"), lambda: steps, lambda: None


class Writer(writer.Writer):
    """Keeps what it is given."""

    def __init__(self):
        self.steps, self.said = [], []
        self.log = self.said.append

    def step(self, step, terms, record):
        self.steps.append((step, terms, record))


@pytest.fixture
def make():
    """make(steps with a checkpoint, skip_nonfinite) → a Recorder."""

    def recorder(steps=(), skip=0):
        config = ConfigDict(dict(steps=10_000, log_every=10, skip_nonfinite=skip))
        parts = Writer(), Checkpoints(steps), Interruption(), lambda step, state: "x of sample 3"
        return Recorder(config, *parts)

    return recorder


@pytest.mark.parametrize(
    ("steps", "where"),
    [([5, 10], "the newest checkpoint is c/10"), ([], "there is no checkpoint yet")],
)
def test_non_finite_terms_are_named(make, state, steps, where):
    with pytest.raises(ValueError) as caught:
        make(steps).record((12, BAD), state)
    assert str(caught.value) == (
        "step 12 is not finite (heatmap inf, loss nan): x of sample 3; its update was withheld; "
        + where
    )


def test_some_non_finite_steps_may_be_skipped(make, state):
    record = make(skip=2)
    for step in (3, 4):
        assert record.record((step, BAD), state) == NOTHING
    assert record.writer.said[1].endswith("withheld; skipped 2 of at most 2 such steps")
    assert record.writer.steps == []
    with pytest.raises(ValueError, match="step 5 is not finite"):
        record.record((5, BAD), state)


@pytest.mark.parametrize(("step", "due"), [(7, False), (10, True), (10_000, True)])
def test_terms_are_written_every_few_steps_and_at_the_end(make, state, step, due):
    record = make()
    assert record.record(None, state) == NOTHING
    assert record.record((step, {"loss": 1, "finite": True}), state) == NOTHING
    assert record.writer.steps == [(step, {"loss": 1.0, "finite": 1.0}, due)]


def test_spikes_are_reported_once():
    spikes = Spikes()
    said = [spikes.see(step, 1.0 + 0.1 * (step % 3)) for step in range(30)]
    said += [spikes.see(30, 9.0), spikes.see(31, 50.0), spikes.see(32, 60.0)]
    assert [step for step, line in enumerate(said) if line] == [31]
    assert said[31].startswith("step 31: loss 50 is 45 times the median of the 31 before it, 1.1")
    assert Spikes().see(0, 1e9) == ""


@pytest.fixture
def state():
    """A state with finite weights."""
    from handjax.engine.step import TrainState

    return TrainState(np.int32(0), {"w": np.ones(3, np.float32)}, {}, ())


def test_what_is_not_finite_is_found(tiny_source, state):
    config = ConfigDict(dict(batch_size=4, seed=0))
    source = tiny_source(8)
    assert "overflows" in recorder.explain(source, config, 2, state)
    bad = state.replace(params={"w": np.float32([1, NAN, 1])})
    assert "the weights: params/w is not finite" in recorder.explain(source, config, 2, bad)
    plain = source.train_rows

    def rows(indices):
        found = plain(indices)
        found["joints_xyz"][2] = NAN
        return found

    object.__setattr__(source, "train_rows", rows)
    number = plain(recorder.step_rows(source, 4, 0, 1))["index"][2]
    words = f"joints_xyz of sample {number} in the batch"
    assert recorder.explain(source, config, 2, bad) == words
