"""Orbax checkpoints of a run: the last n and the best, written in the background, restored onto
whatever devices there are."""

import contextlib
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import jax

from handjax.engine import agreement, checksums, ranking
from handjax.engine.files import AnyPath, in_bucket, place, way_out, write_atomic
from handjax.engine.step import TrainState, variables_of

if TYPE_CHECKING:  # loading it takes a quarter of a second
    import orbax.checkpoint

T = TypeVar("T")


class Checkpoints:
    """The checkpoints in `folder`, one numbered folder each.

    `keep` newest checkpoints and the best one are kept. Each array has a checksum. A checkpoint
    that cannot be read (a failed disk, a truncated file, a flipped bit) is skipped for the one
    before it, with a warning to `log`. A `read_only` reader never touches what a run may be writing
    at the same time.
    """

    def __init__(
        self,
        folder: AnyPath,
        keep: int = 3,
        log: Callable[[str], Any] = print,
        read_only: bool = False,
    ) -> None:
        folder = place(folder)
        self.folder, self.keep = folder if in_bucket(folder) else folder.absolute(), keep
        self.log, self.read_only = log, read_only
        self._manager: orbax.checkpoint.CheckpointManager | None = None
        self._saving: int | None = None  # the step that is being written
        self._unverified = False  # whether a checkpoint without checksums was mentioned
        # Each of orbax's threads logs the error that it hands on to the caller, with its traceback.
        logging.getLogger("absl").addFilter(_not_of_orbax)
        # Of arrays that fail together it hands on the first; asyncio logs the others at the end.
        logging.getLogger("asyncio").addFilter(_not_left_over)
        # Threads of tensorstore that are late print that the loop of a failed save is closed.
        if not isinstance(sys.unraisablehook, _NotOfClosedLoops):
            sys.unraisablehook = _NotOfClosedLoops(sys.unraisablehook)

    @property
    def manager(self) -> "orbax.checkpoint.CheckpointManager":
        """Orbax's CheckpointManager, opened on first use. ValueError if the metrics are corrupt."""
        if self._manager is None:
            import orbax.checkpoint as ocp  # not every command needs it
            from orbax.checkpoint.checkpoint_managers import (
                AnyPreservationPolicy,
                BestN,
                LatestN,
            )

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
            for _, error in ranking.broken(self.folder):
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
        this checkpoint, or the one before, cannot be written; ValueError if the state is not finite
        or another process is at another step.
        """
        import orbax.checkpoint as ocp

        step = int(jax.device_get(state.step))
        if step not in self.manager.all_steps():
            try:
                checksums.check_finite(state)
            except ValueError as bad:
                raise ValueError(f"step {step} is not saved: {bad}") from bad
            sums = checksums.take(state)
            if warning := agreement.at_save(step, sums):
                self.log(warning)
            self.wait()  # as orbax does; an error is that of the checkpoint before
            self._saving = step
            with self._writing(step):
                self.manager.save(
                    step,
                    args=ocp.args.StandardSave(state),
                    metrics=ranking.metrics(error),
                    custom_metadata={"checksums": sums},
                )

    def rank(self, step: int, error: float) -> None:
        """Adds the `error` of a step that was saved before its evaluation."""
        self.close()  # orbax reads the metrics when it opens
        if jax.process_index() == 0:
            write_atomic(self.folder / str(step) / ranking.FILE, json.dumps(ranking.metrics(error)))
        agreement.synchronize(f"ranked {step}")

    def ranked(self, step: int) -> bool:
        """Whether `step` was saved with the error of its evaluation."""
        metrics = self.manager.metrics(step)
        return metrics is not None and math.isfinite(metrics["error"])

    def restore(self, step: int, target: TrainState) -> TrainState:
        """The state of `step`, with the shapes, dtypes and shardings of `target`.

        ValueError if it cannot be read, is not what was saved, or is not finite.
        """
        return self._restore(step, lambda: target)

    def weights(self, step: int) -> dict[str, Any]:
        """The network's variables of `step` as numpy arrays, whatever optimizer trained them: those
        it is evaluated with."""
        state = self.tree(step)
        return variables_of(state["params"], state["model_state"])

    def tree(self, step: int) -> dict[str, Any]:
        """The whole state of `step` as numpy arrays, whatever it is."""

        def target():
            host = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            tree = self.manager.item_metadata(step)
            return jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=host), tree
            )

        return jax.device_get(self._restore(step, target))

    def _restore(self, step: int, target: Callable[[], Any]) -> Any:
        import orbax.checkpoint as ocp

        try:
            checksums.check_files(self.folder / str(step))
            saved = self._checksums(step)
            state = self.manager.restore(step, args=ocp.args.StandardRestore(target()))
            if saved is not None:
                checksums.compare(state, saved)
            checksums.check_finite(state)
        except Exception as error:  # orbax and tensorstore raise many kinds for one meaning
            reason = " ".join(str(error).split())[:160]
            raise ValueError(
                f"checkpoint {self.folder / str(step)} cannot be read: {reason}"
            ) from error
        if saved is None and not self._unverified:
            self._unverified = True
            self.log(
                f"checkpoint {self.folder / str(step)} has no checksums, as of earlier versions: "
                "it was read without comparing"
            )
        return state

    def _checksums(self, step: int) -> Mapping[str, str] | None:
        """The checksums saved with `step`; None if it was saved without. ValueError if damaged."""
        file = self.folder / str(step) / "_CHECKPOINT_METADATA"
        try:
            json.loads(file.read_bytes())  # orbax takes a damaged file for an empty one
        except (ValueError, OSError) as error:
            raise ValueError(f"{file.name} is damaged ({error})") from error
        saved = (self.manager.metadata(step).custom_metadata or {}).get("checksums")
        if saved is not None and not (
            isinstance(saved, dict) and all(isinstance(text, str) for text in saved.values())
        ):
            raise ValueError(f"{file.name} is damaged (checksums)")
        return saved

    def newest(self, read: Callable[[int], T]) -> tuple[int, T] | None:
        """(step, read(step)) of the newest checkpoint for which that raises no ValueError.

        None if there is no checkpoint. One that is skipped is named to `log`. ValueError if none
        can be read.
        """
        unreadable: dict[int, ValueError] = {}
        for step in reversed(self.steps()):
            try:
                found = read(step)
            except ValueError as error:
                unreadable[step] = error
                continue
            for bad, reason in unreadable.items():
                self._skip(bad, reason, step)
            return step, found
        if not unreadable:
            return None
        first = next(iter(unreadable.values()))
        count = len(unreadable) - 1
        others = f", nor any of the {count} before it" if count else ", and there is no other"
        way = "" if self.read_only else ", or use another --workdir to start again"
        raise ValueError(f"{first}{others}: repair one{way}") from first

    def restore_latest(self, target: TrainState) -> TrainState | None:
        """The newest readable state, or None if there is no checkpoint.

        Unreadable checkpoints newer than it are moved to unreadable/. If none can be read, all stay
        where they are and ValueError is raised.
        """
        self._forget_broken_metrics()
        found = self.newest(lambda step: self.restore(step, target))
        return None if found is None else found[1]

    def _skip(self, step: int, error: ValueError, used: int) -> None:
        """Says that `step` is not used; a run that writes moves it away."""
        if self.read_only:
            self.log(f"warning: {error}; using the checkpoint of step {used}")
            return
        aside, number = self.folder.parent / "unreadable" / f"{step}", 1
        while aside.exists():
            aside, number = aside.with_name(f"{step}.{number}"), number + 1
        self.log(f"warning: {error}; moved to {aside}, using the checkpoint of step {used}")
        self.close()
        if jax.process_index() == 0:
            aside.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(aside)
        agreement.synchronize(f"moved {step} away")

    def _forget_broken_metrics(self) -> None:
        """Renames damaged metrics files."""
        for file, _ in ranking.broken(self.folder) if jax.process_index() == 0 else ():
            self.log(
                f"warning: {file} cannot be read: its checkpoint no longer counts as a "
                "candidate for the best"
            )
            file.rename(file.with_name("unreadable"))
        agreement.synchronize("read the metrics")

    def wait(self) -> None:
        """Returns when everything is written. OSError if it cannot be."""
        if self._manager is not None:
            with self._writing(self._saving):
                self._manager.wait_until_finished()
            self._list_files()

    def close(self) -> None:
        """Waits and releases orbax's manager; it opens again on the next use. Errors as `wait`."""
        if self._manager is not None:
            self.wait()
            with self._writing(self._saving):
                self._manager.close()
                self._manager = None

    def _list_files(self) -> None:
        """The files of the step that was written last, with their checksums."""
        step, self._saving = self._saving, None
        if step is not None and jax.process_index() == 0 and not in_bucket(self.folder):
            try:
                checksums.list_files(self.folder / str(step), ranking.FILE)
            except OSError as error:  # its arrays have checksums as well
                self.log(f"warning: the files of checkpoint {step} are not listed: {error}")

    @contextlib.contextmanager
    def _writing(self, step: int | None) -> Iterator[None]:
        """An error of a thread that writes becomes an OSError of one line; what it has written is
        removed, which makes room, and the checkpoints before it stay."""
        try:
            yield
        except Exception as error:  # orbax and tensorstore raise many kinds for one meaning
            self._drop_manager()
            if jax.process_index() == 0 and not in_bucket(self.folder):
                for half in self.folder.glob("*.orbax-checkpoint-tmp*"):
                    shutil.rmtree(half, ignore_errors=True)
            saved = sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdigit())
            kept = (
                f"the newest is that of step {saved[-1]}, from which it resumes"
                if saved
                else "there is none before it"
            )
            raise OSError(
                f"checkpoint {self.folder / str(step)} cannot be written: {way_out(str(error))} "
                f"({kept})"
            ) from error

    def _drop_manager(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            with contextlib.suppress(Exception):  # it would tell the same error again
                manager.close()


class _NotOfClosedLoops:
    """`sys.unraisablehook` for all errors but those about a closed event loop."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook = hook

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self._hook(unraisable)


def _not_of_orbax(record: logging.LogRecord) -> bool:
    """Whether a record of a log is no error of orbax, nor a warning about options, which are ours
    (with HANDJAX_TRACEBACK=1 these are shown)."""
    shown = logging.ERROR if os.environ.get("HANDJAX_TRACEBACK") else logging.WARNING
    return record.levelno < shown or "orbax" not in record.pathname


def _not_left_over(record: logging.LogRecord) -> bool:
    """Whether a record of asyncio is not of an exception that nobody asked for."""
    return "exception was never retrieved" not in record.getMessage()
