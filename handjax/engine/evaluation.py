"""Predictions for a whole held-out split, each sample once, on any number of devices and processes."""

import jax
import numpy as np
from tqdm import tqdm

from handjax.engine import sharding


def predict_split(
    eval_step, state, source, batch_size: int, mesh, show: bool = False
) -> tuple[dict[str, np.ndarray], float]:
    """Runs `eval_step(state, batch) → (rows, loss)` over `source`'s held-out samples in order.

    Returns rows of all samples in order (the same on every process) and the mean loss. The last batch is filled up with the
    first samples again and their `mask` is false: their rows are removed, nothing is dropped.
    """
    collected, losses = [], []
    starts = range(0, source.eval_size, batch_size)
    pending = None
    progress = show and jax.process_index() == 0
    for start in tqdm(starts, desc="evaluate", unit="batch", disable=not progress, leave=False):
        indices = np.arange(start, start + batch_size)
        local = sharding.process_rows(indices)
        rows = source.eval_rows(local % source.eval_size)
        batch = {**rows, "mask": local < source.eval_size}
        result = eval_step(state, sharding.put_batch(batch, mesh))
        # The batch before is pulled to the host while this one runs.
        if pending is not None:
            _collect(pending, collected, losses)
        pending = result
    _collect(pending, collected, losses)
    rows = {name: np.concatenate([c[name] for c in collected]) for name in collected[0]}
    counts, values = np.array(losses).T
    return rows, float((counts * values).sum() / counts.sum())


def _collect(result, collected, losses):
    rows, loss = jax.device_get(result)
    kept = rows.pop("mask")
    collected.append({name: value[kept] for name, value in rows.items()})
    losses.append((kept.sum(), loss))
