"""What a network must not give."""

import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine import weights
from handjax.fitting import sphere_network
from handjax.prediction import hand_depth
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.hand_search import HandFound, Networks
from handjax.prediction.network import check_finite
from handjax.targets import spherehand


def test_an_output_that_is_not_finite_is_no_result():
    check_finite(np.ones(3, bool), "the network of step 7")
    with pytest.raises(ValueError, match="network of step 7 .* for 1 of 3 samples: no result"):
        check_finite(np.array([True, False, True]), "the network of step 7")


def test_a_hand_that_is_not_finite_is_no_result(monkeypatch):
    numbers = HandFound(
        np.full((21, 3), np.nan, np.float32),
        np.ones(21, np.float32),
        np.float32(0.9),
        np.float32(1),
        np.zeros(3, np.float32),
    )
    monkeypatch.setattr(hand_depth, "_find", lambda *_: numbers)
    predictor = HandDepthPredictor("my run", Networks({}, None))
    depth = np.full((48, 64), 500, np.float32)
    with pytest.raises(ValueError, match="my run gives an output that is not finite for 1 of 1"):
        predictor(depth, (60, 60, 32, 24))


def test_spheres_that_are_not_finite_are_no_result(monkeypatch, tmp_path):
    class Overflowing:
        def __init__(self, stacks, width):
            pass

        def apply(self, variables, x):
            return jnp.full((1, 1, 1, 1, 1), jnp.inf), None

    monkeypatch.setattr(sphere_network, "SphereNet", Overflowing)
    monkeypatch.setattr(spherehand, "split", lambda maps: (maps,))
    monkeypatch.setattr(spherehand, "decode", lambda maps: jnp.ones((41, 3)) * maps.sum())
    params = {name: {"kernel": np.ones((1, 1), np.float32)} for name in ("stem", "out0_maps")}
    weights.save(tmp_path / "net.npz", {"params": params})
    with pytest.raises(ValueError, match="net.npz gives an output that is not finite: no result"):
        sphere_network.load(tmp_path / "net.npz")(np.zeros((16, 16), np.float32))
