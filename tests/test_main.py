"""The console script: its commands, its help, its completion, and what is listed."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handjax import __main__ as console
from handjax import __version__, predict, train
from handjax.engine import cli, runtime
from handjax.engine import config as configs


def printed(capsys, main, *argv) -> str:
    """What a command prints that ends by itself or by --help."""
    try:
        main(list(argv))
    except SystemExit as end:
        assert not end.code
    return capsys.readouterr().out


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",)])
def test_help_lists_every_command(argv, capsys):
    text = printed(capsys, console.main, *argv)
    for name, what in (console.COMMANDS | console.OWN).items():
        assert re.search(rf"^ +{name}\s+{what[:20]}", text, re.MULTILINE), text


def test_version(capsys):
    assert printed(capsys, console.main, "--version") == f"{__version__}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], "unknown command trian: did you mean train[?]"),
        (["x"], "unknown command x: use train, evaluate, "),
        (["--verbose"], "--verbose .see handjax --help."),
        (["models", "x"], "unrecognized arguments: x .see handjax models --help."),
        (["completion", "cmd"], "invalid choice: 'cmd'"),
        (["train"], "see handjax train --help"),
    ],
)
def test_what_is_no_command_is_one_line(argv, words):
    with pytest.raises(ValueError, match=words) as caught:
        console.main(argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [n for n in console.COMMANDS if n != "prepare"])
def test_every_command_calls_itself_by_its_name(name, capsys):
    assert printed(capsys, console.main, name, "--help").startswith(f"usage: handjax {name}")


def test_help_of_predict_has_the_options_of_its_commands(capsys):
    text = printed(capsys, predict.main, "--help")
    for option in ("--camera", "--refine", "--sequence", "--boxes", "--checkpoint"):
        assert option in text


def test_help_of_a_config_lists_overrides_that_load_it(capsys):
    text = printed(capsys, train.main, "--config", "v2v:quick", "--help")
    listed = re.findall(r'^  --(config[\w.]+=)"?(.*?)"?$', text, re.MULTILINE)
    config = configs.load("v2v:quick")
    assert len(listed) == len(configs.flatten(config)) > 40
    assert configs.load("v2v", ["".join(pair) for pair in listed]).to_dict() == config.to_dict()


def test_models_lists_models_configs_and_the_compile_cache(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = runtime.compile_cache()
    folder.mkdir(parents=True)
    (folder / "traced").mkdir()
    (folder / "a-cache").write_bytes(bytes(2 << 20))
    (folder / "traced" / "b").write_bytes(bytes(1 << 20))
    text = printed(capsys, console.main, "models")
    assert "spherehand  sphere hand: 21" in text and ", ".join(configs.names()) in text
    assert f"{folder}: 3 MB of at most {runtime.CACHE_BYTES >> 20} MB" in text


@pytest.mark.parametrize("shell", console.SHELLS)
def test_completion_knows_every_command_and_option(shell, capsys):
    pytest.importorskip("shtab", reason="the extra `completion` is not installed")
    script = printed(capsys, console.main, "completion", shell)
    for word in (*console.COMMANDS, "--global_joints", "--refine", "images", "msra_hand"):
        assert word in script


def flags_of(parser):
    """The flags of a parser and of all its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from flags_of(command)
        elif action.nargs != 0:
            yield action


def test_no_flag_of_any_command_takes_a_bucket():
    """Of flags that are text or a path; what is a number or one of a few words is none."""
    known = 0
    for action in flags_of(console.complete_parser()):
        alone = cli.Parser(add_help=False)
        alone._add_action(action)
        count = action.nargs if isinstance(action.nargs, int) else 1
        words = "s3:// cannot be read" if action.type in (None, str, Path) else "argument "
        words = "invalid" if action.choices else words
        with pytest.raises(ValueError, match=words):
            alone.parse_args([*action.option_strings[-1:], *["s3://bucket/a"] * count])
        known += words.startswith("s3")
    assert known > 60


def test_bash_completes(tmp_path, capsys):
    pytest.importorskip("shtab", reason="the extra `completion` is not installed")
    script = tmp_path / "handjax.bash"
    script.write_text(printed(capsys, console.main, "completion", "bash"))
    ask = f"""
    source {script}
    COMP_WORDS=(handjax train --dis); COMP_CWORD=2
    $(complete -p handjax | sed 's/.*-F \\([^ ]*\\) .*/\\1/') handjax --dis train
    echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True)
    assert done.stdout.split() == ["--distributed"], done.stderr


def test_without_shtab_completion_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(ValueError, match=r"pip install 'handjax\[completion\]'"):
        console.main(["completion", "bash"])


def test_loading_is_mentioned_if_it_takes_long(capsys, monkeypatch):
    import time

    monkeypatch.setattr(cli, "SILENT_SECONDS", 0.05)
    with cli.patience("loading"):
        time.sleep(0.5)
    assert capsys.readouterr().err == "loading\n"
    with cli.patience("loading"):
        pass
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
