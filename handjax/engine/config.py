"""Configs: a Python file with `get_config(flavour)`, overrides from the command line, locked afterwards."""

import ast
import difflib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

# What a run may change when it is resumed; everything else makes it another run.
# (Where the same data lies and on how many devices it is worked off may differ from machine to machine.)
RESUMABLE = (
    "steps",
    "log_every",
    "eval_every",
    "save_every",
    "keep",
    "compile_cache",
    "eval_batch_size",
    "devices",
)
RESUMABLE += ("data.path", "data.val_path", "data.in_memory")


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """`configs/v2v.py:quick,h5` and `["config.optimizer.lr=1e-3", …]` → locked config.

    The part after the colon goes to the file's `get_config` as it is. An override names an existing leaf and keeps its type.
    What does not exist is answered with what is meant, from the config's keys and the file's OPTIONS, a dict of an original
    program's options by name and what they are here.
    """
    module, flavour = _module(spec)
    return override(module.get_config(flavour), overrides, getattr(module, "OPTIONS", {}))


def suggest(spec: str, option: str) -> str:
    """What somebody may want who gives an option that does not exist; "" where nothing is like it."""
    module, flavour = _module(spec)
    return _suggest(option, module.get_config(flavour), getattr(module, "OPTIONS", {}))


def _module(spec):
    """The config file as a module, and the flavour."""
    name, _, flavour = spec.partition(":")
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"config {name}: no such file (expected FILE.py or FILE.py:FLAVOUR)"
        )
    module_spec = importlib.util.spec_from_file_location(f"handjax_config_{path.stem}", path)
    if module_spec is None:
        raise ValueError(f"config {name}: not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    # A config may share code with its neighbours: `from configs.common import common`, wherever the command was given.
    sys.path.insert(0, str(path.resolve().parent.parent))
    try:
        module_spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    if not hasattr(module, "get_config"):
        raise ValueError(f"config {name}: it has no get_config(flavour)")
    return module, flavour


def override(
    config: ConfigDict, overrides: Sequence[str], options: dict[str, str] | None = None
) -> ConfigDict:
    """Applies `config.key=value` texts and locks."""
    for text in overrides:
        _apply(config, text, options or {})
    return config.lock()


def variants(flavour: str, known: Sequence[str]) -> set[str]:
    """`"quick,h5"` → {"quick", "h5"}; for use in `get_config`."""
    wanted = {part for part in flavour.split(",") if part}
    if unknown := wanted - set(known):
        raise ValueError(
            f"unknown flavour {', '.join(sorted(unknown))}: use {', '.join(known)}, joined by commas"
        )
    return wanted


def lookup(table: dict, config: ConfigDict, key: str):
    """What the config's value at `key` (as in "task.name") names in `table`."""
    name = _get(config, key, None)
    if name not in table:
        raise ValueError(f"config.{key}={name} is unknown: use {' or '.join(table)}")
    return table[name]


def require(config: ConfigDict, minimum: int, *keys: str) -> None:
    """Numbers at `keys` that are at least `minimum`."""
    for key in keys:
        if (value := _get(config, key, minimum)) < minimum:
            raise ValueError(f"config.{key}={value}: expected {minimum} or more")


class Rule(NamedTuple):
    """What values a config key accepts: a predicate, and the same in words."""

    accepts: Callable[[Any], bool]
    expected: str


def check(config: ConfigDict, rules: Mapping[str, Rule]) -> None:
    """Validate the config; errors here would otherwise surface late or never.

    `rules` maps dotted keys, as in "task.sigma", to what they accept. A key that this config does
    not have is skipped. Raises ValueError with the key, its value and the expected values.
    """
    for key, rule in rules.items():
        value = _get(config, key, rule)
        if value is not rule and not rule.accepts(value):
            raise ValueError(f"config.{key}={value}: expected {rule.expected}")


def _apply(config: ConfigDict, setting: str, options: dict[str, str]) -> None:
    key, _, text = setting.partition("=")
    *parents, leaf = key.split(".")[1:]
    node = config
    for part in parents:
        node = node[part] if isinstance(node, ConfigDict) and part in node else None
    if not isinstance(node, ConfigDict) or leaf not in node or isinstance(node[leaf], ConfigDict):
        said = _suggest(key.removeprefix("config."), config, options) or _did_you_mean(
            sorted(_leaves(config))[:8]
        )
        raise ValueError(f"--{key}: no such config key; {said}")
    node[leaf] = _parse(key, text, node[leaf])


def _suggest(name: str, config: ConfigDict, options: dict[str, str]) -> str:
    """The original's option of that name or, misspelled, of nearly that name; else the config's keys most like it."""
    for original in difflib.get_close_matches(name.rpartition(".")[2], options, n=1, cutoff=0.8):
        return f"the original's {original} is here {options[original]}"
    close = difflib.get_close_matches(name, list(_leaves(config)), n=3, cutoff=0.4)
    return _did_you_mean(close) if close else ""


def _did_you_mean(keys) -> str:
    return f"did you mean {', '.join('config.' + key for key in keys)}?"


def _parse(key, text, current):
    if isinstance(current, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(current, float) and type(value) is int:
        value = float(value)
    if isinstance(current, tuple | list) and isinstance(value, tuple | list):
        return type(current)(value)
    if type(value) is not type(current):
        raise ValueError(
            f"--{key}={text}: expected {type(current).__name__}, as in --{key}={current}"
        )
    return value


def _leaves(config, prefix=""):
    for key in config:
        if isinstance(config[key], ConfigDict):
            yield from _leaves(config[key], f"{prefix}{key}.")
        else:
            yield prefix + key


def to_json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ConfigDict:
    """What `to_json` wrote; lists come back as tuples."""

    def tuples(value):
        if isinstance(value, dict):
            return {k: tuples(v) for k, v in value.items()}
        return tuple(tuples(v) for v in value) if isinstance(value, list) else value

    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, found {type(values).__name__}")
    return ConfigDict(tuples(values))


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Keys in which two configs are not the same run, as `key: old → new`."""
    missing = "(none)"
    keys = sorted(set(_leaves(old)) | set(_leaves(new)))
    found = []
    for key in keys:
        values = [_get(c, key, missing) for c in (old, new)]
        if json.dumps(values[0]) != json.dumps(values[1]) and key not in RESUMABLE:
            found.append(f"{key}: {values[0]} → {values[1]}")
    return found


def _get(config, key, missing):
    for part in key.split("."):
        if not isinstance(config, ConfigDict) or part not in config:
            return missing
        config = config[part]
    return config
