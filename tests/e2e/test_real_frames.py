"""The six real frames of NYU, in bfloat16."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from handjax import evaluate, train

pytestmark = pytest.mark.slow


def test_bfloat16_computes_with_float32_parameters(real_data, tiny, tmp_path):
    path = real_data / "voxel" / "nyu_voxels_6frames.h5"
    batch = ("--config.batch_size=6", "--config.eval_batch_size=4", f"--config.data.path={path}")
    more = (
        "--config.model.dtype=bfloat16",
        "--config.steps=3",
        "--config.save_every=3",
        "--config.eval_every=3",
    )
    train.main(tiny(tmp_path, *batch, *more))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 3]
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(tmp_path / "checkpoints" / "3" / "default")
    assert {
        str(leaf.dtype) for leaf in jax.tree.leaves((state["params"], state["model_state"]))
    } == {"float32"}
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state["opt_state"])} <= {"float32", "int32"}

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (
        metrics["frames"] == 6 and metrics["joints"] == 14 and "y negated" in metrics["evaluated"]
    )
    # With the same parameters, float32 predicts nearly the same joints.
    evaluate.main(["--workdir", str(tmp_path), "--config.model.dtype=float32"])
    with (
        np.load(tmp_path / "predictions.npz") as low,
        np.load(tmp_path / "evaluation" / "predictions.npz") as high,
    ):
        difference = np.abs(low["joints_xyz"] - high["joints_xyz"])
    # After three steps maps have several peaks of similar height, so some maxima move.
    assert 0 < difference.max() and np.mean(difference < 10) > 0.9, np.sort(difference.ravel())[
        -20:
    ]
