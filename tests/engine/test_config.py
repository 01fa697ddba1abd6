import json
import sys

import pytest
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.config import RESUMABLE

FILE = """
from ml_collections import ConfigDict
from handjax.engine.config import variants

def get_config(variant=""):
    wanted = variants(variant, ("quick", "h5"))
    config = ConfigDict(dict(steps=100, lr=0.5, on=True, name="adam", widths=(2, 4), empty=()))
    config.optimizer = ConfigDict(dict(lr=1e-3, clip=0.0))
    if "quick" in wanted:
        config.steps = 7
    return config
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.py"
    path.write_text(FILE)
    return str(path)


def refused(words, spec, *overrides, kind=ValueError):
    with pytest.raises(kind, match=words) as caught:
        configs.load(spec, overrides)
    assert "\n" not in str(caught.value)


def test_variants_are_passed_to_the_file(file):
    assert configs.load(file).steps == 100
    assert configs.load(f"{file}:quick,h5").steps == 7
    refused("unknown variant fast: use quick, h5", f"{file}:quick,fast")


def test_overrides_keep_the_type(file):
    texts = [
        "steps=5",
        "lr=2",
        "on=false",
        "name=5",
        "widths=(8, 16, 32)",
        "empty=[3]",
        "optimizer.lr=1e-2",
    ]
    config = configs.load(file, [f"config.{text}" for text in texts])
    assert config.to_dict() == {
        "steps": 5,
        "lr": 2.0,
        "on": False,
        "name": "5",
        "widths": (8, 16, 32),
        "empty": (3,),
        "optimizer": {"lr": 0.01, "clip": 0.0},
    }
    assert type(config.lr) is float and type(config.name) is str


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps=1.5", "--config.steps=1.5: expected int, as in --config.steps=100"),
        ("steps=many", "expected int"),
        ("steps=True", "expected int"),
        ("steps=", "expected int"),
        ("on=1", "expected bool"),
        ("lr=fast", "expected float"),
        ("widths=3", "expected tuple"),
        ("optimizer.lr=__import__('os')", "expected float"),
    ],
)
def test_values_of_another_type_are_rejected(file, text, words):
    refused(words, file, f"config.{text}")


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("step=5", "did you mean config.steps"),
        ("optimiser.lr=1", "config.optimizer.lr"),
        ("optimizer.rl=1", "config.optimizer.lr"),
        ("optimizer=adam", "config.optimizer"),
        ("steps.more=1", "config.steps"),
        ("=1", "config."),
    ],
)
def test_an_unknown_key_gets_suggestions(file, text, suggestion):
    refused("no such config key; did you mean", file, f"config.{text}")
    refused(suggestion, file, f"config.{text}")


def test_files_that_are_not_configs(tmp_path):
    refused("none.py: no such file", str(tmp_path / "none.py"), kind=FileNotFoundError)
    (tmp_path / "a.txt").write_text("")
    refused("a.txt: not a Python file", str(tmp_path / "a.txt"))
    (tmp_path / "a.py").write_text("x = 1")
    refused("a.py: it has no get_config", str(tmp_path / "a.py"))


def test_a_loaded_config_is_locked(file):
    config = configs.load(file)
    with pytest.raises(AttributeError, match="locked"):
        config.new = 1
    with pytest.raises(AttributeError, match="locked"):
        config.optimizer.new = 1


def test_json_round_trip(file):
    config = configs.load(file, ["config.widths=(1, 2)"])
    again = configs.from_json(configs.to_json(config))
    assert again.to_dict() == config.to_dict()
    assert type(again.widths) is tuple and type(again.lr) is float
    assert not configs.differences(config, again)
    assert configs.to_json(again) == configs.to_json(config)


@pytest.mark.parametrize("text", ["", "{", "[1]", "5", '{"a": '])
def test_text_that_is_not_a_config(text):
    with pytest.raises(ValueError):
        configs.from_json(text)


def test_real_configs_survive_the_round_trip(repo):
    for spec in ("v2v.py", "v2v.py:quick", "v2v.py:h5,quick,global_joints"):
        config = configs.load(str(repo / "configs" / spec))
        assert configs.from_json(configs.to_json(config)).to_dict() == json.loads(
            configs.to_json(config), object_hook=_tuples
        )


def _tuples(values):
    def tuples(value):
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    return {key: tuples(value) for key, value in values.items()}


def test_differences(file):
    old = configs.load(file)
    new = configs.load(file, ["config.optimizer.lr=0.1", "config.widths=(2,)", "config.steps=7"])
    assert configs.differences(old, new) == ["optimizer.lr: 0.001 → 0.1", "widths: (2, 4) → (2,)"]
    more = ConfigDict(old.to_dict() | {"new": {"key": 1}})
    assert configs.differences(old, more) == ["new.key: (none) → 1"]
    assert configs.differences(more, old) == ["new.key: 1 → (none)"]


def test_keys_that_a_resumed_run_may_change(repo):
    config = configs.load(str(repo / "configs" / "v2v.py:h5"))
    other = ConfigDict(config.to_dict())
    for key in RESUMABLE:
        node, _, leaf = key.rpartition(".")
        node = other[node] if node else other
        node[leaf] = (
            not node[leaf] if isinstance(node[leaf], bool) else node[leaf] + type(node[leaf])(1)
        )
    assert json.loads(configs.to_json(other)) != json.loads(configs.to_json(config))
    assert not configs.differences(config, other)
    for key in ("seed", "batch_size", "accumulate"):
        other = ConfigDict(config.to_dict() | {key: config[key] + 1})
        assert configs.differences(config, other) == [f"{key}: {config[key]} → {config[key] + 1}"]


def test_lookup_and_require():
    config = ConfigDict({"task": {"name": "b"}, "steps": 0})
    assert configs.lookup({"a": 1, "b": 2}, config, "task.name") == 2
    with pytest.raises(ValueError, match="config.task.name=b is unknown: use a or c"):
        configs.lookup({"a": 1, "c": 2}, config, "task.name")
    configs.require(config, 0, "steps")
    with pytest.raises(ValueError, match="config.steps=0: expected 1 or more"):
        configs.require(config, 1, "steps")


def test_check_reports_the_first_invalid_value():
    config = ConfigDict({"task": {"sigma": 0.5}, "steps": 0})
    above_0 = configs.Rule(lambda value: value > 0, "more than 0")
    configs.check(config, {"task.sigma": above_0, "model.stages": above_0})  # a missing key
    with pytest.raises(ValueError, match="config.steps=0: expected more than 0"):
        configs.check(config, {"task.sigma": above_0, "steps": above_0})


SHARING = """
from configs.common import common
from configs.mine import STEPS

def get_config(variant=""):
    config = common()
    config.steps = STEPS
    return config
"""


def test_a_config_is_named_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = configs.load("v2v:quick")
    assert by_name.steps == configs.load("v2v.py:quick").steps == 2000
    assert configs.load("configs/v2v.py:quick").to_dict() == by_name.to_dict()
    assert configs.load(f"{configs.home() / 'v2v.py'}:quick").to_dict() == by_name.to_dict()
    assert {"body", "cpm", "posenet2d", "spherehand", "v2v"} <= set(configs.names())
    assert "common" not in configs.names()


def test_a_file_is_preferred_to_an_included_config_of_its_name(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "v2v.py").write_text(FILE)
    assert configs.load("configs/v2v.py:quick").steps == 7
    assert configs.load("v2v:quick").steps == 2000


def test_names_that_are_no_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused("expected body, cpm, .*; did you mean v2v", "v2", kind=FileNotFoundError)
    refused("no such file", "elsewhere/v2v.py", kind=FileNotFoundError)
    refused("no such file", "common", kind=FileNotFoundError)
    refused("no such file", "", kind=FileNotFoundError)
    refused("renamed; use --config spherehand:quick", "fit:quick", kind=FileNotFoundError)
    refused("--config configs/spherehand.py$", "configs/fit.py", kind=FileNotFoundError)


def test_a_config_of_ones_own_shares_what_the_included_ones_do(tmp_path):
    before = set(sys.modules)
    (tmp_path / "own.py").write_text(SHARING)
    (tmp_path / "mine.py").write_text("STEPS = 11")
    assert configs.load(str(tmp_path / "own.py")).steps == 11
    # Nothing of it is left for the next config, which may have neighbours of the same name.
    assert not [name for name in set(sys.modules) - before if name.startswith("configs")]


def test_a_bucket_in_a_config_is_refused(tmp_path):
    """Whether it is an override or the config's own."""
    words = r"^--config\.data\.path s3://b: s3:// cannot be read"
    with pytest.raises(ValueError, match=words):
        configs.load("v2v:h5", ["config.data.path=s3://b"])
    text = 'from ml_collections import ConfigDict\ndef get_config(variant=""):\n'
    text += '    return ConfigDict(dict(data=dict(path="s3://b")))\n'
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(ValueError, match=words):
        configs.load(str(tmp_path / "own.py"))
