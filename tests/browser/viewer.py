"""The viewer as the command starts it, for tests of its page."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def served(*flags) -> Iterator[str]:
    """The address of `handjax view` with these flags. It prints nothing but that and what it
    compiles, and ends well when it is asked to."""
    server = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "handjax.view", "--port", "0", *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + server.stderr.read()
        yield found[0]
    finally:
        server.terminate()
        out, errors = server.communicate(timeout=20)
    unexpected = [line for line in errors.splitlines() if not line.startswith("compiling ")]
    assert (server.returncode, out, unexpected) == (0, "", [])
