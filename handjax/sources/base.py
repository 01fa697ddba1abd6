"""`Source`: where batches come from, and what every source needs."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from handjax.data import plausible
from handjax.engine.contracts import Batch
from handjax.engine.files import refuse_scheme
from handjax.pose.skeleton import Skeleton


@dataclasses.dataclass(frozen=True)
class Source:
    """Samples by number; implements `engine.contracts.Source`.

    train_size   None: endless.
    train_rows, eval_rows  this process's sample numbers → host arrays with `mask` and `index`.
    materialize  (batch, keys) → the complete batch. A pure function that runs on the device, inside
                 jit; synthetic sources draw their samples there from the sample's number. `keys`
                 holds one key per sample of a training step and is None in an evaluation.
    names        sample numbers of the evaluation split → names.
    description  for the report: what is evaluated and where the crop's center came from.
    benchmark    the data set, if its entire published evaluation split is evaluated, so that
                 published results are comparable; otherwise "".
    dataset      the one data set that is evaluated, or a part of it: its own metrics are reported.
    """

    skeleton: Skeleton
    train_size: int | None
    eval_size: int
    train_rows: Callable[[np.ndarray], Batch]
    eval_rows: Callable[[np.ndarray], Batch]
    materialize: Callable[[Batch, Key[Array, " b"] | None], Batch]
    names: Callable[[np.ndarray], Sequence[str]]
    description: str
    benchmark: str = ""
    dataset: str = ""


def unchanged(batch: Batch, keys: Key[Array, " b"] | None = None) -> Batch:
    """`Source.materialize` for batches that are complete when they leave the host."""
    return batch


def check_cube(config: ConfigDict) -> None:
    """ValueError if `config.data.cube_mm` is no crop of a hand or a person, as one in metres."""
    if fault := plausible.cube_fault(np.asarray(config.data.cube_mm, np.float64)):
        raise ValueError(f"config.data.cube_mm={config.data.cube_mm}: {fault}")


def required_path(config: ConfigDict, content: str, form: str = "DIR", bucket: bool = False) -> str:
    """`config.data.path`. Raises ValueError, which names `content`, if it is empty, and for an
    address unless this is a prepared set, which TensorFlow reads from a `bucket`, too."""
    refuse_scheme("--config.data.path", str(config.data.path), bucket)
    if not config.data.path:
        raise ValueError(
            f"config.data.path is empty: name the {content} by --config.data.path={form}"
        )
    return config.data.path
