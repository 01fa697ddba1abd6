"""One training per folder: a lock that says who holds it, and for how long it has been silent.

The system drops a dead process's lock on the same machine. Of another machine, whose locks may not
reach this one, the holder is alive as long as it rewrites the file.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from handjax.engine.files import way_out

FILE = "lock.json"
BEAT_SECONDS = 15.0  # between two signs of life
WATCH_SECONDS = 50.0  # for which a holder on another machine is watched
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Lock:
    """A lock that is held; `token` is its holder's and nobody else's."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor, self._beats = path, descriptor, 0
        self.holder = {
            "command": "handjax train",
            "process": os.getpid(),
            "host": socket.gethostname(),
            "boot": _boot(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "token": os.urandom(8).hex(),
        }
        self._released = threading.Event()
        self.beat()
        self._beating = threading.Thread(target=self._live, daemon=True)
        self._beating.start()

    @property
    def token(self) -> str:
        return str(self.holder["token"])

    def beat(self) -> None:
        """Rewrites the file in place: what watches it sees that the holder lives."""
        self._beats += 1
        content = json.dumps({**self.holder, "beat": self._beats}).encode() + b"\n"
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))
        os.fsync(self._descriptor)  # NFS would keep it from the others for half a minute

    def check(self) -> None:
        """OSError if the folder is gone, ValueError if the lock is, or if another process has taken
        it: this one was silent for too long."""
        found = read(self.path)
        if not self.path.parent.is_dir():
            raise OSError(f"{self.path.parent}: the folder of the run is gone; nothing is saved")
        if not found:
            raise ValueError(
                f"{self.path} was removed, so that another run may have used the folder; this run "
                "ends, and the same command continues it"
            )
        if found.get("token") != self.token:
            raise ValueError(f"{self.path.parent} is now used by {_name(found)}; this run ends")

    def release(self) -> None:
        self._released.set()
        self._beating.join()  # it must not write to a descriptor that is closed
        with contextlib.suppress(OSError):
            if read(self.path).get("token") == self.token:
                self.path.unlink()
        os.close(self._descriptor)

    def _live(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # `check` says what is wrong
                if read(self.path).get("token") == self.token:
                    self.beat()


@contextlib.contextmanager
def hold(folder: Path, log: Callable[[str], Any]) -> Iterator[Lock]:
    """Holds the lock of `folder`, which is made if there is none, and removed if it stays empty.

    ValueError, which names it, if another process holds it. A dead one's is taken over, as `log`
    is told. OSError if nothing can be written there.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    path = folder / FILE
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = _take(path, log)
            held = Lock(path, descriptor)
        except OSError as error:
            reason = way_out(os.strerror(error.errno) if error.errno else str(error))
            raise OSError(f"--workdir {folder} cannot be written: {reason}") from error
        try:
            yield held
        finally:
            held.release()
    finally:
        for each in made:  # the innermost first
            with contextlib.suppress(OSError):
                each.rmdir()


def read(path: Path) -> dict[str, Any]:
    """Who holds a lock; {} if nobody does, or the file tells nothing."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _take(path: Path, log: Callable[[str], Any]) -> int:
    """The descriptor of a lock that nobody else holds."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            local = _lock(descriptor)
            if not _is(path, descriptor):  # removed by its holder in the meantime
                os.close(descriptor)
                continue
            if local is False:
                raise ValueError(_used(path, read(path)))
            if holder := read(path):
                if local is None or holder.get("boot") != _boot():
                    _watch(path, holder, log)
                log(f"{path.parent} was used by {_name(holder)}, which is gone: taking over")
            return descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise


def _lock(descriptor: int) -> bool | None:
    """Whether the system gives this process the lock; None: its file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _watch(path: Path, holder: dict[str, Any], log: Callable[[str], Any]) -> None:
    """Returns if the holder gives no sign of life for WATCH_SECONDS; ValueError if it does."""
    log(f"{path.parent} was used by {_name(holder)}: watching it for {WATCH_SECONDS:.0f} s")
    end = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < end:
        time.sleep(min(1.0, WATCH_SECONDS / 10))
        if read(path).get("beat") != holder.get("beat"):
            raise ValueError(_used(path, holder))


def _used(path: Path, holder: dict[str, Any]) -> str:
    return (
        f"--workdir {path.parent} is used by {_name(holder)}: stop that one, or use another "
        "--workdir"
    )


def _name(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    command, process, host, since = (
        holder.get(key, "?") for key in ("command", "process", "host", "since")
    )
    return f"{command}, process {process} on {host} since {since}"


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _boot() -> str:
    """Which start of which machine this is."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return socket.gethostname()
