"""The metrics of a run at Weights & Biases as well, beside metrics.jsonl (extra `wandb`).

WANDB_MODE, WANDB_API_KEY and W&B's other variables work as everywhere; with WANDB_MODE=offline
nothing leaves the machine, and `wandb sync` sends it later.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from handjax.engine.files import write_atomic

_ID = "wandb_id.txt"  # in the work folder, so that a run that resumes is the same one there


def require() -> ModuleType:
    """The package; ValueError if it is not installed."""
    try:
        import wandb
    except ImportError:
        raise ValueError(
            "config.wandb needs the extra wandb: pip install 'handjax[wandb]'"
        ) from None
    return wandb


class WandbRun:
    """One run of a project; ValueError if W&B refuses it, as without a key."""

    def __init__(self, workdir: Path, project: str, config: Mapping[str, Any]) -> None:
        wandb = require()
        path = workdir / _ID
        if not path.is_file():
            write_atomic(path, uuid.uuid4().hex[:16] + "\n")
        try:
            self._run = wandb.init(
                project=project,
                name=workdir.resolve().name,
                id=path.read_text().strip(),
                resume="allow",
                dir=workdir,
                config=dict(config),
            )
        except wandb.errors.Error as error:
            why = " ".join(str(error).split())
            raise ValueError(
                f"config.wandb={project}: {why}; WANDB_MODE=offline keeps the run on this machine"
            ) from None
        # A run that resumes writes some steps again, which W&B's own counter would refuse.
        self._run.define_metric("*", step_metric="step")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def close(self) -> None:
        self._run.finish()
