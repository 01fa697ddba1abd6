"""Skeletons of users' own joints, of hands, bodies and objects, as JSON. Only `joints` is required:

    {"joints":  ["left_ear", "right_ear", "tail"],
     "edges":   [["left_ear", "tail"], ["right_ear", "tail"]],
     "flip":    [["left_ear", "right_ear"]],
     "colours": {"tail": "#d62728"},
     "sigmas":  {"left_ear": 0.03, "right_ear": 0.03, "tail": 0.08}}

joints   names, in the order of the network's outputs
edges    bones to draw, as pairs of joints; they need not be a tree. Or
parents  {joint: its parent}, for a tree
flip     pairs that a mirror image swaps; without it, names that differ by left and right alone
colours  "#rrggbb"; joints without one get one of ten
sigmas   of all joints, as COCO's: standard deviation of the labels / √area
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handjax.pose.skeleton import Skeleton

NAME = "own"  # of every skeleton from a file
KEYS = ("joints", "edges", "parents", "flip", "colours", "sigmas")
# Ten colours that differ on light and on dark backgrounds (those of matplotlib's cycle).
PALETTE = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
_MOST = 1000  # joints
_LONGEST = 100  # letters of a name
# A word of a name: left_ear, "Left ear", L-ear, leftEar, earLeft.
_LEFT = re.compile(r"(?<![A-Za-z])(?:left|LEFT|[Ll])(?![a-z])|(?<![A-Z])Left(?![a-z])")
_RIGHT = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}
Pairs = tuple[tuple[int, int], ...]


def own_skeleton(joints: Sequence[str], edges: Pairs = ()) -> Skeleton:
    """The skeleton of these joints with what follows from their names."""
    return parse({"joints": list(joints)}, "joints", edges)


def read_skeleton(path: str | os.PathLike) -> Skeleton:
    """The skeleton in a file. FileNotFoundError or ValueError, one line, names the file, the value
    and what was expected."""
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected a skeleton as JSON") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path}: not JSON ({reason}); expected a skeleton") from None
    return parse(content, path)


def to_content(skeleton: Skeleton) -> dict[str, Any]:
    """The inverse of `parse`: plain JSON values, nothing left to be derived."""
    names = skeleton.joints

    def named(pairs: Pairs) -> list[list[str]]:
        return [[names[a], names[b]] for a, b in pairs]

    content: dict[str, Any] = {
        "joints": list(names),
        "edges": named(skeleton.bones),
        "flip": named(skeleton.flip_pairs),
        "colours": dict(zip(names, skeleton.colours, strict=True)),
    }
    if skeleton.sigmas:
        content["sigmas"] = dict(zip(names, skeleton.sigmas, strict=True))
    return content


def parse(content: object, where: object, edges: Pairs = ()) -> Skeleton:
    """The skeleton of a file's content; `edges` are those of a file that has none. ValueError, one
    line that begins with `where`."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: {_shown(content)}; expected an object with {', '.join(KEYS)}")
    if unknown := [key for key in content if key not in KEYS]:
        raise ValueError(f"{where}: unknown {unknown[0]!r}; expected {', '.join(KEYS)}")
    joints = check_names(content.get("joints"), where)
    if "edges" in content and "parents" in content:
        raise ValueError(f"{where}: both edges and parents; give one of them")
    if "edges" in content:
        edges = _pairs(content["edges"], joints, f"{where}: edges")
    if "parents" in content:
        edges = _of_parents(content["parents"], joints, f"{where}: parents")
    flip = _sides(joints)
    if "flip" in content:
        flip = _pairs(content["flip"], joints, f"{where}: flip")
        swapped = [joint for pair in flip for joint in pair]
        if twice := [joint for joint in swapped if swapped.count(joint) > 1]:
            raise ValueError(
                f"{where}: flip has {joints[twice[0]]!r} twice; expected each joint in one pair"
            )
    colours = _of_joints(content, "colours", joints, where)
    for joint, colour in colours.items():
        if not (isinstance(colour, str) and re.fullmatch("#[0-9a-fA-F]{6}", colour)):
            raise ValueError(f"{where}: colour {_shown(colour)} of {joint!r}; expected '#rrggbb'")
    palette = tuple(colours.get(name, PALETTE[i % 10]).lower() for i, name in enumerate(joints))
    first = {colour: name for name, colour in zip(joints[::-1], palette[::-1], strict=True)}
    return Skeleton(
        NAME,
        joints,
        _parents(edges, len(joints)),
        tuple(first[colour] for colour in palette),
        edges,
        flip,
        palette,
        _sigmas(content, joints, where),
    )


def check_names(names: object, where: object) -> tuple[str, ...]:
    """The names of joints, checked."""
    if not isinstance(names, list | tuple) or not 1 <= len(names) <= _MOST:
        raise ValueError(f"{where}: joints {_shown(names)}; expected a list of 1 to {_MOST} names")
    for name in names:
        if not (isinstance(name, str) and name.strip() == name and name.isprintable() and name):
            raise ValueError(
                f"{where}: joint {_shown(name)}; expected a name without spaces around it"
            )
        if len(name) > _LONGEST or names.count(name) > 1:
            expected = f"at most {_LONGEST} letters" if len(name) > _LONGEST else "each name once"
            raise ValueError(f"{where}: joint {_shown(name)}; expected {expected}")
    return tuple(names)


def _pairs(value: object, joints: tuple[str, ...], where: str) -> Pairs:
    """Pairs of different joints, each pair once."""
    expected = "expected pairs of two joints, as [[JOINT, JOINT], ...]"
    if not isinstance(value, list):
        raise ValueError(f"{where} {_shown(value)}; {expected}")
    found: dict[tuple[int, int], None] = {}
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1]:
            raise ValueError(f"{where}: {_shown(pair)}; {expected}")
        a, b = (_index(name, joints, where) for name in pair)
        if (a, b) in found or (b, a) in found:
            raise ValueError(f"{where}: {_shown(pair)} twice; expected each pair once")
        found[a, b] = None
    return tuple(found)


def _of_parents(value: object, joints: tuple[str, ...], where: str) -> Pairs:
    """(parent, child) of a tree, or of several."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} {_shown(value)}; expected {{JOINT: PARENT}}")
    parent = {
        _index(child, joints, where): _index(name, joints, where) for child, name in value.items()
    }
    for joint in parent:
        seen, at = {joint}, joint
        while at in parent:
            at = parent[at]
            if at in seen:
                raise ValueError(f"{where}: {joints[at]!r} is its own ancestor; expected a tree")
            seen.add(at)
    return tuple((parent[child], child) for child in sorted(parent))


def _index(name: object, joints: tuple[str, ...], where: str) -> int:
    if not isinstance(name, str) or name not in joints:
        raise ValueError(f"{where}: no joint {_shown(name)}; expected {_some(joints)}")
    return joints.index(name)


def _of_joints(
    content: Mapping[str, Any], key: str, joints: tuple[str, ...], where: object
) -> dict[str, Any]:
    """`content[key]`, {joint: value}."""
    values = content.get(key, {})
    if not isinstance(values, dict):
        raise ValueError(f"{where}: {key} {_shown(values)}; expected {{JOINT: VALUE}}")
    for name in values:
        _index(name, joints, f"{where}: {key}")
    return values


def _sigmas(
    content: Mapping[str, Any], joints: tuple[str, ...], where: object
) -> tuple[float, ...]:
    values = _of_joints(content, "sigmas", joints, where)
    for joint, sigma in values.items():
        if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma < 1:
            raise ValueError(
                f"{where}: sigma {_shown(sigma)} of {joint!r}; expected a number between 0 and 1"
            )
    if values and len(values) < len(joints):
        lacking = next(name for name in joints if name not in values)
        raise ValueError(f"{where}: no sigma of {lacking!r}; expected those of all joints, or none")
    return tuple(float(values[name]) for name in joints) if values else ()


def _sides(joints: tuple[str, ...]) -> Pairs:
    """(left, right) joints whose names differ by that alone."""
    pairs = []
    for i, name in enumerate(joints):
        for side in _LEFT.finditer(name):
            mirrored = name[: side.start()] + _RIGHT[side.group()] + name[side.end() :]
            if mirrored in joints:
                pairs.append((i, joints.index(mirrored)))
                break
    return tuple(pairs)


def _parents(edges: Pairs, count: int) -> tuple[int, ...]:
    """A parent of every joint along the edges, from the first joint of each connected part; -1
    there."""
    beside: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        beside[a].append(b)
        beside[b].append(a)
    parents: dict[int, int] = {}
    for root in range(count):
        if root in parents:
            continue
        parents[root], waiting = -1, [root]
        for joint in waiting:
            for other in beside[joint]:
                if other not in parents:
                    parents[other] = joint
                    waiting.append(other)
    return tuple(parents[joint] for joint in range(count))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
