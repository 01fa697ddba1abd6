"""python -m handjax.train: trains what a config describes, evaluates it on held-out samples and reports.

    python -m handjax.train --config configs/v2v.py:quick --workdir DIR [--config.KEY=VALUE …]

DIR gets checkpoints/, config.json, metrics.jsonl, tensorboard/, and at the end metrics.json, predictions.npz, report.html and
done.json. Given again with the same DIR and config, a run goes on where its newest checkpoint is: the same run, on CPUs bit for
bit. All hosts must see DIR.

On several hosts, start the same command on each with --distributed (Slurm, Open MPI, cloud TPU), or with --coordinator HOST:PORT
--num_processes N --process_id I; scripts/launch.py does it for you.
"""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from handjax import evaluate
from handjax.data.batch import check_batch
from handjax.engine import cli, feed, schedules, sharding
from handjax.engine import config as configs
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.evaluation import predict_split
from handjax.engine.files import back_up, write_atomic
from handjax.engine.optimizer import make_optimizer
from handjax.engine.step import create_state, eval_step, state_target, train_step
from handjax.engine.warm_start import warm_start
from handjax.engine.writer import Writer
from handjax.sources import SOURCES
from handjax.tasks import TASKS


def parser() -> cli.Parser:
    flags = cli.Parser(prog="python -m handjax.train", description=__doc__)
    flags.add_argument(
        "--config", metavar="FILE.py[:FLAVOUR]", required=True, help="what to train; see configs/"
    )
    flags.add_argument(
        "--workdir", metavar="DIR", required=True, help="new, or that of the run to go on with"
    )
    flags.add_argument(
        "--global_joints",
        action="store_true",
        help="V2V: one map of all joints, the flavour of that name",
    )
    cli.add_distributed(flags)
    return flags


def main(argv: Sequence[str]) -> None:
    argv, overrides = cli.split_overrides(argv)
    flags = parser().parse_args(argv)
    flavour = ("," if ":" in flags.config else ":") + "global_joints" if flags.global_joints else ""
    config = configs.load(flags.config + flavour, overrides)
    cli.start_distributed(flags)
    train(config, Path(flags.workdir))


def train(config: ConfigDict, workdir: Path) -> None:
    """The loop. Everything a user can get wrong is found before the work folder is touched."""
    configs.require(
        config, 1, "accumulate", "steps", "log_every", "eval_every", "save_every", "keep"
    )
    configs.require(config, 0, "seed")
    if config.compile_cache:
        cli.use_compile_cache()
    mesh = sharding.make_mesh(config.devices)
    sharding.check_batch_size(config.batch_size, mesh, config.accumulate)
    sharding.check_batch_size(config.eval_batch_size, mesh, name="eval_batch_size")

    # Task, model and optimizer; all are functions of the config.
    source = configs.choose(SOURCES, config, "data.name")(config)
    task = configs.choose(TASKS, config, "task.name")(config, source.skeleton)
    optimizer = make_optimizer(config.optimizer, config.steps)
    check_workdir(workdir, config)

    target = state_target(task, optimizer, mesh)
    key = jax.random.key(config.seed)
    step_of = partial(
        train_step,
        key=key,
        task=task,
        optimizer=optimizer,
        materialize=source.materialize,
        accumulate=config.accumulate,
    )
    step_of = jax.jit(
        step_of,
        donate_argnums=0,
        out_shardings=(jax.tree.map(lambda t: t.sharding, target), sharding.whole(mesh)),
    )
    rows_of = jax.jit(
        partial(eval_step, task=task, materialize=source.materialize),
        out_shardings=sharding.whole(mesh),
    )
    # A dry run over shapes: what does not fit together fails here.
    row = source.train_rows(np.array([0]))
    check_batch(row)
    step_of.eval_shape(
        target,
        {
            name: jax.ShapeDtypeStruct((config.batch_size, *x.shape[1:]), x.dtype)
            for name, x in row.items()
        },
    )

    # The newest checkpoint that can be read, else a fresh state; either is made where it lives.
    checkpoints = Checkpoints(workdir / "checkpoints", config.keep, say=_say)
    state = checkpoints.restore_latest(target)
    resumed = state is not None
    begun = ""
    if not resumed:
        state = create_state(key, task, optimizer, target)
        if config.init:
            state, begun = warm_start(state, config.init, config.init_skip)
    start = int(state.step)
    if start > config.steps:
        raise ValueError(
            f"{workdir} is at step {start}, beyond config.steps={config.steps}: raise it or use another --workdir"
        )
    if start == config.steps and (workdir / "done.json").exists():
        _say(
            f"{workdir} is finished at step {start}: python -m handjax.evaluate --workdir {workdir} measures it again"
        )
        return
    claim_workdir(workdir, config)
    if begun:
        _say(begun)
    _say(
        f"{'go on' if resumed else 'start'} at step {start} of {config.steps} on {mesh.size} device(s), {source.description}"
    )

    def heldout(state):
        rows, loss = predict_split(rows_of, state, source, config.eval_batch_size, mesh, show=True)
        rows = task.postprocess(rows)
        figures = task.score(rows)
        if task.monitor not in figures:
            raise ValueError(
                f"the held-out samples have no {task.monitor}, by which checkpoints are ranked; people without a pose in space "
                "have --config.task.monitor=epe_px"
            )
        return rows, {"loss": loss, task.monitor: figures[task.monitor]}

    writer = Writer(workdir, start, config.steps, config.batch_size)
    rows = None  # of the newest evaluation
    try:
        if start == 0:
            writer.evaluation(0, heldout(state)[1])
        waiting = None  # the step whose numbers have not come to the host yet
        batches = feed.train_batches(
            source, mesh, config.batch_size, config.seed, start, config.steps
        )
        for step, batch in enumerate(batches, start + 1):
            state, parts = step_of(state, batch)
            # The numbers of the step before: the device is never waited for while it has nothing to do.
            _record(writer, waiting, config, checkpoints)
            waiting = (step, parts)

            last = step == config.steps
            evaluating, saving = (
                last or step % config.eval_every == 0,
                last or step % config.save_every == 0,
            )
            if evaluating or saving:
                _record(writer, waiting, config, checkpoints)
                waiting = None
            error = None
            if evaluating:
                rows, figures = heldout(state)
                writer.evaluation(step, figures)
                error = figures[task.monitor]
            if saving:
                checkpoints.save(state, error)
    finally:
        writer.close()
        checkpoints.wait()

    if rows is None:  # a kill came between the last save and the report
        rows, _ = heldout(state)
    best = checkpoints.best()
    checkpoints.close()
    if jax.process_index() == 0:
        evaluate.report_run(
            workdir, task, source, rows, f"step {config.steps}", workdir / "metrics.jsonl"
        )
        done = {
            "step": config.steps,
            "best_step": best,
            "checkpoints": str(workdir / "checkpoints"),
        }
        (workdir / "done.json").write_text(json.dumps(done, indent=2) + "\n")


def check_workdir(workdir: Path, config: ConfigDict) -> None:
    """Sees that the folder is new or that the run that lies there is this one; touches nothing. A run that has no checkpoint yet
    has nothing to lose: its config may be mended."""
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
        shown = "; ".join(changed[:4]) + (
            f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
        )
        raise ValueError(
            f"{workdir} holds a run of another config ({shown}): use another --workdir or the run's own config"
        )
    if old.steps != config.steps and config.optimizer.schedule in schedules.OF_THE_WHOLE_RUN:
        raise ValueError(
            f"{workdir} holds a run of {old.steps} steps whose {old.optimizer.schedule} schedule ends there; "
            f"config.steps={config.steps} would be another schedule: use another --workdir"
        )


def claim_workdir(workdir: Path, config: ConfigDict) -> None:
    """Writes config.json, in one step, so that a kill leaves the old file or the new one. Another config keeps its content under
    a numbered name."""
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "done.json").unlink(missing_ok=True)  # of a run that had fewer steps
        path = workdir / "config.json"
        if path.exists() and configs.differences(configs.from_json(path.read_text()), config):
            _say(f"kept the earlier config.json as {back_up(path).name}")
        write_atomic(path, configs.to_json(config) + "\n")


def _record(writer, waiting, config, checkpoints) -> None:
    """Pulls a step's numbers to the host and writes them; stops the run where they are not finite."""
    if waiting is None:
        return
    step, parts = waiting
    parts = {name: float(value) for name, value in jax.device_get(parts).items()}
    if not parts["finite"]:
        bad = ", ".join(
            f"{name} {value}" for name, value in parts.items() if not math.isfinite(value)
        )
        checkpoints.wait()
        saved = checkpoints.steps()
        where = (
            f"the newest checkpoint is {checkpoints.folder / str(saved[-1])}"
            if saved
            else "there is no checkpoint yet"
        )
        raise ValueError(f"step {step} is not finite ({bad}); its update was withheld; {where}")
    writer.step(step, parts, record=step % config.log_every == 0 or step == config.steps)


def _say(text: str) -> None:
    if jax.process_index() == 0:
        print(text, flush=True)


if __name__ == "__main__":
    cli.run(main)
