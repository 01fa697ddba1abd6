import contextlib
import json
import os
import socket
import subprocess
import sys

import pytest

from handjax.data.preparation import lock


@pytest.mark.parametrize("error", [None, KeyError("inside")])
def test_held_and_let_go(tmp_path, error):
    path = tmp_path / "set.lock"
    who = f"process {os.getpid()} on {socket.gethostname()}"
    with pytest.raises(KeyError) if error else contextlib.nullcontext(), lock.held(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        with (
            pytest.raises(
                ValueError,
                match=f"^{tmp_path / 'set'}: at work there is {who} since .* remove {path}$",
            ),
            lock.held(path),
        ):
            pytest.fail("held twice")
        assert path.exists()
        if error:
            raise error
    assert list(tmp_path.iterdir()) == []


def test_of_many_one_takes_over_what_was_left_behind(tmp_path):
    """Eight processes find the lock of one that is no more; each that gets it says so while it has it."""
    path, log = tmp_path / "set.lock", tmp_path / "log"
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    path.write_text(
        json.dumps({"pid": gone.pid, "host": socket.gethostname(), "since": "yesterday"})
    )
    code = f"""
import time
from handjax.data import lock
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
    told = [run.communicate(timeout=120)[0] for run in runs]
    assert not any(run.returncode for run in runs)
    lines = log.read_text().split()
    assert lines == ["in", "out"] * (len(lines) // 2) and len(lines) // 2 == told.count("") >= 1
    assert not path.exists()


def test_what_was_killed_in_the_midst_of_it_is_told(tmp_path):
    path, judge = tmp_path / "set.lock", tmp_path / "set.lock.taken_over"
    path.write_text("")
    with pytest.raises(
        ValueError,
        match=f"at work there is a process that has not said its name; .* remove {path}$",
    ):
        with lock.held(path):
            pytest.fail("held")
    judge.write_text("")
    with pytest.raises(
        ValueError,
        match=f"^{judge}: another process takes the lock over; if none does, remove that file$",
    ):
        with lock.held(path):
            pytest.fail("held")
    assert path.exists() and judge.exists()
