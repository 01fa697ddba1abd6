"""Orbax checkpoints of a run: the last n and the best, written in the background, restored onto
whatever devices there are."""

import contextlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from handjax.engine.files import way_out
from handjax.engine.step import TrainState


class Checkpoints:
    """The checkpoints in `folder`, one numbered folder each.

    `keep` newest checkpoints and the best one are kept. A checkpoint that cannot be read (a failed
    disk, a truncated file) is skipped for the one before it, with a warning to `log`. A `read_only`
    reader never touches what a run may be writing at the same time.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 3,
        log: Callable[[str], Any] = print,
        read_only: bool = False,
    ) -> None:
        self.folder, self.keep = Path(folder).absolute(), keep
        self.log, self.read_only = log, read_only
        self._manager: ocp.CheckpointManager | None = None
        self._saving: int | None = None  # the step that is being written
        # Each of orbax's threads logs the error that it hands on to the caller, with its traceback.
        logging.getLogger("absl").addFilter(_not_of_orbax)

    @property
    def manager(self) -> ocp.CheckpointManager:
        """Orbax's manager, opened on first use. ValueError if the metrics are corrupt."""
        if self._manager is None:
            best = BestN(
                get_metric_fn=lambda m: m["error"],
                reverse=True,
                n=1,
                keep_checkpoints_without_metrics=False,
            )
            policy = AnyPreservationPolicy([LatestN(n=self.keep), best])
            options = ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                best_fn=lambda m: m["error"],
                best_mode="min",
                cleanup_tmp_directories=not self.read_only,  # left half written by a kill
                create=not self.read_only,
                read_only=self.read_only,
            )
            # Without an explicit handler, orbax does not find the shapes of a saved state.
            handler = ocp.StandardCheckpointHandler()
            for file in self.folder.glob("*/metrics/metrics"):  # orbax reads all of them
                try:
                    _check_metrics(file)
                except ValueError as error:
                    raise ValueError(
                        f"{self.folder}: checkpoint metrics are corrupt ({error}); "
                        "resume training to repair them"
                    ) from error
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_handlers=handler
            )
        return self._manager

    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, ascending."""
        return sorted(self.manager.all_steps()) if self.folder.is_dir() else []

    def best(self) -> int | None:
        """The step with the lowest error among those that are kept; None if none was evaluated."""
        step = self.manager.best_step()
        if step is None or not math.isfinite(self.manager.metrics(step)["error"]):
            return None
        return step

    def save(self, state: TrainState, error: float | None = None) -> None:
        """Starts writing; returns as soon as the state may change.

        `error` ranks checkpoints, lower is better; None: not evaluated at this step. OSError if
        this checkpoint, or the one before, cannot be written.
        """
        step = int(jax.device_get(state.step))
        if step not in self.manager.all_steps():
            # orbax warns about every checkpoint without metrics.
            metrics = {"error": math.inf if error is None else float(error)}
            self.wait()  # as orbax does; an error is that of the checkpoint before
            self._saving = step
            with self._writing(step):
                self.manager.save(step, args=ocp.args.StandardSave(state), metrics=metrics)

    def restore(self, step: int, target: TrainState) -> TrainState:
        """The state of `step`, with the shapes, dtypes and shardings of `target`."""
        return self._restore(step, lambda: target)

    def weights(self, step: int) -> dict[str, Any]:
        """The network's variables of `step` as numpy arrays, whatever optimizer trained them."""

        def target():
            host = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            tree = self.manager.item_metadata(step)
            return jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=host), tree
            )

        state = jax.device_get(self._restore(step, target))
        return {"params": state["params"], **state["model_state"]}

    def _restore(self, step: int, target: Callable[[], Any]) -> Any:
        try:
            return self.manager.restore(step, args=ocp.args.StandardRestore(target()))
        except Exception as error:  # orbax and tensorstore raise many kinds for one meaning
            reason = " ".join(str(error).split())[:160]
            raise ValueError(
                f"checkpoint {self.folder / str(step)} cannot be read: {reason}"
            ) from error

    def restore_latest(self, target: TrainState) -> TrainState | None:
        """The newest readable state, or None if there is no checkpoint.

        Unreadable checkpoints newer than it are moved to unreadable/. If none can be read, all stay
        where they are and ValueError is raised.
        """
        self._forget_broken_metrics()
        unreadable: dict[int, ValueError] = {}
        for step in reversed(self.steps()):
            try:
                state = self.restore(step, target)
            except ValueError as error:
                unreadable[step] = error
                continue
            for bad, reason in unreadable.items():
                self._move_away(bad, reason, step)
            return state
        if unreadable:
            newest = next(iter(unreadable.values()))
            others = (
                f", nor any of the {len(unreadable) - 1} before it"
                if len(unreadable) > 1
                else ", and there is no other"
            )
            raise ValueError(
                f"{newest}{others}: repair one, or use another --workdir to start again"
            )
        return None

    def _move_away(self, step: int, error: ValueError, used: int) -> None:
        aside, number = self.folder.parent / "unreadable" / f"{step}", 1
        while aside.exists():
            aside, number = aside.with_name(f"{step}.{number}"), number + 1
        self.log(f"warning: {error}; moved to {aside}, using the checkpoint of step {used}")
        self.close()
        if jax.process_index() == 0:
            aside.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(aside)
        _synchronize(f"moved {step} away")

    def _forget_broken_metrics(self) -> None:
        """Renames truncated metrics files: orbax reads all of them at the start and would fail."""
        for file in self.folder.glob("*/metrics/metrics") if jax.process_index() == 0 else ():
            try:
                _check_metrics(file)
            except ValueError:
                self.log(
                    f"warning: {file} cannot be read: its checkpoint no longer counts as a "
                    "candidate for the best"
                )
                file.rename(file.with_name("unreadable"))
        _synchronize("read the metrics")

    def wait(self) -> None:
        """Returns when everything is written. OSError if it cannot be."""
        if self._manager is not None:
            with self._writing(self._saving):
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases orbax's manager; it opens again on the next use. Errors as `wait`."""
        if self._manager is not None:
            with self._writing(self._saving):
                self._manager.close()
                self._manager = None

    @contextlib.contextmanager
    def _writing(self, step: int | None) -> Iterator[None]:
        """An error of a thread that writes becomes an OSError of one line; what it has written is
        removed, which makes room, and the checkpoints before it stay."""
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many kinds for one meaning
            self._drop_manager()
            if jax.process_index() == 0:
                for half in self.folder.glob("*.orbax-checkpoint-tmp*"):
                    shutil.rmtree(half, ignore_errors=True)
            saved = sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdigit())
            kept = f"the newest is that of step {saved[-1]}" if saved else "there is none before it"
            raise OSError(
                f"checkpoint {self.folder / str(step)} cannot be written: {way_out(str(error))} "
                f"({kept}, from which it resumes)"
            ) from error

    def _drop_manager(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            with contextlib.suppress(Exception):  # it would tell the same error again
                manager.close()


def _check_metrics(file: Path) -> None:
    """ValueError if a checkpoint's metrics are not {"error": number}."""
    metrics = json.loads(file.read_bytes())
    error = metrics.get("error") if isinstance(metrics, dict) else None
    if not isinstance(error, float | int):
        raise ValueError(f"{file.parent.parent.name} has no error among them")


def _not_of_orbax(record: logging.LogRecord) -> bool:
    """Whether a record of a log is no error of orbax."""
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


def _synchronize(name: str) -> None:
    """A barrier between processes."""
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)
