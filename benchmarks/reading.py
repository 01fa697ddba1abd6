#!/usr/bin/env python3
"""Samples per second that sources read from prepared files: python benchmarks/reading.py [SOURCE …]

Read as in training, with two batches in flight. The sets are generated in a temporary folder with
the features of their builders. Images have the real sizes and are blurred noise, which PNG and JPEG
compress about as well as photographs; hands and people are as large in them as in the real sets.
"""

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.feed import AHEAD
from handjax.sources import SOURCES
from handjax.sources.base import Source

ROOT = Path(__file__).resolve().parent.parent
# Prepared set → configuration, split, image (height, width), and the joints' depth in mm and spread
# in px.
SETS = {
    "nyu_hand": ("single", "train", (480, 640), 700.0, 60),
    "icvl": (None, "train", (240, 320), 400.0, 40),
    "msra_hand": (None, "P0", (240, 320), 350.0, 50),
    "rhd": (None, "train", (320, 320), 500.0, 50),
    "stb": ("bb", "train", (480, 640), 600.0, 80),
    "panoptic_hand": ("manual", "train", (720, 1280), 500.0, 90),
    "human36m": ("train", "train", (1002, 1000), 4500.0, 200),
    "mpii": (None, "train", (720, 1280), 4500.0, 150),
    "coco_person": (None, "train", (480, 640), 4500.0, 100),
}
HANDS = dict(
    name="rgb_hand", weights=(), train_split="train", eval_split="train", eval_sets=(), root="palm"
)
PEOPLE = dict(
    name="body", weights=(), train_split="train", eval_split="train", eval_sets=(), box_mm=2000.0
)
# Source → the sets it reads, and `config.data` or the config file that has it.
SOURCES_READ = {
    "v2v nyu": (("nyu_hand",), "configs/v2v.py:nyu"),
    "v2v icvl": (("icvl",), "configs/v2v.py:icvl"),
    "v2v msra": (("msra_hand",), "configs/v2v.py:msra"),
    "rgb_hand rhd": (("rhd",), HANDS | dict(sets=("rhd",), image_size=(320, 320), crop_boxes=0.0)),
    "rgb_hand rhd + stb": (
        ("rhd", "stb"),
        HANDS | dict(sets=("rhd", "stb"), image_size=(480, 640), crop_boxes=0.0),
    ),
    "rgb_hand panoptic_hand": (
        ("panoptic_hand",),
        HANDS | dict(sets=("panoptic_hand",), image_size=(480, 480), crop_boxes=3.0),
    ),
    "body human36m": (
        ("human36m",),
        PEOPLE | dict(sets=("human36m",), image_size=(512, 512), crop_boxes=1.75),
    ),
    "body mpii": (("mpii",), PEOPLE | dict(sets=("mpii",), image_size=(512, 512), crop_boxes=1.75)),
    "body all": (
        ("human36m", "mpii", "coco_person"),
        PEOPLE
        | dict(
            sets=("human36m", "mpii", "coco_person"),
            weights=(2, 1, 1),
            image_size=(512, 512),
            crop_boxes=1.75,
        ),
    ),
}


def write(root: Path, name: str, frames: int) -> str:
    """Write a prepared set of `frames` frames; returns its folder."""
    import tensorflow_datasets as tfds

    config, split, size, z, spread = SETS[name]
    module = importlib.import_module(f"handjax.data.sets.{name}.{name}_dataset_builder")
    builder = module.Builder(data_dir=str(root), config=config)
    splits = {
        split: [(str(i), _sample(builder.info.features, i, size, z, spread)) for i in range(frames)]
    }
    if name == "msra_hand":
        splits |= {f"P{person}": splits["P0"][:1] for person in range(1, 9)}
    written = tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        config=config,
        version="1.0.0",
        features=builder.info.features,
        split_datasets=splits,
        data_dir=str(root),
    )
    return str(written.data_path)


def _sample(
    features: Mapping[str, Any], number: int, size: tuple[int, int], z: float, spread: float
) -> dict[str, Any]:
    random = np.random.default_rng(number)
    focal = 1.15 * size[1]
    center = np.array([size[1] / 2, size[0] / 2])
    sample: dict[str, Any] = {}
    for key, feature in features.items():
        shape = [s or 1 for s in feature.shape]
        if type(feature).__name__ == "Image":
            sample[key] = _image(random, size, shape[-1], feature.np_dtype, z)
        elif key == "k":
            k = [[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]]
            sample[key] = np.array(k, np.float32)
        elif "uv" in key:
            uv = center + random.uniform(-spread, spread, shape)
            sample[key] = uv.astype(np.float32)
        elif "xyz" in key:
            offset = random.uniform(-1, 1, shape) * spread * z / focal
            sample[key] = (np.array([0, 0, z]) + offset).astype(np.float32)
        elif key == "box":
            sample[key] = np.array([*(center - spread), 2 * spread, 2 * spread], np.float32)
        elif feature.np_dtype == np.bool_:
            sample[key] = np.ones(shape, bool).reshape(feature.shape)
        elif type(feature).__name__ == "Text":
            sample[key] = str(number)
        else:  # a class or a number that nothing here depends on
            sample[key] = np.zeros(feature.shape, feature.np_dtype)
    return sample


def _image(
    random: np.random.Generator, size: tuple[int, int], channels: int, dtype: type, z: float
) -> np.ndarray:
    """Noise whose files have real sizes: about 100 kB in RHD, 70 in Human3.6M, 105 in MPII."""
    if dtype == np.uint16:  # depth
        mean, contrast, blur, grain, largest = z, 1500, 8.0, 1.0, 65535
    elif size[1] > 640:
        mean, contrast, blur, grain, largest = 128, 1200, 12.0, 0.0, 255
    else:
        mean, contrast, blur, grain, largest = 128, 1200, 10.0, 0.2, 255
    image = cv2.GaussianBlur(random.normal(0, 1, (*size, channels)), (0, 0), blur)
    image = mean + contrast * image.reshape(*size, channels)
    image += grain * random.normal(0, 1, image.shape)
    return image.clip(0, largest).astype(dtype)


def open_sources(names: list[str], frames: int, root: Path) -> Iterator[tuple[str, Source]]:
    """Open the named sources on sets that are written below `root`."""
    folders: dict[str, str] = {}
    for name in names:
        sets, data = SOURCES_READ[name]
        for one in sets:
            if one not in folders:
                folders[one] = write(root, one, frames)
        if isinstance(data, str):
            whole = [] if sets == ("msra_hand",) else ["config.data.eval_split=train"]
            config = configs.load(
                f"{ROOT}/{data}", [f"config.data.path={folders[sets[0]]}", *whole]
            )
        else:
            config = ConfigDict(dict(seed=0, data=data | dict(path=str(root))))
        yield name, SOURCES[config.data.name](config)


def read(source: Source, frames: int, batch: int, batches: int) -> float:
    """Seconds for `batches` batches of random samples, `AHEAD` at a time as in `train_batches`."""
    numbers = np.random.default_rng(0).integers(0, frames, (batches, batch))
    start = time.perf_counter()
    with ThreadPoolExecutor(AHEAD) as pool:
        for rows in pool.map(source.train_rows, numbers):
            rows["mask"].any()
    return time.perf_counter() - start


def rate(source: Source, frames: int, batch: int = 32, seconds: float = 5.0) -> float:
    """Samples per second, after two batches to warm up."""
    frames = source.train_size or frames
    once = read(source, frames, batch, 2) / 2
    batches = max(2, int(seconds / once))
    return batches * batch / read(source, frames, batch, batches)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="SOURCE", help=f"any of {', '.join(SOURCES_READ)} (default all)"
    )
    parser.add_argument("--frames", type=int, default=64, help="frames per set (default 64)")
    parser.add_argument("--seconds", type=float, default=5.0, help="time per source (default 5)")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in SOURCES_READ]:
        parser.error(f"{unknown[0]}: expected one of {', '.join(SOURCES_READ)}")
    with tempfile.TemporaryDirectory() as root:
        for name, source in open_sources(args.names or list(SOURCES_READ), args.frames, Path(root)):
            print(
                f"{name:24s} {rate(source, args.frames, seconds=args.seconds):8,.0f} samples/s",
                flush=True,
            )


if __name__ == "__main__":
    main()
