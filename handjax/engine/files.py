"""Files of a run: written atomically, never overwritten without a backup, readable after a kill."""

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from etils import epath

AnyPath: TypeAlias = Path | epath.Path  # of this machine, or of a bucket
BUCKET = "gs://"  # the one scheme that TensorFlow and Orbax both read and write


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path next to `path`, for a writer that takes a path.

    The file is renamed to `path` when the block ends and deleted if the block raises, so `path`
    holds either its old content or all of the new.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_path(path: str | os.PathLike) -> Iterator[Path]:
    """`atomic_path` for a file that must not be there yet: FileExistsError, one line, if it is.
    An error of the system, such as that of a full disk, names the file."""
    path = Path(path)
    with naming(path), atomic_path(path) as temporary:
        _refuse_existing(path)
        yield temporary
        _refuse_existing(path)  # it may have appeared since


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path}: exists already; move it away or choose another name")


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """For a block that writes `path`: an error of the system, such as that of a full disk, names it
    and says what to do, in one line."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(f"{path}: {way_out(os.strerror(error.errno))}") from error


# What the system says about a disk → what to do about it.
WAYS_OUT = {
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some space or raise the quota, and run the command again",
    errno.EFBIG: "raise the limit (ulimit -f) and run the command again",
    errno.EROFS: "use a folder that can be written",
    errno.EACCES: "use a folder that you may write",
    errno.EIO: "the disk failed; use another",
}


def way_out(message: str) -> str:
    """The system's reason in the `message` of a library that failed to write, with the way out; of
    any other message the beginning."""
    for number, way in WAYS_OUT.items():
        if (reason := os.strerror(number)) in message:
            return f"{reason}; {way}"
    return " ".join(message.split())[:160]


def write_atomic(path: str | os.PathLike, text: str) -> None:
    """Writes `text`; a kill leaves the old content or the new. In a bucket, any write is so."""
    if in_bucket(path):
        epath.Path(path).write_text(text)
        return
    with naming(path), atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def back_up(path: str | Path) -> Path | None:
    """Renames an existing file, say `metrics.json`, to the first free name of `metrics.1.json`,
    `metrics.2.json` and so on.

    Returns the new path, or None if there was no such file.
    """
    path = Path(path)
    if not path.exists() and not path.is_symlink():
        return None
    free = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in count(1))
    return path.rename(next(kept for kept in free if not kept.exists()))


def in_bucket(path: str | os.PathLike) -> bool:
    """Whether `path` is an address gs://… ."""
    return os.fspath(path).startswith(BUCKET)


def place(path: str | os.PathLike) -> AnyPath:
    """The path, on this machine or in a bucket. What makes one absolute forgets the bucket."""
    return epath.Path(path) if in_bucket(path) else Path(path)


def refuse_scheme(flag: str, value: str | os.PathLike, bucket: bool = False) -> None:
    """ValueError for a `value` such as s3://bucket/run, or NAME=s3://bucket/run, which the system
    would take for a folder of that name below the working directory; with `bucket`, gs://… is
    none."""
    text = os.fspath(value)
    found = _SCHEME.match(text)
    if found is None or (bucket and in_bucket(text)):
        return
    given = f"{text[: found.end(1)]}://{text[found.end() :]}"  # a Path has lost a slash
    if found[1].lower() == "file":
        raise ValueError(f"{flag} {given}: name the path itself, without file://")
    raise ValueError(
        f"{flag} {given}: {found[1]}:// cannot be read or written here; mount the bucket (gcsfuse, "
        "mountpoint-s3, rclone mount) and name that folder, or use a local folder and copy from "
        "and to the bucket (of checkpoints/, finished steps only)"
    )


def refuse_unexpanded(flag: str, value: str | os.PathLike) -> None:
    """ValueError for a `value` such as ~/run, which shells leave as it is behind a "=" and in
    quotes, and which would become a folder of the name ~."""
    text = os.fspath(value)
    if text == "~" or text.startswith("~/"):
        raise ValueError(
            f'{flag} {text}: ~ is no folder here; write "$HOME{text[1:]}", which shells replace '
            "everywhere"
        )


_SCHEME = re.compile(r"\s*(?:[^=/\\]*=)?([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/\\])")


def refuse_to_replace(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Raises if `folder` already holds files called `names` and `overwrite` is false. Read-only."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--output {folder}: a file, not a folder")
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"{folder} holds {' and '.join(there)} of an earlier prediction: "
            "use --overwrite or another --output"
        )


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without a last line that a kill cut short.

    Raises ValueError for any other line that is not JSON.
    """
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not text ({error.reason}); move it away") from None
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError) as error:
            if number < len(lines) or isinstance(error, RecursionError):
                raise ValueError(
                    f"{path}: line {number} is not JSON ({error}); fix or delete it"
                ) from None
    return values
