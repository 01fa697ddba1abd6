"""Peak resident memory of a training, by the process itself: python -m benchmarks.peak CONFIG

    python -m benchmarks.peak configs/v2v.py --steps 5 --config.model.remat=True

Prints one line of JSON: GB at the start of the first step (imports, state, the compiled step), the
peak until the last one, seconds of each step, by the clock and of all cores, and a digest of the
parameters after it, which is the same for runs that computed the same bits.
"""

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from handjax.engine.cli import split_overrides
from handjax.engine.runtime import keep_memory


def resident(key: str) -> float:
    """GB of this process: VmRSS, now, or VmHWM, the most so far."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e9


def measure(spec: str, settings: dict[str, object], steps: int) -> dict:
    """The figures of a config with these settings."""
    import jax
    import numpy as np

    from benchmarks.training_step import training_step

    step, init_state, batch = training_step(spec, settings)
    state = jax.block_until_ready(init_state())
    before, seconds, cpu = resident("VmRSS"), [], []
    for _ in range(steps):
        start, used = time.perf_counter(), time.process_time()
        state, terms = jax.block_until_ready(step(state, batch))
        seconds.append(round(time.perf_counter() - start, 3))
        cpu.append(round(time.process_time() - used, 3))
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state.params):
        digest.update(np.asarray(leaf).tobytes())
    return {
        "before_gigabytes": round(before, 3),
        "peak_gigabytes": round(resident("VmHWM"), 3),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "loss": float(terms["loss"]),
        "params": digest.hexdigest()[:16],
    }


def main(argv: Sequence[str]) -> None:
    """Parse the command line, measure, and print a line of JSON."""
    argv, overrides = split_overrides(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="as for handjax train, with its --config.KEY=VALUE")
    parser.add_argument("--steps", type=int, default=5, help="default: %(default)s")
    args = parser.parse_args(argv)
    if args.steps < 1:
        parser.error(f"--steps {args.steps}: expected 1 or more")
    settings = dict(one.removeprefix("config.").split("=", 1) for one in overrides)
    print(json.dumps(measure(args.config, settings, args.steps)), flush=True)


if __name__ == "__main__":
    keep_memory()
    try:
        main(sys.argv[1:])
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
