"""The folder of a run: whose it is, and what may change when it resumes."""

import json
import socket
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict

from handjax.engine import agreement, lock, runtime, schedules
from handjax.engine import config as configs
from handjax.engine.files import AnyPath, back_up, place, write_atomic

SHARED_SECONDS = 40.0  # after which a file of another host is seen, whatever NFS remembers
# What a run writes at its end, beside config.json.
OUTPUTS = ("metrics.json", "metrics.jsonl", "predictions.npz", "report.html", "model.stablehlo")


def checkpoints(workdir: Path, config: ConfigDict | None = None) -> AnyPath:
    """The folder of the run's checkpoints: what its config names, by default config.json's, or
    checkpoints/. ValueError for a config.json that is none."""
    path = workdir / "config.json"
    if config is None and path.is_file():
        try:
            config = configs.from_json(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: not a config ({error})") from error
    named = config.get("checkpoints", "") if config else ""
    return place(named) if named else workdir / "checkpoints"


def check(workdir: Path, config: ConfigDict) -> bool:
    """Checks that `workdir` is new or holds this run, and says which. Read-only.

    Before the first checkpoint the config may still change. Raises ValueError otherwise, with the
    keys that differ.
    """
    path = workdir / "config.json"
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir {workdir}: a file, not a folder")
    begun = any(folder.name.isdigit() for folder in checkpoints(workdir, config).glob("*"))
    if not path.exists():
        if begun:
            raise ValueError(
                f"{workdir} holds checkpoints but no config.json: use another --workdir"
            )
        if foreign := [name for name in OUTPUTS if (workdir / name).exists()]:
            raise ValueError(
                f"{workdir} holds {foreign[0]} but no config.json: it is no run's folder, and a "
                "run would replace that file; use another --workdir"
            )
        return False
    try:
        old = configs.from_json(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not a config ({error}); use another --workdir") from error
    if not begun:
        return False
    if changed := configs.differences(old, config):
        more = f"; and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise ValueError(
            f"{workdir} holds a run of another config ({'; '.join(changed[:4])}{more}): use the "
            f"run's own config, or train on from its weights in a new folder: "
            f"--config.init={workdir} and another --workdir"
        )
    if old.steps != config.steps and config.optimizer.schedule in schedules.OF_THE_WHOLE_RUN:
        raise ValueError(
            f"{workdir} holds a run of {old.steps} steps whose {old.optimizer.schedule} schedule "
            f"ends there; config.steps={config.steps} would be another schedule: train on from its "
            f"weights in a new folder: --config.init={workdir} and another --workdir"
        )
    return True


def finished(workdir: Path, steps: int) -> bool:
    """Whether done.json says that a run of `steps` steps is finished."""
    try:
        done = json.loads((workdir / "done.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(done, dict) and done.get("step") == steps


def claim(workdir: Path, config: ConfigDict) -> None:
    """Creates `workdir` and writes config.json atomically; a different older one is backed up."""
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "done.json").unlink(missing_ok=True)  # of a run with fewer steps
        path = workdir / "config.json"
        if (
            path.exists()
            and configs.differences(configs.from_json(path.read_text()), config)
            and (kept := back_up(path))
        ):
            runtime.log(f"kept the earlier config.json as {kept.name}")
        write_atomic(path, configs.to_json(config) + "\n")


def check_shared(workdir: Path, token: str) -> None:
    """ValueError in all processes if one of them does not see the lock that process 0 holds.

    `token` is that of the lock, in process 0.
    """
    if jax.process_count() == 1:
        return
    expected = agreement.gather(token)[0]
    limit = time.monotonic() + SHARED_SECONDS
    while not (seen := lock.read(workdir / lock.FILE).get("token") == expected):
        if time.monotonic() > limit:
            break
        time.sleep(0.5)
    for number, other in enumerate(agreement.gather("" if seen else socket.gethostname())):
        if other:
            raise ValueError(
                f"--workdir {workdir}: process {number} on {other} does not see what process 0 "
                "writes there; all hosts need the same folder, as on a file system they share"
            )
