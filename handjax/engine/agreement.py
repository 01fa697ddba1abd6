"""What the processes of a run have to agree on. JAX compares nothing: processes of other versions,
and even of other programs, run together and get wrong sums.
"""

import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from ml_collections import ConfigDict

from handjax.engine import config as configs

T = TypeVar("T")

_BYTES = 1 << 15  # of the text that each process sends
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def gather(text: str) -> list[str]:
    """The texts of all processes, by their number; each is cut after 32 kB."""
    if jax.process_count() == 1:
        return [text]
    from jax.experimental.multihost_utils import process_allgather

    sent = np.zeros(_BYTES, np.uint8)
    content = np.frombuffer(text.encode()[:_BYTES], np.uint8)
    sent[: len(content)] = content
    rows = np.asarray(process_allgather(sent)).reshape(-1, _BYTES)
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in rows]


def synchronize(name: str) -> None:
    """Returns when all processes are here."""
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)


def facts(config: ConfigDict, **more: Any) -> dict[str, str]:
    """What has to be the same in all processes: versions, code, config, devices, and `more`."""
    values = configs.flatten(config)
    shared = {f"config.{k}": str(v) for k, v in values.items() if k not in configs.PER_MACHINE}
    text = json.dumps(shared)
    if len(text) > _BYTES // 2:
        shared = {"config": hashlib.sha256(text.encode()).hexdigest()[:12]}
    found = {
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "handjax's code": code(),
        **shared,
        "devices per process": jax.local_device_count(),
        "backend": jax.default_backend(),
        **more,
    }
    return {name: str(value) for name, value in found.items()}


@functools.cache
def code() -> str:
    """A hash of this package's Python files."""
    total, package = hashlib.sha256(), Path(__file__).resolve().parent.parent
    for file in sorted(package.rglob("*.py")):
        total.update(str(file.relative_to(package)).encode() + file.read_bytes())
    return total.hexdigest()[:12]


def compare(own: Mapping[str, str]) -> None:
    """ValueError in all processes if one has other facts than process 0, with the first of them."""
    everyone = [json.loads(text) for text in gather(json.dumps(own))]
    for number, other in enumerate(everyone):
        for name in {**everyone[0], **other}:
            found, expected = other.get(name), everyone[0].get(name)
            if found != expected:
                raise ValueError(
                    f"process {number} has another {name} ({found}) than process 0 ({expected}): "
                    "all processes of a run need the same"
                )


def in_first(action: Callable[[], T]) -> T | None:
    """`action()` in process 0, None in the others; if it raises ValueError or OSError, all do."""
    result, failed = None, None
    if jax.process_index() == 0:
        try:
            result = action()
        except (ValueError, OSError) as error:
            failed = error
    said = gather(str(failed) if failed else "")[0]
    if failed:
        raise failed
    if said:
        raise ValueError(f"process 0: {said}")
    return result


def at_save(step: int, sums: Mapping[str, str]) -> str:
    """Checks that all processes save the same step, ValueError otherwise; a warning if their states
    differ, or ""."""
    if jax.process_count() == 1:
        return ""
    state = hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()[:12]
    everyone = [text.split() for text in gather(f"{step} {state}")]
    for number, (other, theirs) in enumerate(everyone):
        if other != everyone[0][0]:
            raise ValueError(
                f"process {number} is at step {other}, process 0 at step {everyone[0][0]}: nothing "
                "is saved; start the run again from its last checkpoint"
            )
        if theirs != everyone[0][1]:
            return (
                f"warning: the state of process {number} is not that of process 0 at step {step}; "
                "the one of process 0 is saved"
            )
    return ""
