"""What a prepared set lacks of the published one: left_out.json in its folder.

Two kinds: `unreadable` samples, left out on request (`handjax prepare --leave_out_unreadable`), and
`holes`, samples that copies of the data set are known to lack. Every report about the set says how
many there are.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from etils import epath

from handjax.engine.files import write_atomic

FILE = "left_out.json"
_NAMED = 3  # names in a line


@dataclass(frozen=True)
class Lacking:
    """What a split lacks: name of the sample, or of a sequence → why."""

    unreadable: dict[str, str] = field(default_factory=dict)
    holes: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.unreadable or self.holes)

    def lines(self) -> list[str]:
        """One line per kind."""
        kinds = (
            ("left out, as they cannot be read", self.unreadable),
            ("known to be missing in copies of the set", self.holes),
        )
        return [f"{len(names)} {what} ({_some(names)})" for what, names in kinds if names]


def _some(names: Mapping[str, str]) -> str:
    first = list(names)[:_NAMED]
    return ", ".join(first) + (", ..." if len(names) > _NAMED else "")


def write(folder: str | os.PathLike, splits: Mapping[str, Lacking]) -> None:
    """Writes the file if there is anything to say."""
    content = {split: asdict(left) for split, left in splits.items() if left}
    if content:
        write_atomic(epath.Path(folder) / FILE, json.dumps(content, indent=1) + "\n")


def read(folder: str | os.PathLike) -> dict[str, Lacking]:
    """By split; empty if the set lacks nothing. ValueError, one line, for a damaged file."""
    path = epath.Path(folder) / FILE
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
        return {split: Lacking(**_checked(left)) for split, left in content.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({error}); prepare the data set again") from None


def _checked(left: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    for names in left.values():
        if not all(isinstance(reason, str) for reason in names.values()):
            raise TypeError("a reason that is no text")
    return left


def of_split(folder: str | os.PathLike, split: str) -> Lacking:
    """What the splits lack that an expression such as "train" or "P1+P2[:10%]" names."""
    result = Lacking()
    for name, left in read(folder).items():
        if re.search(rf"\b{re.escape(name)}\b", split):
            result.unreadable.update(left.unreadable)
            result.holes.update(left.holes)
    return result


def told(folder: str | os.PathLike, split: str) -> str:
    """ "", or what the split lacks as the end of a description: "; 2 left out, as ..."."""
    return "".join(f"; {line}" for line in of_split(folder, split).lines())
