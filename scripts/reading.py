#!/usr/bin/env python3
"""How many samples a second each source reads from prepared files, as training reads them: two batches in flight.

    python scripts/reading.py [--frames 64] [--seconds 5] [SOURCE ...]

The sets are written for the occasion, in a temporary folder, with the features of their own builders and pictures of the real
sizes: blurred noise, which PNG and JPEG find about as hard as photographs. Labels are such that hands and people fill the part
of their pictures that they do in the sets.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from ml_collections import ConfigDict

from handjax.engine import config as configs
from handjax.engine.feed import AHEAD
from handjax.sources import SOURCES
from handjax.sources.base import Source

ROOT = Path(__file__).resolve().parent.parent
# Prepared set → configuration, split, picture (height, width), and labels: depth mm of the joints and their spread in px.
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
# Source → the sets it reads, and `config.data`, or a config that is asked for its own.
SOURCES_READ = {
    "v2v nyu": (("nyu_hand",), "configs/v2v.py:nyu"),
    "v2v icvl": (("icvl",), "configs/v2v.py:icvl"),
    "v2v msra": (("msra_hand",), "configs/v2v.py:msra"),
    "rgb_hand rhd": (("rhd",), HANDS | dict(sets=("rhd",), image_size=(320, 320), room=0.0)),
    "rgb_hand rhd + stb": (
        ("rhd", "stb"),
        HANDS | dict(sets=("rhd", "stb"), image_size=(480, 640), room=0.0),
    ),
    "rgb_hand panoptic_hand": (
        ("panoptic_hand",),
        HANDS | dict(sets=("panoptic_hand",), image_size=(480, 480), room=3.0),
    ),
    "body human36m": (
        ("human36m",),
        PEOPLE | dict(sets=("human36m",), image_size=(512, 512), room=1.75),
    ),
    "body mpii": (("mpii",), PEOPLE | dict(sets=("mpii",), image_size=(512, 512), room=1.75)),
    "body all": (
        ("human36m", "mpii", "coco_person"),
        PEOPLE
        | dict(
            sets=("human36m", "mpii", "coco_person"),
            weights=(2, 1, 1),
            image_size=(512, 512),
            room=1.75,
        ),
    ),
}


def write(root: Path, name: str, frames: int) -> str:
    """A prepared set of this many frames; its folder."""
    import tensorflow_datasets as tfds

    configuration, split, size, z, spread = SETS[name]
    builder = importlib.import_module(f"handjax.data.sets.{name}.{name}_dataset_builder").Builder(
        data_dir=str(root), config=configuration
    )
    splits = {
        split: [(str(i), _sample(builder.info.features, i, size, z, spread)) for i in range(frames)]
    }
    if name == "msra_hand":
        splits |= {f"P{person}": splits["P0"][:1] for person in range(1, 9)}
    written = tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        config=configuration,
        version="1.0.0",
        features=builder.info.features,
        split_datasets=splits,
        data_dir=str(root),
    )
    return str(written.data_path)


def _sample(features, number: int, size: tuple[int, int], z: float, spread: float) -> dict:
    random = np.random.default_rng(number)
    focal = 1.15 * size[1]
    k = np.array([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]], np.float32)
    sample = {}
    for key, feature in features.items():
        shape = [s or 1 for s in feature.shape]
        if type(feature).__name__ == "Image":
            depth = feature.np_dtype == np.uint16
            # Files of about the real ones' lengths: 100 kB for RHD, 70 for Human3.6M, 105 for MPII.
            mean, contrast, blur = (
                (z, 1500, 8.0) if depth else (128, 1200, 12.0 if size[1] > 640 else 10.0)
            )
            grain = 1.0 if depth else 0.2 * (size[1] <= 640)
            picture = cv2.GaussianBlur(
                random.normal(0, 1, (*size, shape[-1])), (0, 0), blur
            ).reshape(*size, shape[-1])
            picture = mean + contrast * picture + grain * random.normal(0, 1, picture.shape)
            sample[key] = picture.clip(0, 65535 if depth else 255).astype(feature.np_dtype)
        elif key == "k":
            sample[key] = k
        elif "uv" in key:
            sample[key] = (
                np.array(size[::-1]) / 2 + random.uniform(-spread, spread, shape)
            ).astype(np.float32)
        elif "xyz" in key:
            sample[key] = (
                np.array([0, 0, z]) + random.uniform(-1, 1, shape) * spread * z / focal
            ).astype(np.float32)
        elif key == "box":
            sample[key] = np.array(
                [size[1] / 2 - spread, size[0] / 2 - spread, 2 * spread, 2 * spread], np.float32
            )
        elif feature.np_dtype == np.bool_:
            sample[key] = np.ones(shape, bool).reshape(feature.shape)
        else:  # a name, a class or a number that nothing here depends on
            sample[key] = (
                str(number)
                if type(feature).__name__ == "Text"
                else np.zeros(feature.shape, feature.np_dtype)
            )
    return sample


def made(names: list[str], frames: int, root: Path) -> Iterator[tuple[str, Source]]:
    """The sources by these names over sets that are written below `root`."""
    folders: dict[str, str] = {}
    for name in names:
        sets, data = SOURCES_READ[name]
        for one in sets:
            folders.setdefault(one, "") or folders.update({one: write(root, one, frames)})
        if isinstance(data, str):
            whole = [] if sets == ("msra_hand",) else ["config.data.eval_split=train"]
            config = configs.load(
                f"{ROOT}/{data}", [f"config.data.path={folders[sets[0]]}", *whole]
            )
        else:
            config = ConfigDict(dict(seed=0, data=data | dict(path=str(root))))
        yield name, SOURCES[config.data.name](config)


def read(source: Source, frames: int, batch: int, batches: int) -> float:
    """Seconds for this many batches of random samples, `AHEAD` of them at once, as in `feed.train_batches`."""
    numbers = np.random.default_rng(0).integers(0, frames, (batches, batch))
    start = time.perf_counter()
    with ThreadPoolExecutor(AHEAD) as pool:
        for rows in pool.map(source.train_rows, numbers):
            rows["mask"].any()
    return time.perf_counter() - start


def rate(source: Source, frames: int, batch: int = 32, seconds: float = 5.0) -> float:
    """Samples a second, after a batch to warm up."""
    frames = source.train_size or frames
    once = read(source, frames, batch, 2) / 2
    batches = max(2, int(seconds / once))
    return batches * batch / read(source, frames, batch, batches)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="SOURCE", help=f"of {', '.join(SOURCES_READ)} (default: all)"
    )
    parser.add_argument("--frames", type=int, default=64, help="in each set")
    parser.add_argument("--seconds", type=float, default=5.0, help="to read each source")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in SOURCES_READ]:
        parser.error(f"{unknown[0]}: expected one of {', '.join(SOURCES_READ)}")
    with tempfile.TemporaryDirectory() as root:
        for name, source in made(args.names or list(SOURCES_READ), args.frames, Path(root)):
            print(
                f"{name:24s} {rate(source, args.frames, seconds=args.seconds):8,.0f} samples/s",
                flush=True,
            )


if __name__ == "__main__":
    main()
