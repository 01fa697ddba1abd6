"""What the terms of a step tell: written, reported where the loss jumps, and the end of a run whose
numbers are not finite."""

import collections
import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from handjax.engine import agreement, checksums
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.contracts import Batch, Source
from handjax.engine.feed import step_rows
from handjax.engine.interruption import KEY, Interruption
from handjax.engine.step import TrainState
from handjax.engine.writer import Writer

SPIKE = 10.0  # times the median of the losses before
WINDOW, ENOUGH = 100, 20  # losses that count, and the fewest that do

Pending = tuple[int, Mapping[str, Any]]  # a step, and its terms, still on the device


class Spikes:
    """Finds losses far above those before them."""

    def __init__(self) -> None:
        self._losses: collections.deque[float] = collections.deque(maxlen=WINDOW)
        self._quiet_until = 0

    def see(self, step: int, loss: float) -> str:
        """A line about `loss`, at most one in WINDOW steps; "" if it is not unusual."""
        usual = statistics.median(self._losses) if len(self._losses) >= ENOUGH else math.inf
        self._losses.append(loss)
        if not loss > SPIKE * usual > 0 or step < self._quiet_until:
            return ""
        self._quiet_until = step + WINDOW
        return (
            f"step {step}: loss {loss:.4g} is {loss / usual:.0f} times the median of the "
            f"{len(self._losses) - 1} before it, {usual:.4g}; a smaller config.optimizer.lr or "
            "config.optimizer.clip_norm may help"
        )


class Recorder:
    """Takes the terms of each step from the device."""

    def __init__(
        self,
        config: ConfigDict,
        writer: Writer,
        checkpoints: Checkpoints,
        interruption: Interruption,
        explain: Callable[[int, TrainState], str] = lambda step, state: "",
    ) -> None:
        """`explain` says which part of a step, with the state after it, is not finite."""
        self.config, self.writer, self.checkpoints = config, writer, checkpoints
        self.interruption, self.explain = interruption, explain
        self.skipped = 0
        self._spikes = Spikes()

    def record(self, pending: Pending | None, state: TrainState) -> int:
        """Writes the terms of a step → what the run was asked (`Interruption.received`).

        ValueError if they are not finite, unless `config.skip_nonfinite` allows one more such step.
        """
        if pending is None:
            return self.interruption.received({})
        step, on_device = pending
        terms = {name: float(value) for name, value in jax.device_get(on_device).items()}
        sent = {KEY: terms.pop(KEY)} if KEY in terms else {}
        if terms["finite"]:
            due = step % self.config.log_every == 0 or step == self.config.steps
            self.writer.step(step, terms, record=due)
            if line := self._spikes.see(step, terms["loss"]):
                self.writer.log(line)
        else:
            self._not_finite(step, terms, state)
        return self.interruption.received(sent)

    def _not_finite(self, step: int, terms: Mapping[str, float], state: TrainState) -> None:
        bad = ", ".join(
            f"{name} {value}" for name, value in terms.items() if not math.isfinite(value)
        )
        part = self.explain(step, state)
        what = f"step {step} is not finite ({bad}){part and f': {part}'}; its update was withheld"
        allowed = self.config.get("skip_nonfinite", 0)
        if self.skipped < allowed:
            self.skipped += 1
            self.writer.log(f"{what}; skipped {self.skipped} of at most {allowed} such steps")
            return
        self.checkpoints.wait()
        saved = self.checkpoints.steps()
        where = (
            f"the newest checkpoint is {self.checkpoints.folder / str(saved[-1])}"
            if saved
            else "there is no checkpoint yet"
        )
        raise ValueError(f"{what}; {where}")


def explain(source: Source, config: ConfigDict, step: int, state: TrainState) -> str:
    """Which part of `step` is not finite: its rows, of which each process reads its own again, the
    weights, or neither."""
    rows = source.train_rows(step_rows(source, config.batch_size, config.seed, step - 1))
    everyone = agreement.gather(_bad_row(rows) or _bad_weights(state))
    overflow = "batch and weights are, so the network, its loss or its gradient overflows"
    return next(filter(None, everyone), overflow)


def _bad_row(rows: Batch) -> str:
    """The first of a batch's rows that is not finite; "" if all are."""
    for key, value in rows.items():
        if value.dtype.kind != "f":
            continue
        bad = [
            number
            for number, row, counts in zip(rows["index"], value, rows["mask"], strict=True)
            if counts and not np.isfinite(row).all()
        ]
        if bad:
            return f"{key} of sample {bad[0]} in the batch"
    return ""


def _bad_weights(state: TrainState) -> str:
    """The first array of the network that is not finite; "" if all are."""
    try:
        checksums.check_finite({"params": state.params, "model_state": state.model_state})
    except ValueError as error:
        return f"the weights: {error}"
    return ""
