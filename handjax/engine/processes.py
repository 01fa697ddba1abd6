"""Joins the processes of a run, and says who is waited for.

JAX waits in silence for minutes and then aborts the process with a page of addresses.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

SILENT_SECONDS = 10.0  # after which the wait is mentioned, and again every minute
PATIENCE_SECONDS = 300.0
_JAX_SECONDS = 3600  # JAX's own limit, beyond ours
# After which JAX gives up a process of which nothing is heard, as when its host or the network is
# gone: the others are aborted. A process that is killed is noticed at once.
_SIGN_OF_LIFE_SECONDS = 25
# Of Slurm, Open MPI and its successor: number of this process, and how many there are.
_RANKS = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE"),
)
_OUTSIDE = (
    "--distributed: no cluster found (Slurm, Open MPI or a TPU pod); start it there, by srun or "
    "mpirun, or give --coordinator HOST:PORT --num_processes N --process_id I to each process"
)
_UNNAMED = (
    "--distributed: JAX does not find the coordinator of this Open MPI, as of version 5; add "
    "--coordinator HOST:PORT: the host of process 0, and a port that is free there"
)
# In the messages of collectives and of JAX's coordination service, once a process is gone. They
# come as RuntimeError, ValueError or, of a checkpoint that is being written, as OSError.
_GONE = ("gloo ", "closed by peer", "reset by peer", "coordination service")
_LOOPBACK = " (this address is each machine's own: other hosts need that of process 0)"


class Place(NamedTuple):
    """This process among those of its run; None where only the cluster knows."""

    coordinator: str | None
    processes: int | None
    process: int | None


def join(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Connects to the other processes; without arguments, as the cluster says.

    What it waits for, where and how long is said on stderr after SILENT_SECONDS. After `seconds`
    the process ends with one line. With a coordinator alone the numbers are those of Slurm or Open
    MPI. ValueError, one line, for arguments that cannot be, and outside a cluster.
    """
    devices = None
    if coordinator is not None and processes is None and process is None:
        processes, process = _ranks(os.environ)
        devices = _own_device(os.environ)
        if process is None:
            raise ValueError(_OUTSIDE)
    if coordinator is not None:
        _check(coordinator, processes, process)
        if _is_loopback(coordinator) and _several_hosts(os.environ):
            raise ValueError(
                f"--coordinator {coordinator}{_LOOPBACK}, and this cluster has several"
            )
    _check_own_name(coordinator)
    place = Place(coordinator, processes, process)
    if coordinator is None:
        place = Place(None, *_ranks(os.environ))
    import jax

    joined = threading.Event()
    watch = threading.Thread(target=_watch, args=(place, joined, seconds), daemon=True)
    watch.start()
    # JAX listens on all of the machine's addresses, and asks nobody who they are.
    bound = coordinator if coordinator and _is_loopback(coordinator) else None
    try:
        jax.distributed.initialize(
            *(coordinator, processes, process, devices),
            initialization_timeout=_JAX_SECONDS,
            heartbeat_timeout_seconds=_SIGN_OF_LIFE_SECONDS,
            coordinator_bind_address=bound,
        )
    except Exception as error:  # ValueError, KeyError, RuntimeError: the cluster's or the network's
        reason = " ".join(str(error).split())[:160]
        if coordinator is None:
            # JAX reads the second, which Open MPI 5 does not set.
            names = ("OMPI_COMM_WORLD_RANK", "OMPI_MCA_orte_hnp_uri", "SLURM_JOB_ID")
            ranked, known, slurm = (name in os.environ for name in names)
            unnamed = ranked and not known and not slurm
            raise ValueError(f"{_UNNAMED if unnamed else _OUTSIDE} ({reason})") from error
        raise ValueError(f"--coordinator {coordinator}: {reason}") from error
    finally:
        joined.set()


def lost_another(error: BaseException) -> bool:
    """Whether `error`, or one that it was raised from, says that another process is gone."""
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).lower()
        if type(cause).__name__ == "JaxRuntimeError" or any(sign in text for sign in _GONE):
            return True
        cause = cause.__cause__
    return False


def _check(coordinator: str, processes: int | None, process: int | None) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"--coordinator {coordinator}: expected HOST:PORT, as in node1:12345")
    if processes is None or processes < 1:
        raise ValueError(f"--num_processes {processes}: expected 1 or more")
    if process is None or not 0 <= process < processes:
        raise ValueError(
            f"--process_id {process}: expected 0 to {processes - 1}, as --num_processes is "
            f"{processes}"
        )


def _check_own_name(coordinator: str | None) -> None:
    """ValueError if the others cannot reach this machine: on CPUs they connect to the address of
    its name."""
    name = socket.gethostname()
    line = f'add a line "ADDRESS {name}" to /etc/hosts'
    try:
        own = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise ValueError(
            f"this machine's name, {name}, has no address ({error.strerror}), and the processes of "
            f"a run meet by it: {line}"
        ) from error
    on_gpus = os.path.exists("/dev/nvidiactl") and os.environ.get("JAX_PLATFORMS") != "cpu"
    if not on_gpus and coordinator and _is_loopback(f"{own}:0") and _is_elsewhere(coordinator):
        raise ValueError(
            f"this machine's name, {name}, is {own} to itself, where no other can reach it, and "
            f"process 0 at {coordinator} is on another: {line}, in place of that one"
        )


def _is_elsewhere(coordinator: str) -> bool:
    """Whether an address is known not to be one of this machine."""
    host = coordinator.rpartition(":")[0].strip("[]")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    except OSError:
        return False
    try:
        with socket.socket(family, kind) as one:
            one.bind(address)
    except OSError:
        return True
    return False


def _ranks(environment: Mapping[str, str]) -> tuple[int | None, int | None]:
    """(number of processes, number of this one), as far as the environment says."""
    for process, processes in _RANKS:
        values = environment.get(processes, ""), environment.get(process, "")
        if all(value.isdecimal() for value in values):
            return int(values[0]), int(values[1])
    return None, None


def _several_hosts(environment: Mapping[str, str]) -> bool:
    """Whether the cluster runs this program on more than one host, as far as it says so."""
    nodes = environment.get("SLURM_JOB_NUM_NODES", "1")
    here, all_of_them = (environment.get(f"OMPI_COMM_WORLD_{n}SIZE", "1") for n in ("LOCAL_", ""))
    return nodes not in ("", "1") or here != all_of_them


def _own_device(environment: Mapping[str, str]) -> list[int] | None:
    """The GPU of a process that is one of several on its host, as JAX has it for a cluster."""
    for name in ("SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"):
        if environment.get(name, "").isdecimal():
            return [int(environment[name])]
    return None


def waited_for(place: Place) -> str:
    """Who has not come, and what to set."""
    others = [n for n in range(place.processes or 0) if n != place.process]
    if place.process is None or place.processes is None:
        return "the other processes of the cluster: check its output for one that failed"
    if place.process > 0 and place.coordinator and (why := _unreachable(place.coordinator)):
        return (
            f"process 0 at {place.coordinator} ({why}): start it with --process_id 0, or correct "
            f"--coordinator{_LOOPBACK if _is_loopback(place.coordinator) else ''}"
        )
    names = f"process {others[0]}" if len(others) == 1 else f"processes {_ranges(others)}"
    set_it = (
        f"start each with --coordinator {place.coordinator} --num_processes {place.processes} and "
        "its own --process_id, or correct --num_processes"
        if place.coordinator
        else "check the cluster's output for one that failed"
    )
    return (
        f"{names} of {place.processes}{'' if len(others) == 1 else ', or some of them'}: {set_it}"
    )


def _is_loopback(coordinator: str) -> bool:
    host = coordinator.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def _unreachable(coordinator: str) -> str:
    host, _, port = coordinator.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers, one of which may be missing, as "0, 2 to 7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]} to {p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def _watch(place: Place, joined: threading.Event, seconds: float) -> None:
    start, wait = time.monotonic(), min(SILENT_SECONDS, seconds)
    while not joined.wait(wait):
        waited, who = time.monotonic() - start, waited_for(place)
        if joined.is_set():
            return
        if waited >= seconds:
            print(
                f"error: waited {waited:.0f} s for {who} (--join_seconds)",
                file=sys.stderr,
                flush=True,
            )
            os._exit(2)  # JAX's own call cannot be interrupted
        print(
            f"waiting for {who} ({waited:.0f} s; gives up after {seconds:.0f} s)",
            file=sys.stderr,
            flush=True,
        )
        wait = max(min(60.0, seconds - waited), 0.1)
