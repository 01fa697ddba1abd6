"""Weights from a run's folder or a file, and a network initialized from them."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from handjax.engine import weights
from handjax.engine import workdir as workdirs
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.step import AVERAGE, TrainState


def warm_start(
    state: TrainState, path: str | Path, skip: Sequence[str] = ()
) -> tuple[TrainState, str]:
    """The fresh `state` with the arrays of `path` of the same names, and a summary for people.

    `path` is as in `read_weights`. Step and optimizer stay fresh. Arrays that only one of the two
    has are ignored, and those whose names match a pattern of `skip`, as in `params/out/*`. So are
    those that differ by the number of joints, as heads do: along one axis, by the same number in
    all of them; the summary names them. Raises ValueError for an array of any other shape, and if
    no parameter matches at all.
    """
    try:
        variables = read_weights(path)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"config.init={error}") from error
    found = flatten_dict(variables, sep="/")
    others = {name: value for name, value in state.model_state.items() if name != AVERAGE}
    own = flatten_dict({"params": state.params, **others}, sep="/")
    both = [
        name
        for name in own
        if name in found and not any(fnmatch(name, pattern) for pattern in skip)
    ]
    heads = _of_other_joints({name: (found[name].shape, own[name].shape) for name in both}, path)
    both = [name for name in both if name not in heads]
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
    if heads:
        summary += f"; at random, for another number of joints: {', '.join(sorted(heads))}"
    if AVERAGE in state.model_state:
        variables[AVERAGE] = jax.tree.map(jnp.copy, dict(variables))
    return state.replace(params=variables.pop("params"), model_state=variables), summary


def _of_other_joints(
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]], path: str | Path
) -> list[str]:
    """The arrays whose shapes, (there, here), differ along one axis, all by the same number.
    ValueError if any differs in another way."""
    differ = {name: pair for name, pair in shapes.items() if pair[0] != pair[1]}
    steps = {
        name: [b - a for a, b in zip(there, here, strict=False) if a != b]
        for name, (there, here) in differ.items()
    }
    common = next(iter(steps.values()), [])
    for name, (there, here) in differ.items():
        if len(there) != len(here) or len(steps[name]) != 1 or steps[name] != common:
            raise ValueError(
                f"config.init={path}: {name} is {list(there)} there and {list(here)} here; use the "
                "same config.model, or exclude it by config.init_skip"
            )
    return list(differ)


def read_weights(path: str | Path) -> dict[str, Any]:
    """A network's variables as numpy arrays: {"params": …, "batch_stats": …}.

    `path` is the folder of a run, whose newest readable checkpoint is taken, or an .npz
    of `engine/weights.py`. Raises FileNotFoundError or ValueError if there are none to read.
    """
    path = Path(path)
    if not path.is_dir():
        return weights.load(path)
    checkpoints = Checkpoints(workdirs.checkpoints(path), read_only=True)
    try:
        if not (found := checkpoints.newest(checkpoints.weights)):
            raise FileNotFoundError(
                f"{path}: no checkpoint there; name the folder of a run, or an .npz of weights"
            )
        return found[1]
    finally:
        checkpoints.close()
