"""A run: the parts of a training or an evaluation built from a config, and a run on disk.

A run's folder holds config.json and checkpoints/. `open_run` builds an evaluation from it, with
`Run.restore` for the states of its checkpoints; `build` starts from a config alone. Both work on
whatever devices there are.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Key
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine import runtime, sharding
from handjax.engine import workdir as workdirs
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.contracts import Batch, Rows, Task
from handjax.engine.evaluation import predict_split
from handjax.engine.interruption import exchanging
from handjax.engine.optimizer import Optimizer, make_optimizer
from handjax.engine.step import TrainState, create_state, eval_step, state_target, train_step
from handjax.pose.skeleton import Skeleton
from handjax.sources import SOURCES, Source
from handjax.sources.base import unchanged
from handjax.sources.own_joints import check_joints
from handjax.tasks import TASKS

T = TypeVar("T")
REDUCE_DTYPES = ("float32", "bfloat16")  # values of config.reduce_dtype
_PARTS = ("data", "model", "optimizer", "task")  # of every config


@dataclass(frozen=True, eq=False)
class Run:
    """Mesh, source, task and optimizer, all functions of the config."""

    config: ConfigDict
    mesh: jax.sharding.Mesh
    source: Source
    task: Task
    optimizer: Optimizer
    workdir: Path | None = None  # the run's folder; None: not on disk

    @functools.cached_property
    def target(self) -> TrainState:
        """Shapes, dtypes and shardings of the state."""
        split, average = self._shards is not None, bool(_average(self.config))
        return state_target(self.task, self.optimizer, self.mesh, split, average)

    @property
    def key(self) -> Key[Array, ""]:
        """Source of all randomness of the training."""
        return jax.random.key(self.config.seed)

    @property
    def _shards(self) -> jax.sharding.Mesh | None:
        """The devices over which the optimizer's state is split; None: each has all of it."""
        return self.mesh if self.config.get("shard_optimizer", False) else None

    @property
    def _reduced(self) -> tuple[jax.sharding.Mesh, str] | None:
        """Between which devices gradients travel in another dtype than their own, and in which."""
        dtype = self.config.get("reduce_dtype", REDUCE_DTYPES[0])
        other = dtype != REDUCE_DTYPES[0] and self.mesh.size > 1
        return (self.mesh, dtype) if other else None

    @property
    def eval_batch_size(self) -> int:
        """`config.eval_batch_size`, rounded up to a multiple of the devices."""
        return -(-self.config.eval_batch_size // self.mesh.size) * self.mesh.size

    def init_state(self) -> TrainState:
        """The state before the first step."""
        return create_state(self.key, self.task, self.optimizer, self.target)

    @functools.cached_property
    def train_step(self) -> jax.stages.Wrapped:
        """`engine.step.train_step(state, batch)`, jitted; it donates the state."""
        step = partial(
            train_step,
            key=self.key,
            task=self.task,
            optimizer=self.optimizer,
            materialize=self.source.materialize,
            accumulate=self.config.accumulate,
            shards=self._shards,
            reduced=self._reduced,
            average=_average(self.config),
        )
        state = jax.tree.map(lambda t: t.sharding, self.target)
        shardings = (state, sharding.replicated(self.mesh))
        return jax.jit(exchanging(step), donate_argnums=0, out_shardings=shardings)

    @functools.cached_property
    def eval_step(self) -> jax.stages.Wrapped:
        """`engine.step.eval_step(state, batch)`, jitted."""
        step = partial(eval_step, task=self.task, materialize=self.source.materialize)
        return jax.jit(step, out_shardings=sharding.replicated(self.mesh))

    def predict(
        self, state: TrainState, between: Callable[[], None] | None = None
    ) -> tuple[Rows, float]:
        """Postprocessed rows of the evaluation split, the same on every process, and the loss;
        `between` is called before each batch, and may raise."""
        rows, loss = predict_split(
            self.eval_step, state, self.source, self.eval_batch_size, self.mesh, True, between
        )
        return self.task.postprocess(rows), loss

    def restore(self, which: str) -> Iterator[tuple[int, TrainState]]:
        """(step, state) of the checkpoints that `which` names, as in `read_steps`."""
        if self.workdir is None:
            raise ValueError("a run that is not on disk has no checkpoints")
        checkpoints = Checkpoints(workdirs.checkpoints(self.workdir, self.config), read_only=True)
        try:
            yield from read_steps(
                checkpoints, which, lambda step: checkpoints.restore(step, self.target)
            )
        finally:
            checkpoints.close()


def _average(config: ConfigDict) -> float:
    """The decay of the moving average of the weights; 0: none is kept."""
    return float(config.get("average", 0.0))


def build(
    config: ConfigDict,
    train: bool = True,
    source: Source | None = None,
    workdir: Path | None = None,
) -> Run:
    """The parts that `config` describes; `source` replaces the one it names.

    With `train` false the source is for evaluation alone and an evaluation's batch size need not
    divide by the devices. Raises ValueError for what a user can get wrong.
    """
    if not 0 <= _average(config) < 1:
        raise ValueError(f"config.average={config.average:g}: expected 0 to less than 1")
    if config.compile_cache:
        runtime.use_compile_cache()
    if config.get("reduce_dtype", REDUCE_DTYPES[0]) not in REDUCE_DTYPES:
        raise ValueError(
            f"config.reduce_dtype={config.reduce_dtype}: use {' or '.join(REDUCE_DTYPES)}"
        )
    if train:
        mesh = sharding.make_mesh(config.devices)
        sharding.check_batch_size(config.batch_size, mesh, config.accumulate)
        sharding.check_batch_size(config.eval_batch_size, mesh, name="eval_batch_size")
    else:
        available = len(jax.devices())
        mesh = sharding.make_mesh(config.devices if config.devices <= available else 0)
    if source is None:
        source = configs.lookup(SOURCES, config, "data.name")(config, train=train)
    task = configs.lookup(TASKS, config, "task.name")(config, source.skeleton)
    optimizer = make_optimizer(config.optimizer, config.steps)
    return Run(config, mesh, source, task, optimizer, workdir)


def open_run(workdir: Path, overrides: Sequence[str] = (), source: Source | None = None) -> Run:
    """The run in the folder `workdir`, for evaluation."""
    config = read_config(workdir, overrides)
    try:
        run = build(config, train=False, source=source, workdir=workdir)
        if source is None:
            check_joints(workdir, config, run.source.skeleton)
        return run
    except (TypeError, AttributeError, KeyError) as error:  # a value of another kind, or none
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{workdir / 'config.json'}: a value is missing or of another kind ({reason}); restore "
            "the file"
        ) from error


def no_source(skeleton: Skeleton) -> Source:
    """A source without samples, for a caller that makes complete batches itself."""

    def none(indices: np.ndarray) -> Batch:
        raise ValueError("this run has no samples of its own")

    return Source(
        skeleton=skeleton,
        train_size=0,
        eval_size=0,
        train_rows=none,
        eval_rows=none,
        materialize=unchanged,
        names=lambda indices: [str(index) for index in indices],
        description="your own samples",
    )


def read_config(workdir: Path, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config of the run in `workdir`, with overrides as in `config.key=value`; locked."""
    path = workdir / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; --workdir names the folder of a trained run"
        )
    try:
        config = configs.from_json(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not a config ({error})") from error
    for part in _PARTS:
        if not isinstance(config.get(part), ConfigDict):
            raise ValueError(f"{path}: not the config of a run: it has no {part}")
    return configs.override(config, overrides)


def choose_steps(checkpoints: Checkpoints, which: str) -> list[int]:
    """The steps that `which` (`last`, `best`, `all`, or steps as in `100,200`) names.

    Raises FileNotFoundError if there is no checkpoint, ValueError if there is none of that name.
    """
    steps = checkpoints.steps()
    if not steps:
        raise FileNotFoundError(f"{checkpoints.folder}: no checkpoint there")
    if which in ("last", "all"):
        return steps if which == "all" else steps[-1:]
    if which == "best":
        best = checkpoints.best()
        if best is None:
            raise ValueError(
                f"{checkpoints.folder}: no checkpoint was saved at an evaluation; "
                "use --checkpoint last"
            )
        return [best]
    try:
        wanted = [int(step) for step in which.split(",")]
    except ValueError:
        raise ValueError(
            f"--checkpoint {which}: expected last, best, all, or steps such as 100,200"
        ) from None
    if missing := [step for step in wanted if step not in steps]:
        raise ValueError(
            f"--checkpoint {which}: there is none of step {missing[0]}; "
            f"there are {', '.join(map(str, steps))}"
        )
    return wanted


def read_steps(
    checkpoints: Checkpoints, which: str, read: Callable[[int], T]
) -> Iterator[tuple[int, T]]:
    """(step, read(step)) of the checkpoints that `which` names, as in `choose_steps`.

    `last` is the newest that can be read, `all` are all that can be; the others are named to the
    log of `checkpoints`. ValueError for any other that cannot be read.
    """
    steps = choose_steps(checkpoints, which)
    if which == "last":
        if found := checkpoints.newest(read):
            yield found
        return
    damaged: list[ValueError] = []
    for step in steps:
        try:
            found = step, read(step)
        except ValueError as error:
            if which != "all":
                raise ValueError(f"{error}; use another --checkpoint, such as last") from error
            damaged.append(error)
            continue
        yield found
    if damaged and len(damaged) == len(steps):
        raise damaged[-1]
    for reason in damaged:
        checkpoints.log(f"warning: {reason}; it is left out")


def combine(runs: Sequence[dict[str, Any]], ensemble: str) -> dict[str, Any]:
    """Merges the postprocessed rows of several checkpoints.

    mean: joints are averaged in mm and px (Moon et al. 2018, the epoch ensemble).
    max: each joint comes from the checkpoint whose heat map is highest there.
    """
    if len(runs) == 1:
        return runs[0]
    names = [name for name in ("joints_xyz", "joints_uv", "confidence") if name in runs[0]]
    merged = {name: np.stack([rows[name] for rows in runs]) for name in names}
    confidence = merged.pop("confidence", None)
    if ensemble == "mean":
        merged = {name: joints.mean(0) for name, joints in merged.items()}
    elif confidence is None:
        raise ValueError(
            "--ensemble max needs a confidence, which this system does not predict; use mean"
        )
    else:
        best = confidence.argmax(0)[None, ..., None]
        merged = {
            name: np.take_along_axis(joints, best, axis=0)[0] for name, joints in merged.items()
        }
    return runs[0] | merged | ({} if confidence is None else {"confidence": confidence.max(0)})
