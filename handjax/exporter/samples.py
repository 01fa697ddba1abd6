"""Inputs on which an export is compared with handjax: your own, a run's held-out samples, or
rendered hands."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from handjax.data.formats.depth import read_depth
from handjax.data.formats.image import ENDINGS, read_image, rgb_pixels
from handjax.data.formats.labelled_frames import read_frames
from handjax.engine import config as configs
from handjax.exporter.contents import Contents
from handjax.prediction.common import list_images
from handjax.sources import SOURCES
from handjax.synthetic import hands

COUNT = 4  # samples to compare on
CALIBRATION = 64  # from which scales of 8 bits are taken
_DISTANCE_MM = 400.0  # of a hand whose place is not known
_TRUTH = {"xyz": "joints_xyz", "uv": "joints_uv", "labelled": "labelled"}
# Of a sample here → of a batch.
_KEYS = {"k": "k", "center": "center_xyz", "box": "box", "left": "left", **_TRUTH}


class Samples(NamedTuple):
    """Inputs of a model, where they are from, and the true joints if those are known."""

    arrays: dict[str, np.ndarray]
    origin: str
    truth: dict[str, np.ndarray]  # xyz [n, j, 3], camera mm; uv [n, j, 2], px; labelled [n, j]


def samples(
    contents: Contents,
    own: Path | None,
    config: ConfigDict | None,
    count: int = COUNT,
    train: bool = False,
) -> Samples:
    """At most `count` inputs: from `own`, else from the data of the run's `config`, else rendered.
    Those of a run and rendered ones are held out or, with `train`, those of training.

    `own` is a folder with frames.json (depth), or images, or a folder of them (RGB; the box is
    the whole image). Raises ValueError or FileNotFoundError if it cannot be read.
    """
    flag = "--calibrate" if train else "--check"
    if own is not None:
        found = (_frames if "depth" in contents.inputs else _images)(own, count)
        return Samples(_fitted(contents, found), f"{len(found)} of {own}", {})
    if config is not None:
        try:
            found = _of_run(config, count, train)
        except (ValueError, OSError):  # its data is not on this machine
            found = []
        if found:
            kind = "training" if train else "held-out"
            origin = f"{len(found)} {kind} samples of the run"
            return Samples(_fitted(contents, found), origin, _truth(found))
    if "depth" in contents.inputs:
        found = _rendered(count, train)
        return Samples(_fitted(contents, found), f"{len(found)} rendered hands", _truth(found))
    raise ValueError(f"the run's data is not on this machine: name images by {flag} IMAGES")


def _frames(path: Path, count: int) -> list[dict[str, Any]]:
    frames = read_frames(path)
    read = []
    for frame in frames.frames[:count]:
        depth = read_depth(frame.path, form=frames.form, scale=frames.unit_mm)
        read.append({"depth": depth, "k": frame.k, "center": frame.center})
    return read


def _images(path: Path, count: int) -> list[dict[str, Any]]:
    files = list(list_images(path, ENDINGS, exclude=path / "overlays").values())
    return [{"image": rgb_pixels(read_image(file)[1])} for file in files[:count]]


def _of_run(config: ConfigDict, count: int, train: bool) -> list[dict[str, Any]]:
    """Samples of the run's evaluation or training split with depth or an image, as they are."""
    source = configs.lookup(SOURCES, config, "data.name")(config, train=train)
    size = source.train_size if train else source.eval_size  # None: endless
    indices = np.arange(count if size is None else min(count, size))
    taken = (source.train_rows if train else source.eval_rows)(indices)
    batch = jax.device_get(jax.jit(source.materialize)(taken, None))
    kinds = [name for name in ("depth", "image") if name in batch]
    rows = []
    for i in range(len(indices) if kinds else 0):
        row = {kinds[0]: batch[kinds[0]][i]}
        for name, key in _KEYS.items():
            if key in batch:
                row[name] = batch[key][i]
        if "joints_uv" in batch and "box" not in row:
            row["box"] = _around(batch["joints_uv"][i])
        rows.append(row)
    return rows


def _around(uv: np.ndarray) -> np.ndarray:
    """The square around joints, half as large again."""
    low, high = uv.min(0), uv.max(0)
    side = max(1.5 * float((high - low).max()), 2.0)
    return np.array([*((low + high) / 2 - side / 2), side, side], np.float32)


def _rendered(count: int, train: bool) -> list[dict[str, Any]]:
    def one(index: Any) -> dict[str, Any]:
        key = hands.sample_key(0, not train, index)
        return hands.depth_sample(key, surface="skin", image_size=128)

    made = jax.device_get(jax.jit(jax.vmap(one))(np.arange(count)))
    keys = {name: key for name, key in _KEYS.items() if key in made} | {"depth": "depth"}
    return [{name: made[key][i] for name, key in keys.items()} for i in range(count)]


def _truth(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in _TRUTH if name in rows[0]}


def _fitted(contents: Contents, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Arrays of the model's inputs: frames are cut, or filled up, to its size at the right and the
    lower border, so that cameras and boxes stay true."""
    fitted: dict[str, list[np.ndarray]] = {name: [] for name in contents.inputs}
    for row in rows:
        for name, port in contents.inputs.items():
            value: Any = row.get(name)
            if name in ("depth", "image"):
                height, width = np.minimum(value.shape[:2], port.shape[:2])
                whole = np.zeros(port.shape, port.dtype)
                whole[:height, :width] = value[:height, :width]
                value = whole
            elif name == "box" and value is None:
                height, width = row["image"].shape[:2]
                value = np.array([-0.5, -0.5, width, height])
            elif name == "center" and value is None:
                value = np.array([0.0, 0.0, _DISTANCE_MM])
            fitted[name].append(np.asarray(False if value is None else value, port.dtype))
    return {name: np.stack(values) for name, values in fitted.items()}
