"""Memory of the compiled training step of each default config."""

import argparse
from collections.abc import Callable

from benchmarks.harness import ROOT
from benchmarks.startup import NAMES, STARTUP
from benchmarks.tables import cell, log, print_table
from benchmarks.training_step import gigabytes, training_step
from handjax.engine import config as configs

BODY = tuple(f"configs/body.py:{head}" for head in ("direct", "integral", "kinematic"))
MEMORY = (
    *(f"configs/{name}.py" for name in NAMES if name != "body"),
    "configs/spherehand.py:selfsup",
    *BODY,
)


def memory(options: argparse.Namespace) -> list[dict]:
    """Memory of each config, and the smallest `accumulate` with which it fits."""
    found = []
    for spec in STARTUP[:1] if options.tiny else MEMORY:
        config = configs.load(str(ROOT / spec))
        for remat in (False, True) if "remat" in config.model else (None,):

            def measure(accumulate: int, spec=spec, remat=remat) -> float:
                log(f"memory: {spec}, accumulate {accumulate}" + (", remat" if remat else ""))
                settings = {"accumulate": accumulate} | (
                    {} if remat is None else {"model.remat": remat}
                )
                return gigabytes(training_step(spec, settings, runs=False)[0])

            whole, (accumulate, then) = fit_into(options.gigabytes, config.batch_size, measure)
            row = {
                "config": spec,
                "remat": remat,
                "batch_size": config.batch_size,
                "gigabytes": whole,
            }
            found.append({**row, "accumulate": accumulate, "gigabytes_then": then})
    columns = [
        "config",
        "remat",
        "batch",
        "GB",
        f"accumulate to fit {options.gigabytes:g} GB",
        "GB then",
    ]
    rows = [[cell(value) for value in row.values()] for row in found]
    print_table("Memory of the training step, one device, compiled for this machine", columns, rows)
    return found


def fit_into(
    limit: float, batch: int, measure: Callable[[int], float]
) -> tuple[float, tuple[int | None, float | None]]:
    """Memory of the whole batch, and the smallest `accumulate` within the limit, with its memory.

    `accumulate` divides the batch. A slice takes at least its share of the whole, so divisors that
    are too small for that are not tried.
    """
    whole = measure(1)
    for slices in (n for n in range(1, batch + 1) if batch % n == 0 and n * limit >= whole):
        taken = whole if slices == 1 else measure(slices)
        if taken <= limit:
            return whole, (slices, taken)
    return whole, (None, None)
