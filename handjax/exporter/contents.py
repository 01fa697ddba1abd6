"""What is exported: a function from arrays to named joints, and what a reader must know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float

from handjax.pose.skeleton import Skeleton
from handjax.prediction.network import TrainedNetwork

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Port:
    """An input: its shape without the batch, its dtype, and what it is, with the unit."""

    shape: tuple[int, ...]
    dtype: Any
    meaning: str


@dataclass(frozen=True)
class Contents:
    """One model, ready to be written in any format.

    function  inputs by name, each with a batch, → outputs by name; traceable by JAX
    ours      the same on NumPy arrays as handjax predicts, with its kernels
    """

    system: str
    model: str  # what was exported: a name or a run's folder and step
    skeleton: Skeleton
    inputs: Mapping[str, Port]
    outputs: Mapping[str, str]  # name → meaning, with the unit
    function: Callable[..., dict[str, Array]]
    ours: Callable[[Arrays], dict[str, np.ndarray]]

    def specs(self, batch: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """The inputs with a batch of this size, by default of any, `batch`."""
        (any_size,) = export.symbolic_shape("batch")
        return {
            name: jax.ShapeDtypeStruct((batch or any_size, *port.shape), port.dtype)
            for name, port in self.inputs.items()
        }


def beside(path: Path) -> Path:
    """The file of the metadata, where the format has no place for them."""
    return path.with_name(path.name + ".json")


def visibly(finite: Any, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs with NaN in every sample that is not `finite` [b]; booleans stay."""
    return {
        name: value
        if value.dtype == bool
        else jnp.where(finite.reshape(-1, *[1] * (value.ndim - 1)), value, jnp.nan)
        for name, value in outputs.items()
    }


def all_finite(value: Float[Array, "b ..."]) -> Any:
    """Whether a sample is finite, [b]. By its sum: runtimes lose a NaN in a maximum."""
    return (
        jnp.isfinite(value.sum(tuple(range(1, value.ndim))))
        if value.ndim > 1
        else (jnp.isfinite(value))
    )


def network_rows(network: TrainedNetwork, batch: Mapping[str, Array]) -> dict[str, Array]:
    """The rows of a trained network for a batch without `mask`, as functions that can be exported;
    NaN where its outputs are not finite. ValueError for one that renders its samples anew."""
    task, views = network.task, network.config.task.get("views", 1)
    if views > 1:
        raise ValueError(
            f"config.task.views={views}: an exported network sees the camera's view alone; train "
            "with 1 and give views to handjax evaluate"
        )
    count = next(iter(batch.values())).shape[0]
    keys = jnp.broadcast_to(jax.random.key(0), (count,))  # what is exported depends on none
    inputs = task.prepare(keys, {**batch, "mask": jnp.ones(count, bool)}, False)
    outputs = task.model.apply(network.variables, inputs["x"], train=False)
    finite: Any = True
    for output in jax.tree.leaves(outputs):  # with `flip_test` there are two views of a sample
        views = all_finite(output)
        finite &= views if views.shape == (count,) else views.reshape(count, -1).all(1)
    return visibly(finite, task.predict(outputs, inputs))


def check_weights(variables: Any, model: str) -> None:
    """ValueError for weights that are not finite."""
    for path, array in jax.tree_util.tree_leaves_with_path(variables):
        if not np.isfinite(np.asarray(array, np.float32)).all():
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{model}: {name} is not finite; export another checkpoint")
