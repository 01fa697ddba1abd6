"""Prepared hands → the TFRecord file that hand_pose_tensorflow reads
(github.com/jiangxubin/hand_pose, data/data_loader.py).

A record has three byte strings: `image`, 320 x 320 x 3 bytes RGB; `name`; `joints`, 21 x 3 float32
in RHD's order, u and v in px and 1 where visible. The original concatenates the files of several
sets (its RS_320 is RHD and STB_320), and uses both RHD's wrist and the middle of STB's palm as
joint 0.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handjax.data.records import RecordDataset, tf
from handjax.engine.files import atomic_path
from handjax.pose.joint_orders import ORDERS

SIZE = 320  # px
_CHUNK = 64  # records read at once


def write(
    path: Path, folders: Sequence[str | os.PathLike], split: str, overwrite: bool = False
) -> int:
    """Writes the split of the prepared sets in `folders`, one after the other, and returns the
    number of records.

    The file is created atomically. FileExistsError if it exists, unless `overwrite`; ValueError for
    images or joints of another shape.
    """
    keys = ("image", "joints_uv", "visible")
    sets = [RecordDataset(folder, split, keys=keys) for folder in folders]
    for records in sets:
        first = records.rows(np.zeros(1, np.int64))
        image, joints = first["image"].shape[1:], first["joints_uv"].shape[1:]
        if (image, joints) != ((SIZE, SIZE, 3), (21, 2)):
            raise ValueError(
                f"{records.folder}: images of {' x '.join(map(str, image))}, {joints[0]} joints; "
                f"expected {SIZE} x {SIZE} x 3 and 21 joints, as in rhd and stb --config sk_320"
            )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists; use another name or --overwrite")
    with (
        atomic_path(path) as temporary,
        tf.io.TFRecordWriter(str(temporary)) as writer,
        tqdm(desc=path.name, total=sum(map(len, sets)), unit="frame") as bar,
    ):
        for records in sets:
            for record in _serialized(records):
                writer.write(record)
                bar.update()
    return sum(map(len, sets))


def _serialized(records: RecordDataset) -> Iterator[bytes]:
    own = np.argsort(ORDERS["rhd"].to_common)  # RHD's joint → common joint
    for start in range(0, len(records), _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, len(records)))
        batch = records.rows(numbers)
        uv_visible = np.concatenate([batch["joints_uv"], batch["visible"][..., None]], axis=-1)
        joints = uv_visible[:, own].astype("<f4")
        for image, points, name in zip(batch["image"], joints, records.names(numbers), strict=True):
            yield _record(image=image.tobytes(), name=name.encode(), joints=points.tobytes())


def _record(**fields: bytes) -> bytes:
    values = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in fields.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()
