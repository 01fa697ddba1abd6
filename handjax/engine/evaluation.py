"""Predictions for an entire evaluation split, on any number of devices and processes."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from handjax.engine import sharding
from handjax.engine.contracts import Batch, Rows, Source


def predict_split(
    eval_step: Callable[[Any, Batch], tuple[Rows, Any]],
    state: Any,
    source: Source,
    batch_size: int,
    mesh: jax.sharding.Mesh,
    show: bool = False,
    between: Callable[[], None] | None = None,
) -> tuple[Rows, float]:
    """Runs `eval_step` over the evaluation samples of `source`, each once and in order.

    Returns the rows of all samples in order, the same on every process, and the mean loss. The last
    batch is padded with the first samples; their `mask` is false and their rows are removed. `show`
    draws a progress bar; `between` is called before each batch, and may raise. ValueError if a
    sample's row `finite` is false: what the network makes of it is nothing to score.
    """
    collected: list[Rows] = []
    losses: list[tuple[int, float]] = []
    starts = range(0, source.eval_size, batch_size)
    pending = None
    progress = show and jax.process_index() == 0
    for start in tqdm(starts, desc="evaluate", unit="batch", disable=not progress, leave=False):
        if between is not None:
            between()
        indices = np.arange(start, start + batch_size)
        local = sharding.process_rows(indices)
        rows = source.eval_rows(local % source.eval_size)
        batch = {**rows, "mask": local < source.eval_size}
        result = eval_step(state, sharding.put_batch(batch, mesh))
        # The previous batch is copied to the host while this one runs.
        if pending is not None:
            _collect(pending, collected, losses)
        pending = result
    _collect(pending, collected, losses)
    rows = {name: np.concatenate([c[name] for c in collected]) for name in collected[0]}
    _check_finite(rows.pop("finite", None), source)
    counts, values = np.array(losses).T
    return rows, float((counts * values).sum() / counts.sum())


def _check_finite(finite: np.ndarray | None, source: Source) -> None:
    if finite is None or finite.all():
        return
    (bad,) = np.nonzero(~finite)
    raise ValueError(
        f"the network's output is not finite for {len(bad)} of {len(finite)} samples, first for "
        f"{source.names(bad[:1])[0]}: no result; use another checkpoint, or look at that sample"
    )


def _collect(result, collected, losses):
    rows, loss = jax.device_get(result)
    kept = rows.pop("mask")
    collected.append({name: value[kept] for name, value in rows.items()})
    losses.append((kept.sum(), loss))
