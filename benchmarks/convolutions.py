#!/usr/bin/env python3
"""Every convolution of a network on its own: our kernel and XLA's convolution, in turns.

    python benchmarks/convolutions.py [NETWORK …] [--batch 1,8] [--gradients] [--json FILE]

NETWORK is one of networks.NETWORKS. A row is a kind of convolution, how often the network has it,
our milliseconds, and XLA's time as a multiple of ours: below 1 our kernel costs time. With
`--gradients` also those of the gradients to the input and to the kernel. Convolutions that are
themselves gradients, as transposed ones are, are left out.
"""

import argparse
import collections
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import (
    Case,
    Effort,
    add_output_options,
    check_arguments,
    machine,
    measure,
    write_json,
)
from benchmarks.networks import NETWORKS
from benchmarks.tables import log, print_table
from handjax.engine.runtime import keep_memory
from handjax.ops import conv

Kind = tuple[conv.Window, int, int]  # and the channels of its input and of its output


def inside(jaxpr: core.Jaxpr) -> Iterator[Any]:
    """The equations of a program and of those that it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            for part in value if isinstance(value, tuple) else [value]:
                program = getattr(part, "jaxpr", part)
                if hasattr(program, "eqns"):
                    yield from inside(program)


def kinds(name: str, tiny: bool) -> dict[Kind, int]:
    """The kinds of convolutions at inference, and how often each is computed."""
    net = NETWORKS[name]
    model = net.module(**net.options | (net.small if tiny else {}))
    x = jax.ShapeDtypeStruct((1, *(net.small_shape if tiny else net.shape)), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    program = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, x)
    found: dict[Kind, int] = collections.Counter()
    for equation in inside(program.jaxpr):
        if equation.primitive.name != "conv_general_dilated":
            continue
        shape, taps = (value.aval.shape for value in equation.invars)
        strides, padding = (equation.params[key] for key in ("window_strides", "padding"))
        if set(equation.params["lhs_dilation"]) == {1}:
            window = conv.Window(shape[1:-1], taps[:-2], tuple(strides), tuple(padding))
            found[window, taps[-2], taps[-1]] += 1
    return dict(found)


def runs(kind: Kind, batch: int, gradients: bool) -> dict[str, dict[str, Callable[[], jax.Array]]]:
    """What is computed → by whom → a function of nothing."""
    window, channels, columns = kind
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (batch, *window.space, channels))
    kernel = jax.random.normal(keys[1], (*window.taps, channels, columns))

    def both(name: str, *arguments: jax.Array) -> dict[str, Callable[[], jax.Array]]:
        ours, xlas = (jax.jit(f) for f in functions[name])
        return {"handjax": lambda: ours(*arguments), "XLA": lambda: xlas(*arguments)}

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv.plain(window, x, kernel)

    def value(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv.value(window, x, kernel)

    functions = {
        "forward": (value, plain),
        "to input": tuple(
            lambda y, x, w, f=f: jax.vjp(lambda x: f(x, w), x)[1](y)[0] for f in (value, plain)
        ),
        "to kernel": tuple(
            lambda y, x, w, f=f: jax.vjp(lambda w: f(x, w), w)[1](y)[0] for f in (value, plain)
        ),
    }
    found = {"forward": both("forward", x, kernel)}
    if gradients:
        y = jax.jit(plain)(x, kernel)
        found |= {name: both(name, y, x, kernel) for name in ("to input", "to kernel")}
    return found


def describe(kind: Kind) -> str:
    """44 x 44 x 44, 32 → 32, 3 x 3 x 3 taps"""
    window, channels, columns = kind
    space, taps = (" x ".join(map(str, n)) for n in (window.space, window.taps))
    strides = "" if set(window.strides) == {1} else f", strides of {max(window.strides)}"
    return f"{space}, {channels} → {columns}, {taps} taps{strides}"


def rows(name: str, batch: int, gradients: bool, effort: Effort) -> list[dict[str, Any]]:
    """The figures of one network."""
    found = []
    for kind, count in kinds(name, effort.tiny).items():
        row: dict[str, Any] = {"kind": describe(kind), "times": count}
        log(f"{name}, batch {batch}: {row['kind']}")
        for what, candidates in runs(kind, batch, gradients).items():
            ours, xlas = measure(name, Case(what, batch, "sample", candidates), effort).rows
            row[what] = {"ms": 1e3 * float(ours.seconds or 0), "xla": xlas.ratio}
        found.append(row)
    return found


def main(argv: list[str]) -> None:
    """Parse the command line, measure, print tables, and write the results as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "networks", nargs="*", metavar="NETWORK", help=f"one of {', '.join(NETWORKS)} (all)"
    )
    add_output_options(parser)
    parser.add_argument("--seconds", type=float, default=1.0, help="per convolution (1)")
    parser.add_argument("--batch", default="1,8", metavar="LIST", help="samples (1,8)")
    parser.add_argument("--gradients", action="store_true", help="both gradients as well")
    args = parser.parse_args(argv)
    check_arguments(parser, args, args.networks, NETWORKS)
    if not all(n.isdigit() and int(n) for n in args.batch.split(",")):
        parser.error(f"--batch {args.batch}: expected whole numbers from 1 on, joined by commas")
    effort = Effort(0.0, 1, True) if args.tiny else Effort(args.seconds, 5, False)
    about = machine(effort)
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    results: dict[str, Any] = {"machine": about}
    for name in dict.fromkeys(args.networks or NETWORKS):
        for batch in map(int, args.batch.split(",")):
            found = results[f"{name}, {batch}"] = rows(name, batch, args.gradients, effort)
            whats = [key for key in found[0] if key not in ("kind", "times")] if found else []
            print_table(
                f"{NETWORKS[name].title}, batch {batch}: ms, and XLA's time in multiples of it",
                ["convolution", "times", *whats],
                [
                    [
                        row["kind"],
                        str(row["times"]),
                        *(f"{row[what]['ms']:.2f}; {row[what]['xla']:.2f}" for what in whats),
                    ]
                    for row in found
                ],
            )
            write_json(args.json, results)


if __name__ == "__main__":
    keep_memory()
    main(sys.argv[1:])
