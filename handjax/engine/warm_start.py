"""Weights from a run's folder or a file, and a network initialized from them."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from handjax.engine import weights
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.step import TrainState


def warm_start(
    state: TrainState, path: str | Path, skip: Sequence[str] = ()
) -> tuple[TrainState, str]:
    """The fresh `state` with the arrays of `path` of the same names, and a summary for people.

    `path` is as in `read_weights`. Step and optimizer stay fresh. Arrays that only one of the two
    has are ignored. Raises ValueError for an array of another shape, unless its name matches a
    pattern of `skip`, as in `params/out/*`, and if no parameter matches at all.
    """
    try:
        variables = read_weights(path)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"config.init={error}") from error
    found = flatten_dict(variables, sep="/")
    own = flatten_dict({"params": state.params, **state.model_state}, sep="/")
    both = [
        name
        for name in own
        if name in found and not any(fnmatch(name, pattern) for pattern in skip)
    ]
    for name in both:
        if found[name].shape != own[name].shape:
            raise ValueError(
                f"config.init={path}: {name} is {list(found[name].shape)} there and "
                f"{list(own[name].shape)} here; use the same config.model, or exclude it by "
                "config.init_skip"
            )
    if not any(name.startswith("params/") for name in both):
        theirs = next((name for name in found if name.startswith("params/")), "nothing")
        raise ValueError(
            f"config.init={path}: no parameter matches this network "
            f"(found {theirs}, expected e.g. {next(iter(own))})"
        )
    taken = {
        name: jax.device_put(found[name].astype(own[name].dtype), own[name].sharding)
        for name in both
    }
    variables = unflatten_dict({**own, **taken}, sep="/")
    summary = f"{len(both)} of {len(own)} arrays are initialized from {path}"
    return state.replace(params=variables.pop("params"), model_state=variables), summary


def read_weights(path: str | Path) -> dict[str, Any]:
    """A network's variables as numpy arrays: {"params": …, "batch_stats": …}.

    `path` is the folder of a run, whose newest checkpoint is read, or an .npz of
    `engine/weights.py`. Raises FileNotFoundError or ValueError if there are none to read.
    """
    path = Path(path)
    if not path.is_dir():
        return weights.load(path)
    checkpoints = Checkpoints(path / "checkpoints", read_only=True)
    try:
        if not (steps := checkpoints.steps()):
            raise FileNotFoundError(
                f"{path}: no checkpoint there; name the folder of a run, or an .npz of weights"
            )
        return checkpoints.weights(steps[-1])
    finally:
        checkpoints.close()
