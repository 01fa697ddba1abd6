"""One mesh axis, `data`: batches are split along it, and the optimizer's state if asked for; the
rest of the state is replicated on every device."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from handjax.engine.contracts import Batch


def make_mesh(devices: int = 0) -> Mesh:
    """A mesh of the first `devices` devices of all processes; 0: all devices."""
    found = jax.devices()
    if not 0 <= devices <= len(found):
        raise ValueError(
            f"config.devices={devices}, but the number of devices is {len(found)}; use 0 for all"
        )
    if devices and jax.process_count() > 1:
        raise ValueError(
            f"config.devices={devices} with {jax.process_count()} processes: "
            "use 0, every process takes part"
        )
    found = found[: devices or None]
    return jax.make_mesh((len(found),), ("data",), axis_types=(AxisType.Auto,), devices=found)


def batch_sharded(mesh: Mesh) -> NamedSharding:
    """The first axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, tree: Any) -> Any:
    """A sharding for each array of `tree`: its largest axis that the devices divide is split over
    them; an array without one is copied to every device."""

    def one(array):
        axes = [n for n, size in enumerate(array.shape) if size and size % mesh.size == 0]
        if not axes:
            return replicated(mesh)
        longest = max(axes, key=lambda axis: array.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, "data"))

    return jax.tree.map(one, tree)


def check_batch_size(
    batch_size: int, mesh: Mesh, accumulate: int = 1, name: str = "batch_size"
) -> None:
    """ValueError if a batch does not split evenly over devices and accumulation steps."""
    unit = mesh.size * accumulate
    if batch_size % unit or batch_size < unit:
        lower = max(batch_size, 0) // unit * unit
        choices = f"{lower} or {lower + unit}" if lower else f"{unit}"
        steps = f" × {accumulate} accumulation steps" if accumulate > 1 else ""
        raise ValueError(
            f"config.{name}={batch_size} is not divisible by {mesh.size} devices{steps}; "
            f"use {choices}"
        )


def process_rows(indices: np.ndarray) -> np.ndarray:
    """This process's share of a global batch's rows."""
    return np.split(indices, jax.process_count())[jax.process_index()]


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
    """The rows of each process → global arrays, split over the mesh."""
    place = batch_sharded(mesh)
    return {
        key: jax.make_array_from_process_local_data(place, value) for key, value in batch.items()
    }
