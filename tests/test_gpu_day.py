"""The day on a GPU, rehearsed: its file is whole at any time, and parts cannot hold it up."""

import json
import subprocess
import sys

import pytest

from benchmarks import gpu_day


@pytest.fixture
def report(tmp_path):
    return gpu_day.Day(tmp_path / "day.json", ["one", "two"])


def written(tmp_path):
    return json.loads((tmp_path / "day.json").read_text())["parts"]


def python(body):
    return [sys.executable, "-c", body]


@pytest.mark.slow
def test_figures_of_a_part_that_is_cut_are_kept(report, tmp_path):
    body = """
import subprocess, sys, time
print('figure {"ms": 1.5}', flush=True)
print("at work", flush=True)
subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])  # must not outlive the part
"""
    gpu_day.run_part("one", python(body), 2.0, report)
    one, two = written(tmp_path).values()
    assert one["state"] == "cut after 2 s" and one["seconds"] < 20
    assert one["figures"] == [{"ms": 1.5}] and one["tail"] == ["at work"]
    assert two == {"state": "not begun"}


@pytest.mark.slow
def test_failed_parts_give_the_reason(report, tmp_path):
    body = """print('figure {"a": 1}'); print("why"); raise SystemExit("error: no luck")"""
    gpu_day.run_part("one", python(body), 60.0, report)
    gpu_day.run_part("two", python("print('figure 2')"), 60.0, report)
    one, two = written(tmp_path).values()
    assert one["state"] == "failed: error: no luck" and one["figures"] == [{"a": 1}]
    assert two["state"] == "done" and two["figures"] == [2] and "tail" not in two


@pytest.mark.slow
def test_a_rehearsal_of_some_parts(repo, tmp_path):
    file = tmp_path / "day.json"
    command = [repo / "scripts" / "gpu_day.sh", "--rehearse", "tests", "machine"]
    command += ["--json", str(file)]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHON": sys.executable}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr + file.read_text()
    parts = json.loads(file.read_text())["parts"]
    assert list(parts) == ["machine", "tests"]  # in their own order
    about, rates = parts["machine"]["figures"]
    assert "cpu" in about["devices"] and rates["matmul_tflops"] > 0
    assert parts["tests"]["figures"][0]["skipped"] > 0
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert again.returncode == 2 and "exists; choose another file" in again.stderr


def test_no_time_left(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_day, "run_part", lambda *arguments: pytest.fail("no time for it"))
    file = tmp_path / "day.json"
    assert gpu_day.main(["--rehearse", "--minutes", "0.0001", "trace", "--json", str(file)]) == 1
    assert written(tmp_path) == {"trace": {"state": "left out: no time left"}}


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("nonsense",), "nonsense: expected one of machine"),
        (("--minutes", "0"), "--minutes 0: expected more than 0"),
    ],
)
def test_invalid_parts_and_minutes(arguments, what, capsys):
    with pytest.raises(SystemExit) as end:
        gpu_day.main(arguments)
    assert end.value.code == 2 and what in capsys.readouterr().err.splitlines()[-1]


def test_largest_items_of_a_trace():
    def lane(pid, tid, name, of="thread_name"):
        return {"ph": "M", "pid": pid, "tid": tid, "name": of, "args": {"name": name}}

    def work(pid, tid, name, dur):
        return {"ph": "X", "pid": pid, "tid": tid, "name": name, "dur": dur, "ts": 0}

    on_cpu = [lane(7, 1, "tf_XLAEigen/1"), work(7, 1, "dot", 3.0), work(7, 2, "python", 50.0)]
    assert gpu_day.largest({"traceEvents": on_cpu}) == [("dot", 1.0)]
    on_gpu = [
        lane(1, None, "/device:GPU:0", "process_name"),
        lane(1, 5, "Stream #5(Compute)"),
        lane(1, 6, "XLA Ops"),
        work(1, 5, "gemm", 6.0),
        work(1, 5, "copy", 2.0),
        work(1, 6, "jit(step)", 99.0),  # the same work a second time
    ]
    assert gpu_day.largest({"traceEvents": on_cpu + on_gpu}) == [("gemm", 0.75), ("copy", 0.25)]
