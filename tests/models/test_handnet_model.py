"""The hand network and its finder: size, arithmetic, and the weights that are included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine.warm_start import read_weights
from handjax.models.handfinder import HandFinder
from handjax.models.handnet import HandNet, hourglass, space_to_depth
from handjax.prediction.hand_search import FINDER, NETWORK

CROP, FRAME = (1, 64, 64, 2), (1, 80, 96, 3)


def shapes(model, size):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(size)))


@pytest.mark.parametrize(
    ("model", "size", "file"), [(HandNet(), CROP, NETWORK), (HandFinder(), FRAME, FINDER)]
)
def test_included_weights_are_those_of_the_network(model, size, file):
    wanted = jax.tree.map(lambda leaf: leaf.shape, shapes(model, size))
    assert jax.tree.map(np.shape, read_weights(file)) == wanted
    assert file.stat().st_size < 1.5e6


def test_a_crop_takes_at_most_60_million_operations(monkeypatch):
    """Two for each weight of a layer and place where it is used."""
    params = shapes(HandNet(), CROP)["params"]
    places = {"fine": 32**2, "stem": 16**2, "maps": 16**2, "presence": 1}
    places |= {"enter1": 8**2, "enter2": 4**2, "leave1": 4**2, "leave0": 8**2}
    places |= {f"down0_{i}": 16**2 for i in range(2)} | {f"down1_{i}": 8**2 for i in range(2)}
    places |= {f"down2_{i}": 4**2 for i in range(2)} | {"up1": 8**2, "up0": 16**2}
    assert set(places) == set(params)
    kernels = {
        name: sum(
            leaf.size
            for path, leaf in jax.tree_util.tree_leaves_with_path(part)
            if jax.tree_util.keystr(path).endswith("['kernel']")
        )
        for name, part in params.items()
    }
    assert 50e6 < 2 * sum(places[name] * kernels[name] for name in params) < 60e6


def test_outputs_have_their_shapes_and_the_deviation_of_bad_sizes_is_one_line():
    def outputs(size):
        return jax.eval_shape(lambda x: HandNet().init_with_output(jax.random.key(0), x)[0], size)

    maps, presence = outputs(jnp.zeros((2, 64, 64, 2)))
    assert (maps.shape, presence.shape) == ((2, 16, 16, 63), (2,))
    with pytest.raises(ValueError, match="a crop of 60 px is not divisible by 16 px"):
        outputs(jnp.zeros((2, 60, 60, 2)))


def test_blocks_of_pixels_become_channels():
    x = jnp.arange(2 * 4 * 4 * 1.0).reshape(2, 4, 4, 1)
    y = space_to_depth(x, 2)
    assert y.shape == (2, 2, 2, 4)
    np.testing.assert_array_equal(y[0, 0, 1], x[0, :2, 2:, 0].ravel())


def test_the_hourglass_sums_across():
    """With layers that do nothing, the way down and up adds the means of larger blocks."""

    def nothing(*args, name):
        return lambda x: x

    x = jax.random.uniform(jax.random.key(0), (1, 8, 8, 1))
    y, narrowest = hourglass(x, (1, 1, 1), (0, 0, 0), nothing, nothing)
    halves = x.reshape(1, 4, 2, 4, 2, 1).mean((2, 4))
    quarters = x.reshape(1, 2, 4, 2, 4, 1).mean((2, 4))
    expected = x + jnp.kron(halves[0, ..., 0], jnp.ones((2, 2)))[None, ..., None]
    expected = expected + jnp.kron(quarters[0, ..., 0], jnp.ones((4, 4)))[None, ..., None]
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(narrowest[0], quarters.mean((1, 2))[0], rtol=1e-5)
