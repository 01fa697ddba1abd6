"""The one seam: what the loop knows of a system."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float, Key

Batch = dict[str, Any]  # the contract of data/batch.py
Inputs = dict[str, Array]
Rows = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Task:
    """Pure functions around one network; `finish` and `score` run on the host, the others on the device, inside jit.

    prepare  one key a sample, a batch, training or not → inputs: `x` for the network, `mask`, and what loss and predict need.
             Randomness hangs on the sample's own key, so it does not depend on how a batch is split over devices or steps.
    loss     outputs, inputs → scalar and its unweighted terms by name, each a mean over the samples in `mask`.
    predict  outputs, inputs → per-sample rows (first axis: samples) such as `joints_xyz` in mm of the camera.
    ground_truth  batch → the rows that predictions are held against.
    postprocess  rows of all samples, padding removed → the same rows with whatever can only be said on the host.
    score    finished rows → metrics for metrics.json. Rows, not sums: medians and worst frames do not add up.
    visualize  inputs → for the report, what the network sees from the front and from the side, [b, h, w] each; of pictures the crop,
             RGB bytes [b, h, w, 3], and the affine map [b, 2, 3] of its pixels to those of the source.
    dummy_inputs  samples → inputs of that many samples, zeros, for shapes.
    monitor  the figure of `score` that ranks checkpoints and is drawn over the steps; lower is better.
    """

    title: str  # for people
    model: nn.Module
    prepare: Callable[[Key[Array, " b"], Batch, bool], Inputs]
    loss: Callable[[Any, Inputs], tuple[Float[Array, ""], dict[str, Array]]]
    predict: Callable[[Any, Inputs], Rows]
    ground_truth: Callable[[Batch], Rows]
    postprocess: Callable[[dict[str, Any]], dict[str, Any]]
    score: Callable[[dict[str, Any]], dict[str, Any]]
    visualize: Callable[[Inputs], tuple[Array, Array]]
    dummy_inputs: Callable[[int], Inputs]
    monitor: str = "mpjpe_mm"
