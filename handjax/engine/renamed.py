"""Config names from the development of version 0.1 → the names since then.

`upgrade` lets runs with old names in their config.json load unchanged; the other functions name the
new spelling in error messages. After the release of 0.1 config names no longer change.
"""

from typing import Any

# Config files.
FILES = {"fit.py": "spherehand.py"}

# Keys, or sections with all keys below them.
KEYS = {
    "crop.halvings": "crop.mip_levels",
    "data.camera.aside": "data.camera.offset",
    "data.camera.fill": "data.camera.fraction",
    "data.cameras.aside_mm": "data.cameras.offset_mm",
    "data.room": "data.crop_boxes",
    "data.samples": "data.supersampling",
    "data.sensor.samples": "data.sensor.supersampling",
    "labelled": "data.synthetic",
    "labelled.samples": "data.synthetic.supersampling",
    "task.depth_resample": "data.depth_resample",
    "task.error": "task.monitor",
    "task.figure": "task.rig",
    "task.image_size": "data.image_size",
    "task.sharpness": "task.beta",
    "task.synthetic": "data.synthetic.count",
}

# Key (new) → old value → new value.
VALUES = {
    "crop.rule": {"picture": "image"},
    "data.name": {"hand_fit_world": "spherehand_world", "hand_views_world": "multiview_world"},
    "task.name": {"voxel": "v2v", "fit": "spherehand", "body3d": "body"},
}


def new_key(key: str) -> str:
    """The name since 0.1 of a dotted key; the key itself if it is not an old one."""
    head, tail = key, ""
    while head:
        if head in KEYS:
            return KEYS[head] + tail
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return key


def new_value(key: str, value: Any) -> Any:
    """The value since 0.1 at a (new) key; the value itself if it is not an old one."""
    known = VALUES.get(key, {})
    return known.get(value, value) if isinstance(value, str) else value


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """A config as nested dicts, with all names and values brought to those since 0.1."""
    flat = dict(_flatten(values))
    if "labelled.surface" not in flat:
        flat.pop("task.synthetic", None)  # runs on labelled hands alone had it without using it
    upgraded: dict[str, Any] = {}
    for old, value in flat.items():
        key = new_key(old)
        *parents, leaf = key.split(".")
        node = upgraded
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = new_value(key, value)
    return upgraded


def _flatten(values: dict[str, Any], prefix: str = ""):
    """(dotted key, value) of all leaves; an empty section is a leaf."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
