"""What a few minutes on a machine with an NVIDIA GPU can tell: scripts/gpu_day.sh [PART …]

Every part is a process of its own with a time limit. Its figures are in the json file as soon as
they are known, so a day that is cut short still tells. Parts that find no time left, fail or are
cut are listed with the reason.

    machine     device, versions, rates of a matrix product and a copy
    build       the kernels from the checkout, by CMake alone
    tests       tests/gpu
    rasterizer  compared with one thread per triangle (aim: 100 times as fast) and with the time to
                write the image (aim: at most 3 times that)
    v2v, body, spherehand
                inference and training steps in bfloat16, compared with compiled PyTorch (aim: 1.5
                times as fast in training)
    trace       the three largest items of V2V's training step
    training    a short training of the shipped hand network
    sanitizer   a few of tests/gpu under compute-sanitizer

With --rehearse all of it runs on a CPU, in small sizes.
"""

import argparse
import collections
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from handjax.engine.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent

MARK = "figure "  # before a line of a part that goes into the file
MINUTES = 8.0
PATIENCE = 10  # times the limits, in a rehearsal
TAIL = 12  # lines of a failed part that go into the file
NVIDIA = "/dev/nvidiactl"
SANITIZED = "degenerate or same_bits"  # of tests/gpu: all of them take minutes


# ---- the parts, each in its own process ----------------------------------------------------------


def machine(rehearse: bool) -> Iterator[dict]:
    """The device and its rates."""
    import jax

    from benchmarks import harness, networks

    device, effort = jax.devices()[0], _effort(rehearse)
    about = harness.describe_machine()
    yield {**about, "jaxlib": jax.lib.__version__, "nvcc": shutil.which("nvcc") or "none"}
    flops, copied = networks.rates(device, effort)
    yield {"matmul_tflops": flops / 1e12, "copy_gbytes": copied / 1e9}


def build(rehearse: bool) -> Iterator[dict]:
    """Configure, build and, in earnest, install beside the sources."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="handjax-build-") as folder:
        options = [f"-DPython_EXECUTABLE={sys.executable}", "-DSKBUILD_STATE=editable"]
        options += (
            ["-DCMAKE_CUDA_COMPILER="] if rehearse else ["-DCMAKE_CUDA_ARCHITECTURES=90-real"]
        )
        _call("cmake", "-S", str(ROOT / "custom_ops"), "-B", folder, *options)
        yield {"configured_seconds": time.perf_counter() - start}
        _call("cmake", "--build", folder, "--parallel", str(os.cpu_count()))
        built = sorted(file.name for file in Path(folder).glob("libhandjax_*.so"))
        if not rehearse:
            _call("cmake", "--install", folder)
        yield {"built_seconds": time.perf_counter() - start, "libraries": built}


def tests(rehearse: bool) -> Iterator[dict]:
    """The tests that need a GPU; in a rehearsal they are skipped."""
    yield _pytest([sys.executable, "-m", "pytest"])


def sanitizer(rehearse: bool) -> Iterator[dict]:
    """Some of them under compute-sanitizer, without XLA's memory pool, which hides errors."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise RuntimeError("no compute-sanitizer on PATH")
    os.environ["XLA_PYTHON_CLIENT_ALLOCATOR"] = "platform"
    python = [tool, "--tool", "memcheck", "--error-exitcode", "1", sys.executable, "-m", "pytest"]
    yield _pytest([*python, "-k", SANITIZED])


def rasterizer(rehearse: bool) -> Iterator[dict]:
    """Images of one hand each."""
    import jax

    from benchmarks import harness
    from benchmarks import rasterizer as on_cpu
    from benchmarks.rasterizer_gpu import case
    from benchmarks.scenes import ORTHOGRAPHIC, PINHOLE

    effort = _effort(rehearse)
    if rehearse:
        cases = iter([next(on_cpu.cases(effort))])
    else:
        cases = (
            case(jax.devices("gpu")[0], *each)
            for each in (
                (ORTHOGRAPHIC, "parallel rays", 48, 64, 64),
                (PINHOLE, "pinhole", 32, 480, 640),
            )
        )
    for one in cases:
        yield asdict(harness.measure("rasterizer", one, effort))


def network(rehearse: bool, name: str) -> Iterator[dict]:
    """Inference and training steps."""
    import jax

    from benchmarks import harness, networks

    effort = _effort(rehearse)
    for case in networks.network_on(jax.devices()[0], name, effort, half=True):
        yield asdict(harness.measure(name, case, effort))


def trace(rehearse: bool) -> Iterator[dict]:
    """Shares of the time of V2V's training step, by XLA's names."""
    import jax

    from benchmarks import networks

    cases = networks.network_on(jax.devices()[0], "v2v", _effort(rehearse), half=True, peers=False)
    step = [case for case in cases if "training step" in case.title][0].runs["handjax"]
    jax.block_until_ready(step())
    with tempfile.TemporaryDirectory(prefix="handjax-trace-") as folder:
        with jax.profiler.trace(folder):
            for _ in range(5):
                jax.block_until_ready(step())
        files = list(Path(folder).rglob("*.trace.json.gz"))
        for name, share in largest(json.loads(gzip.decompress(files[0].read_bytes()))):
            yield {"item": name, "share": share}


def largest(trace: dict, count: int = 3) -> list[tuple[str, float]]:
    """The operations of a trace that take most time on the GPU, without one on the CPU, and their
    shares of the time of all."""
    events = trace["traceEvents"]
    lanes = {
        (e["pid"], e.get("tid")): e["args"]["name"]
        for e in events
        if e.get("ph") == "M" and e["name"] in ("process_name", "thread_name")
    }
    on_gpu = {pid for (pid, _), name in lanes.items() if "GPU" in name}
    total: dict[str, float] = collections.defaultdict(float)
    for event in events:
        lane = lanes.get((event.get("pid"), event.get("tid")), "")
        counts = event["pid"] in on_gpu and "Stream" in lane if on_gpu else "XLA" in lane
        if event.get("ph") == "X" and counts:
            total[event["name"]] += event.get("dur", 0.0)
    whole = sum(total.values())
    ranked = sorted(total.items(), key=lambda item: -item[1])[:count]
    return [(name, duration / whole) for name, duration in ranked]


def training(rehearse: bool) -> Iterator[dict]:
    """The command, from start to report, and what its log says."""
    with tempfile.TemporaryDirectory(prefix="handjax-run-") as folder:
        words = ["--config", str(ROOT / "configs/handnet.py:quick"), "--workdir", f"{folder}/run"]
        if rehearse:
            small = {"steps": 2, "batch_size": 4, "eval_batch_size": 4, "data.eval_size": 4}
            words += [f"--config.{key}={value}" for key, value in small.items()]
        start = time.perf_counter()
        _call(sys.executable, "-m", "handjax", "train", *words)
        seconds = time.perf_counter() - start
        config = json.loads((Path(folder) / "run" / "config.json").read_text())
        rows = [
            json.loads(line)
            for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
        ]
        yield {"seconds": seconds, "hands": config["steps"] * config["batch_size"]}
        yield {"first": rows[0], "last": rows[-1]}


PARTS: dict[str, tuple[float, Callable[[bool], Iterator[dict]]]] = {
    "machine": (20, machine),
    "build": (60, build),
    "tests": (50, tests),
    "rasterizer": (40, rasterizer),
    "v2v": (60, lambda rehearse: network(rehearse, "v2v")),
    "spherehand": (45, lambda rehearse: network(rehearse, "spherehand")),
    "body": (60, lambda rehearse: network(rehearse, "body, integral head")),
    "trace": (40, trace),
    "training": (65, training),
    "sanitizer": (40, sanitizer),
}  # seconds; as a whole MINUTES


def _effort(rehearse: bool):
    from benchmarks.harness import Effort

    return Effort(0.0, 1, True) if rehearse else Effort(4.0, 3, False)


def _call(*words: str) -> str:
    """The output of a command. RuntimeError with its last line if it fails."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        last = (done.stdout.strip() or "no output").splitlines()[-1]
        raise RuntimeError(f"{Path(words[0]).name} ended with {done.returncode}: {last}")
    return done.stdout


def _pytest(command: list[str]) -> dict:
    start = time.perf_counter()
    said = _call(*command, str(ROOT / "tests" / "gpu"), "-q", "-p", "no:cacheprovider")
    counts = re.findall(r"(\d+) (passed|failed|skipped|error)", said.strip().splitlines()[-1])
    return {"seconds": time.perf_counter() - start, **{word: int(n) for n, word in counts}}


# ---- the day -------------------------------------------------------------------------------------


class Day:
    """The file of figures, whole at any time."""

    def __init__(self, file: Path, parts: Sequence[str]):
        self._file = file
        self.parts: dict[str, dict] = {part: {"state": "not begun"} for part in parts}
        self.write()

    def write(self) -> None:
        """Replace the file."""
        write_atomic(self._file, json.dumps({"parts": self.parts}, indent=1) + "\n")


def run_part(part: str, command: Sequence[str], limit: float, report: Day) -> None:
    """Run the command of a part for at most `limit` seconds, and put its figures into the report.

    Everything that it started ends with it.
    """
    found = report.parts[part]
    found.update(state="running", figures=[])
    report.write()
    start, cut, tail = time.monotonic(), threading.Event(), collections.deque(maxlen=TAIL)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:

        def end():
            cut.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit, end)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                found["figures"].append(json.loads(line[len(MARK) :]))
                report.write()
            else:
                tail.append(line.rstrip())
        process.wait()
        timer.cancel()
    found["seconds"] = round(time.monotonic() - start, 1)
    if cut.is_set():
        found["state"] = f"cut after {limit:g} s"
    elif process.returncode:
        found["state"] = f"failed: {tail[-1] if tail else f'ended with {process.returncode}'}"
    else:
        found["state"] = "done"
    if found["state"] != "done":
        found["tail"] = list(tail)
    report.write()


def main(argv: Sequence[str]) -> int:
    """Run the parts one after the other. 0 if all are done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    parser.add_argument("--json", type=Path, default=Path("gpu_day.json"), metavar="FILE")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in all (%(default)g)")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, in small sizes")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"{unknown[0]}: expected one of {', '.join(PARTS)}")
    if not args.minutes > 0:
        parser.error(f"--minutes {args.minutes:g}: expected more than 0")
    if args.child:
        for figure in PARTS[args.parts[0]][1](args.rehearse):
            print(f"{MARK}{json.dumps(figure)}", flush=True)
        return 0
    if args.json.exists() and not args.force:
        parser.error(f"--json {args.json} exists; choose another file, or --force to overwrite it")
    if not args.rehearse and not os.path.exists(NVIDIA):
        parser.error("there is no NVIDIA GPU here (no /dev/nvidiactl): use --rehearse")
    patience = PATIENCE if args.rehearse else 1
    ends = time.monotonic() + 60 * args.minutes * patience
    parts = [part for part in PARTS if part in (args.parts or PARTS)]
    report = Day(args.json.absolute(), parts)
    for part in parts:
        left = ends - time.monotonic()
        if left < 1:
            report.parts[part]["state"] = "left out: no time left"
            report.write()
            continue
        command = [sys.executable, "-m", "benchmarks.gpu_day", part, "--child"]
        command += ["--rehearse"] * args.rehearse
        run_part(part, command, min(left, PARTS[part][0] * patience), report)
        print(f"{part}: {report.parts[part]['state']}", flush=True)
    return int(any(found["state"] != "done" for found in report.parts.values()))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RuntimeError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
