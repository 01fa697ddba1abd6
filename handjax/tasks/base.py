"""`Task`: everything that distinguishes one system from another, as pure functions."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float, Key

from handjax.engine.contracts import Batch, Inputs, Rows

Kind = Literal["joints3d", "keypoints2d", "body"]


@dataclasses.dataclass(frozen=True)
class Task:
    """The functions around one network; implements `engine.contracts.Task`.

    `postprocess` and `score` run on the host, the others on the device, inside jit.

    kind          what a result consists of; selects its report (`reports.KINDS`).
    prepare       (keys, batch, train) → inputs: `x` for the network, `mask`, and whatever `loss`
                  and `predict` need. There is one key per sample and all randomness comes from it,
                  so it does not depend on how a batch is split over devices or steps.
    loss          (outputs, inputs) → scalar and its unweighted terms by name, each a mean over the
                  samples in `mask`.
    predict       (outputs, inputs) → rows (first axis: samples), such as `joints_xyz` in camera mm.
    ground_truth  batch → the rows that predictions are compared with.
    postprocess   rows of all samples, padding removed → rows; for steps that need the host.
    score         postprocessed rows → metrics for metrics.json. Its input is rows rather than
                  sums, since medians and worst frames do not add up.
    visualize     inputs → for the report, either the depth seen from the front and from the side,
                  [b, h, w] each, or the RGB crop as bytes [b, h, w, 3] and the affine map
                  [b, 2, 3] from its pixels to those of the source file.
    dummy_inputs  number of samples → inputs of zeros, for shapes.
    monitor       the metric of `score` that ranks checkpoints and is plotted over the steps;
                  lower is better.
    """

    title: str  # for people
    kind: Kind
    model: nn.Module
    prepare: Callable[[Key[Array, " b"], Batch, bool], Inputs]
    loss: Callable[[Any, Inputs], tuple[Float[Array, ""], dict[str, Array]]]
    predict: Callable[[Any, Inputs], Rows]
    ground_truth: Callable[[Batch], Rows]
    postprocess: Callable[[Rows], Rows]
    score: Callable[[Rows], dict[str, Any]]
    visualize: Callable[[Inputs], tuple[Array, Array]]
    dummy_inputs: Callable[[int], Inputs]
    monitor: str = "mpjpe_mm"
