import argparse
import ctypes
import os
import subprocess
import sys
import threading

import jax
import pytest

from handjax.engine import cli, runtime


def test_overrides_are_told_apart_from_flags():
    argv = [
        "--config",
        "a.py:x",
        "--config.lr=1",
        "--workdir",
        "w",
        "--config.data.path",
        "a=b.h5",
        "--config.shift",
        "-1",
    ]
    rest, overrides = cli.split_overrides(argv)
    assert rest == ["--config", "a.py:x", "--workdir", "w"]
    assert overrides == ["config.lr=1", "config.data.path=a=b.h5", "config.shift=-1"]
    assert cli.split_overrides(["--config.path="]) == ([], ["config.path="])


@pytest.mark.parametrize("argv", [["--config.steps"], ["--config.data.path", "--workdir", "w"]])
def test_an_override_without_a_value(argv):
    with pytest.raises(ValueError, match=f"{argv[0]} has no value: give it as {argv[0]}=VALUE"):
        cli.split_overrides(argv)


@pytest.mark.parametrize("argv", [["--work", "x"], ["--workdir"], ["--other"], ["x"], []])
def test_the_parser_guesses_nothing_and_raises(argv):
    parser = cli.Parser(prog="door")
    parser.add_argument("--workdir", required=True)
    with pytest.raises(ValueError, match=r"\(see door --help\)"):
        parser.parse_args(argv)


def run(monkeypatch, capsys, error):
    def main(argv):
        assert argv == ["a", "b"]
        if error:
            raise error

    monkeypatch.setattr(sys, "argv", ["door", "a", "b"])
    code = 0
    try:
        cli.run(main)
    except SystemExit as exit:
        code = exit.code
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ValueError("a.h5: bad\n  twice"), FileNotFoundError("a.h5: bad twice")]
)
def test_a_mistake_is_one_line_and_exit_code_2(monkeypatch, capsys, error):
    assert run(monkeypatch, capsys, error) == (2, "error: a.h5: bad twice\n")


def test_other_ends(monkeypatch, capsys):
    assert run(monkeypatch, capsys, None) == (0, "")
    assert run(monkeypatch, capsys, KeyboardInterrupt())[0] == 130
    with pytest.raises(TypeError):  # our mistake, not the user's: the traceback is wanted
        run(monkeypatch, capsys, TypeError("bug"))
    monkeypatch.setenv("HANDJAX_TRACEBACK", "1")
    with pytest.raises(ValueError):
        run(monkeypatch, capsys, ValueError("where?"))


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("bad"), 2), (KeyboardInterrupt(), 130), (TypeError("bug"), 1)]
)
def test_one_of_several_processes_does_not_wait_long_for_the_others(
    monkeypatch, capsys, error, code
):
    left = threading.Event()
    codes = []
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(cli, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(cli.os, "_exit", lambda code: (codes.append(code), left.set()))
    ended, said = run(monkeypatch, capsys, error)
    assert ended == code and ("Traceback" in said) == (code == 1)
    assert left.wait(5) and codes == [code]


@pytest.mark.parametrize(
    "given",
    [["--coordinator", "h:1"], ["--num_processes", "2"], ["--process_id", "0", "--distributed"]],
)
def test_distributed_flags_belong_together(given):
    parser = cli.Parser()
    cli.add_distributed(parser)
    with pytest.raises(ValueError, match="give all three, or --distributed"):
        runtime.start_distributed(parser.parse_args(given))


def test_one_process_is_the_default():
    runtime.start_distributed(
        argparse.Namespace(coordinator=None, num_processes=None, process_id=None, distributed=False)
    )


FAULTS = """
import resource, sys
from handjax.engine.runtime import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
import jax, jax.numpy as jnp
more = jax.jit(lambda x: x + 1)  # a block of 64 MB, new in each call; up to 32 glibc keeps by itself
x = jnp.ones((4096, 4096))
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    more(x).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(sorted(faults() for _ in range(15))[2])
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc here, whose memory is kept"
)
@pytest.mark.skipif(
    os.path.exists("/dev/nvidiactl"), reason="an NVIDIA GPU is here, and memory is not kept"
)
def test_kept_memory_is_not_touched_for_the_first_time_again(repo):
    def fewest(how):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how],
            cwd=repo,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return int(done.stdout or done.stderr)

    assert fewest("keep") < fewest("plain") / 10  # of 16,384 pages of 4 KB, or 32 large ones
