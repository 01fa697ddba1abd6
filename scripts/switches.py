#!/usr/bin/env python3
"""What each switch beyond the papers is worth on the synthetic world: a table of mean errors.

    python scripts/switches.py --out runs/switches

trains V2V-PoseNet and the sphere hand, small, from three seeds with each switch of the training,
and evaluates the plain networks, and those that saw turned hands, with each switch of the
evaluation; the budget is the same for all. What is done is kept in results.json, so the same
command goes on after a stop; table.md is written at the end of each training. About 20 minutes of
CPU time.
"""

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from handjax import run as runs
from handjax.engine import cli, feed, sharding
from handjax.engine import config as configs
from handjax.engine.evaluation import predict_split
from handjax.engine.files import write_atomic
from handjax.engine.step import AVERAGE, TrainState, train_step, variables_of
from handjax.sources import SOURCES

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ROTATIONS = "config.task.rotations_deg=(-20.0,20.0)"
NINE = ("config.task.views=9", "config.task.view_deg=15.0")
# Of an evaluation, by name; None: the newest weights, else the moving average of the weights.
AVERAGED = {
    "moving average of the weights": (),
    "and two turns in the plane": (ROTATIONS,),
    "and nine rendered views": NINE,
    "and the best four of them": (*NINE, "config.task.keep_views=4"),
}


# Evaluated with every switch of AVERAGED, too: views need a network that knows turned hands.
TURNED = ("and 15° out of the plane", "augmentation, 15° about each axis")


class System(NamedTuple):
    """A small training, and switches of the training and of the evaluation by name."""

    config: str
    small: tuple[str, ...]
    switches: Mapping[str, tuple[str, ...]]
    tests: Mapping[str, tuple[str, ...]] = AVERAGED


SYSTEMS = {
    "V2V-PoseNet": System(
        "v2v.py:quick",
        (
            *("config.model.widths=(8,16,32,32)", "config.task.grid=16"),
            *("config.task.heatmap_grid=8", "config.data.image_size=48", "config.batch_size=8"),
        ),
        {
            "offset targets": (
                "config.task.targets=offset",
                "config.task.radius=3.0",
                "config.task.heatmap_weight=1.0",
            ),
            "augmentation as in the paper": ("config.augment.enabled=True",),
            "and 15° out of the plane": (
                "config.augment.enabled=True",
                "config.augment.tilt_deg=15.0",
            ),
        },
    ),
    "sphere hand": System(
        "spherehand.py:quick",
        ("config.data.image_size=32", "config.batch_size=16", "config.optimizer.lr=3e-3"),
        {
            "offset maps": ("config.task.offsets=True",),
            "augmentation, 15° about each axis": (
                "config.augment.enabled=True",
                "config.augment.turn_deg=15.0",
            ),
        },
    ),
}
# Rendered views lose the rims of fingers, more of them where a finger is few pixels wide.
SYSTEMS["V2V-PoseNet, images of 96 px"] = System(
    "v2v.py:quick",
    (*SYSTEMS["V2V-PoseNet"].small, "config.data.image_size=96"),
    {TURNED[0]: SYSTEMS["V2V-PoseNet"].switches[TURNED[0]]},
)
# As in the paper; the others end at a rate of 0, which leaves little to average.
SYSTEMS["V2V-PoseNet, at a constant rate"] = System(
    "v2v.py:quick",
    (*SYSTEMS["V2V-PoseNet"].small, "config.optimizer.schedule=constant"),
    {},
    {"moving average of the weights": ()},
)
PLAIN = "none"


def main(argv: Sequence[str]) -> None:
    parser = cli.Parser(prog="python scripts/switches.py", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the results")
    parser.add_argument("--steps", type=int, default=400, help="of each training (default: 400)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each (default: 3)")
    parser.add_argument("--hands", type=int, default=128, help="held out (default: 128)")
    flags = parser.parse_args(argv)
    if min(flags.steps, flags.seeds, flags.hands) < 1:
        raise ValueError("--steps, --seeds and --hands: expected 1 or more")
    flags.out.mkdir(parents=True, exist_ok=True)
    path, sizes = flags.out / "results.json", [flags.steps, flags.hands]
    kept = json.loads(path.read_text()) if path.exists() else {"sizes": sizes, "mm": {}}
    if kept["sizes"] != sizes:
        raise ValueError(f"{path}: of --steps and --hands {kept['sizes']}; use another --out")
    for title, system in SYSTEMS.items():
        for name, overrides in {PLAIN: (), **system.switches}.items():
            todo = [n for n in range(flags.seeds) if f"{title}/{name}/{n}" not in kept["mm"]]
            more = ("config.average=0.99", f"config.steps={flags.steps}")
            more += (f"config.data.eval_size={flags.hands}", "config.devices=1")
            more += ("config.eval_batch_size=32",)
            config = configs.load(f"{CONFIGS}/{system.config}", [*system.small, *more, *overrides])
            tested = system.tests if name in (PLAIN, *TURNED) else {}
            for seed, errors in _trained(config, todo, tested):
                kept["mm"][f"{title}/{name}/{seed}"] = errors
                write_atomic(path, json.dumps(kept, indent=1) + "\n")
                write_atomic(flags.out / "table.md", _table(kept["mm"]))
                print(title, name, seed, errors, flush=True)


def _trained(config: ConfigDict, seeds: Sequence[int], tested: Mapping[str, tuple[str, ...]]):
    """(seed, mm by the switch of the evaluation) of each training."""
    if not seeds:
        return
    run = runs.build(config)
    step = jax.jit(
        lambda state, batch, key: train_step(
            state,
            batch,
            key=key,
            task=run.task,
            optimizer=run.optimizer,
            materialize=run.source.materialize,
            average=config.average,
        ),
        donate_argnums=0,
    )
    tests = {
        name: runs.build(_changed(config, options), train=False, source=run.source)
        for name, options in {"": (), **tested}.items()
    }
    for seed in seeds:
        began = time.process_time()
        source = SOURCES[config.data.name](_changed(config, (f"config.seed={seed}",)))
        own = runs.build(_changed(config, (f"config.seed={seed}",)), source=source)
        state = own.init_state()
        batches = feed.train_batches(source, run.mesh, config.batch_size, seed, 0, config.steps)
        for batch in batches:
            state, _ = step(state, batch, own.key)
        newest = _plain(state, {"params": state.params, **state.model_state})
        average = _plain(state, variables_of(state.params, state.model_state))
        errors = {
            name or PLAIN: _error(test, average if name else newest) for name, test in tests.items()
        }
        print(f"{time.process_time() - began:.0f} s of CPU time", flush=True)
        yield seed, errors


def _changed(config: ConfigDict, options: Sequence[str]) -> ConfigDict:
    return configs.override(ConfigDict(config.to_dict()), options)


def _plain(state: TrainState, variables: Mapping[str, Any]) -> TrainState:
    """A state with these variables of the network alone."""
    others = {name: value for name, value in variables.items() if name not in ("params", AVERAGE)}
    return state.replace(params=variables["params"], model_state=others)


def _error(test: runs.Run, state: TrainState) -> float:
    rows, _ = predict_split(
        test.eval_step, state, test.source, test.eval_batch_size, sharding.make_mesh(1)
    )
    return float(test.task.score(test.task.postprocess(rows))["mpjpe_mm"])


def _table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Mean error, its standard deviation over the seeds, and the mean difference from no switch
    with the lowest and highest one."""
    lines = [
        "| system | switch | mm | over the seeds | beside none | of each seed |",
        "|---|---|---|---|---|---|",
    ]
    by_switch: dict[tuple[str, str], dict[str, float]] = {}
    for key, errors in found.items():
        title, name, seed = key.split("/")
        for test, mm in errors.items():
            label = test if name == PLAIN else name + f"; {test}" * (test != PLAIN)
            by_switch.setdefault((title, label), {})[seed] = mm
    for (title, label), errors in by_switch.items():
        plain = by_switch.get((title, PLAIN), {})
        both = [errors[seed] - plain[seed] for seed in errors if seed in plain]
        mean, beside, each = statistics.fmean(errors.values()), "", ""
        spread = f"± {statistics.stdev(errors.values()):.2f}" if len(errors) > 1 else ""
        if both and label != PLAIN:
            beside, each = f"{statistics.fmean(both):+.2f}", f"{min(both):+.2f} to {max(both):+.2f}"
        lines.append(f"| {title} | {label} | {mean:.2f} | {spread} | {beside} | {each} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.run(main)
