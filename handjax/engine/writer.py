"""Progress of a run: a bar, metrics.jsonl and TensorBoard. Only the first process writes."""

import json
import sys
from pathlib import Path

import jax
from tqdm import tqdm

from handjax.engine.files import read_jsonl, write_atomic


class Writer:
    """Writes the steps and evaluations of a run.

    Lines of metrics.jsonl are {"step": s, name: value, …}. A run that resumes from step `start`
    first removes the lines of later steps, since it writes them again.
    """

    def __init__(self, workdir: Path, start: int, steps: int, batch_size: int) -> None:
        self.active = jax.process_index() == 0
        self.batch_size = batch_size
        if not self.active:
            return
        self.path = workdir / "metrics.jsonl"
        if self.path.exists():
            # A run that starts from scratch writes step 0 again as well.
            lines = [line for line in read_jsonl(self.path) if 0 < start and line["step"] <= start]
            write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in lines))
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
        self.bar.update(step - self.bar.n)
        rate = self.bar.format_dict["rate"]
        speed = f"{rate * self.batch_size:.1f} samples/s" if rate else ""
        self.bar.set_postfix_str(f"loss {terms['loss']:.4g}, {speed}", refresh=False)
        if record:
            self._write(step, {name: value for name, value in terms.items() if name != "finite"})

    def evaluation(self, step: int, metrics: dict[str, float]) -> None:
        """Prints the metrics of an evaluation and writes them as eval_NAME."""
        if self.active:
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

    def _write(self, step, values):
        values = {name: float(value) for name, value in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self.tensorboard:
            for name, value in values.items():
                self.tensorboard.add_scalar(name, value, step)


def _tensorboard(folder: Path, start: int):
    """TensorBoard's writer; None if tensorboardX is missing, as on some training machines."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        print(
            "tensorboardX is not installed: no TensorBoard files, "
            "metrics.jsonl has the same numbers",
            flush=True,
        )
        return None
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)
