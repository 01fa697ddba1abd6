"""A network that begins with another's weights: training goes on with other data, or from what was converted out of PyTorch."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from handjax.engine import weights
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.step import TrainState


def warm_start(
    state: TrainState, path: str | Path, skip: Sequence[str] = ()
) -> tuple[TrainState, str]:
    """The fresh `state` with the arrays of `path` in the place of its own of the same name, and what was done, in words.

    `path` is the folder of a run, whose newest checkpoint counts, or a file of `engine/weights.py`. Step and optimizer stay
    fresh. Arrays that only one of the two has are left alone; one that both have in different shapes is an error, unless it is
    among the patterns of `skip`, as in `params/out/*`, which stay as they are.
    """
    found = flatten_dict(_read(Path(path)), sep="/")
    ours = flatten_dict({"params": state.params, **state.model_state}, sep="/")
    both = [
        name
        for name in ours
        if name in found and not any(fnmatch(name, pattern) for pattern in skip)
    ]
    for name in both:
        if found[name].shape != ours[name].shape:
            raise ValueError(
                f"config.init={path}: {name} is {list(found[name].shape)} there and {list(ours[name].shape)} here; use the same "
                "config.model, or leave it out by config.init_skip"
            )
    if not any(name.startswith("params/") for name in both):
        theirs = next((name for name in found if name.startswith("params/")), "nothing")
        raise ValueError(
            f"config.init={path}: none of its parameters is this network's; it has {theirs}, expected such as {next(iter(ours))}"
        )
    taken = {
        name: jax.device_put(found[name].astype(ours[name].dtype), ours[name].sharding)
        for name in both
    }
    variables = unflatten_dict({**ours, **taken}, sep="/")
    said = f"{len(both)} of {len(ours)} arrays begin as those of {path}"
    return state.replace(params=variables.pop("params"), model_state=variables), said


def _read(path: Path) -> dict:
    if not path.is_dir():
        return weights.load(path)
    checkpoints = Checkpoints(path / "checkpoints", read_only=True)
    if not (steps := checkpoints.steps()):
        raise FileNotFoundError(
            f"config.init={path}: no checkpoint there; name the folder of a run, or an .npz of weights"
        )
    try:
        return checkpoints.weights(steps[-1])
    finally:
        checkpoints.close()
