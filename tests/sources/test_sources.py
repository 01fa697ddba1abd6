"""Synthetic sources; prepared sets are tested in tests/data/tf."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from handjax.data.batch import check_batch
from handjax.rigs.poses import ROTATION_FRONTAL
from handjax.sources import SOURCES

N = 16


def settings(**changes):
    camera = dict(fraction=(0.6, 1.0), blur_px=(0.0, 0.0), noise=(0.0, 0.0))
    pose = dict(rotation=ROTATION_FRONTAL, left=0.5)
    data = dict(
        name="hand_rgb_world",
        image_size=32,
        supersampling=1,
        mesh="",
        eval_size=6,
        eval_seed=1,
        camera=camera,
        pose=pose,
    )
    return ConfigDict(dict(seed=4, data=data | changes))


@pytest.fixture(scope="module")
def source():
    return SOURCES["hand_rgb_world"](settings())


@pytest.fixture(scope="module")
def materialize(source):
    """Compiled once: rows of N samples."""
    return jax.jit(source.materialize)


@pytest.mark.slow
def test_images_follow_the_batch_contract(source, materialize):
    batch = {
        key: np.asarray(value)
        for key, value in materialize(source.train_rows(np.arange(N))).items()
    }
    check_batch(batch)
    assert set(batch) == {
        *(
            "image",
            "k",
            "joints_xyz",
            "joints_uv",
            "visible",
            "left",
            "source_from_image",
            "mask",
            "index",
        ),
    }
    assert (
        batch["image"].shape == (N, 32, 32, 3)
        and batch["mask"].all()
        and batch["index"].tolist() == list(range(N))
    )
    projected = np.einsum("nij,nkj->nki", batch["k"], batch["joints_xyz"])
    np.testing.assert_allclose(
        projected[..., :2] / projected[..., 2:], batch["joints_uv"], atol=2e-3
    )
    np.testing.assert_array_equal(
        batch["source_from_image"], np.broadcast_to(np.eye(2, 3, dtype=np.float32), (N, 2, 3))
    )
    assert 0 < batch["left"].sum() < N and 0.3 < batch["visible"].mean() < 0.9
    assert len({image.tobytes() for image in batch["image"]}) == N


@pytest.mark.slow
def test_a_sample_depends_on_its_number_and_stream_only(source, materialize):
    one, other = (
        materialize(source.train_rows(np.arange(N))),
        materialize(source.train_rows(np.arange(N)[::-1].copy())),
    )
    np.testing.assert_array_equal(np.asarray(one["image"]), np.asarray(other["image"])[::-1])
    held = np.asarray(materialize(source.eval_rows(np.arange(N)))["joints_xyz"])
    # Even with the seed of training, the held-out stream is another one.
    another_seed = SOURCES["hand_rgb_world"](settings(eval_seed=4)).eval_rows(np.arange(N))
    assert another_seed["stream"].tolist() == source.train_rows(np.arange(N))["stream"].tolist()
    for others in (held, np.asarray(materialize(another_seed)["joints_xyz"])):
        assert np.abs(others - np.asarray(one["joints_xyz"])).max((1, 2)).min() > 1
    assert source.train_size is None and source.eval_size == 6 and source.benchmark == ""
    assert source.names(np.array([3])) == ["synthetic-3"] and source.skeleton.name == "hand21"
    assert source.description == "6 synthetic images of hands held out by seed 1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(image_size=0), "config.data.image_size=0: expected 1 or more"),
        (dict(supersampling=0), "config.data.supersampling=0: expected 1 or more"),
        (dict(eval_size=0), "config.data.eval_size=0: expected 1 or more"),
        (dict(eval_seed=-1), "config.data.eval_seed=-1: expected 0 or more"),
        (dict(mesh="no_such.npz"), "no_such.npz"),
    ],
)
def test_invalid_options_are_reported(changes, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
        SOURCES["hand_rgb_world"](settings(**changes))
    assert "\n" not in str(error.value)
