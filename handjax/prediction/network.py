"""The network of a trained run as a function from batches to rows, without optimizer and source."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from handjax import models, run
from handjax.data.formats.labelled_frames import ORDERS as FRAME_ORDERS
from handjax.engine import config as configs
from handjax.engine import weights
from handjax.engine import workdir as workdirs
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.contracts import Batch, Rows, Task
from handjax.engine.programs import kept
from handjax.engine.step import finite_rows
from handjax.ops import library
from handjax.pose.skeleton import SKELETONS, Skeleton
from handjax.prediction import hand_search
from handjax.sources import DEPTH_SETS, SOURCES
from handjax.sources.own_joints import FILE, own_joints
from handjax.sources.voxel_h5 import file_skeleton
from handjax.targets.offset import CHANNELS
from handjax.tasks import TASKS

_MODELS = Path(models.__file__).parent
# Weights that come with handjax, by the names that `handjax.load` and `config.init` take.
INCLUDED = {"hand-depth": hand_search.NETWORK, "v2v": _MODELS / "v2v.npz"}
Variables = Mapping[str, Any]  # of the network: "params" and running statistics


@dataclass(frozen=True, eq=False, repr=False)
class TrainedNetwork:
    """A task with the weights of one checkpoint."""

    config: ConfigDict
    skeleton: Skeleton
    task: Task
    step: int
    variables: Variables
    compiled: Callable[[Variables, Batch], Rows]

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows of the task for a batch without `mask`, as NumPy arrays.

        Samples are computed `config.eval_batch_size` at a time. Smaller batches are padded to a
        power of two, so that few sizes are compiled. ValueError if the network's output for any
        of them is not finite.
        """
        count = len(next(iter(batch.values())))
        size = min(1 << (count - 1).bit_length(), self.config.eval_batch_size)
        chunks = []
        for start in range(0, count, size):
            numbers = np.arange(start, start + size)
            chunk = {name: value[numbers % count] for name, value in batch.items()}
            mask = numbers < count
            rows = jax.device_get(self.compiled(self.variables, {**chunk, "mask": mask}))
            check_finite(rows.pop("finite")[mask], f"the network of step {self.step}")
            chunks.append({name: value[mask] for name, value in rows.items()})
        return {name: np.concatenate([rows[name] for rows in chunks]) for name in chunks[0]}


def open_network(folder: Path, checkpoint: str) -> TrainedNetwork:
    """The network of the run in `folder`; `checkpoint`: last, best or a step."""
    config = run.read_config(folder)
    checkpoints = Checkpoints(workdirs.checkpoints(folder, config), read_only=True)
    try:
        if len(run.choose_steps(checkpoints, checkpoint)) > 1:
            raise ValueError(f"checkpoint {checkpoint}: expected one: last, best or a step")
        ((step, variables),) = run.read_steps(checkpoints, checkpoint, checkpoints.weights)
    finally:
        checkpoints.close()
    skeleton = own_joints(folder, config) or run_skeleton(config, variables)
    task, compiled = _compile(configs.to_json(config), skeleton)
    return TrainedNetwork(config, skeleton, task, step, jax.device_put(variables), compiled)


def check_unambiguous(name: str) -> None:
    """ValueError if the name of an included network is also that of a run's folder here."""
    if (Path(name) / "config.json").is_file():
        raise ValueError(
            f"{name}: an included network, and a run's folder here; write ./{name} for the run"
        )


def open_included(name: str) -> TrainedNetwork:
    """A network that comes with handjax: models/NAME.json, the config of its run, and NAME.npz."""
    config = configs.from_json((_MODELS / f"{name}.json").read_text())
    variables = weights.load(INCLUDED[name])
    skeleton = run_skeleton(config, variables)
    task, compiled = _compile(configs.to_json(config), skeleton)
    return TrainedNetwork(config, skeleton, task, config.steps, jax.device_put(variables), compiled)


def check_crops(name: str, network: TrainedNetwork, size: int) -> None:
    """ValueError if a run of hands before depth cameras learnt from crops of another `size`, px."""
    if (own := network.config.data.image_size) != size:
        raise ValueError(
            f"{name}: it learnt from crops of {own} px; prediction needs "
            f"config.data.image_size={size}"
        )


@functools.lru_cache(maxsize=32)
def _compile(config: str, skeleton: Skeleton) -> tuple[Task, Callable[[Variables, Batch], Rows]]:
    """The task, and its prediction under jit: a run opened twice is compiled once per shape."""
    values = configs.from_json(config)
    task: Task = configs.lookup(TASKS, values, "task.name")(values, skeleton)

    @functools.partial(kept, kernels=library.registered, about=f"{config} {skeleton}")
    def rows(variables: Variables, batch: Batch) -> Rows:
        # As `engine.step.eval_step`, which needs labels for its loss.
        keys = jax.random.split(jax.random.key(0), batch["mask"].shape[0])
        inputs = task.prepare(keys, batch, False)
        outputs = task.model.apply(variables, inputs["x"], train=False)
        found = task.predict(outputs, inputs)
        return {**found, "finite": finite_rows((outputs, found), batch["mask"].shape[0])}

    return task, rows


def check_finite(finite: Bool[np.ndarray, " n"], network: str) -> None:
    """ValueError if the output of `network`, in words, for any of n samples is not `finite`."""
    if not finite.all():
        raise ValueError(
            f"{network} gives an output that is not finite for "
            f"{(~finite).sum()} of {len(finite)} samples: no result; use another checkpoint"
        )


def run_skeleton(config: ConfigDict, variables: Variables) -> Skeleton:
    """The joints of a run, in the order of its outputs; its data need not be on this machine.

    The exception are runs on HDF5 files with `task.global_joints`: only the file has the number of
    joints. Users' own joints are in the run's folder (`sources.own_joints`).
    """
    name = config.data.name
    if name in DEPTH_SETS:
        return SKELETONS[DEPTH_SETS[name][0]]
    if name == "voxel_h5":
        if config.task.global_joints:
            return configs.lookup(SOURCES, config, "data.name")(config, train=False).skeleton
        return file_skeleton(_outputs(config, variables), config.data.joints)
    if name == "labelled_frames" and config.task.name == "v2v":
        return _of_frames(_outputs(config, variables))
    if "joints" in config.data:
        return SKELETONS[config.data.joints]
    by_task = {"body": "body18", "keypoints2d": "hand21", "spherehand": "nyu14"}
    by_task |= {"handnet": "hand21", "v2v": "hand21"}
    return SKELETONS[by_task[config.task.name]]


def _outputs(config: ConfigDict, variables: Variables) -> int:
    """The number of joints of a V2V-PoseNet."""
    per_joint = CHANNELS[config.task.get("targets", "heatmap")]
    return int(variables["params"]["out"]["kernel"].shape[-1]) // per_joint


def _of_frames(count: int) -> Skeleton:
    """The joints of a run on labelled frames of hands: the only two orders that frames.json names
    have different numbers of joints."""
    found = {len(SKELETONS[name].joints): SKELETONS[name] for name in FRAME_ORDERS}
    if count not in found:
        raise FileNotFoundError(
            f"the run predicts {count} joints of its own, but has no {FILE}; restore the file"
        )
    return found[count]
