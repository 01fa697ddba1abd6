"""The lock of a run's folder; real processes that hold it."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from handjax.engine import lock

HOLD = """
import sys, time
from pathlib import Path
from handjax.engine import lock
with lock.hold(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`/run."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_by_name(tmp_path, holder):
    with (
        pytest.raises(ValueError, match=f"process {holder.pid} on .* since 2.*another --workdir"),
        lock.hold(tmp_path / "run", print),
    ):
        pass
    assert lock.read(tmp_path / "run" / lock.FILE)["process"] == holder.pid


def test_a_dead_ones_lock_is_taken_over(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    said = []
    with lock.hold(tmp_path / "run", said.append) as held:
        held.check()
        assert lock.read(held.path)["process"] == os.getpid()
    (line,) = said
    assert f"process {holder.pid} on " in line and line.endswith("which is gone: taking over")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_stays_empty_is_removed(tmp_path):
    with lock.hold(tmp_path / "a" / "b", print):
        assert (tmp_path / "a" / "b" / lock.FILE).is_file()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The lock of a process on another machine, watched for a moment."""
    monkeypatch.setattr(lock, "WATCH_SECONDS", 0.3)
    path = tmp_path / lock.FILE
    holder = dict(command="handjax train", process=7, host="node9", boot="x", since="2026", beat=1)
    path.write_text(json.dumps(holder))
    return path


def test_a_silent_one_of_another_machine_is_dead(elsewhere):
    said = []
    with lock.hold(elsewhere.parent, said.append):
        assert lock.read(elsewhere)["process"] == os.getpid()
    assert ["watching" in line for line in said] == [True, False]
    assert all("process 7 on node9" in line for line in said)


def test_one_of_another_machine_that_beats_is_alive(elsewhere):
    def beat(said):
        elsewhere.write_text(elsewhere.read_text().replace('"beat": 1', '"beat": 2'))

    with (
        pytest.raises(ValueError, match="used by handjax train, process 7 on node9"),
        lock.hold(elsewhere.parent, beat),
    ):
        pass
    assert lock.read(elsewhere)["host"] == "node9"


def test_what_happened_to_a_lock_is_said(tmp_path):
    with lock.hold(tmp_path / "run", print) as held:
        taken = {**lock.read(held.path), "token": "another", "process": 9}
        held.path.write_text(json.dumps(taken))
        with pytest.raises(ValueError, match="is now used by handjax train, process 9"):
            held.check()
        held.path.unlink()
        with pytest.raises(ValueError, match="lock.json was removed"):
            held.check()
        held.path.parent.rmdir()
        with pytest.raises(OSError, match="run: the folder of the run is gone"):
            held.check()


def test_nothing_is_written_after_a_release(tmp_path, monkeypatch):
    """The descriptor's number may be that of another file by then."""
    beating, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    plain = lock.read

    def slow(path):  # as over a network, between the look at the file and the sign of life
        if threading.current_thread() is not threading.main_thread():
            beating.set()
            go_on.wait(5)
        return plain(path)

    monkeypatch.setattr(lock, "read", slow)
    with lock.hold(tmp_path / "run", print) as held:
        assert beating.wait(5)
        threading.Timer(0.2, go_on.set).start()
    assert not held._beating.is_alive()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=str(tmp_path)), lock.hold(tmp_path / "file" / "x", print):
        pass
