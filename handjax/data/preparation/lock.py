"""Lock file, created atomically (O_EXCL), because not every network file system supports locks."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: str | os.PathLike) -> Iterator[None]:
    """Holds the lock file `path`.

    ValueError, one line, if another process holds it; the message names the process and the way
    out. A stale lock of a dead local process is taken over; locks of other hosts are not.
    """
    path = Path(path)
    if not _create(path):
        _take_over(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _create(path: Path) -> bool:
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    try:
        with path.open("x") as file:
            json.dump(owner, file)
        return True
    except FileExistsError:
        return False


def _take_over(path: Path) -> None:
    # Two processes may find the same stale lock: only the one that creates `judge` takes it over.
    judge = path.with_name(f"{path.name}.taken_over")
    if not _create(judge):
        raise ValueError(
            f"{judge}: another process is taking over the lock; if none is, remove that file"
        )
    folder = path.with_suffix("")
    try:
        owner, alive = _owner(path)
        if alive:
            raise ValueError(
                f"{folder}: in use by {owner}; wait for it, or if it is gone remove {path}"
            )
        path.unlink(missing_ok=True)
        if not _create(path):
            raise ValueError(f"{folder}: another process has just started; wait for it")
    finally:
        judge.unlink()


def _owner(path: Path) -> tuple[str, bool]:
    """The lock's owner, in words, and whether it is (or may be) still running."""
    try:
        data = json.loads(path.read_text())
        pid, host, since = int(data["pid"]), str(data["host"]), str(data["since"])
    except FileNotFoundError:
        return "nobody", False
    except (ValueError, TypeError, KeyError):  # not written yet, or its writer was killed
        return "an unknown process", True
    owner = f"process {pid} on {host} since {since}"
    if host != socket.gethostname():
        return owner, True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return owner, False
    except PermissionError:  # it exists and is another user's
        pass
    return owner, True
