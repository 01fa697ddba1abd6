"""What a run says while it runs: a progress bar, metrics.jsonl and TensorBoard. Only the first process writes."""

import json
import sys
from pathlib import Path

import jax
from tqdm import tqdm

from handjax.engine.files import read_jsonl, write_atomic


class Writer:
    """Lines of metrics.jsonl are {"step": s, name: value, …}. On a restart from step s the lines of later steps go: the run
    writes them again."""

    def __init__(self, workdir: Path, start: int, steps: int, batch_size: int):
        self.active = jax.process_index() == 0
        self.batch_size = batch_size
        if not self.active:
            return
        self.path = workdir / "metrics.jsonl"
        if self.path.exists():
            # A run that starts anew writes even step 0 again. In one step, so that a kill leaves the old lines or the new ones.
            lines = [line for line in read_jsonl(self.path) if 0 < start and line["step"] <= start]
            write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self.tensorboard = _tensorboard(workdir / "tensorboard", start)
        self.bar = tqdm(
            total=steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            # A log file gets a line every few seconds, a terminal a moving bar.
            mininterval=0.5 if sys.stderr.isatty() else 10.0,
        )

    def step(self, step: int, parts: dict[str, float], record: bool) -> None:
        """After each step; `record` also writes its parts."""
        if not self.active:
            return
        self.bar.update(step - self.bar.n)
        rate = self.bar.format_dict["rate"]
        speed = f"{rate * self.batch_size:.1f} samples/s" if rate else ""
        self.bar.set_postfix_str(f"loss {parts['loss']:.4g}, {speed}", refresh=False)
        if record:
            self._write(step, {name: value for name, value in parts.items() if name != "finite"})

    def evaluation(self, step: int, metrics: dict[str, float]) -> None:
        if self.active:
            self._write(step, {f"eval_{name}": value for name, value in metrics.items()})
            self.say(
                f"step {step}: "
                + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            )

    def say(self, text: str) -> None:
        if self.active:
            self.bar.write(text, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        if self.active:
            self.bar.close()
            if self.tensorboard:
                self.tensorboard.close()

    def _write(self, step, values):
        values = {name: float(value) for name, value in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self.tensorboard:
            for name, value in values.items():
                self.tensorboard.add_scalar(name, value, step)


def _tensorboard(folder: Path, start: int):
    """The one thing a run can do without: machines for training do not always have it."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        print(
            "tensorboardX is not installed: no TensorBoard files, metrics.jsonl has the same numbers",
            flush=True,
        )
        return None
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)
