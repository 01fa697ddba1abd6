"""One at a time: a file that says who is at work in a folder. It is made by the one call that cannot succeed twice, for not every
network's file system knows locks."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: str | os.PathLike) -> Iterator[None]:
    """Holds the lock file `path`. ValueError, one line, if another process does: who, and the way out. One that was left behind by
    a process of this machine that is no more is taken over; of another machine's nobody here can tell."""
    path = Path(path)
    if not _made(path):
        _take_over(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _made(path: Path) -> bool:
    try:
        with path.open("x") as file:
            json.dump(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": time.strftime("%Y-%m-%d %H:%M:%S"),
                },
                file,
            )
        return True
    except FileExistsError:
        return False


def _take_over(path: Path) -> None:
    # Two may find the same lock left behind: who makes this file looks again, and then takes it.
    judge = path.with_name(f"{path.name}.taken_over")
    if not _made(judge):
        raise ValueError(
            f"{judge}: another process takes the lock over; if none does, remove that file"
        )
    try:
        who, alive = _holder(path)
        if alive:
            raise ValueError(
                f"{path.with_suffix('')}: at work there is {who}; wait for it, or if it is no more remove {path}"
            )
        path.unlink(missing_ok=True)
        if not _made(path):
            raise ValueError(f"{path.with_suffix('')}: another process has just begun; wait for it")
    finally:
        judge.unlink()


def _holder(path: Path) -> tuple[str, bool]:
    """Who holds the lock, in words, and whether it is, or may be, still at work."""
    try:
        told = json.loads(path.read_text())
        pid, host, since = int(told["pid"]), str(told["host"]), str(told["since"])
    except FileNotFoundError:
        return "nobody", False
    except (
        ValueError,
        TypeError,
        KeyError,
    ):  # begun and not yet written, or by a process that was killed right then
        return "a process that has not said its name", True
    who = f"process {pid} on {host} since {since}"
    if host != socket.gethostname():
        return who, True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return who, False
    except PermissionError:  # there is one, and it is another user's
        pass
    return who, True
