"""JAX against onnxruntime, primitive by primitive, for two sizes of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'handjax[export]'")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402

from handjax.exporter.graph import IR_VERSION, OPSET, Graph, tensor_proto  # noqa: E402
from handjax.exporter.onnx_file import onnx_function  # noqa: E402
from handjax.exporter.simplify import simplify  # noqa: E402
from handjax.exporter.translate import Untranslated, translate  # noqa: E402
from handjax.models.layers import BatchNorm, GroupNorm, max_pool2d, max_pool3d  # noqa: E402
from handjax.ops import library  # noqa: E402
from handjax.ops.conv import conv, conv_transpose  # noqa: E402

RNG = np.random.default_rng(0)


def model_of(function, **inputs):
    """An ONNX model of function(**inputs) → dict, with a batch of any size."""
    (batch,) = export.symbolic_shape("batch")
    specs = {
        name: jax.ShapeDtypeStruct((batch, *value.shape[1:]), value.dtype)
        for name, value in inputs.items()
    }
    graph = Graph()
    with library.reference_implementations():
        values = translate(graph, function, specs)
    for name, value in values.items():
        graph.output(name, value)
    simplify(graph)
    initializers = [tensor_proto(name, array) for name, array in graph.initializers.items()]
    body = helper.make_graph(graph.nodes, "test", graph.inputs, graph.outputs, initializers)
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(body, opset_imports=opset, ir_version=IR_VERSION)


def check(function, tolerance=1e-5, **inputs):
    """onnxruntime's results are JAX's, for the whole batch and for its first sample."""
    model = model_of(function, **inputs)
    run = onnx_function(model, threads=1)
    for count in (len(next(iter(inputs.values()))), 1):
        given = {name: np.asarray(value[:count]) for name, value in inputs.items()}
        wanted = jax.jit(lambda arrays: function(**arrays))(given)
        for name, found in run(given).items():
            assert found.dtype == wanted[name].dtype and found.shape == wanted[name].shape
            np.testing.assert_allclose(found, wanted[name], rtol=tolerance, atol=tolerance)
    return [node.op_type for node in model.graph.node]


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


X = normal(3, 4, 5)
WHOLE = RNG.integers(-9, 9, (3, 6)).astype(np.int32)
ELEMENTWISE = {
    "arithmetic": lambda x: (x * 2 - 1) / (x * x + 1) + jnp.maximum(x, 0.1) - jnp.minimum(x, 0),
    "powers": lambda x: jnp.abs(x) ** 1.5 + x**3 + jnp.sqrt(jnp.abs(x)) + lax.rsqrt(x**2 + 1),
    "a barrier of two": lambda x: sum(lax.optimization_barrier((2 * x, x + 1))),
    "rounding": lambda x: jnp.round(3 * x) + jnp.floor(x) + jnp.ceil(x) + jnp.sign(x),
    "exponentials": lambda x: jnp.exp(x) + jnp.log1p(jnp.abs(x)) + jnp.expm1(x) + jnp.exp2(x),
    "sigmoids": lambda x: jax.nn.sigmoid(x) + jnp.tanh(x) + jax.nn.softplus(x),
    "softmax": lambda x: jax.nn.softmax(x, axis=-1) + jax.nn.log_softmax(x, axis=1),
    "angles": lambda x: jnp.sin(x) + jnp.cos(x) + jnp.arctan2(x, jnp.flip(x, 2)),
    "choices": lambda x: jnp.where((x > 0) & ~(x > 1) | (x != x), x, -x) + jnp.clip(x, -1, 0.5),
    "finite": lambda x: jnp.isfinite(x / jnp.where(x > 0, 1.0, 0.0)).astype(jnp.float32),
    "scalar": lambda x: x + jnp.where(jnp.arange(3).sum() > 2, 1.0, 0.0),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name):
    check(lambda x: {"y": ELEMENTWISE[name](x)}, x=X)


SHAPES = {
    "transpose": lambda x: x.transpose(0, 2, 1) + 1,
    "reshape": lambda x: x.reshape(-1, 5).reshape(x.shape[0], 20)[:, None] * 2,
    "broadcast": lambda x: x[:, :, None] + jnp.zeros((1, 1, 6, 1)) + jnp.ones((2,))[0],
    "slice": lambda x: x[:, 1:4:2, ::-1] - x[:, :2],
    "pad": lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 2)), constant_values=3.0)[:, :, 1:],
    "join": lambda x: jnp.concatenate([x, x[:, :2], jnp.ones((x.shape[0], 1, 5))], axis=1),
    "stack": lambda x: jnp.stack([x[..., 0], x[..., 1], jnp.zeros_like(x[..., 0])], axis=-1),
    "split": lambda x: sum(jnp.split(x[:, :, :4], 2, axis=2)),
    "tile": lambda x: jnp.tile(x[:, :1], (1, 3, 1)),
    "iota": lambda x: x + jnp.arange(5, dtype=jnp.float32)[None, None],
    "batch": lambda x: x + jnp.arange(x.shape[0], dtype=jnp.float32)[:, None, None],
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
    check(lambda x: {"y": SHAPES[name](x)}, x=X)


REDUCTIONS = {
    "sums": lambda x: x.sum((1, 2)) + x.mean(2).prod(1),
    "extremes": lambda x: x.max(2) - x.min(2) + (x.argmax(2) - x.argmin(2)).astype(jnp.float32),
    "truth": lambda x: ((x > 0).any(1) & (x < 2).all(1)).astype(jnp.float32),
    "sort": lambda x: jnp.sort(x, axis=1)[:, 2] + lax.top_k(x, 2)[0].sum((1, 2))[:, None],
    "matmul": lambda x: jnp.matmul(x, jnp.ones((5, 3)) / 3, precision="highest"),
    "einsum": lambda x: jnp.einsum("bij,bkj,c->bkic", x, x[:, :2], jnp.arange(2.0)),
    "repeated": lambda x: (x[:, :1] + jnp.zeros((1, 7, 1))).sum(1),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name):
    check(lambda x: {"y": REDUCTIONS[name](x)}, tolerance=1e-4, x=X)


INDEXING = {
    "take": lambda x, i: jnp.take(x, jnp.array([2, 0]), axis=1),
    "beyond": lambda x, i: jnp.take(x, jnp.array([2, 9, -1]), axis=1),
    "along": lambda x, i: jnp.take_along_axis(x, i[:, :4, None] % 5, axis=2),
    "pixels": lambda x, i: jax.vmap(lambda a, j: a[j % 4, j % 5])(x, i),
    "clipped": lambda x, i: jax.vmap(lambda a, j: a.at[j].get(mode="clip"))(x, i),
    "filled": lambda x, i: jnp.nan_to_num(jax.vmap(lambda a, j: a.at[j].get(mode="fill"))(x, i)),
    "window": lambda x, i: jax.vmap(lambda a, j: lax.dynamic_slice(a, (j[0], j[1]), (2, 3)))(x, i),
    "set": lambda x, i: x.at[:, 1, 2:4].set(7.0).at[:, :2].add(1.0).at[..., 0].multiply(2.0),
    "scatter": lambda x, i: jax.vmap(lambda a, j: jnp.zeros(8).at[j % 8].add(a[0, 0]))(x, i),
    "dropped": lambda x, i: jax.vmap(lambda a, j: a[0].at[j].min(-1.0, mode="drop"))(x, i),
}


@pytest.mark.parametrize("name", INDEXING)
def test_indexing(name):
    check(lambda x, i: {"y": INDEXING[name](x, i)}, x=X, i=WHOLE)


def test_whole_numbers():
    def function(i):
        return {"y": (i // 4) * 2 + i % 3 + jnp.abs(i) + (i > 0).sum(1, keepdims=True)}

    check(function, i=WHOLE)


def test_loop_is_unrolled():
    def function(x):
        step = lambda i, y: y * 0.5 + x  # noqa: E731
        rows = lax.scan(lambda c, r: (c + r.sum(), r * 2), 0.0, jnp.arange(6.0).reshape(3, 2))
        return {"y": lax.fori_loop(0, 3, step, x) + rows[0], "z": x[:, :3, :2] + rows[1][None]}

    assert "Loop" not in check(function, x=X)


def test_layers_are_those_of_onnx():
    image, kernel = jnp.asarray(normal(2, 9, 9, 8)), jnp.asarray(normal(3, 3, 8, 8) / 9)
    norm = GroupNorm(4)
    weights = norm.init(jax.random.key(0), image)
    weights = jax.tree.map(lambda a: a + 0.3 * normal(*a.shape), weights)

    def function(x):
        x = conv(x, kernel, strides=2, padding=((1, 1), (1, 2)))
        x = jax.nn.leaky_relu(norm.apply(weights, x), 0.1)
        return {"y": max_pool2d(x, 3, 1), "z": max_pool2d(x, 2)}

    operators = check(function, tolerance=1e-4, x=image)
    assert {"GroupNormalization", "LeakyRelu", "MaxPool"} <= set(operators)
    assert not {"Where", "Greater"} & set(operators)


def test_batch_norm_is_folded_into_the_convolution():
    volume, kernel = jnp.asarray(normal(2, 4, 4, 4, 3)), jnp.asarray(normal(3, 3, 3, 3, 5) / 9)
    upward = jnp.asarray(normal(2, 2, 2, 5, 4))
    norm = BatchNorm()
    weights = norm.init(jax.random.key(0), jnp.ones((1, 4, 4, 4, 5)), False)
    weights = jax.tree.map(lambda a: a + 0.3 * np.abs(normal(*a.shape)), weights)

    def function(x):
        x = jax.nn.relu(norm.apply(weights, conv(x, kernel), False, jnp.ones(5)))
        x = conv_transpose(max_pool3d(x), upward, strides=2)
        return {"y": x}

    operators = check(function, tolerance=1e-4, x=volume)
    assert operators == ["Transpose", "Conv", "Relu", "MaxPool", "ConvTranspose"] + [
        "Transpose",
        "Identity",
    ]


def test_what_cannot_be_translated_is_named():
    with pytest.raises(Untranslated, match="no translation of the primitive cumsum, of float32"):
        model_of(lambda x: {"y": jnp.cumsum(x, axis=1)}, x=X)
    with pytest.raises(Untranslated, match="a loop .scan. of 40 iterations.*at most 16"):
        model_of(lambda x: {"y": lax.fori_loop(0, 40, lambda i, y: y * 0.5, x)}, x=X)


def test_random_numbers_that_are_not_used_are_dropped():
    def function(x):
        noise = jax.vmap(jax.random.normal)(jnp.broadcast_to(jax.random.key(0), (x.shape[0],)))
        return {"y": x + 0.0 * x if noise is None else x * 2}

    assert check(function, x=X) == ["Mul", "Identity"]
