"""Networks with `remat`: less memory in the compiled step, and the same step."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.models import resnet
from handjax.models.body import BodyNet
from handjax.models.layers import Residual3D
from handjax.models.recompute import recomputed
from handjax.models.v2v import V2V

pytestmark = pytest.mark.slow


class Chain(nn.Module):
    """Four residual blocks, two of them in a part within a part."""

    remat: bool

    @nn.compact
    def __call__(self, x, train):
        def step(net, part, x, **options):
            return recomputed(part, net, x, **options) if self.remat else part(net, x)

        def block(net, x, name):
            return Residual3D(8, name=name)(x, train)

        def pair(net, x):
            x = step(net, partial(block, name="a"), x)
            return step(net, partial(block, name="b"), x, keeps=False)

        x = step(self, pair, x)
        x = step(self, partial(block, name="c"), x, keeps=False)
        return step(self, partial(block, name="d"), x)


def step_of(net, x):
    """The gradient of a loss, and its arguments."""
    variables = jax.jit(partial(net.init, train=False))(jax.random.key(0), x)

    def loss(params, rest, x):
        out, changed = net.apply({"params": params, **rest}, x, train=True, mutable=list(rest))
        return jnp.mean((out - 0.3) ** 2), changed

    params, rest = variables["params"], {"batch_stats": variables["batch_stats"]}
    return jax.jit(jax.value_and_grad(loss, has_aux=True)), (params, rest, x)


def same(ours, theirs, tolerance):
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True
    ):
        np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * np.abs(b).max(), err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.optimized
def test_the_same_step_in_less_memory():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 16, 16, 16, 8)), jnp.float32)
    (plain, arguments), (less, _) = (step_of(Chain(remat), x) for remat in (False, True))
    same(less(*arguments), plain(*arguments), 0.0)
    wanted, found = (
        step.lower(*arguments).compile().memory_analysis().temp_size_in_bytes
        for step in (plain, less)
    )
    assert found < 0.75 * wanted


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (partial(V2V, 3, widths=(2, 3, 4, 5), stem_size=3), (2, 16, 16, 16, 1)),
        (partial(BodyNet, "integral", 18, 3, 4, 4, (4, 4)), (4, 64, 64, 3)),
    ],
)
def test_networks_with_remat_learn_alike(make, shape, monkeypatch):
    monkeypatch.setitem(resnet.STAGES, 18, ((1, 1, 1, 1), False))
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    (plain, arguments), (less, _) = (step_of(make(remat=remat), x) for remat in (False, True))
    same(less(*arguments), plain(*arguments), 1e-5)
