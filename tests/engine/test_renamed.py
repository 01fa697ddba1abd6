"""Runs and flags with names from the development of version 0.1."""

import json

import pytest

from handjax.engine import config as configs
from handjax.engine import renamed


def old_json(config) -> str:
    """config.json of the run as it was before the renaming."""
    keys = {new: old for old, new in renamed.KEYS.items()}
    # A sphere hand trained on labelled hands alone had the number of hands next to unlabelled ones.
    old = {} if "synthetic" in config.data else {"task.synthetic": 2}
    for key, value in renamed._flatten(config.to_dict()):
        head, tail = key, ""
        while head not in keys and "." in head:
            head, _, last = head.rpartition(".")
            tail = f".{last}{tail}"
        values = {new: before for before, new in renamed.VALUES.get(key, {}).items()}
        value = values.get(value, value) if isinstance(value, str) else value
        old[keys.get(key) or keys.get(head, head) + tail] = value
    nested: dict = {}
    for key, value in old.items():
        *parents, leaf = key.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return json.dumps(nested)


SPECS = ("v2v.py", "v2v.py:h5,quick", "cpm.py:rhd", "posenet2d.py:quick", "body.py:kinematic")
SPECS += ("body.py:mixed", "spherehand.py", "spherehand.py:selfsup,quick", "spherehand.py:nyu")


@pytest.mark.parametrize("spec", SPECS)
def test_old_runs_load_as_the_same_config(repo, spec):
    config = configs.load(f"{repo}/configs/{spec}")
    text = old_json(config)
    assert text != json.dumps(config.to_dict())
    upgraded = configs.from_json(text)
    assert upgraded.to_dict() == configs.from_json(configs.to_json(config)).to_dict()
    assert not configs.differences(upgraded, config)


def test_new_names_stay(repo):
    for spec in SPECS:
        values = configs.load(f"{repo}/configs/{spec}").to_dict()
        assert renamed.upgrade(values) == values


def refused(words, spec, *overrides, kind=ValueError):
    with pytest.raises(kind) as caught:
        configs.load(spec, overrides)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "override", "words"),
    [
        ("v2v", "task.sharpness=2", "no such config key; renamed to --config.task.beta"),
        ("body", "task.figure=original", "renamed to --config.task.rig"),
        ("cpm", "data.camera.fill=(0.6,1)", "renamed to --config.data.camera.fraction"),
        ("spherehand", "task.synthetic=0", "renamed to --config.data.synthetic.count"),
        ("spherehand", "labelled.surface=skin", "renamed to --config.data.synthetic.surface"),
        ("spherehand", "task.name=fit", "--config.task.name=fit: renamed; use"),
        ("v2v", "task.sharpnes=2", "no such config key; did you mean config.task.beta"),
    ],
)
def test_old_flags_name_the_new_one(repo, file, override, words):
    refused(words, f"{repo}/configs/{file}.py", f"config.{override}")


def test_old_config_files_name_the_new_one(repo):
    new = repo / "configs" / "spherehand.py"
    refused(
        f"renamed; use --config {new}:quick",
        f"{repo}/configs/fit.py:quick",
        kind=FileNotFoundError,
    )
