"""Configs: Python files with `get_config(variant)`, overridden from the command line, then locked.

A config is a tree of `ConfigDict`s with plain values. A dotted key, as in "optimizer.lr", names a
leaf.
"""

import ast
import contextlib
import difflib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from ml_collections import ConfigDict

from handjax.engine import renamed
from handjax.engine.files import refuse_scheme, refuse_unexpanded

T = TypeVar("T")

# What may differ between the machines of a run.
PER_MACHINE = ("compile_cache", "data.path", "data.val_path", "data.in_memory")
# What may change when a run resumes; any other change makes it another run.
RESUMABLE = (
    *("steps", "log_every", "eval_every", "save_every", "save_minutes", "skip_nonfinite", "keep"),
    *("export", "wandb", "eval_batch_size", "devices", "shard_optimizer"),
    *("reduce_dtype", "checkpoints", *PER_MACHINE),
)
# What may be an address gs://…, in sources that read prepared sets, and in all.
IN_BUCKETS = ("data.path", "checkpoints")
SHARED = "common"  # the file among the configs that is none


# --- Config files and overrides.


def load(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """`v2v:quick,h5` and `["config.optimizer.lr=1e-3", …]` → locked config.

    The part before the colon is a name or a file (`find`), the part after it the argument of the
    file's `get_config`. An override names an existing leaf and keeps its type; for any other key
    the ValueError suggests one. Suggestions come from the config's keys and from the file's
    OPTIONS, a dict from the options of the original program to their equivalents here.
    """
    config, options = _call(spec)
    return override(config, overrides, options)


def suggest(spec: str, option: str) -> str:
    """A hint for an option that does not exist in the config `spec`; "" if nothing is similar."""
    config, options = _call(spec)
    return _suggest(option, config, options)


def override(
    config: ConfigDict, overrides: Sequence[str], options: Mapping[str, str] | None = None
) -> ConfigDict:
    """Applies overrides as in "config.key=value" in place and locks the config. ValueError for the
    address of a bucket and for ~/…, also if it is no override."""
    for text in overrides:
        _apply(config, text, options or {})
    for key, value in flatten(config).items():
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, str):
                refuse_scheme(f"--config.{key}", one, bucket=key in IN_BUCKETS)
                refuse_unexpanded(f"--config.{key}", one)
    return config.lock()


def variants(variant: str, known: Sequence[str]) -> set[str]:
    """`"quick,h5"` → {"quick", "h5"}, for `get_config`; ValueError for one that is not `known`."""
    wanted = {part for part in variant.split(",") if part}
    if unknown := wanted - set(known):
        raise ValueError(
            f"unknown variant {', '.join(sorted(unknown))}: "
            f"use {', '.join(known)}, joined by commas"
        )
    return wanted


def home() -> Path:
    """The folder of the included configs: `configs/` of a clone, `handjax/configs` of a wheel."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names() -> list[str]:
    """Names of the included configs, as in --config NAME."""
    return sorted(file.stem for file in home().glob("*.py") if file.stem != SHARED)


def find(spec: str) -> tuple[Path, str]:
    """The file of a config, and the variant: of `v2v:quick`, `FILE.py:quick` or either alone.

    Where there is no `configs/v2v.py` below the working directory, that is the included one, too.
    Raises FileNotFoundError with the names there are.
    """
    name, colon, variant = spec.partition(":")
    path = Path(name)
    if path.is_file():
        return path, variant
    included = path.stem if str(path.parent) in (".", "configs") else ""
    if path.suffix in ("", ".py") and included in names():
        return home() / f"{included}.py", variant
    if new := renamed.FILES.get(f"{path.stem}.py"):
        renamed_to = path.with_name(Path(new).stem + path.suffix)
        raise FileNotFoundError(
            f"config {name}: renamed; use --config {renamed_to}{colon}{variant}"
        )
    close = difflib.get_close_matches(included, names(), n=1)
    raise FileNotFoundError(
        f"config {name}: no such file (expected {', '.join(names())}, FILE.py, or one with a "
        "variant, as v2v:quick)" + (f"; did you mean {close[0]}?" if close else "")
    )


def _call(spec: str) -> tuple[ConfigDict, Mapping[str, str]]:
    """What `get_config` of the config returns, and the file's OPTIONS."""
    path, variant = find(spec)
    module_spec = importlib.util.spec_from_file_location(f"handjax_config_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise ValueError(f"config {path}: not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    with _shared(path.resolve().parent):
        module_spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ValueError(f"config {path}: it has no get_config(variant)")
        return module.get_config(variant), getattr(module, "OPTIONS", {})


@contextlib.contextmanager
def _shared(folder: Path) -> Iterator[None]:
    """Lets a config in `folder` import what configs share: `from configs.common import common`
    finds the file next to it, or else the included one, in any working directory."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _of_configs(name)}
    package = ModuleType("configs")
    package.__path__ = [str(folder), str(home())]
    sys.modules["configs"] = package
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _of_configs(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _of_configs(module: str) -> bool:
    return module.partition(".")[0] == "configs"


def _apply(config: ConfigDict, setting: str, options: Mapping[str, str]) -> None:
    name, _, text = setting.partition("=")
    key = name.removeprefix("config.")
    *parents, leaf = key.split(".")
    node = config
    for part in parents:
        node = node[part] if isinstance(node, ConfigDict) and part in node else None
    if not isinstance(node, ConfigDict) or leaf not in node or isinstance(node[leaf], ConfigDict):
        hint = _suggest(key, config, options) or _did_you_mean(sorted(_leaves(config))[:8])
        raise ValueError(f"--{name}: no such config key; {hint}")
    value = _parse(name, text, node[leaf])
    if (new := renamed.new_value(key, value)) != value:
        raise ValueError(f"--{name}={text}: renamed; use --{name}={new}")
    node[leaf] = value


def _suggest(name: str, config: ConfigDict, options: Mapping[str, str]) -> str:
    """The new name of a renamed key; else the equivalent of the original program's option of that
    name, also if misspelled; else the most similar keys of the config."""
    if (new := renamed.new_key(name)) != name:
        return f"renamed to --config.{new}"
    for original in difflib.get_close_matches(name.rpartition(".")[2], options, n=1, cutoff=0.8):
        return f"the original's {original} is here {options[original]}"
    # The old names of keys count as well: a misspelled one leads to the new name.
    names = {key: key for key in _leaves(config)}
    names |= {old: new for old, new in renamed.KEYS.items() if new in names}
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.4)
    return _did_you_mean(list(dict.fromkeys(names[key] for key in close))) if close else ""


def _did_you_mean(keys: Sequence[str]) -> str:
    return f"did you mean {', '.join('config.' + key for key in keys)}?"


def _parse(name: str, text: str, current: Any) -> Any:
    """The value of an override, of the type of the `current` one."""
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
            f"--{name}={text}: expected {type(current).__name__}, as in --{name}={current}"
        )
    return value


# --- Values of a config.


def lookup(table: Mapping[str, T], config: ConfigDict, key: str) -> T:
    """The entry of `table` that the config's value at `key` names; ValueError if there is none."""
    name = _get(config, key, None)
    if name not in table:
        raise ValueError(f"config.{key}={name} is unknown: use {' or '.join(table)}")
    return table[name]


def require(config: ConfigDict, minimum: int, *keys: str) -> None:
    """ValueError if the number at one of `keys` is less than `minimum`."""
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


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Every value by its dotted key, sorted."""
    return {key: _get(config, key, None) for key in sorted(_leaves(config))}


def _leaves(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Dotted keys of all values."""
    for key in config:
        if isinstance(config[key], ConfigDict):
            yield from _leaves(config[key], f"{prefix}{key}.")
        else:
            yield prefix + key


def _get(config: ConfigDict, key: str, missing: Any) -> Any:
    for part in key.split("."):
        if not isinstance(config, ConfigDict) or part not in config:
            return missing
        config = config[part]
    return config


# --- config.json.


def to_json(config: ConfigDict) -> str:
    """The content of config.json."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ConfigDict:
    """What `to_json` wrote, with old names upgraded (`engine/renamed.py`); lists become tuples.

    Raises ValueError if it is not a JSON object.
    """

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: tuples(v) for k, v in value.items()}
        return tuple(tuples(v) for v in value) if isinstance(value, list) else value

    try:
        values = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("more levels than any config has") from None
    if not isinstance(values, dict):
        raise ValueError(f"expected an object, found {type(values).__name__}")
    return ConfigDict(renamed.upgrade(tuples(values)))


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no value of a config")


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """Keys that make two configs different runs, as `key: old → new`; none that are RESUMABLE."""
    missing = "(none)"
    found = []
    for key in sorted({*_leaves(old), *_leaves(new)} - {*RESUMABLE}):
        before, after = (_get(config, key, missing) for config in (old, new))
        if json.dumps(before) != json.dumps(after):
            found.append(f"{key}: {before} → {after}")
    return found
