"""Progress of a run: a bar, metrics.jsonl, TensorBoard and, if asked, Weights & Biases. Only the
first process writes."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from handjax.engine.files import naming, read_jsonl, write_atomic
from handjax.engine.wandb_run import WandbRun


class Writer:
    """Writes the steps and evaluations of a run.

    Lines of metrics.jsonl are {"step": s, name: value, …}. A run that resumes from step `start`
    first removes the lines of later steps, since it writes them again.
    """

    def __init__(
        self,
        workdir: Path,
        start: int,
        steps: int,
        batch_size: int,
        wandb: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """`wandb`: a project there, which gets the `config` as well; empty: none."""
        self.active = jax.process_index() == 0
        self.batch_size = batch_size
        self.stepped = False
        if not self.active:
            return
        self.path = workdir / "metrics.jsonl"
        self.evaluated: set[int] = set()  # steps with the line of an evaluation
        if self.path.exists():
            # A run that starts from scratch writes step 0 again as well.
            lines = [line for line in read_jsonl(self.path) if 0 < start and line["step"] <= start]
            self.evaluated = {line["step"] for line in lines if "eval_loss" in line}
            write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self.wandb = WandbRun(workdir, wandb, config or {}) if wandb else None
        self.tensorboard = _tensorboard(workdir / "tensorboard", start)
        self.bar = tqdm(
            total=steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            # A terminal shows a moving bar; a log file gets a line every few seconds.
            mininterval=0.5 if sys.stderr.isatty() else 10.0,
        )

    def step(self, step: int, terms: dict[str, float], record: bool) -> None:
        """Call after each step; `record` also writes its terms."""
        if not self.active:
            return
        if self.stepped:
            self.bar.update(step - self.bar.n)
        else:
            # The first step compiled: the time that is left is reckoned from the steps after it.
            self.stepped = True
            self.bar.initial = self.bar.n = self.bar.last_print_n = step
            self.bar.start_t = self.bar.last_print_t = time.time()
            self.bar.refresh()
        rate = self.bar.format_dict["rate"]
        speed = f"{rate * self.batch_size:.1f} samples/s" if rate else ""
        self.bar.set_postfix_str(f"loss {terms['loss']:.4g}, {speed}", refresh=False)
        if record:
            self._write(step, {name: value for name, value in terms.items() if name != "finite"})

    def evaluation(self, step: int, metrics: dict[str, float]) -> None:
        """Prints the metrics of an evaluation and writes them as eval_NAME, once per step."""
        if self.active:
            if step not in self.evaluated:
                self._write(step, {f"eval_{name}": value for name, value in metrics.items()})
            self.log(
                f"step {step}: "
                + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            )

    def log(self, text: str) -> None:
        """Prints a line above the progress bar."""
        if self.active:
            self.bar.write(text, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        """Closes the bar and TensorBoard's file."""
        if self.active:
            self.bar.close()
            if self.tensorboard:
                self.tensorboard.close()
            if self.wandb:
                self.wandb.close()

    def _write(self, step, values):
        values = {name: float(value) for name, value in values.items()}
        with naming(self.path), self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self.tensorboard:
            self.tensorboard.add(step, values)
        if self.wandb:
            self.wandb.add(step, values)


class _TensorBoard:
    """One file of events, written at once in this thread: the thread of tensorboardX's own writer
    dies of a full disk, and the training would wait for it forever."""

    def __init__(self, folder: Path, start: int) -> None:
        with _without_pytorch():
            from tensorboardX import proto, record_writer, summary

        self._event, self._scalar = proto.event_pb2.Event, summary.scalar
        self._checksum = record_writer.masked_crc32c
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        self._file = self.path.open("ab", buffering=0)
        events = [self._event(wall_time=time.time(), file_version="brain.Event:2")]
        if start:  # hides what an earlier process wrote of later steps
            begun = proto.event_pb2.SessionLog(status=proto.event_pb2.SessionLog.START)
            events.append(self._event(step=start + 1, session_log=begun))
        self._write(events)

    def add(self, step: int, values: dict[str, float]) -> None:
        """OSError, which names the file, if the disk is full."""
        now = time.time()
        self._write(
            [
                self._event(wall_time=now, step=step, summary=self._scalar(name, value))
                for name, value in values.items()
            ]
        )

    def close(self) -> None:
        self._file.close()

    def _write(self, events: Sequence[Any]) -> None:
        """TFRecords: length, its checksum, content, its checksum."""
        parts = []
        for event in events:
            content = event.SerializeToString()
            length = len(content).to_bytes(8, "little")
            for part in (length, content):
                parts += [part, self._checksum(part).to_bytes(4, "little")]
        with naming(self.path):
            self._file.write(b"".join(parts))


@contextlib.contextmanager
def _without_pytorch() -> Iterator[None]:
    """Hides PyTorch: tensorboardX imports it, which takes seconds, for the name of a type."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # raises ImportError
    try:
        yield
    finally:
        del sys.modules["torch"]


def _tensorboard(folder: Path, start: int) -> _TensorBoard | None:
    """None if tensorboardX is missing, as on some training machines."""
    try:
        return _TensorBoard(folder, start)
    except ImportError:
        print(
            "tensorboardX is not installed: no TensorBoard files, "
            "metrics.jsonl has the same numbers",
            flush=True,
        )
        return None
