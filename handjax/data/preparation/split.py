"""Result of preparing or checking one split of a data set."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from handjax.data.preparation.validate import Findings

Tiles = tuple[tuple[str, bytes], ...]  # drawn samples as (key, JPEG)


@dataclass(frozen=True)
class Split:
    """Frames per shard, bytes of all records, findings and drawn samples."""

    shards: tuple[int, ...]
    size: int
    findings: Findings
    tiles: Tiles

    def to_json(self) -> str:
        """Inverse of `from_json`."""
        return json.dumps(
            {
                "shards": self.shards,
                "size": self.size,
                "findings": self.findings.to_dict(),
                "tiles": tiles_to_json(self.tiles),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Split":
        """Inverse of `to_json`."""
        data = json.loads(text)
        return cls(
            tuple(data["shards"]),
            data["size"],
            Findings.from_dict(data["findings"]),
            tiles_from_json(data["tiles"]),
        )


def tiles_to_json(tiles: Tiles) -> list[tuple[str, str]]:
    """Inverse of `tiles_from_json`."""
    return [(key, base64.b64encode(jpeg).decode()) for key, jpeg in tiles]


def tiles_from_json(tiles: Sequence[Sequence[str]]) -> Tiles:
    """Inverse of `tiles_to_json`."""
    return tuple((key, base64.b64decode(jpeg)) for key, jpeg in tiles)
