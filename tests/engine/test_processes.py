"""Processes that wait for each other; that they compute the same is in tests/multiprocess."""

import re
import socket
import subprocess
import sys

import pytest

from handjax.engine import processes
from handjax.engine.processes import Place, lost_another, waited_for

JOIN = """
import sys
from handjax.engine import processes
processes.SILENT_SECONDS = 0.5
processes.join(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 3.0)
"""


@pytest.fixture
def free() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return f"localhost:{taken.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "processes", "who"),
    [
        (0, 2, "process 1 of 2: start each with --coordinator "),
        (2, 4, "process 0 at localhost:[0-9]+ .Connection refused.: start it with --process_id 0"),
    ],
)
def test_the_partner_that_never_comes_is_named(free, process, processes, who):
    done = subprocess.run(
        [sys.executable, "-c", JOIN, free, str(processes), str(process)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    waiting, *_, error = [line for line in done.stderr.splitlines() if "waiting" in line] + [
        done.stderr.splitlines()[-1]
    ]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    for line, start in ((waiting, "waiting for "), (error, "error: waited 3 s for ")):
        assert line.startswith(start)
        assert re.search(who, line), line


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({"SLURM_JOB_NUM_NODES": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "16", "OMPI_COMM_WORLD_LOCAL_SIZE": "8"}, True),
        ({"SLURM_JOB_NUM_NODES": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_SIZE": "8"}, False),
    ],
)
def test_loopback_across_hosts_is_refused(monkeypatch, variables, refused):
    import jax

    for name in ("SLURM_JOB_NUM_NODES", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    joined = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **given: joined.append(given))
    if refused:
        with pytest.raises(ValueError, match="each machine's own.*cluster has several$"):
            processes.join("127.0.0.1:5000", 16, 3)
    else:
        processes.join("127.0.0.1:5000", 8, 3)
        assert joined[0]["coordinator_bind_address"] == "127.0.0.1:5000"
    assert bool(joined) != refused


@pytest.mark.parametrize(
    ("own", "coordinator", "words"),
    [
        ("127.0.1.1", "192.0.2.7:5000", "h1, is 127.0.1.1 to itself.*192.0.2.7:5000 is on another"),
        ("127.0.1.1", "127.0.0.1:5000", ""),
        ("192.0.2.8", "192.0.2.7:5000", ""),
        (None, "127.0.0.1:5000", "h1, has no address .*add a line .ADDRESS h1. to /etc/hosts"),
    ],
)
def test_a_machine_that_others_cannot_reach(monkeypatch, own, coordinator, words):
    """Of another machine, 192.0.2.7 is one that is kept for documents."""
    import jax

    plain = socket.getaddrinfo

    def known(host, *args, **kwargs):
        if host != "h1":
            return plain(host, *args, **kwargs)
        if own is None:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return plain(own, *args, **kwargs)

    monkeypatch.setattr(socket, "gethostname", lambda: "h1")
    monkeypatch.setattr(socket, "getaddrinfo", known)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: None)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    if not words:
        processes.join(coordinator, 2, 1)
        return
    with pytest.raises(ValueError, match=words):
        processes.join(coordinator, 2, 1)


def test_who_is_waited_for(free):
    there = Place(free, 8, 0)
    assert waited_for(there).startswith("processes 1 to 7 of 8, or some of them: ")
    host, _, port = free.rpartition(":")
    with socket.create_server((host, int(port))):
        text = waited_for(Place(free, 8, 3))
        assert text.startswith("processes 0 to 2, 4 to 7 of 8")
    assert "process 0 at" in waited_for(Place(free, 8, 3))
    assert "other hosts need that of process 0" in waited_for(Place(free, 8, 3))
    assert "--coordinator" in text and "--num_processes" in text
    assert "the cluster" in waited_for(Place(None, None, None))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("node1", 2, 0), "--coordinator node1: expected HOST:PORT"),
        (("node1:x", 2, 0), "expected HOST:PORT"),
        (("node1:99999", 2, 0), "expected HOST:PORT"),
        (("node1:1234", 0, 0), "--num_processes 0: expected 1 or more"),
        (("node1:1234", 2, 2), "--process_id 2: expected 0 to 1"),
        (("node1:1234", 2, -1), "--process_id -1"),
    ],
)
def test_places_that_cannot_be(given, words):
    with pytest.raises(ValueError, match=words):
        processes.join(*given)


def test_outside_a_cluster(monkeypatch):
    for names in processes._RANKS:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ValueError, match="no cluster found .*--coordinator HOST:PORT") as caught:
        processes.join(None, None, None)
    assert "\n" not in str(caught.value)


def test_a_coordinator_with_the_numbers_of_a_cluster(monkeypatch):
    """Open MPI 5, whose coordinator JAX does not find."""
    import jax

    joined = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given, **_: joined.append(given))
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    for name, value in (("RANK", "3"), ("SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", value)
    processes.join("node1:1234", None, None)
    assert joined == [("node1:1234", 8, 3, [1])]
    monkeypatch.undo()
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "8")
    with pytest.raises(ValueError, match="version 5; add --coordinator HOST:PORT") as caught:
        processes.join(None, None, None)
    assert "\n" not in str(caught.value)
    monkeypatch.delenv("OMPI_COMM_WORLD_RANK")
    with pytest.raises(ValueError, match="no cluster found"):
        processes.join("node1:1234", None, None)


def test_ranks_of_clusters():
    assert processes._ranks({}) == (None, None)
    assert processes._ranks({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}) == (8, 3)
    assert processes._ranks({"OMPI_COMM_WORLD_RANK": "x", "OMPI_COMM_WORLD_SIZE": "8"})[0] is None


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("UNKNOWN: Gloo AllGather failed: Connection closed by peer [127.0.0.1]:5353", True),
        ("UNAVAILABLE: the coordination service is not there", True),
        ("runs/gloom is not a run's folder", False),
    ],
)
@pytest.mark.parametrize("kind", [ValueError, OSError, RuntimeError])
def test_what_says_that_another_process_is_gone(said, lost, kind):
    assert lost_another(kind(said)) is lost
    try:
        try:
            raise kind(said)
        except kind as error:
            raise OSError("checkpoint 5 cannot be written") from error
    except OSError as error:
        assert lost_another(error) is lost
