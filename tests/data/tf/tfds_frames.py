"""Small prepared sets of random frames, written by TFDS itself."""

import numpy as np
import tensorflow_datasets as tfds


def frame(i: int, size=(6, 8)) -> dict:
    rng = np.random.default_rng(i)
    return {
        "image": rng.integers(0, 256, (*size, 3), np.uint8),
        "depth": rng.integers(0, 65536, (*size, 1), np.uint16),
        "k": np.array([[100, 0, 4], [0, 100, 3], [0, 0, 1]], np.float32),
        "joints_xyz": rng.normal(0, 50, (21, 3)).astype(np.float32),
        "joints_uv": rng.uniform(0, 8, (21, 2)).astype(np.float32),
        "visible": rng.random(21) < 0.7,
        "side": "right",
        "id": f"frame-{i:03d}",
    }


def write(data_dir, name: str, numbers: dict[str, range], size=lambda i: (6, 8), leave=()) -> str:
    """A prepared set of three shards per split, by TFDS itself. Returns its folder."""
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "depth": tfds.features.Image(shape=(None, None, 1), dtype=np.uint16),
        "k": tfds.features.Tensor(shape=(3, 3), dtype=np.float32),
        "joints_xyz": tfds.features.Tensor(shape=(21, 3), dtype=np.float32),
        "joints_uv": tfds.features.Tensor(shape=(21, 2), dtype=np.float32),
        "visible": tfds.features.Tensor(shape=(21,), dtype=np.bool_),
        "side": tfds.features.ClassLabel(names=["left", "right"]),
        "id": tfds.features.Text(),
    }
    frames = {
        split: [
            (i, {key: value for key, value in frame(i, size(i)).items() if key not in leave})
            for i in part
        ]
        for split, part in numbers.items()
    }
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(
            {key: value for key, value in features.items() if key not in leave}
        ),
        split_datasets=frames,
        data_dir=str(data_dir),
        download_config=tfds.download.DownloadConfig(num_shards=3),
    )
    return str(builder.data_path)
