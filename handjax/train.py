"""handjax train: trains a config, evaluates it on the evaluation split and reports.

    handjax train --config configs/v2v.py:quick --workdir DIR [--config.KEY=VALUE …]

DIR gets checkpoints/, config.json, metrics.jsonl, tensorboard/, and at the end metrics.json,
predictions.npz, report.html and done.json. Rerun the command to resume from the newest readable
checkpoint; on CPU the result is bit-identical to an uninterrupted run. All hosts must see DIR.

On several hosts, start the same command on each with --distributed (Slurm, Open MPI, cloud TPU),
or with --coordinator HOST:PORT --num_processes N --process_id I. scripts/launch.py does both.
"""

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from handjax import run as runs
from handjax.data.batch import check_batch
from handjax.engine import cli, feed, runtime, schedules, sharding
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.contracts import Rows
from handjax.engine.files import back_up, write_atomic
from handjax.engine.step import TrainState
from handjax.engine.warm_start import warm_start
from handjax.engine.writer import Writer
from handjax.reports.run import report_run


def parser() -> cli.Parser:
    """The command's flags."""
    flags = cli.Parser(prog="handjax train", description=__doc__)
    flags.add_argument(
        "--config",
        metavar="CONFIG",
        required=True,
        help="what to train: the name of an included config, or a file, and its variants, as in "
        "v2v, v2v:quick or FILE.py:quick,h5; with --help, all its keys are listed",
    )
    flags.add_argument(
        "--workdir", metavar="DIR", required=True, help="a new folder, or a run to resume"
    )
    flags.add_argument(
        "--global_joints",
        action="store_true",
        help="V2V: one map of all joints; the variant of that name",
    )
    cli.add_distributed(flags)
    return flags


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    argv, overrides = cli.split_overrides(argv)
    flags = parser().parse_args(argv)
    variant = ("," if ":" in flags.config else ":") + "global_joints" if flags.global_joints else ""
    config = configs.load(flags.config + variant, overrides)
    print(f"{flags.config + variant} in {flags.workdir}, {config.steps} steps", flush=True)
    runtime.start_distributed(flags)
    runtime.tell_compiling()
    train(config, Path(flags.workdir))


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains `config` in `workdir`. User errors are raised before the folder is touched."""
    # --- Checks, and the parts that are functions of the config.
    configs.require(
        config, 1, "accumulate", "steps", "log_every", "eval_every", "save_every", "keep"
    )
    configs.require(config, 0, "seed")
    if config.init and not Path(config.init).exists():
        raise FileNotFoundError(
            f"config.init={config.init}: no such file; expected a run's folder or an .npz"
        )
    run = runs.build(config, workdir=workdir)
    check_workdir(workdir, config)
    _dry_run(run)

    # --- State.
    checkpoints = Checkpoints(workdir / "checkpoints", config.keep, log=runtime.log)
    state, notes = _first_state(run, checkpoints)
    start = int(state.step)
    if start > config.steps:
        raise ValueError(
            f"{workdir} is at step {start}, beyond config.steps={config.steps}: "
            "raise it or use another --workdir"
        )
    if start == config.steps and (workdir / "done.json").exists():
        runtime.log(
            f"{workdir} is finished at step {start}: "
            f"handjax evaluate --workdir {workdir} evaluates it again"
        )
        return
    claim_workdir(workdir, config)
    for note in notes:
        runtime.log(note)

    # --- Loop.
    writer = Writer(workdir, start, config.steps, config.batch_size)
    try:
        state, rows = _loop(run, state, start, writer, checkpoints)
    finally:
        writer.close()
        checkpoints.wait()

    # --- Report.
    if rows is None:  # the run was killed between its last checkpoint and the report
        rows, _ = _evaluate(run, state)
    best = checkpoints.best()
    checkpoints.close()
    if jax.process_index() == 0:
        report_run(
            workdir, run.task, run.source, rows, f"step {config.steps}", workdir / "metrics.jsonl"
        )
        done = {
            "step": config.steps,
            "best_step": best,
            "checkpoints": str(workdir / "checkpoints"),
        }
        write_atomic(workdir / "done.json", json.dumps(done, indent=2) + "\n")


def _dry_run(run: runs.Run) -> None:
    """One training step by shapes alone: an error here is in the config."""
    row = run.source.train_rows(np.array([0]))
    check_batch(row)
    place = sharding.batch_sharded(run.mesh)  # as in the loop, which then reuses the trace
    size = run.config.batch_size
    batch = {
        name: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype, sharding=place)
        for name, x in row.items()
    }
    jax.eval_shape(run.train_step, run.target, batch)


def _first_state(run: runs.Run, checkpoints: Checkpoints) -> tuple[TrainState, list[str]]:
    """The newest readable checkpoint, else a fresh state; and notes for the user."""
    config, notes = run.config, []
    state = checkpoints.restore_latest(run.target)
    resumed = state is not None
    if state is None:
        state = run.init_state()
        if config.init:
            state, note = warm_start(state, config.init, config.init_skip)
            notes.append(note)
    notes.append(
        f"{'resume' if resumed else 'start'} at step {int(state.step)} of {config.steps} "
        f"on {run.mesh.size} device(s), {run.source.description}"
    )
    return state, notes


def _loop(
    run: runs.Run, state: TrainState, start: int, writer: Writer, checkpoints: Checkpoints
) -> tuple[TrainState, Rows | None]:
    """Steps `start` to `config.steps` → the last state, and the rows of the last evaluation."""
    config, rows = run.config, None
    if start == 0:
        writer.evaluation(0, _evaluate(run, state)[1])
    pending = None  # the step whose terms are still on the device
    batches = feed.train_batches(
        run.source, run.mesh, config.batch_size, config.seed, start, config.steps
    )
    for step, batch in enumerate(batches, start + 1):
        # --- Step. The first one compiles, which copies constants.
        first = step == start + 1
        with contextlib.nullcontext() if first else runtime.no_implicit_transfers():
            state, terms = run.train_step(state, batch)
            # Those of the step before, so that the device has work while the host waits.
            _record(writer, pending, config, checkpoints)
        pending = (step, terms)

        # --- Evaluation and checkpoint.
        last = step == config.steps
        evaluating = last or step % config.eval_every == 0
        saving = last or step % config.save_every == 0
        if evaluating or saving:
            _record(writer, pending, config, checkpoints)
            pending = None
        monitored = None
        if evaluating:
            rows, metrics = _evaluate(run, state)
            writer.evaluation(step, metrics)
            monitored = metrics[run.task.monitor]
        if saving:
            checkpoints.save(state, monitored)
    return state, rows


def _evaluate(run: runs.Run, state: TrainState) -> tuple[Rows, dict[str, float]]:
    """Postprocessed rows of the evaluation split, its loss, and the metric that ranks."""
    rows, loss = run.predict(state)
    metrics, monitor = run.task.score(rows), run.task.monitor
    if monitor not in metrics:
        raise ValueError(
            f"the evaluated samples have no {monitor}, which ranks the checkpoints; "
            "for people without 3D poses use --config.task.monitor=epe_px"
        )
    return rows, {"loss": loss, monitor: metrics[monitor]}


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Checks that `workdir` is new or holds this run. Read-only.

    Before the first checkpoint the config may still change. Raises ValueError otherwise, with the
    keys that differ.
    """
    path = workdir / "config.json"
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir {workdir}: a file, not a folder")
    begun = any(folder.name.isdigit() for folder in (workdir / "checkpoints").glob("*"))
    if not path.exists():
        if begun:
            raise ValueError(
                f"{workdir} holds checkpoints but no config.json: use another --workdir"
            )
        return
    try:
        old = configs.from_json(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not a config ({error}); use another --workdir") from error
    if not begun:
        return
    if changed := configs.differences(old, config):
        more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise ValueError(
            f"{workdir} holds a run of another config ({'; '.join(changed[:4])}{more}): use the "
            f"run's own config, or train on from its weights in a new folder: "
            f"--config.init={workdir} and another --workdir"
        )
    if old.steps != config.steps and config.optimizer.schedule in schedules.OF_THE_WHOLE_RUN:
        raise ValueError(
            f"{workdir} holds a run of {old.steps} steps whose {old.optimizer.schedule} schedule "
            f"ends there; config.steps={config.steps} would be another schedule: train on from its "
            f"weights in a new folder: --config.init={workdir} and another --workdir"
        )


def claim_workdir(workdir: Path, config: ConfigDict) -> None:
    """Creates `workdir` and writes config.json atomically; a different older one is backed up."""
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "done.json").unlink(missing_ok=True)  # of a run with fewer steps
        path = workdir / "config.json"
        if (
            path.exists()
            and configs.differences(configs.from_json(path.read_text()), config)
            and (kept := back_up(path))
        ):
            runtime.log(f"kept the earlier config.json as {kept.name}")
        write_atomic(path, configs.to_json(config) + "\n")


def _record(writer, pending, config, checkpoints) -> None:
    """Copies a step's terms to the host and writes them; ValueError if they are not finite."""
    if pending is None:
        return
    step, terms = pending
    terms = {name: float(value) for name, value in jax.device_get(terms).items()}
    if not terms["finite"]:
        bad = ", ".join(
            f"{name} {value}" for name, value in terms.items() if not math.isfinite(value)
        )
        checkpoints.wait()
        saved = checkpoints.steps()
        where = (
            f"the newest checkpoint is {checkpoints.folder / str(saved[-1])}"
            if saved
            else "there is no checkpoint yet"
        )
        raise ValueError(f"step {step} is not finite ({bad}); its update was withheld; {where}")
    writer.step(step, terms, record=step % config.log_every == 0 or step == config.steps)


if __name__ == "__main__":
    cli.run(main)
