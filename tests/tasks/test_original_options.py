"""Options of the original programs are documented and point to existing config keys."""

import ast
import re

import pytest

from handjax import evaluate, train
from handjax.engine.config import load

SYSTEMS = ("posenet2d", "cpm")
# System → the page of docs/ with the table of its original's options.
PAGES = {
    "posenet2d": "from_hand_pose_tensorflow",
    "cpm": "from_cpm",
    "body": "from_integral_human_pose",
    "spherehand": "from_spherehand",
}


def options(repo, system) -> dict[str, str]:
    """OPTIONS of the config file, parsed from its text."""
    tree = ast.parse((repo / "configs" / f"{system}.py").read_text())
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OPTIONS"
    )
    return ast.literal_eval(table)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_option_has_a_config_key(repo, system):
    config = load(f"{repo}/configs/{system}.py:{'stb' if system == 'posenet2d' else 'list'}")
    for here in options(repo, system).values():
        for key in re.findall(r"--config\.([\w.]+)", here):
            value = config
            for part in key.split("."):
                value = value[part]
        for variant in re.findall(rf"configs/{system}\.py:(\w+)", here):
            load(f"{repo}/configs/{system}.py:{variant}")


@pytest.mark.parametrize("system", PAGES)
def test_every_option_is_documented(repo, system):
    docs = (repo / "docs" / f"{PAGES[system]}.md").read_text().lower()
    tables = "\n".join(line for line in docs.splitlines() if line.startswith("|"))
    missing = [one for one in options(repo, system) if not re.search(rf"\b{one}\b", tables)]
    assert not missing


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (
            "--with_dnst=True",
            "arguments: --with_dnst=True; the original's with_dsnt is here the variant dsnt",
        ),
        ("--train_marker=3", "the original's train_mark is here --workdir"),
        ("--batch_size=8", "the original's batch_size is here --config.batch_size"),
        (
            "--config.with_dnst=True",
            "with_dnst: no such config key; the original's with_dsnt is here the variant dsnt",
        ),
        ("--config.optimizer.learning_rate=1.0", "did you mean"),
        ("--step", "did you mean config.steps"),
    ],
)
def test_an_option_of_the_original_gets_our_name(repo, tmp_path, argument, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        train.main(
            [
                "--config",
                f"{repo}/configs/posenet2d.py:quick",
                "--workdir",
                str(tmp_path / "run"),
                argument,
            ]
        )
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_commands_without_a_config_suggest_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"unrecognized arguments: --with_dnst=True \(see"):
        evaluate.main(["--workdir", str(tmp_path), "--with_dnst=True"])
