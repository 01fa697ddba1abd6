"""What the loop knows of where batches come from."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from handjax.pose.skeleton import Skeleton


@dataclasses.dataclass(frozen=True)
class Source:
    """Samples by number. `train_size` None: endless.

    `train_rows` and `eval_rows` take this process's sample numbers and return host arrays with `mask` and `index`; `materialize` is a
    pure function that completes a batch on the device, inside jit: the synthetic world makes a sample from its number there.
    """

    skeleton: Skeleton
    train_size: int | None
    eval_size: int
    train_rows: Callable[[np.ndarray], dict[str, np.ndarray]]
    eval_rows: Callable[[np.ndarray], dict[str, np.ndarray]]
    materialize: Callable[[dict[str, Any]], dict[str, Any]]
    names: Callable[[np.ndarray], list[str]]
    description: str  # for the report: what is evaluated, and where the crop's center came from
    benchmark: str = ""  # the set, where all of its own evaluation split is evaluated: published figures are comparable then
