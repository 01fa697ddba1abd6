"""handjax train: trains a config, evaluates it on the evaluation split and reports.

    handjax train --config configs/v2v.py:quick --workdir DIR [--config.KEY=VALUE …]

DIR gets checkpoints/, config.json, metrics.jsonl, tensorboard/, and at the end metrics.json,
predictions.npz, report.html, model.stablehlo and done.json. Rerun the command to resume from the
newest readable checkpoint; on CPU the result is bit-identical to an uninterrupted run. All hosts
must see DIR. SIGTERM and SIGUSR1 save a checkpoint and end the command with exit code 75.

On several hosts, start the same command on each with --distributed (Slurm, Open MPI, cloud TPU),
or with --coordinator HOST:PORT --num_processes N --process_id I. scripts/launch.py does both.
"""

import contextlib
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from handjax import run as runs
from handjax.data.batch import check_batch
from handjax.engine import agreement, cli, feed, lock, recorder, runtime, sharding, wandb_run
from handjax.engine import config as configs
from handjax.engine import workdir as workdirs
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.contracts import Rows
from handjax.engine.files import write_atomic
from handjax.engine.interruption import REQUEUE, SAVE, STOP, Interrupted, Interruption
from handjax.engine.recorder import Recorder
from handjax.engine.step import TrainState
from handjax.engine.warm_start import warm_start
from handjax.engine.writer import Writer
from handjax.reports.run import report_run
from handjax.sources import DEPTH_SETS
from handjax.sources.own_joints import check_joints, keep_joints

_INCLUDED = ("hand-depth", "v2v")  # as values of config.init
# Sources whose depth images are those of the camera: an export takes images of their size.
_WHOLE_FRAMES = (*DEPTH_SETS, "labelled_frames")


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
    """Trains `config` in `workdir`. User errors are raised before the folder is touched.

    Raises Interrupted if it was asked to end before that.
    """
    # --- Checks, and the parts that are functions of the config.
    configs.require(
        config, 1, "accumulate", "steps", "log_every", "eval_every", "save_every", "keep"
    )
    configs.require(config, 0, "seed", "save_minutes", "skip_nonfinite")
    if config.init and not _weights_of(config.init).exists():
        raise FileNotFoundError(
            f"config.init={config.init}: no such file; expected a run's folder, an .npz, or "
            f"{' or '.join(_INCLUDED)}, the included networks"
        )
    if config.get("wandb", ""):
        wandb_run.require()
    run = runs.build(config, workdir=workdir)
    if workdirs.check(workdir, config):
        check_joints(workdir, config, run.source.skeleton)
    interruption = Interruption(config.get("save_minutes", 0.0))
    _dry_run(run, interruption)
    # Nobody can hold the lock of a folder that cannot be written.
    kept = workdirs.finished(workdir, config.steps) and not os.access(workdir, os.W_OK)
    sizes = dict(samples=run.source.train_size, evaluated=run.source.eval_size)
    agreement.compare(agreement.facts(config, finished=kept, **sizes))
    if kept:
        _say_finished(workdir, config.steps)
        return

    # --- From here on the folder is this run's.
    with contextlib.ExitStack() as stack:
        held = agreement.in_first(
            lambda: stack.enter_context(lock.hold(workdir, functools.partial(print, flush=True)))
        )
        workdirs.check_shared(workdir, held.token if held else "")
        with interruption:
            trained = _resume(run, workdir, interruption, held)
        if trained is not None:
            _report(run, workdir, *trained)


def _resume(
    run: runs.Run, workdir: Path, interruption: Interruption, held: lock.Lock | None
) -> tuple[TrainState, Rows | None, Checkpoints] | None:
    """Trains from where the run is → what `_report` takes; None if it is finished already."""
    # --- State.
    config = run.config
    checkpoints = Checkpoints(workdirs.checkpoints(workdir, config), config.keep, log=runtime.log)
    state, notes = _first_state(run, checkpoints)
    start = int(state.step)
    if start > config.steps:
        raise ValueError(
            f"{workdir} is at step {start}, beyond config.steps={config.steps}: "
            "raise it or use another --workdir"
        )
    if start == config.steps and (workdir / "done.json").exists():
        _say_finished(workdir, start)
        return None
    workdirs.claim(workdir, config)
    if jax.process_index() == 0:
        keep_joints(workdir, run.source.skeleton)
    for note in notes:
        runtime.log(note)

    # --- Loop.
    project = config.get("wandb", "")
    writer = Writer(
        workdir,
        start,
        config.steps,
        config.batch_size,
        project,
        config.to_dict() if project else None,
    )
    explain = functools.partial(recorder.explain, run.source, config)
    record = recorder.Recorder(config, writer, checkpoints, interruption, explain)
    try:
        state, rows = _loop(run, state, start, record, held)
    except jax.errors.JaxRuntimeError:
        if jax.process_count() > 1:  # waiting for the others' part of a checkpoint would not end
            raise
        checkpoints.wait()
        raise
    except Interrupted:
        checkpoints.wait()
        agreement.gather("")  # a batch system kills the others when the first one ends
        raise
    except BaseException:
        checkpoints.wait()
        raise
    finally:
        writer.close()
    checkpoints.wait()
    return state, rows, checkpoints


def _say_finished(workdir: Path, step: int) -> None:
    runtime.log(
        f"{workdir} is finished at step {step}: "
        f"handjax evaluate --workdir {workdir} evaluates it again"
    )


def _report(run: runs.Run, workdir: Path, state: TrainState, rows, checkpoints) -> None:
    """Writes the results, and done.json as the last."""
    if rows is None:  # the run was killed between its last checkpoint and the report
        rows, _ = _evaluate(run, state)
    best = checkpoints.best()
    checkpoints.close()
    if jax.process_index() == 0:
        steps = run.config.steps
        report_run(workdir, run.task, run.source, rows, f"step {steps}", workdir / "metrics.jsonl")
        if run.config.get("export", False):
            export_at_end(run, workdir)
        done = {"step": steps, "best_step": best, "checkpoints": str(checkpoints.folder)}
        write_atomic(workdir / "done.json", json.dumps(done, indent=2) + "\n")


def export_at_end(run: runs.Run, workdir: Path) -> None:
    """Writes model.stablehlo, the network with crop and decoding inside for JAX without handjax,
    and its description beside it; a line says so where there can be none."""
    if jax.process_count() > 1:  # opening a checkpoint takes all of them
        runtime.log(f"no model.stablehlo of several processes: handjax export {workdir}")
        return
    from handjax import __version__  # and what takes seconds to load
    from handjax.exporter.model import contents_of, describe
    from handjax.exporter.stablehlo import FILE, to_stablehlo, write_stablehlo
    from handjax.prediction.predictor import load

    row = run.source.eval_rows(np.array([0])) if run.config.data.name in _WHOLE_FRAMES else {}
    size = row["depth"].shape[1:] if "depth" in row else None
    try:
        contents = contents_of(load(str(workdir)), run.config, size)
        program = to_stablehlo(contents)
    except ValueError as error:
        runtime.log(f"no {FILE}: {error}")
        return
    about = describe(contents, __version__, f"handjax train in {workdir.name}", "float32")
    write_stablehlo(program, about, workdir / FILE)
    runtime.log(f"exported: {workdir / FILE}")


def _dry_run(run: runs.Run, interruption: Interruption) -> None:
    """One training step by shapes alone: an error here is in the config."""
    row = run.source.train_rows(np.array([0]))
    check_batch(row)
    row |= interruption.send(1)
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
            state, note = warm_start(state, _weights_of(config.init), config.init_skip)
            notes.append(note)
    notes.append(
        f"{'resume' if resumed else 'start'} at step {int(state.step)} of {config.steps} "
        f"on {run.mesh.size} device(s), {run.source.description}"
    )
    return state, notes


def _weights_of(init: str) -> Path:
    """The folder or file that `config.init` names, or the file of an included network."""
    if init not in _INCLUDED:
        return Path(init)
    from handjax.prediction.network import INCLUDED, check_unambiguous  # few runs need it

    check_unambiguous(init)
    return INCLUDED[init]


def _loop(
    run: runs.Run, state: TrainState, start: int, record: Recorder, held: lock.Lock | None
) -> tuple[TrainState, Rows | None]:
    """Steps `start` to `config.steps` → the last state, and the rows of the last evaluation."""
    config, rows = run.config, None
    writer, checkpoints, interruption = record.writer, record.checkpoints, record.interruption
    if start == 0 or _not_evaluated(config, start, checkpoints):
        try:
            rows, metrics = _evaluate(run, state, interruption)
        except Interrupted:
            raise Interrupted(_ended(interruption, start, config)) from None
        writer.evaluation(start, metrics)
        if start:
            checkpoints.rank(start, metrics[run.task.monitor])
    pending = None  # the step whose terms are still on the device
    batches = feed.train_batches(
        run.source, run.mesh, config.batch_size, config.seed, start, config.steps, interruption.send
    )
    for step, batch in enumerate(batches, start + 1):
        # --- Step. The first one compiles, which copies constants.
        first = step == start + 1
        with contextlib.nullcontext() if first else runtime.no_implicit_transfers():
            state, terms = run.train_step(state, batch)
            # Those of the step before, so that the device has work while the host waits.
            asked = record.record(pending, state)
        pending = (step, terms)

        # --- Evaluation and checkpoint.
        last = step == config.steps
        evaluating = last or step % config.eval_every == 0
        saving = last or step % config.save_every == 0 or asked >= SAVE
        if evaluating or saving:
            asked = max(asked, record.record(pending, state))
            pending = None
        monitored = None
        if evaluating and asked < STOP:
            try:
                rows, metrics = _evaluate(run, state, interruption)
            except Interrupted:
                asked = STOP
            else:
                writer.evaluation(step, metrics)
                monitored = metrics[run.task.monitor]
        if saving or asked == STOP:
            if held:
                held.check()
            checkpoints.save(state, monitored)
            interruption.saved()
        if asked == STOP:
            raise Interrupted(_ended(interruption, step, config))
    return state, rows


def _ended(interruption: Interruption, step: int, config: ConfigDict) -> str:
    """What a run says that was asked to end."""
    saved = f"saved step {step} of {config.steps}" if step else "nothing to save before step 1"
    return (
        f"asked to end ({interruption.signal or 'another process'}): {saved}; the same command "
        f"continues (exit code {REQUEUE})"
    )


def _not_evaluated(config: ConfigDict, step: int, checkpoints: Checkpoints) -> bool:
    """Whether the run was asked to end before the evaluation that follows `step`."""
    due = step == config.steps or step % config.eval_every == 0
    return due and not checkpoints.ranked(step)


def _evaluate(
    run: runs.Run, state: TrainState, interruption: Interruption | None = None
) -> tuple[Rows, dict[str, float]]:
    """Postprocessed rows of the evaluation split, its loss, and the metric that ranks."""
    rows, loss = run.predict(state, interruption.end_evaluation if interruption else None)
    metrics, monitor = run.task.score(rows), run.task.monitor
    if monitor not in metrics:
        raise ValueError(
            f"the evaluated samples have no {monitor}, which ranks the checkpoints; "
            "for people without 3D poses use --config.task.monitor=epe_px"
        )
    return rows, {"loss": loss, monitor: metrics[monitor]}


if __name__ == "__main__":
    cli.run(main)
