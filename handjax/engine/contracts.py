"""The seam between the training loop and a system: `Task`, `Source` and `Batch` as protocols.

The loop calls these and nothing else, so it does not depend on any pose. `tasks.base.Task` and
`sources.base.Source` are the dataclasses that implement them.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float, Key

Batch = dict[str, Any]  # the keys, shapes and units of data/batch.py
Inputs = dict[str, Array]  # `x` for the network, `mask`, and what loss and predict need
Rows = dict[str, Any]  # one row per sample


@runtime_checkable
class Skeleton(Protocol):
    """All that the engine uses of a skeleton: the joints' names, and the name of their order."""

    @property
    def name(self) -> str: ...
    @property
    def joints(self) -> tuple[str, ...]: ...


@runtime_checkable
class Task(Protocol):
    """Pure functions around one network. `postprocess` and `score` run on the host, the others on
    the device, inside jit.

    prepare       keys (one per sample), batch, training? → inputs. All randomness comes from the
                  sample's own key, so it does not depend on how a batch is split over devices.
    loss          outputs, inputs → scalar, and its unweighted terms by name.
    predict       outputs, inputs → rows, such as `joints_xyz` in camera mm.
    ground_truth  batch → the rows that predictions are compared with.
    postprocess   rows of all samples, padding removed → rows; for steps that need the host.
    score         postprocessed rows → metrics. Rows, not sums: medians do not add up.
    visualize     inputs → what the network sees, for the report.
    dummy_inputs  number of samples → inputs of zeros, for shapes.
    monitor       the metric that ranks checkpoints; lower is better.
    kind          the kind of result, a key of `reports.KINDS`: joints3d, keypoints2d or body.
    """

    @property
    def title(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def monitor(self) -> str: ...
    @property
    def model(self) -> nn.Module: ...
    @property
    def prepare(self) -> Callable[[Key[Array, " b"], Batch, bool], Inputs]: ...
    @property
    def loss(self) -> Callable[[Any, Inputs], tuple[Float[Array, ""], dict[str, Array]]]: ...
    @property
    def predict(self) -> Callable[[Any, Inputs], Rows]: ...
    @property
    def ground_truth(self) -> Callable[[Batch], Rows]: ...
    @property
    def postprocess(self) -> Callable[[Rows], Rows]: ...
    @property
    def score(self) -> Callable[[Rows], dict[str, Any]]: ...
    @property
    def visualize(self) -> Callable[[Inputs], tuple[Array, Array]]: ...
    @property
    def dummy_inputs(self) -> Callable[[int], Inputs]: ...


@runtime_checkable
class Source(Protocol):
    """Samples by number; `train_size` None: endless.

    `train_rows` and `eval_rows` take this process's sample numbers and return host arrays with
    `mask` and `index`. `materialize(batch, keys)` completes a batch on the device, inside jit;
    `keys` has one key per sample while training and is None in an evaluation.
    """

    @property
    def skeleton(self) -> Skeleton: ...
    @property
    def train_size(self) -> int | None: ...
    @property
    def eval_size(self) -> int: ...
    @property
    def train_rows(self) -> Callable[[np.ndarray], Batch]: ...
    @property
    def eval_rows(self) -> Callable[[np.ndarray], Batch]: ...
    @property
    def materialize(self) -> Callable[[Batch, Key[Array, " b"] | None], Batch]: ...
    @property
    def names(self) -> Callable[[np.ndarray], Sequence[str]]: ...
    @property
    def description(self) -> str: ...
    @property
    def benchmark(self) -> str: ...
    @property
    def dataset(self) -> str: ...
