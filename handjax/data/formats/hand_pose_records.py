"""Prepared hands → the TFRecord file that hand_pose_tensorflow reads (github.com/jiangxubin/hand_pose, data/data_loader.py).

A record has three byte strings: `image`, 320 x 320 x 3 bytes RGB; `name`; `joints`, 21 x 3 float32, u, v in px and 1 where visible,
in RHD's order. The original takes the files of several sets one behind the other, its RS_320 being RHD and STB_320; and it calls
the middle of STB's palm and RHD's wrist both joint 0.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from handjax.data.records import Records, tf
from handjax.engine.files import atomic_path
from handjax.pose.skeleton import ORDERS

SIZE = 320  # px
_AT_ONCE = 64


def write(
    path: Path, folders: Sequence[str | os.PathLike], split: str, overwrite: bool = False
) -> int:
    """Number of records in the file, which appears under its name when it is whole."""
    sets = [Records(folder, split, keys=("image", "joints_uv", "visible")) for folder in folders]
    for records in sets:
        first = records.rows(np.zeros(1, np.int64))
        found = first["image"].shape[1:], first["joints_uv"].shape[1:]
        if found != ((SIZE, SIZE, 3), (21, 2)):
            wanted = f"{SIZE} x {SIZE} x 3 and 21 joints, as rhd and stb --config sk_320 have"
            raise ValueError(
                f"{records.folder}: pictures of {' x '.join(map(str, found[0]))}, {found[1][0]} joints; expected {wanted}"
            )
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists; give another name or --overwrite")
    own = np.argsort(ORDERS["rhd"].to_common)  # RHD's joint → common joint
    with (
        atomic_path(path) as temporary,
        tf.io.TFRecordWriter(str(temporary)) as writer,
        tqdm(desc=path.name, total=sum(map(len, sets)), unit="frame") as bar,
    ):
        for records in sets:
            for start in range(0, len(records), _AT_ONCE):
                numbers = np.arange(start, min(start + _AT_ONCE, len(records)))
                batch = records.rows(numbers)
                joints = np.concatenate([batch["joints_uv"], batch["visible"][..., None]], axis=-1)[
                    :, own
                ].astype("<f4")
                for image, uv_vis, name in zip(
                    batch["image"], joints, records.names(numbers), strict=True
                ):
                    writer.write(
                        _record(image=image.tobytes(), name=name.encode(), joints=uv_vis.tobytes())
                    )
                bar.update(len(numbers))
    return sum(map(len, sets))


def _record(**fields: bytes) -> bytes:
    values = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in fields.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()
