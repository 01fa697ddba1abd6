"""A program of another Python's environment that is asked about one picture after another."""

import contextlib
import json
import os
import subprocess
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8


class Worker:
    """A process that reads pictures and answers in JSON, as mediapipe_worker.py describes.

    It ends with this process or by `close()`.
    """

    def __init__(self, python: str, program: Path, arguments: Sequence[str], name: str, setup: str):
        """`name`: of the package that it needs, `setup`: how to install it. ValueError, one line,
        if it does not start; the message begins with `python`."""
        self.name = name
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            self._process = subprocess.Popen(
                [python, str(program), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise ValueError(f"{python}: {error.strerror}; expected a Python") from None
        self.close = weakref.finalize(self, _end, self._process)
        started = self._answer()
        if "error" in started:
            self.close()
            raise ValueError(f"{python}: {started['error']}; it needs {name}: {setup}")
        self.version = str(started["version"])

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
        """The answer for a picture, RGB. OSError if the process ended."""
        height, width = picture.shape[:2]
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"height": height, "width": width}).encode())
            self._process.stdin.write(b"\n" + np.ascontiguousarray(picture).tobytes())
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise OSError(f"{self.name}'s process ended; load it again") from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "it printed nothing"}


def _end(process: subprocess.Popen) -> None:
    """The worker ends when there is nothing more to read."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
