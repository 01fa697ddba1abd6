"""Convolutions with an epilogue: the kernel equals its reference, and where it is used."""

import os
import re
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from handjax.ops import conv, library
from handjax.ops.conv_affine import affine, conv_affine, conv_transpose_affine
from tests.devices import xla_flags

# [b, space, c], [taps, c, o], strides: at least one for each path through custom_ops/conv.cc.
CASES = {
    "strides": ((2, 13, 14, 16), (3, 3, 16, 21), 2),
    "one axis": ((2, 50, 5), (4, 5, 7), 3),
    "three axes": ((2, 5, 6, 7, 5), (3, 3, 3, 5, 21), 1),
    "one tap": ((2, 9, 8, 16), (1, 1, 16, 33), 1),
    "few pixels": ((1, 8, 7, 40), (3, 3, 40, 77), 1),
    "few pixels, one tap": ((1, 8, 8, 40), (1, 1, 40, 64), 1),
    "sparse": ((2, 9, 8, 13, 1), (7, 7, 7, 1, 48), 1),
    "patches": ((3, 17, 22, 16), (3, 3, 16, 48), 1),
    "patches of volumes": ((2, 9, 10, 11, 16), (3, 3, 3, 16, 32), 1),
    "wide patches": ((2, 23, 26, 16), (9, 9, 16, 48), 1),
    "wide patches, odd widths": ((2, 20, 13, 27), (11, 11, 27, 39), 1),
}
TRANSPOSED = {  # strides, padding
    "images": ((2, 9, 10, 40), (4, 4, 40, 24), 2, 1),
    "odd widths": ((2, 9, 10, 5), (4, 4, 5, 7), 2, 1),
    "volumes": ((2, 4, 5, 6, 16), (2, 2, 2, 16, 21), 2, 0),
}


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def operands(shape, taps):
    """x, kernel, scale, shift"""
    scale = (np.prod(taps[:-1]) ** -0.5) * (1 + 0.3 * normal(3, taps[-1]))
    return normal(1, *shape), normal(2, *taps), scale, normal(4, taps[-1])


def example(name):
    """x, kernel, scale, shift, and the strides"""
    shape, taps, strides = CASES[name]
    x, *rest = operands(shape, taps)
    if name == "sparse":
        x = x * jnp.asarray(np.random.default_rng(5).random(shape) < 0.05, jnp.float32)
    return (x, *rest), strides


def plain(x, kernel, scale, shift, residual=None, *, strides=1, relu=False):
    window = conv.forward_window(x, kernel, strides, "SAME")
    return affine(conv.plain(window, x, kernel), scale, shift, residual, relu=relu)


def in_every_way(convolve, given, residual):
    """With and without residual and ReLU."""
    return [convolve(*given, r, relu=relu) for r in (None, residual) for relu in (False, True)]


def ours_and_plain(name):
    given, strides = example(name)
    shape = jax.eval_shape(partial(conv.conv, strides=strides), *given[:2]).shape
    return tuple(
        jax.jit(partial(in_every_way, partial(function, strides=strides)))(given, normal(6, *shape))
        for function in (conv_affine, plain)
    )


def assert_close(ours, theirs, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(np.asarray(b)).max())


def calls(function, *arguments, platform="cpu"):
    """Kernels with an epilogue, those without, and convolutions in the program."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    every = re.findall(r"custom_call @handjax_conv\w*", text)
    fused = sum(name.endswith("affine") for name in every)
    return fused, len(every) - fused, text.count("stablehlo.convolution")


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_reference(name):
    assert_close(*ours_and_plain(name))


@pytest.mark.slow
@pytest.mark.parametrize("tiles", ["avx2", "any"])
def test_kernel_is_reference_with_other_registers(tiles, repo):
    """As on machines without AVX-512."""
    code = (
        "from test_conv_affine import *\nfor name in CASES: assert_close(*ours_and_plain(name))"
        "\nprint('same')"
    )
    env = {
        **os.environ,
        "HANDJAX_TILES": tiles,
        "PYTHONPATH": os.pathsep.join([str(repo), str(repo / "tests" / "kernels")]),
        "XLA_FLAGS": f"{xla_flags(1)} --xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=repo, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "same", done.stderr[-3000:]


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_kernel_is_reference(name):
    shape, taps, strides, padding = TRANSPOSED[name]
    given = operands(shape, taps)
    options = dict(strides=strides, padding=padding)

    def by_hand(x, kernel, scale, shift, relu):
        y = conv.conv_transpose(x, kernel, **options)
        return affine(y, scale, shift, relu=relu)

    for relu in (False, True):
        run = partial(conv_transpose_affine, **options, relu=relu)
        assert calls(run, *given) == (1, 0, 0)
        assert_close(jax.jit(run)(*given), jax.jit(partial(by_hand, relu=relu))(*given))


@pytest.mark.parametrize("name", ["strides", "few pixels, one tap", "sparse", "patches"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_reach_the_output(name, value):
    (x, kernel, scale, shift), strides = example(name)
    at = tuple(n // 2 for n in x.shape[:-1])
    bad = x.at[*at, 0].set(value)
    run = jax.jit(partial(conv_affine, strides=strides, relu=True))
    good = run(x, kernel, scale, shift)
    ours = run(bad, kernel, scale, shift)
    theirs = plain(bad, kernel, scale, shift, strides=strides, relu=True)
    reached = np.isnan(plain(x.at[*at, 0].set(np.nan), kernel, scale, shift, strides=strides))
    assert 0 < reached.sum() < reached.size
    if name == "patches":  # whose points make infinity NaN, in all pixels of a patch
        assert np.isinf(value) or np.isnan(ours)[reached].all()
        reached = np.asarray(ours != good)
        assert 0 < reached.sum() == reached[1, 4:12, 8:16].sum()
    else:
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
        np.testing.assert_array_equal(np.isinf(ours), np.isinf(theirs))
    # Outside the window, which reaches NaN in every channel, nothing changes.
    np.testing.assert_array_equal(np.asarray(ours)[~reached], np.asarray(good)[~reached])
    # Residuals, scale and shift pass theirs on.
    beside = jnp.zeros_like(good).at[0, ..., -1].set(value)
    for a, b in [
        (
            run(x, kernel, scale, shift, beside),
            plain(x, kernel, scale, shift, beside, strides=strides, relu=True),
        ),
        (
            run(x, kernel, scale, shift.at[-1].set(value)),
            plain(x, kernel, scale, shift.at[-1].set(value), strides=strides, relu=True),
        ),
    ]:
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b))


def test_samples_do_not_depend_on_their_batch():
    (x, kernel, scale, shift), _ = example("patches")
    run = jax.jit(partial(conv_affine, relu=True))
    np.testing.assert_array_equal(
        run(x, kernel, scale, shift)[1:], run(x[1:], kernel, scale, shift)
    )


# ---- composition ---------------------------------------------------------------------------------


def test_vmap_in_every_way():
    x, kernel, scale, shift = operands((6, 9, 8, 5), (3, 3, 5, 7))
    residual = normal(6, 6, 9, 8, 7)
    xs, residuals = (a.reshape(2, 3, *a.shape[1:]) for a in (x, residual))
    kernels, scales, shifts = (jnp.stack([a, 0.5 * a]) for a in (kernel, scale, shift))
    run, theirs = (partial(f, relu=True) for f in (conv_affine, plain))
    for given, axes in [
        ((xs, kernel, scale, shift, residuals), (0, None, None, None, 0)),
        ((x, kernel, scale, shift, jnp.stack([residual, -residual])), (None, None, None, None, 0)),
        ((xs, kernel, scales, shift, residuals), (0, None, 0, None, 0)),
        ((x, kernels, scales, shifts, residual), (None, 0, 0, 0, None)),
        ((xs, kernels, scale, shifts, residuals), (0, 0, None, 0, 0)),
    ]:
        assert_close(jax.jit(jax.vmap(run, axes))(*given), jax.jit(jax.vmap(theirs, axes))(*given))
    assert calls(jax.vmap(run, (0, None, None, None)), xs, kernel, scale, shift) == (1, 0, 0)
    upward = partial(conv_transpose_affine, strides=2, padding=1)
    taps = normal(7, 2, 4, 4, 5, 7)
    both = jax.jit(jax.vmap(upward, (None, 0, None, None)))(x, taps, scale, shift)
    assert_close(both[1], upward(x, taps[1], scale, shift))


def test_gradients_are_those_of_the_separate_operations():
    given = *operands((4, 9, 8, 5), (3, 3, 5, 7)), normal(6, 4, 9, 8, 7)

    def separate(x, kernel, scale, shift, residual):
        return affine(conv.conv(x, kernel), scale, shift, residual, relu=True)

    def value_and_gradients(function, *given):
        y, pull = jax.vjp(function, *given)
        return y, *pull(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    run = partial(conv_affine, relu=True)
    for a, b in zip(
        jax.jit(partial(value_and_gradients, run))(*given),
        jax.jit(partial(value_and_gradients, separate))(*given),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert_close(
        jax.grad(lambda x: jnp.sum(jax.checkpoint(run)(x, *given[1:]) ** 2))(given[0]),
        jax.grad(lambda x: jnp.sum(separate(x, *given[1:]) ** 2))(given[0]),
    )


def devices():
    return Mesh(np.array(jax.devices()[:2]), ("data",), axis_types=(AxisType.Auto,))


ROWS, WHOLE = PartitionSpec("data"), PartitionSpec()


def test_sharded_without_a_collective():
    given = *operands((4, 9, 8, 5), (3, 3, 5, 7)), normal(6, 4, 9, 8, 7)
    run = jax.jit(partial(conv_affine, relu=True))
    expected = run(*given)
    with jax.set_mesh(devices()) as _:
        placed = [
            jax.device_put(a, NamedSharding(devices(), ROWS if a.ndim == 4 and i != 1 else WHOLE))
            for i, a in enumerate(given)
        ]
        compiled = run.lower(*placed).compile()
        y = compiled(*placed)
    text = compiled.as_text()
    assert "handjax_conv_affine" in text
    assert not re.findall(r"all-gather|all-reduce|all-to-all|collective-permute", text)
    assert y.sharding.spec == ROWS
    np.testing.assert_array_equal(y, expected)


def test_inside_shard_map():
    given = *operands((4, 9, 8, 5), (3, 3, 5, 7)), normal(6, 4, 9, 8, 7)
    run = partial(conv_affine, relu=True)
    places = (ROWS, WHOLE, WHOLE, WHOLE, ROWS)
    mapped = jax.shard_map(run, mesh=devices(), in_specs=places, out_specs=ROWS)
    np.testing.assert_array_equal(jax.jit(mapped)(*given), jax.jit(run)(*given))

    def gradients(function):
        return jax.jit(jax.grad(lambda *a: jnp.sum(function(*a) ** 2), argnums=range(5)))(*given)

    assert_close(gradients(mapped), gradients(run))


# ---- what runs where -----------------------------------------------------------------------------


def test_where_the_kernel_is_used():
    given = operands((4, 9, 8, 5), (3, 3, 5, 7))
    run = partial(conv_affine, relu=True)
    assert calls(run, *given) == (1, 0, 0)
    assert calls(run, *given, platform="cuda") == (0, 0, 1)
    with library.reference_implementations():
        assert calls(partial(run, strides=1), *given) == (0, 0, 1)
    x, kernel, *rest = given
    half = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    assert calls(run, *half, *rest) == (0, 1, 0)
    assert jax.eval_shape(run, *half, *rest).dtype == jnp.bfloat16
    assert run(x[:0], kernel, *rest).shape == (0, 9, 8, 7)


def test_the_kernel_rejects_invalid_shapes():
    library.platforms()

    def call(name="handjax_conv_affine", strides=1, **changed):
        shapes = dict(x=(2, 5, 6, 3), kernel=(1, 1, 3, 4), scale=(4,), shift=(4,)) | changed
        out = jax.ShapeDtypeStruct(shapes.pop("out", (2, 5, 6, 4)), jnp.float32)
        options = dict(stride=np.full(2, strides), low=np.zeros(2, np.int64), relu=True)
        op = jax.ffi.ffi_call(name, out)
        return jax.block_until_ready(op(*map(jnp.zeros, shapes.values()), **options))

    call()
    call(beside=(2, 5, 6, 4))
    for changed, what in [
        (dict(scale=(3,)), r"scale or shift is \[3\]"),
        (dict(shift=(1, 4)), r"scale or shift is \[1 4\]"),
        (dict(beside=(2, 5, 6, 3)), r"residual is \[2 5 6 3\]"),
        (dict(beside=(2, 5, 6, 4), another=(2, 5, 6, 4)), "more than one residual"),
        (dict(kernel=(2, 1, 1, 3, 4)), r"kernel is \[2 1 1 3 4\]"),
        (dict(x=(1, 5, 6, 3)), "output is"),
        (
            dict(name="handjax_conv_input_affine", x=(2, 3, 3, 4), kernel=(1, 1, 4, 4), strides=2),
            "strides are",
        ),
    ]:
        with pytest.raises(Exception, match=f"INVALID_ARGUMENT: {what}"):
            call(**changed)
