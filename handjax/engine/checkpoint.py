"""Orbax checkpoints of a run: the last n and the best, written in the background, restored onto whatever devices there are."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN


class Checkpoints:
    """`folder` holds one numbered folder a checkpoint. A checkpoint that cannot be read (a killed disk, a truncated file) is
    passed over for the one before it, and that is said."""

    def __init__(self, folder: Path, keep: int = 3, say=print, read_only: bool = False):
        self.folder, self.keep, self.say, self.read_only = (
            Path(folder).absolute(),
            keep,
            say,
            read_only,
        )
        self._manager = None

    @property
    def manager(self) -> ocp.CheckpointManager:
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
                # What a kill left half written goes; a reader must leave alone what a run may be writing just now.
                cleanup_tmp_directories=not self.read_only,
                create=not self.read_only,
                read_only=self.read_only,
            )
            try:
                handler = (
                    ocp.StandardCheckpointHandler()
                )  # without it orbax cannot tell the shapes of what was saved
                self._manager = ocp.CheckpointManager(
                    self.folder, options=options, item_handlers=handler
                )
            except (
                json.JSONDecodeError
            ) as error:  # of metrics/metrics; orbax reads that of every checkpoint
                raise ValueError(
                    f"{self.folder}: the error of a checkpoint cannot be read ({error}); go on training to mend it"
                ) from error
        return self._manager

    def steps(self) -> list[int]:
        """Steps with a complete checkpoint, ascending."""
        return sorted(self.manager.all_steps()) if self.folder.is_dir() else []

    def best(self) -> int | None:
        """The step with the least held-out error, among those that are kept; None where none was evaluated."""
        step = self.manager.best_step()
        return (
            step
            if step is not None and math.isfinite(self.manager.metrics(step)["error"])
            else None
        )

    def save(self, state, error: float | None = None) -> None:
        """Starts writing; returns once the state may change. `error` ranks checkpoints, smaller is better."""
        step = int(state.step)
        if step not in self.manager.all_steps():
            metrics = {
                "error": math.inf if error is None else float(error)
            }  # orbax warns of every checkpoint without one
            self.manager.save(step, args=ocp.args.StandardSave(state), metrics=metrics)

    def restore(self, step: int, target):
        """The state of `step` as `target` (shapes, dtypes, shardings) wants it."""
        return self._restore(step, lambda: target)

    def weights(self, step: int) -> dict:
        """The network's variables of `step` as numpy, whatever optimizer they were trained with."""

        def target():
            host = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            tree = self.manager.item_metadata(step)
            return jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=host), tree
            )

        state = jax.device_get(self._restore(step, target))
        return {"params": state["params"], **state["model_state"]}

    def _restore(self, step: int, target: Callable):
        try:
            return self.manager.restore(step, args=ocp.args.StandardRestore(target()))
        except Exception as error:  # orbax and tensorstore raise many kinds for one meaning
            reason = " ".join(str(error).split())[:160]
            raise ValueError(
                f"checkpoint {self.folder / str(step)} cannot be read: {reason}"
            ) from error

    def restore_latest(self, target):
        """The newest state that can be read, or None where there is no checkpoint. Unreadable ones newer than it are set aside;
        where none can be read all stay where they are, and that is an error."""
        self._forget_broken_errors()
        unreadable = {}
        for step in reversed(self.steps()):
            try:
                state = self.restore(step, target)
            except ValueError as error:
                unreadable[step] = error
                continue
            for bad, error in unreadable.items():
                self._set_aside(bad, error, step)
            return state
        if unreadable:
            newest = next(iter(unreadable.values()))
            others = (
                f", nor any of the {len(unreadable) - 1} before it"
                if len(unreadable) > 1
                else ", and there is no other"
            )
            raise ValueError(f"{newest}{others}: mend one, or use another --workdir to start anew")
        return None

    def _set_aside(self, step, error, used):
        aside, number = self.folder.parent / "unreadable" / f"{step}", 1
        while aside.exists():
            aside, number = aside.with_name(f"{step}.{number}"), number + 1
        self.say(f"warning: {error}; it is moved to {aside} and that of step {used} is used")
        self.close()
        if jax.process_index() == 0:
            aside.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(aside)
        _meet(f"set aside {step}")

    def _forget_broken_errors(self):
        """Renames `error` files that are cut short: orbax reads them all when it starts, and would stop there."""
        for file in self.folder.glob("*/metrics/metrics") if jax.process_index() == 0 else ():
            try:
                json.loads(file.read_bytes())
            except ValueError:
                self.say(
                    f"warning: {file} cannot be read: that checkpoint no longer counts in the choice of the best"
                )
                file.rename(file.with_name("unreadable"))
        _meet("errors were read")

    def wait(self) -> None:
        if self._manager is not None:
            self._manager.wait_until_finished()

    def close(self) -> None:
        if self._manager is not None:
            self._manager.close()
            self._manager = None


def _meet(name):
    """Processes wait for each other."""
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)
