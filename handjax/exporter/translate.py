"""A function in JAX → an ONNX graph, by way of its jaxpr: one translation per primitive.

Functions are inlined, what the outputs do not need is dropped, and what depends on constants alone
is computed now. Loops of a known length are unrolled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from handjax.exporter import elementwise, indexing, layers, reductions, shapes
from handjax.exporter.graph import Graph, Value, constant, repeated_constant

Translation = Callable[..., Value | Sequence[Value]]
# Primitive → (graph, equation, inputs) → its outputs.
PRIMITIVES: dict[str, Translation] = {
    **elementwise.PRIMITIVES,
    **shapes.PRIMITIVES,
    **reductions.PRIMITIVES,
    **layers.PRIMITIVES,
    **indexing.PRIMITIVES,
}
# Primitive → the parameter that holds the function it calls.
_CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
    "custom_partitioning": "call",
}
# What networks compute of their weights, in NumPy: JAX would compile it for every shape.
_NUMPY: dict[str, Callable[..., Any]] = {
    "add": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: a * b,
    "rsqrt": lambda _, a: 1 / np.sqrt(a),
    "neg": lambda _, a: -a,
    "convert_element_type": lambda equation, a: a.astype(equation.params["new_dtype"]),
    "transpose": lambda equation, a: a.transpose(equation.params["permutation"]),
    "rev": lambda equation, a: np.flip(a, equation.params["dimensions"]),
}
_LONGEST_LOOP = 16  # iterations that are unrolled


class Untranslated(ValueError):
    """Something in the function has no counterpart in ONNX, or none yet."""


def translate(
    graph: Graph, function: Callable[..., Any], inputs: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, Value]:
    """Adds `function(**inputs)`, which returns a dict of arrays, to the graph.

    Raises Untranslated for a primitive without translation; the message names it and the function
    that uses it.
    """
    closed, shape = jax.make_jaxpr(lambda arrays: function(**arrays), return_shape=True)(
        dict(inputs)
    )
    names = sorted(inputs)  # as JAX orders a dict
    declared = {name: graph.input(name, one.shape, one.dtype) for name, one in inputs.items()}
    given = [declared[name] for name in names]
    results = _jaxpr(graph, closed, given, [True] * len(closed.jaxpr.outvars))
    return dict(zip(sorted(shape), (value for value in results if value), strict=True))


def _jaxpr(
    graph: Graph, closed: Any, inputs: Sequence[Value], wanted: Sequence[bool]
) -> list[Value | None]:
    """The wanted outputs of a jaxpr; None for the others."""
    jaxpr = getattr(closed, "jaxpr", closed)
    known: dict[Any, Value] = {}
    for var, value in zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=True):
        known[var] = constant(np.asarray(value)) if not _is_key(value) else constant(np.zeros(()))
    known |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Value:
        return _literal(atom) if hasattr(atom, "val") else known[atom]

    for equation, alive in _needed(jaxpr, wanted):
        arguments = [read(atom) for atom in equation.invars]
        results = _equation(graph, equation, arguments, alive)
        for var, value in zip(equation.outvars, results, strict=True):
            if value is not None:
                known[var] = value
    return [read(atom) if want else None for atom, want in zip(jaxpr.outvars, wanted, strict=True)]


def _needed(jaxpr: Any, wanted: Sequence[bool]) -> list[tuple[Any, list[bool]]]:
    """The equations that the wanted outputs depend on, and which of their outputs are used."""
    alive = {
        atom
        for atom, want in zip(jaxpr.outvars, wanted, strict=True)
        if want and not hasattr(atom, "val")
    }
    kept = []
    for equation in reversed(jaxpr.eqns):
        used = [var in alive for var in equation.outvars]
        if any(used):
            kept.append((equation, used))
            alive |= {atom for atom in equation.invars if not hasattr(atom, "val")}
    return kept[::-1]


def _equation(
    graph: Graph, equation: Any, inputs: Sequence[Value], alive: Sequence[bool]
) -> Sequence[Value | None]:
    """The outputs of one equation that are used."""
    name = equation.primitive.name
    if region := layers.region(equation):
        return [region(graph, equation, inputs), *[None] * (len(equation.outvars) - 1)]
    if name in _CALLS:
        return _jaxpr(graph, equation.params[_CALLS[name]], inputs, alive)
    if name == "scan":
        return _unrolled(graph, equation, inputs)
    if all(value.array is not None for value in inputs) and (done := _computed(equation, inputs)):
        return done
    if name not in PRIMITIVES:
        raise Untranslated(f"ONNX has no translation of the primitive {name}, {_where(equation)}")
    try:
        results = PRIMITIVES[name](graph, equation, inputs)
    except Untranslated:
        raise
    except ValueError as error:
        raise Untranslated(f"the primitive {name}, {_where(equation)}: {error}") from error
    made = [results] if isinstance(results, Value) else list(results)
    for value, var in zip(made, equation.outvars, strict=True):
        assert value.shape == var.aval.shape, f"{name}: {value.shape}, not {var.aval.shape}"
    return made


def _where(equation: Any) -> str:
    """Where in the network an equation is, as flax and named scopes call it."""
    stack = str(equation.source_info.name_stack)
    shapes_ = ", ".join(str(getattr(atom, "aval", atom)) for atom in equation.invars)
    return f"of {shapes_}" + (f" in {stack}" if stack else "")


def _computed(equation: Any, inputs: Sequence[Value]) -> list[Value] | None:
    """The outputs of an equation of constants, as constants; None if they depend on the batch."""
    if equation.primitive.name in shapes.LAZY or not _fixed(equation):
        return None
    if any(not all(isinstance(dim, int) for dim in value.shape) for value in inputs):
        return None
    arrays = []
    for value in inputs:
        assert value.array is not None
        arrays.append(np.broadcast_to(value.array, value.shape))
    if (fast := _NUMPY.get(equation.primitive.name)) is not None:
        made = np.asarray(fast(equation, *arrays))
        return [constant(made.astype(equation.outvars[0].aval.dtype))]
    results = equation.primitive.bind(*map(jax.numpy.asarray, arrays), **equation.params)
    several = results if equation.primitive.multiple_results else [results]
    return [constant(np.asarray(result)) for result in several]


def _fixed(equation: Any) -> bool:
    return all(isinstance(dim, int) for var in equation.outvars for dim in var.aval.shape)


def _unrolled(graph: Graph, equation: Any, inputs: Sequence[Value]) -> list[Value]:
    """A loop of a known length, iteration by iteration."""
    params = equation.params
    length = params["length"]
    if not isinstance(length, int) or length > _LONGEST_LOOP:
        raise Untranslated(
            f"a loop (scan) of {length} iterations, {_where(equation)}: expected at most "
            f"{_LONGEST_LOOP}"
        )
    fixed, carry, each = _loop_inputs(params, inputs)
    carried = len(carry)
    stacked: list[list[Value]] = []
    order = range(length)[::-1] if params["reverse"] else range(length)
    inner = params["jaxpr"]
    for i in order:
        rows = [shapes.row(graph, value, i) for value in each]
        results = _jaxpr(graph, inner, [*fixed, *carry, *rows], [True] * len(inner.jaxpr.outvars))
        found = [value for value in results if value is not None]
        carry, outputs = found[:carried], found[carried:]
        stacked.append(outputs)
    if params["reverse"]:
        stacked.reverse()
    joined = [shapes.stacked(graph, list(values)) for values in zip(*stacked, strict=True)]
    return [*carry, *joined]


def _loop_inputs(
    params: Mapping[str, Any], inputs: Sequence[Value]
) -> tuple[list[Value], list[Value], list[Value]]:
    """What every iteration is given: the constant, what is carried, and what has a row for each."""
    if "ft_in" in params:  # JAX 0.12 has a tree of the three in place of two numbers
        constant_, carried, each = params["ft_in"].update(inputs).unpack()
        return list(constant_), list(carried), list(each)
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    return list(inputs[:first]), list(inputs[first:last]), list(inputs[last:])


def _literal(atom: Any) -> Value:
    return repeated_constant(np.asarray(atom.val, atom.aval.dtype), atom.aval.shape)


def _is_key(value: Any) -> bool:
    """Random keys have no array; nothing that is exported may depend on one."""
    return jax.dtypes.issubdtype(getattr(value, "dtype", None), jax.dtypes.extended)
