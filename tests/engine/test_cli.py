import argparse
import errno
import logging
import os
import sys
import threading
import time
import types
import warnings
from pathlib import Path

import jax
import pytest

from handjax.engine import cli


def test_overrides_are_separated_from_flags():
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
def test_the_parser_raises_and_never_guesses(argv):
    parser = cli.Parser(prog="command")
    parser.add_argument("--workdir", required=True)
    with pytest.raises(ValueError, match=r"\(see command --help\)"):
        parser.parse_args(argv)


def run(monkeypatch, capsys, error):
    def main(argv):
        assert argv == ["a", "b"]
        if error:
            raise error

    monkeypatch.setattr(sys, "argv", ["command", "a", "b"])
    code = 0
    try:
        cli.run(main)
    except SystemExit as exit:
        code = exit.code
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ValueError("a.h5: bad\n  twice"), FileNotFoundError("a.h5: bad twice")]
)
def test_a_user_error_is_one_line_and_exit_code_2(monkeypatch, capsys, error):
    assert run(monkeypatch, capsys, error) == (2, "error: a.h5: bad twice\n")


def test_what_orbax_says_about_its_own_options_is_not_shown(monkeypatch, capsys):
    logger = logging.getLogger("absl")
    monkeypatch.setattr(logger, "level", logger.level)
    shown = []
    handler = logging.Handler()
    handler.emit = shown.append
    logger.addHandler(handler)
    for quiet in (True, False):
        monkeypatch.setenv("HANDJAX_TRACEBACK", "" if quiet else "1")
        logger.setLevel(logging.WARNING)
        run(monkeypatch, capsys, None)
        logger.warning("setting save_interval_steps=0")
        assert len(shown) == (not quiet)
    logger.removeHandler(handler)


def test_other_exits(monkeypatch, capsys):
    assert run(monkeypatch, capsys, None) == (0, "")
    assert run(monkeypatch, capsys, KeyboardInterrupt())[0] == 130
    with pytest.raises(TypeError):  # a bug of ours: with traceback
        run(monkeypatch, capsys, TypeError("bug"))
    monkeypatch.setenv("HANDJAX_TRACEBACK", "1")
    with pytest.raises(ValueError):
        run(monkeypatch, capsys, ValueError("where?"))


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("bad"), 2), (KeyboardInterrupt(), 130), (TypeError("bug"), 1)]
)
def test_a_failed_process_leaves_within_its_patience(monkeypatch, capsys, error, code):
    left = threading.Event()
    codes = []
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(cli, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(cli.os, "_exit", lambda code: (codes.append(code), left.set()))
    ended, said = run(monkeypatch, capsys, error)
    assert ended == code and ("Traceback" in said) == (code == 1)
    assert left.wait(5) and codes == [code]


def test_a_warning_of_handjax_is_one_line(monkeypatch):
    class CameraWarning(UserWarning):
        __module__ = "handjax.data.cameras"

    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    cli.run(lambda argv: None)
    one = warnings.formatwarning(CameraWarning("camera:\nunusual"), CameraWarning, "a.py", 3)
    assert one == "warning: camera: unusual\n"
    assert "a.py:3: UserWarning: other" in warnings.formatwarning("other", UserWarning, "a.py", 3)


def test_a_bucket_in_any_flag_is_refused():
    parser = cli.Parser()
    parser.add_argument("input", nargs="+")
    parser.add_argument("-o", "--output")
    with pytest.raises(ValueError, match="^--output s3://b/x: s3:// cannot be read"):
        parser.parse_args(["a", "--output", "s3://b/x"])
    with pytest.raises(ValueError, match="^INPUT gs://b: gs:// cannot be read"):
        parser.parse_args(["a", "gs://b"])


def test_flags_of_commands_may_be_empty_by_themselves():
    parser = cli.Parser()
    one = parser.add_subparsers(dest="command").add_parser("one")
    one.add_argument("--beam", nargs="?", const="")
    one.add_argument("--camera", default="")
    flags = parser.parse_args(["one", "--beam"])
    assert flags.beam == flags.camera == ""
    assert parser.parse_args(["one"]).beam is None
    one.add_argument("--output")
    with pytest.raises(ValueError, match="^--output is empty"):
        parser.parse_args(["one", "--output", ""])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--output", ""], "^--output is empty: is a variable of the shell not set"),
        (["--output=~/runs"], r'^--output ~/runs: ~ is no folder here; write "\$HOME/runs"'),
        (["--frames", "hf://x/y"], "^--frames hf://x/y: hf:// cannot be read"),
        (["--frames", "a=s3://b"], "^--frames a=s3://b: s3:// cannot be read"),
    ],
)
def test_values_that_would_become_odd_folders(argv, words):
    parser = cli.Parser()
    parser.add_argument("--output")
    parser.add_argument("--frames", type=Path)
    with pytest.raises(ValueError, match=words):
        parser.parse_args(argv)
    parser.parse_args(["--output", "a", "--frames", "a=b"])


def test_paths_of_scripts():
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--out", type=cli.path)
    assert parser.parse_args(["--out", "a/b"]).out == Path("a/b")
    for given in ("s3://a/b", "~/a"):
        with pytest.raises(argparse.ArgumentError, match=f"argument --out: {given}: "):
            parser.parse_args(["--out", given])


def test_a_full_disk_says_what_to_do(monkeypatch, capsys):
    def full(argv):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.delenv("HANDJAX_TRACEBACK", raising=False)
    with pytest.raises(SystemExit):
        cli.run(full)
    said = "error: a file: No space left on device; free some space and run the command again\n"
    assert capsys.readouterr().err == said


def test_a_command_of_a_group_says_that_it_is_loading(monkeypatch, capsys):
    def load(name):
        time.sleep(0.3)
        module = types.ModuleType(name)
        module.main = lambda argv: print("ran", *argv)
        return module

    monkeypatch.setattr(cli, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(cli.importlib, "import_module", load)
    monkeypatch.setattr(cli.runtime, "use_compile_cache", lambda: None)
    monkeypatch.setattr(cli.runtime, "tell_compiling", lambda: None)
    cli.Group("handjax predict", None, {"depth": "slow"}).main(["depth", "x"])
    said = capsys.readouterr()
    assert said.err == "handjax predict depth: loading …\n" and said.out == "ran x\n"
