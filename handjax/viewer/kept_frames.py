"""Frames and the hands that a person placed in them, as labelled depth frames (real_frames.md)."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from handjax.data.formats.labelled_frames import FILE, read_frames
from handjax.engine.files import atomic_path, naming

_UNIT_MM = 0.25  # of the PNG files: 16 bits reach 16 m


class KeptFrames:
    """A folder of 16-bit PNG files and their frames.json; it goes on where it was left."""

    def __init__(self, folder: Path):
        """ValueError, one line, if the folder holds something else."""
        self.folder = folder
        self.content: dict[str, Any] = {
            "unit_mm": _UNIT_MM,
            "order": "hand21",
            "kind": "joints placed in handjax view",
            "frames": {},
        }
        if (folder / FILE).is_file():
            read_frames(folder)  # raises
            found = json.loads((folder / FILE).read_text("utf-8"))
            if any(found.get(key) != self.content[key] for key in ("unit_mm", "order", "kind")):
                raise ValueError(
                    f"{folder / FILE}: other labels than handjax view writes; choose another folder"
                )
            self.content = found
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"{folder}: expected a new or empty folder, or one with {FILE}")

    def add(
        self,
        name: str,
        depth: Float[np.ndarray, "h w"],
        k: Float[np.ndarray, "3 3"],
        joints: Float[np.ndarray, "21 3"],
        side: str,
    ) -> int:
        """Writes a frame and its hand in place of an earlier one; how many there are then."""
        camera = [round(float(value), 4) for value in (k[0, 0], k[1, 1], k[0, 2], k[1, 2])]
        label = {
            "xyz_mm": np.asarray(joints, np.float64).round(2).tolist(),
            "hand": side,
            "k": camera,
            "sequence": name.rpartition("_")[0],
        }
        content = {"k": camera, **self.content}
        content["frames"] = {**self.content["frames"], name: label}
        self.folder.mkdir(parents=True, exist_ok=True)
        units = np.clip(np.rint(depth / _UNIT_MM), 0, 65535).astype(np.uint16)
        picture = cv2.imencode(".png", units)[1].tobytes()
        for path, data in (
            (self.folder / name, picture),
            (self.folder / FILE, (json.dumps(content, indent=1) + "\n").encode()),
        ):
            with naming(path), atomic_path(path) as temporary:
                temporary.write_bytes(data)
        self.content = content
        return len(content["frames"])
