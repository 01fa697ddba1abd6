import contextlib
import json
import os
import socket
import subprocess
import sys

import pytest

from handjax.data.preparation import lock


@pytest.mark.parametrize("error", [None, KeyError("inside")])
def test_held_and_released(tmp_path, error):
    path = tmp_path / "set.lock"
    who = f"process {os.getpid()} on {socket.gethostname()}"
    with pytest.raises(KeyError) if error else contextlib.nullcontext(), lock.held(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        with (
            pytest.raises(
                ValueError,
                match=f"^{tmp_path / 'set'}: in use by {who} since .* remove {path}$",
            ),
            lock.held(path),
        ):
            pytest.fail("held twice")
        assert path.exists()
        if error:
            raise error
    assert list(tmp_path.iterdir()) == []


def test_one_of_many_takes_over_a_stale_lock(tmp_path):
    """Eight processes find a stale lock; whoever gets it logs its start and its end."""
    path, log = tmp_path / "set.lock", tmp_path / "log"
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    path.write_text(
        json.dumps({"pid": gone.pid, "host": socket.gethostname(), "since": "yesterday"})
    )
    code = f"""
import time
from handjax.data.preparation import lock
try:
    with lock.held({str(path)!r}):
        with open({str(log)!r}, "a") as log: log.write("in\\n")
        time.sleep(1)
        with open({str(log)!r}, "a") as log: log.write("out\\n")
except ValueError as error:
    print(error)
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    output = [run.communicate(timeout=120)[0] for run in runs]
    assert not any(run.returncode for run in runs)
    lines = log.read_text().split()
    assert lines == ["in", "out"] * (len(lines) // 2) and len(lines) // 2 == output.count("") >= 1
    assert not path.exists()


def test_lock_of_a_killed_writer_is_reported(tmp_path):
    path, judge = tmp_path / "set.lock", tmp_path / "set.lock.taken_over"
    path.write_text("")
    with pytest.raises(
        ValueError,
        match=f"in use by an unknown process; .* remove {path}$",
    ):
        with lock.held(path):
            pytest.fail("held")
    judge.write_text("")
    with pytest.raises(
        ValueError,
        match=f"^{judge}: another process is taking over the lock; if none is, remove that file$",
    ):
        with lock.held(path):
            pytest.fail("held")
    assert path.exists() and judge.exists()
