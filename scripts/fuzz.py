"""Damaged and absurd inputs to every reader and command: python scripts/fuzz.py [--every N]

Each case is a sound file, or none, that is cut, flipped, filled with what it cannot hold, or is a
file of another kind; or a command line that cannot be meant. The right outcome is one line that
names the file or flag. A file that still gives numbers is only right where its format cannot show
the damage; an input that is impossible, such as a hand of 3 mm, must never give any.

Everything runs in this process, with a time limit per case. Prints counts by outcome and area, and
every case whose outcome is wrong, and ends with 1 if there is any.
"""

import argparse
import contextlib
import importlib
import io
import json
import logging
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import h5py
import numpy as np
import scipy.io
from etils import epath

LIMIT_SECONDS = 180
LIMIT_BYTES = 2 << 30
GOOD = ("refused by name", "read as if sound", "read, other values")
BAD = (
    *("traceback", "file not named", "several lines", "hang", "memory", "code run"),
    *("not finite", "impossible, but read"),
)


class Case(NamedTuple):
    """`run(folder)` prepares and reads; `names` are words of which the error must have one. `sound`
    is what the undamaged file gives."""

    area: str
    name: str
    run: Callable[[Path], Any]
    names: tuple[str, ...]
    sound: Any = None
    impossible: bool = False


class _Hang(BaseException):
    pass


# ---------------------------------------------------------------- damage


def damaged(data: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Ways in which any file is damaged, and files of other kinds under its name."""
    size = len(data)
    for share in (0.05, 0.4, 0.8, 0.98):
        yield f"cut to {share:.0%}", data[: int(share * size)]
    for count in (1, 4, 40):
        flipped = bytearray(data)
        for _ in range(count):
            flipped[rng.randrange(size)] ^= 1 << rng.randrange(8)
        yield f"{count} bits flipped", bytes(flipped)
    start = bytearray(data)
    for i in range(min(16, size)):
        start[i] = rng.randrange(256)
    yield "another beginning", bytes(start)
    at = rng.randrange(size)
    yield "zeros in the middle", data[:at] + bytes(size - at)
    yield "a part twice", data[:at] + data[at // 2 :]
    yield from FOREIGN.items()


def _npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


class _Runs:
    """Pickles to a call that leaves a mark."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("code-run",))


def _hostile_npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, vertices=np.array([_Runs()], dtype=object))
    return stream.getvalue()


def _bomb_npz() -> bytes:
    """Claims 3 GiB."""
    data = bytearray(_npz(depth=np.zeros((2, 2)), joints_xyz=np.zeros(3), vertices=np.zeros(3)))
    at = data.index(b"PK\x01\x02")
    while at >= 0:
        data[at + 24 : at + 28] = (3 << 30).to_bytes(4, "little")
        at = data.find(b"PK\x01\x02", at + 4)
    return bytes(data)


def _bomb_png() -> bytes:
    data = bytearray(cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes())
    data[16:24] = (1 << 17).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


FOREIGN = {
    "an empty file": b"",
    "zeros": bytes(3000),
    "noise": random.Random(7).randbytes(3000),
    "a video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(3000),
    "a web page": b"<!DOCTYPE html><html><body>Please sign in</body></html>",
    "a pickle that runs code": pickle.dumps(_Runs()),
    "an old pickle that runs code": pickle.dumps({"hands": [_Runs()]}, protocol=0),
    "an .npz that runs code": _hostile_npz(),
    "an .npz that unpacks to 3 GiB": _bomb_npz(),
    "a PNG that claims 131072 x 131072": _bomb_png(),
    "JSON 100,000 levels deep": b"[" * 100_000,
    "UTF-16 text": "name 1 2 3\n".encode("utf-16"),
    "an empty JSON object": b"{}",
}
# Texts in place of one number.
WORDS = ("nan", "inf", "-inf", "1e400", "1e30", "", "x", "0x10", "1_0", "١٢", "--", "\0", "1,5")


def damaged_text(text: str, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """What happens to lines of numbers."""
    lines = text.splitlines()
    for word in WORDS:
        row = rng.randrange(len(lines))
        words = lines[row].split(" ") if " " in lines[row] else lines[row].split("\t")
        words[rng.randrange(1, len(words)) if len(words) > 1 else 0] = word
        mark = " " if " " in lines[row] else "\t"
        yield (
            f"{word!r} for a number",
            "\n".join([*lines[:row], mark.join(words), *lines[row + 1 :]]).encode(),
        )
    yield "a blank line", "\n".join([lines[0], "", *lines[1:]]).encode()
    yield "half a line", "\n".join([*lines, lines[-1][: len(lines[-1]) // 2]]).encode()
    yield "one column more", "\n".join(f"{line} 1" for line in lines).encode()
    yield "a line of a megabyte", (text + "9 " * 500_000).encode()


def damaged_json(content: Any, rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """One value of the tree in turn becomes another, or is gone."""
    places = list(_places(content))
    odd = (None, "x", -1, 1e300, True, [], {}, [[1]], float("nan"), 2**70, "../../etc/passwd")
    for _ in range(count):
        *path, last = rng.choice(places)
        copy = json.loads(json.dumps(content))
        node = copy
        for key in path:
            node = node[key]
        where = ".".join(map(str, (*path, last)))
        if rng.random() < 0.2:
            del node[last]
            yield f"without {where}", json.dumps(copy).encode()
        else:
            node[last] = rng.choice(odd)
            yield f"{where} is {node[last]!r:.20}", json.dumps(copy).encode()


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list):
        items = list(enumerate(node))[:6]
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


# ---------------------------------------------------------------- cases


def files(
    area: str,
    name: str,
    data: bytes,
    read: Callable[[Path], Any],
    rng: random.Random,
    more: Iterable[tuple[str, bytes]] = (),
) -> Iterator[Case]:
    """One case per damage of the file `name`, which `read` reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        sound = numbers(read(path))

    def case(what: str, content: bytes) -> Case:
        def run(folder: Path) -> Any:
            path = folder / name
            path.write_bytes(content)
            return read(path)

        # What is wrong with a value of a config names its key, as on the command line.
        names = (name, "config.") if name == "config.json" else (name,)
        return Case(area, f"{name}: {what}", run, names, sound)

    for what, content in (*damaged(data, rng), *more):
        yield case(what, content)


def numbers(value: Any) -> Any:
    """A value as plain lists, to compare it."""
    if isinstance(value, dict):
        return {str(key): numbers(item) for key, item in value.items()}
    if isinstance(value, io.BytesIO):
        return value.getvalue()
    if hasattr(value, "__dataclass_fields__"):
        return {key: numbers(getattr(value, key)) for key in value.__dataclass_fields__}
    if isinstance(value, list | tuple):
        return [numbers(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).tolist()
    return value


def not_finite(value: Any) -> bool:
    """Whether any number in it is NaN or infinite."""
    if isinstance(value, dict):
        return any(map(not_finite, value.values()))
    if isinstance(value, list):
        return any(map(not_finite, value))
    return isinstance(value, float) and not np.isfinite(value)


def _picture() -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    return cv2.resize(small, (48, 40), interpolation=cv2.INTER_CUBIC)


def pictures(rng: random.Random) -> Iterator[Case]:
    from handjax.data.formats.image import read_image

    for ending in (".png", ".jpg", ".webp", ".bmp", ".tiff", ".ppm"):
        data = cv2.imencode(ending, _picture())[1].tobytes()
        yield from files("pictures", f"a{ending}", data, lambda p: read_image(p)[1], rng)


def depth(rng: random.Random) -> Iterator[Case]:
    from handjax.data.formats.depth import read_depth

    frame = np.full((24, 32), 700, np.uint16)
    frame[5:15, 8:20] = np.arange(120).reshape(10, 12) + 600
    packed = np.stack([frame & 255, frame >> 8, frame * 0], -1).astype(np.uint8)
    npy = io.BytesIO()
    np.save(npy, frame)
    sound = {
        "d.png": cv2.imencode(".png", frame)[1].tobytes(),
        "nyu.png": cv2.imencode(".png", packed)[1].tobytes(),
        "d.tif": cv2.imencode(".tiff", frame)[1].tobytes(),
        "f.tif": cv2.imencode(".tiff", frame.astype(np.float32))[1].tobytes(),
        "d.pgm": b"P5\n32 24\n65535\n" + frame.astype(">u2").tobytes(),
        "d.pfm": b"Pf\n32 24\n-1.0\n" + frame.astype("<f4").tobytes(),
        "d.npy": npy.getvalue(),
        "d.npz": _npz(depth=frame),
    }
    for name, data in sound.items():
        form = "nyu" if "nyu" in name else "png16"
        yield from files("depth", name, data, lambda p, f=form: read_depth(p, form=f), rng)


def labels(rng: random.Random) -> Iterator[Case]:
    from handjax.data.formats import hand_labels, label_text, uvd_text
    from handjax.data.formats.keypoint_text import read_keypoint_rows
    from handjax.pose.skeleton import SKELETONS
    from handjax.prediction.boxes import read_boxes

    points = [[round(20.5 + 3 * j, 1), round(90.25 - 2 * j, 2), 1] for j in range(21)]
    hand = {"img_name": "a.jpg", "hand_pts": points}
    many = [hand, {**hand, "img_name": "b.jpg"}]
    for name, content in (("hand.json", hand), ("hands.json", many)):
        yield from files(
            "labels",
            name,
            json.dumps(content).encode(),
            lambda p: hand_labels.read_hands(p, "rhd")[1],
            rng,
            damaged_json(content, rng, 25),
        )
    flat = " ".join(f"{value:g}" for point in points for value in point)
    listed = f"a.jpg {flat}\nb.jpg {flat}\n"
    xyz = " ".join(f"{10 * j - 80}.5 {5 * j - 40} {700 + j}" for j in range(14))
    joints = f"0.png\t{xyz}\n1.png\t{xyz}\n".replace(" ", "\t")
    uvd = f"{' '.join(f'{300 + j} {240 - j} {700 + j}' for j in range(14))}\n" * 2
    texts: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "list.txt": (listed, lambda p: hand_labels.read_hands(p, "rhd")[1]),
        "keypoints.txt": (
            listed,
            lambda p: [(row.name, row.points()) for row in read_keypoint_rows(p)],
        ),
        "joints.txt": (joints, lambda p: label_text.read_joints(p, y_up=True)),
        "centers.txt": (
            "1.5 2 700\ninvalid\n3 4 650\n",
            lambda p: label_text.read_centers(p, y_up=True),
        ),
        "uvd.txt": (uvd, lambda p: uvd_text.read_uvd(p, "nyu")),
    }
    for name, (text, read) in texts.items():
        yield from files("labels", name, text.encode(), read, rng, damaged_text(text, rng))
    boxes = {"a.jpg": [10, 20, 50.5], "b.jpg": [[1, 2, 30], [4, 5, 60]]}

    def read_squares(path: Path) -> Any:
        from handjax.engine import config as configs

        skeleton = SKELETONS["hand21"]
        found = read_boxes(str(path), "rhd", configs.load("cpm:quick"), skeleton)
        return found("a.jpg", (100, 100))

    content = json.dumps(boxes).encode()
    yield from files(
        "labels", "boxes.json", content, read_squares, rng, damaged_json(boxes, rng, 15)
    )


def frames(rng: random.Random) -> Iterator[Case]:
    """Labelled depth frames, and labels that their depth contradicts."""
    from handjax.data.formats.labelled_frames import read_frames
    from handjax.data.frame_checks import check_labels

    depth = np.zeros((240, 320), np.uint16)
    depth[80:180, 110:210] = 600
    xyz = [[-60 + 6 * j, -40 + 30 * (j % 3), 610] for j in range(21)]
    uv = [[150 + 240 * x / z, 121 + 240 * y / z] for x, y, z in xyz]
    content = {
        **{"k": [240, 240, 158, 121], "unit_mm": 1.0, "hand": "right", "order": "hand21"},
        "kind": "joints",
        "frames": {"a.png": {"xyz_mm": xyz, "center": xyz[10], "box": [100, 70, 130, 130]}},
    }

    def read(path: Path) -> Any:
        cv2.imwrite(str(path.with_name("a.png")), depth)
        found = read_frames(path)
        (frame,) = found.frames
        known = frame.labelled
        return frame.xyz[known], known, frame.k, found.unit_mm, check_labels(found).median_mm

    data = json.dumps(content).encode()
    more = damaged_json(content, rng, 60)
    yield from files("labelled frames", "frames.json", data, read, rng, more)
    (labels,) = content["frames"].values()
    absurd = {
        "metres": {"xyz_mm": np.multiply(xyz, 1e-3).tolist()},
        "mirrored": {"xyz_mm": np.multiply(xyz, [-5, 1, 1]).tolist()},
        "far away": {"xyz_mm": np.add(xyz, [0, 0, 900]).tolist()},
        "all in one place": {"xyz_mm": [xyz[0]] * 21},
        "NaN": {"xyz_mm": [[float("nan")] * 3] * 21},
        "fractions": {"uv": np.divide(uv, [320, 240]).tolist()},
        "another camera": {"k": [0.75, 1.0, 0.5, 0.5]},
        "a box in fractions": {"box": [0.3, 0.3, 0.4, 0.4]},
    }
    for what, change in absurd.items():
        entry = {"frames": {"a.png": {**labels, **change}}}

        def run(folder: Path, entry: dict = entry) -> Any:
            path = folder / "frames.json"
            path.write_text(json.dumps({**content, **entry}))
            return read(path)

        yield Case("labelled frames", what, run, ("frames.json",), impossible=True)


def predictions(rng: random.Random) -> Iterator[Case]:
    from handjax.data.formats import predictions_npz as npz

    g = np.random.default_rng(0)
    ids, names = np.array(["a", "b"]), np.array([f"j{i}" for i in range(5)])
    body = {
        "joints_xyz": g.normal(size=(2, 18, 3)),
        "joints_uv": g.normal(size=(2, 18, 2)),
        "truth": g.normal(size=(2, 18, 3)),
        "truth_uv": g.normal(size=(2, 18, 2)),
        "has_xyz": np.ones(2, bool),
        "has_uv": np.ones(2, bool),
        "labelled": np.ones((2, 18), bool),
    }
    sound = {
        "p3d.npz": (
            {"ids": ids, "joints_xyz": g.normal(size=(2, 14, 3))},
            npz.read_predictions3d,
        ),
        "p2d.npz": (
            {"ids": ids, "joints": names, "joints_uv": g.normal(size=(2, 5, 2))},
            npz.read_predictions2d,
        ),
        "body.npz": ({"ids": ids, **body}, npz.read_body_predictions),
    }
    for name, (arrays, read) in sound.items():
        odd = [
            (f"{key} {what}", _npz(**{**arrays, key: value}))
            for key in arrays
            for what, value in (
                ("is text", np.array(["x"])),
                ("is a scalar", np.array(1.0)),
                ("is NaN", np.full_like(arrays[key], np.nan, dtype=float)),
                ("is complex", np.ones(np.shape(arrays[key]), complex)),
            )
        ]
        yield from files("predictions", name, _npz(**arrays), read, rng, odd)


def meshes_and_weights(rng: random.Random) -> Iterator[Case]:
    from handjax.data.formats import mesh
    from handjax.engine import weights
    from handjax.fitting import sphere_network

    corners = np.array([[0, 0, 0], [90, 0, 0], [0, 90, 0], [0, 0, 90]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    obj = "".join(f"v {x} {y} {z}\n" for x, y, z in corners)
    obj += "".join(f"f {a + 1} {b + 1} {c + 1}\n" for a, b, c in faces)

    def read(path: Path) -> Any:
        return mesh.read_skin(path, bones=17)._asdict()

    odd = [
        (what, _npz(**{"vertices": corners, "faces": faces, **change}))
        for what, change in {
            "faces that name no vertex": {"faces": faces + 9},
            "faces below 0": {"faces": faces - 1},
            "NaN": {"vertices": corners * np.nan},
            "weights that do not sum to 1": {"weights": np.ones((4, 17))},
            "weights of other bones": {"weights": np.ones((4, 3)) / 3},
            "faces of fractions": {"faces": faces.astype(float)},
            "a flat mesh": {"vertices": corners * 0},
        }.items()
    ]
    yield from files("meshes", "m.npz", _npz(vertices=corners, faces=faces), read, rng, odd)
    yield from files("meshes", "m.obj", obj.encode(), read, rng, damaged_text(obj, rng))
    bones = [
        {"name": name, "weight_vertexid": [0, 1, 2, 3], "weight_coeff": [1 / 17] * 4}
        for name in mesh.PICKLE_BONES
    ]
    tree = {
        "vertices": np.c_[corners, np.ones(4)].tolist(),
        "faces": faces[:, [1, 0, 2]].tolist(),
        "bones": bones,
    }
    yield from files("meshes", "m.pkl", pickle.dumps(tree, 2), read, rng)

    arrays = {"params/a/kernel": np.ones((3, 4), np.float32), "params/a/bias": np.zeros(4)}
    yield from files("weights", "w.npz", _npz(**arrays), weights.load, rng)
    with tempfile.TemporaryDirectory() as folder:
        for what, content in (
            ("of another network", _npz(**arrays)),
            ("of NaN", _npz(**{"params/a/kernel": np.full((3, 4), np.nan)})),
        ):

            def load(folder: Path, content: bytes = content) -> Any:
                (folder / "net.npz").write_bytes(content)
                return sphere_network.load(folder / "net.npz")

            yield Case("weights", f"net.npz: {what}", load, ("net.npz",), impossible=True)
        del folder


def voxels(rng: random.Random) -> Iterator[Case]:
    from handjax.data.formats.voxel_h5 import VoxelH5
    from handjax.data.formats.voxel_h5_writer import write_voxel_h5

    g = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.h5"
        center, cube = np.float32([0, 0, 700]), np.full(3, 300, np.float32)
        joints = (center[None] + g.uniform(-70, 70, (3, 14, 3))).astype(np.float32)
        rows = ((g.random((16,) * 3) < 0.05, joints[n], center, cube, f"f{n}") for n in range(3))
        write_voxel_h5(path, rows)
        data = path.read_bytes()

    def read(path: Path) -> Any:
        file = VoxelH5(path)
        try:
            return file.rows(np.arange(len(file)))
        finally:
            file.close()

    yield from files("voxels", "v.h5", data, read, rng)

    def changed(key: str, what: str, change: Callable[[Any], Any], impossible: bool) -> Case:
        def run(folder: Path) -> Any:
            path = folder / "v.h5"
            path.write_bytes(data)
            with h5py.File(path, "r+") as file:
                value = change(file[key][()])
                del file[key]
                if value is not None:
                    file[key] = value
            return read(path)

        return Case("voxels", f"v.h5: {key} {what}", run, ("v.h5",), impossible=impossible)

    changes: tuple[tuple[str, str, Callable[[Any], Any], bool], ...] = (
        ("cube", "in metres", lambda v: v / 1000, True),
        ("cube", "of 0", lambda v: v * 0, True),
        ("cube", "below 0", lambda v: -v, True),
        ("cube", "of a kilometre", lambda v: v * 1e4, True),
        ("cube", "NaN", lambda v: v * np.nan, True),
        ("cube", "of text", lambda v: np.array([b"x"] * len(v)), True),
        ("cube", "without a row", lambda v: v[1:], True),
        ("labels", "NaN", lambda v: v * np.nan, True),
        ("labels", "in mm", lambda v: v * 150, True),
        ("labels", "of 1e30", lambda v: v + 1e30, True),
        ("labels", "all in one place", lambda v: v * 0, True),
        ("labels", "without an axis", lambda v: v[..., :2], True),
        ("labels", "gone", lambda v: None, True),
        ("labels", "complex", lambda v: v.astype(complex), True),
        ("real_voxels/1", "of bytes", lambda v: np.array([np.void(b"hello")]), True),
        ("real_voxels/1", "gone", lambda v: None, True),
        ("real_voxels/0", "a number", lambda v: np.array([1.0]), True),
    )
    yield from (changed(*change) for change in changes)


def raw_sets(rng: random.Random) -> Iterator[Case]:
    """The label files of data sets, through the sets' own readers."""
    from handjax.data.sets.human36m import annotation
    from handjax.data.sets.human36m import fake as h36m
    from handjax.data.sets.nyu_hand import raw as nyu

    g = np.random.default_rng(0)
    camera = annotation.LensCamera(
        *(250, 250, np.eye(3), np.array([0, 0, -4000.0])),
        np.array([[286.0, 0, 125], [0, 286, 125], [0, 0, 1]]),
        np.zeros(5),
    )
    text = h36m.meta_text(camera, g.uniform(-500, 500, (2, 32, 3)))

    def read_meta(path: Path) -> Any:
        camera, lines = annotation.read_annotation(epath.Path(path))
        return [
            annotation.world_joints(epath.Path(path), annotation.HEAD_LINES + i, line)
            for i, line in enumerate(lines, 1)
        ]

    yield from files(
        "sets", "matlab_meta.txt", text.encode(), read_meta, rng, damaged_text(text, rng)
    )
    xyz = np.concatenate([g.uniform(-80, 80, (3, 2, 36, 2)), np.full((3, 2, 36, 1), 700.0)], -1)
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"joint_xyz": xyz, "joint_uvd": xyz + 200}, do_compression=True)
    read_mat = lambda p: nyu._joints(epath.Path(p), (1,))[0]  # noqa: E731
    odd = []
    for what, change in {
        "NaN": xyz * np.nan,
        "other shape": xyz[..., :2],
        "text": np.array(["x"]),
        "behind the camera": -xyz,
    }.items():
        other = io.BytesIO()
        scipy.io.savemat(other, {"joint_xyz": change, "joint_uvd": xyz})
        odd.append((what, other.getvalue()))
    yield from files("sets", "joint_data.mat", stream.getvalue(), read_mat, rng, odd)

    # Set → the files that are damaged, below its folder, and how often a JSON tree is.
    trees = {
        "panoptic_hand": ("train", None, (".json",)),
        "mpii": ("validation", None, ("valid.json", "gt_valid.mat")),
        "coco_person": ("validation", None, (".json",)),
        "keypoint_list": ("train", "rhd", ("train.txt",)),
        "landmarks": ("train", None, (".json",)),
        "rhd": ("test", None, (".pickle",)),
        "stb": ("test", "sk_320", (".mat",)),
        "msra_hand": ("P0", None, ("joint.txt", ".bin")),
        "icvl": ("test", None, ("test_seq_1.txt", ".png")),
        "human36m_challenge": ("train", None, (".csv",)),
        "freihand": ("test", None, ("_K.json", "_xyz.json")),
        "hands2017": ("train", None, ("Annotation.txt", "1.png")),
        "bighand": ("Subject_1", None, ("_v2.txt", "0.png")),
        "itop": ("test", "side", ("labels.h5", "map.h5")),
        "ho3d": ("test", "v3", ("_xyz.json", "evaluation.txt", ".pkl")),
        "mpi_inf_3dhp": ("test", "sample10", ("annot_data.mat",)),
        "interhand": ("train", None, ("_data.json", "_camera.json", "_joint_3d.json")),
        "dexycb": ("validation", "s0", ("meta.yml", ".npz", "125_640x480.yml")),
    }
    for name, (split, config, endings) in trees.items():
        yield from _tree(name, split, config, endings, rng)


def _tree(
    name: str, split: str, config: str | None, endings: Sequence[str], rng: random.Random
) -> Iterator[Case]:
    raw = importlib.import_module(f"handjax.data.sets.{name}.raw")
    fake = importlib.import_module(f"handjax.data.sets.{name}.fake")
    root = Path(tempfile.mkdtemp(prefix=f"handjax-fuzz-{name}-"))
    fake.write(root, 1, 0, **({"config": config} if name == "keypoint_list" else {}))

    def read() -> Any:
        from handjax.data.preparation import plausibility, validate

        # As `prepare --check` does, and one sample more than is needed.
        figure, findings = plausibility.figure_of(name), validate.Findings()
        lazy = list(raw.samples(epath.Path(root), split, config).lazy)[:3]
        samples = list(validate.examined(validate.readable(lazy, findings), findings, figure))
        if findings.unreadable:
            raise ValueError(next(iter(findings.unreadable)))
        if wrong := plausibility.refusal(findings):
            raise ValueError(f"{root.name}: {wrong}")
        found = {k: v for k, v in findings.counts.items() if k in validate.FAULTS and v}
        return [numbers(sample) for _, sample in samples], found

    _REMOVE.append(root)
    lazy = list(raw.samples(epath.Path(root), split, config).lazy)[:1]
    sound = None if not lazy else numbers(read())
    for ending in endings:
        split_of = {"rhd": "evaluation", "human36m_challenge": "Train", "freihand": "evaluation"}
        split_of |= {
            "bighand": "Subject_1",
            "hands2017": "training",
            "itop": "side_test",
            "ho3d": "evaluation",
        }
        split_of |= {"interhand": "train", "mpi_inf_3dhp": "TS1", "landmarks": "train.json"}
        split_of |= {"dexycb": "836212060125_" if "640" in ending else "_140019"}
        found = [p for p in sorted(root.rglob(f"*{ending}")) if split_of.get(name, "") in str(p)]
        path = next((p for p in found if "P0" in str(p) or name != "msra_hand"), found[0])
        path = next((p for p in found if "val2017" in p.name), path)
        path = next((p for p in found if "B1Counting" in p.name and "SK" in p.name), path)
        path = next((p for p in found if "manual_train" in str(p)), path)
        content = path.read_bytes()
        ways = [*damaged(content, rng)]
        if ending.endswith("json"):
            ways += damaged_json(json.loads(content), rng, 25)
        elif ending.endswith((".txt", ".csv")):
            ways += damaged_text(content.decode(), rng)
        for what, other in ways:

            def run(
                folder: Path, path: Path = path, other: bytes = other, content: bytes = content
            ) -> Any:
                path.write_bytes(other)
                try:
                    return read()
                finally:
                    path.write_bytes(content)

            yield Case("sets", f"{name}, {path.name}: {what}", run, (path.name, root.name), sound)


_REMOVE: list[Path] = []  # folders of fake sets


def runs(rng: random.Random) -> Iterator[Case]:
    """config.json, checkpoints, metrics.jsonl and left_out.json of a run or a prepared set."""
    from handjax import run
    from handjax.data import left_out
    from handjax.engine import config as configs
    from handjax.engine.files import read_jsonl

    def in_folder(name: str, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        return lambda path: read(path.parent)

    text = configs.to_json(configs.load("v2v:quick"))
    tree = json.loads(text)

    def read_config(folder: Path) -> Any:
        return run.open_run(folder).config.to_dict()

    yield from files(
        "runs",
        "config.json",
        text.encode(),
        in_folder("config.json", read_config),
        rng,
        damaged_json(tree, rng, 15),
    )
    lines = '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'
    yield from files("runs", "metrics.jsonl", lines.encode(), read_jsonl, rng)
    left = {"train": {"unreadable": {"a": "cut"}, "holes": {}}}
    yield from files(
        "runs",
        "left_out.json",
        json.dumps(left).encode(),
        in_folder("left_out.json", lambda folder: left_out.told(folder, "train")),
        rng,
        damaged_json(left, rng, 10),
    )
    yield from checkpoints(rng)


def checkpoints(rng: random.Random) -> Iterator[Case]:
    """Each file of a checkpoint, damaged."""
    import shutil

    import jax
    import optax
    from flax import linen as nn

    from handjax.engine.checkpoint import Checkpoints
    from handjax.engine.step import TrainState

    net, tx = nn.Dense(3), optax.sgd(0.1)
    params = net.init(jax.random.key(0), np.zeros((1, 4), np.float32))["params"]
    state = TrainState(step=np.int32(1), params=params, model_state={}, opt_state=tx.init(params))
    state = jax.device_put(state)
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    root = Path(tempfile.mkdtemp(prefix="handjax-fuzz-run-"))
    _REMOVE.append(root)
    keeper = Checkpoints(root / "checkpoints")
    keeper.save(state, 1.0)
    keeper.close()
    sound = numbers(jax.device_get(params))
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        content, name = file.read_bytes(), file.relative_to(root)
        if not content:
            continue
        for what, other in [*damaged(content, rng)][:12]:

            def run(folder: Path, name: Path = name, other: bytes = other) -> Any:
                copy = shutil.copytree(root, folder / "run")
                (copy / name).write_bytes(other)
                found = Checkpoints(copy / "checkpoints", read_only=True)
                try:
                    steps = found.steps()
                    if steps != [1]:
                        raise ValueError(f"{copy / 'checkpoints'}: no checkpoint there")
                    found.best()
                    return jax.device_get(found.restore(1, target).params)
                finally:
                    found.close()

            yield Case("checkpoints", f"{name}: {what}", run, ("checkpoints",), sound)


def prepared(rng: random.Random) -> Iterator[Case]:
    """The files of a prepared set."""
    import shutil

    from handjax.data.records import RecordDataset
    from handjax.prepare import main

    raw, out = (Path(tempfile.mkdtemp(prefix="handjax-fuzz-")) for _ in range(2))
    _REMOVE.extend((raw, out))
    importlib.import_module("handjax.data.sets.keypoint_list.fake").write(raw, 3, 0, config="rhd")
    argv = ["keypoint_list", f"--manual_dir={raw}", f"--data_dir={out}", "--config=rhd"]
    main([*argv, "--workers=1", "--split=train"])
    folder = out / "keypoint_list" / "rhd" / "1.0.0"

    def read(folder: Path) -> Any:
        records = RecordDataset(folder, "train", keys=("joints_uv", "visible"))
        rows = records.rows(np.arange(len(records)))
        return numbers({**rows, "names": records.names(np.arange(len(records)))})

    sound = read(folder)
    for pattern in ("*.tfrecord-*", "dataset_info.json", "features.json"):
        (file,) = folder.glob(pattern)
        content = file.read_bytes()
        ways = [*damaged(content, rng)]
        if file.suffix == ".json":
            ways += damaged_json(json.loads(content), rng, 10)
        for what, other in ways:

            def run(into: Path, file: Path = file, other: bytes = other) -> Any:
                copy = shutil.copytree(folder, into / "set")
                (copy / file.name).write_bytes(other)
                return read(copy)

            yield Case("prepared sets", f"{file.name}: {what}", run, ("set",), sound)


# Command lines that cannot be meant → a word of the error.
COMMANDS: tuple[tuple[str, str], ...] = (
    ("train", "--config"),
    ("train --config none --workdir W", "none"),
    ("train --config v2v:fast --workdir W", "fast"),
    ("train --config v2v --workdir W --config.steps=0", "steps"),
    ("train --config v2v:quick --workdir W --config.steps=-1", "steps"),
    ("train --config v2v:quick --workdir W --config.steps=1e99", "steps"),
    ("train --config v2v:quick --workdir W --config.steps=nan", "steps"),
    ("train --config v2v:quick --workdir W --config.steps", "steps"),
    ("train --config v2v:quick --workdir W --config.batch_size=0", "batch_size"),
    ("train --config v2v:quick --workdir W --config.batch_size=-8", "batch_size"),
    ("train --config v2v:quick --workdir W --config.eval_batch_size=0", "eval_batch_size"),
    ("train --config v2v:quick --workdir W --config.seed=-1", "seed"),
    ("train --config v2v:quick --workdir W --config.devices=1000", "devices"),
    ("train --config v2v:quick --workdir W --config.optimizer.lr=nan", "lr"),
    ("train --config v2v:quick --workdir W --config.optimizer.lr=-1.0", "lr"),
    ("train --config v2v:quick --workdir W --config.optimizer.lr=inf", "lr"),
    ("train --config v2v:quick --workdir W --config.optimizer.name=sgdd", "name"),
    ("train --config v2v:quick --workdir W --config.data.cube_mm=0.0", "cube_mm"),
    ("train --config v2v:quick --workdir W --config.data.cube_mm=-300.0", "cube_mm"),
    ("train --config v2v:quick --workdir W --config.data.cube_mm=nan", "cube_mm"),
    ("train --config v2v:quick --workdir W --config.data.cube_mm=0.3", "cube_mm"),
    ("train --config v2v:quick --workdir W --config.data.image_size=0", "image_size"),
    ("train --config v2v:quick --workdir W --config.data.name=mars", "mars"),
    ("train --config v2v:quick --workdir W --config.task.grid=0", "grid"),
    ("train --config v2v:quick --workdir W --config.task.grid=-8", "grid"),
    ("train --config v2v:quick --workdir W --config.task.sigma=0.0", "sigma"),
    ("train --config v2v:quick --workdir W --config.task.sigma=nan", "sigma"),
    ("train --config v2v:quick --workdir W --config.model.widths=()", "widths"),
    ("train --config v2v:quick --workdir W --config.model.widths=(0,0,0,0)", "widths"),
    ("train --config v2v:quick --workdir W --config.model.widths=(-2,4,4,4)", "widths"),
    ("train --config v2v:quick --workdir W --config.model.widths=7", "widths"),
    ("train --config v2v:quick --workdir W --config.init=nowhere", "nowhere"),
    ("train --config v2v:h5 --workdir W --config.data.path=nowhere.h5", "nowhere.h5"),
    ("train --config v2v:h5 --workdir W --config.data.path=/", "/"),
    ("train --config v2v:nyu --workdir W --config.data.path=nowhere", "nowhere"),
    ("train --config cpm:quick --workdir W --config.task.sigma=-1.0", "sigma"),
    ("train --config body:quick --workdir W --config.optimizer.lr=nan", "lr"),
    ("train --config v2v --workdir /proc/self/mem", "/proc/self/mem"),
    ("train --config v2v:quick --workdir W --num_processes 2", "--coordinator"),
    ("train --config v2v:quick --workdir W --coordinator x --num_processes 2 --process_id 0", "x"),
    ("train --config / --workdir W", "/"),
    ("train --config v2v --workdir W --bogus", "--bogus"),
    ("evaluate", "--workdir"),
    ("evaluate --workdir nowhere", "nowhere"),
    ("evaluate --workdir W --predictions none.txt --groundtruth none.txt --dataset nyu", "none"),
    ("evaluate --workdir W --predictions / --groundtruth / --dataset nyu", "/"),
    ("evaluate --workdir W --predictions a --groundtruth b --dataset mars", "mars"),
    ("evaluate --workdir W --predictions /dev/null --groundtruth /dev/null --dataset nyu", "null"),
    ("evaluate --workdir W --predictions none.npz", "none.npz"),
    ("evaluate --workdir nowhere --checkpoint -1", "nowhere"),
    ("evaluate --output W --predictions none.npz --groundtruth true.npz", "none.npz"),
    ("evaluate --output W --predictions W --groundtruth D", "W"),
    ("bench real nowhere --output O", "nowhere"),
    ("bench real D --output O", "D"),
    ("bench real D --output O --give mars", "D"),
    ("bench voxels none.h5 --camera nyu --output O", "none.h5"),
    ("bench voxels none.h5 --camera nyu --size 0,0 --output O", "--size"),
    ("bench voxels D --camera nyu --output O", "D"),
    ("predict bogus", "bogus"),
    ("predict images", "INPUT"),
    ("predict images nowhere --workdir nowhere", "nowhere"),
    ("predict depth nowhere --camera nyu --output O", "nowhere"),
    ("predict depth W --camera nyu --output O", "W"),
    ("predict depth D --camera 1,2,3 --output O", "1,2,3"),
    ("predict depth D --camera 0,0,0,0 --output O", "0,0,0,0"),
    ("predict depth D --camera nan,nan,nan,nan --output O", "nan"),
    ("predict depth D --camera inf,588,320,240 --output O", "inf"),
    ("predict depth D --start rest --camera 0.4966,0.5085,0.4788,0.6384 --output O", "0.4966"),
    ("predict depth D --camera 588,588,1e9,240 --output O", "1e9"),
    ("predict depth D --camera mars --output O", "mars"),
    ("predict depth D --camera nyu --unit 0 --output O", "--unit"),
    ("predict depth D --camera nyu --unit nan --output O", "--unit"),
    ("predict depth D --camera nyu --unit -1 --output O", "--unit"),
    ("predict depth D --camera nyu --unit x --output O", "--unit"),
    ("predict depth D --camera nyu --range 5 --output O", "--range"),
    ("predict depth D --camera nyu --range 900,100 --output O", "--range"),
    ("predict depth D --camera nyu --range nan,nan --output O", "--range"),
    ("predict depth D --camera nyu --refine -3 --output O", "--refine"),
    ("predict depth D --camera nyu --refine 0 --start rest --output O", "--refine"),
    ("predict depth D --camera nyu --workdir nowhere --output O", "nowhere"),
    ("predict depth D --camera nyu --weights nowhere.npz --output O", "nowhere.npz"),
    ("predict depth D --camera nyu --side both --output O", "both"),
    ("prepare", "NAME"),
    ("prepare mars", "mars"),
    ("prepare nyu_hand", "--manual_dir"),
    ("prepare nyu_hand --manual_dir nowhere", "nowhere"),
    ("prepare nyu_hand --manual_dir W", "W"),
    ("prepare nyu_hand --manual_dir W --workers 0", "--workers"),
    ("prepare nyu_hand --manual_dir W --shard_mb nan", "--shard_mb"),
    ("prepare nyu_hand --manual_dir W --shard_mb -1", "--shard_mb"),
    ("prepare nyu_hand --manual_dir W --split val", "val"),
    ("prepare nyu_hand --manual_dir W --config mars", "mars"),
    ("prepare stb --manual_dir /dev/null", "/dev/null"),
    ("prepare voxel_h5 --depth_dir D --labels n --centers n --camera nyu --output o.h5", "n"),
    ("prepare voxel_h5 --depth_dir D --labels n --centers n --camera 1 --output o.h5", "1"),
    (
        "prepare voxel_h5 --depth_dir D --labels n --centers n --camera nyu --output o --cube 0",
        "cube",
    ),
    (
        "prepare voxel_h5 --depth_dir D --labels n --centers n --camera nyu --output o --size 7",
        "size",
    ),
    ("prepare tfrecord --set nowhere --split train --output o.tfrecords", "nowhere"),
)


def commands(rng: random.Random) -> Iterator[Case]:
    del rng
    for line, word in COMMANDS:

        def run(folder: Path, line: str = line) -> Any:
            (folder / "W").mkdir()
            (folder / "D").mkdir()
            frame = np.full((480, 640), 900, np.uint16)
            frame[200:300, 280:380] = 600
            cv2.imwrite(str(folder / "D" / "a.png"), frame)
            name, *argv = line.split()
            with contextlib.redirect_stdout(io.StringIO()):
                importlib.import_module(f"handjax.{name}").main(argv)

        yield Case("commands", line, run, (word,), impossible=True)


AREAS: dict[str, Callable[[random.Random], Iterator[Case]]] = {
    "pictures": pictures,
    "depth": depth,
    "labels": labels,
    "frames": frames,
    "predictions": predictions,
    "meshes": meshes_and_weights,
    "voxels": voxels,
    "sets": raw_sets,
    "runs": runs,
    "prepared": prepared,
    "commands": commands,
}


# ---------------------------------------------------------------- running


def outcome(case: Case) -> tuple[str, str]:
    """What happens (GOOD or BAD), and the line or the traceback."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        signal.alarm(LIMIT_SECONDS)
        try:
            said = io.StringIO()
            with contextlib.redirect_stderr(said), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result, text = _judged(case, Path(folder))
        except _Hang:
            result, text = "hang", f"more than {LIMIT_SECONDS} s"
        finally:
            signal.alarm(0)
            os.chdir(here)
        if list(Path(folder).rglob("code-run")):
            return "code run", text
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > LIMIT_BYTES:
        return "memory", f"{grown / 2**30:.1f} GiB; {text}"
    return result, text


def _judged(case: Case, folder: Path) -> tuple[str, str]:
    try:
        value = numbers(case.run(folder))
    except (ValueError, OSError) as error:
        text = str(error)
        if "\n" in text.strip():
            return "several lines", text
        if not any(name in text for name in case.names):
            return "file not named", text
        return "refused by name", text
    except SystemExit as error:
        return "traceback", f"SystemExit {error.code}"
    except Exception:
        return "traceback", traceback.format_exc()
    if case.impossible:
        return "impossible, but read", repr(value)[:200]
    if value == case.sound or repr(value) == repr(case.sound):
        return "read as if sound", ""
    return ("not finite" if not_finite(value) else "read, other values"), repr(value)[:200]


def _on_alarm(*_: object) -> None:
    raise _Hang


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what OpenCV, orbax and TensorFlow print about damaged files."""
    logging.disable(logging.ERROR)
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    before = signal.signal(signal.SIGALRM, _on_alarm)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
        logging.disable(logging.NOTSET)
        import shutil

        while _REMOVE:
            shutil.rmtree(_REMOVE.pop(), ignore_errors=True)


def fuzz(areas: Sequence[str], seed: int, every: int = 1) -> Iterator[tuple[Case, str, str]]:
    """(case, outcome, line) of every `every`th case of each area."""
    for area in areas:
        rng = random.Random(f"{seed} {area}")
        for number, case in enumerate(AREAS[area](rng)):
            if number % every == seed % every:
                yield (case, *outcome(case))


def table(counts: Counter[tuple[str, str]]) -> str:
    """Counts by area and outcome, in Markdown."""
    areas = list(dict.fromkeys(area for area, _ in counts))
    columns = [*GOOD, "wrong"]
    rows = []
    for area in [*areas, "all"]:
        own = Counter[str]()
        for (where, what), count in counts.items():
            if area in (where, "all"):
                own[what if what in GOOD else "wrong"] += count
        rows.append([area, str(own.total()), *(str(own[column]) for column in columns)])
    head = ["input", "cases", *columns]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--area", choices=tuple(AREAS), action="append", help="default: all")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="print every case with its line")
    flags = parser.parse_args(argv)
    counts: Counter[tuple[str, str]] = Counter()
    wrong = []
    with quiet():
        for case, what, text in fuzz(flags.area or list(AREAS), flags.seed, flags.every):
            counts[case.area, what] += 1
            line = f"{what}: {case.area}, {case.name}: {text}"
            if flags.list:
                print(line[:400], flush=True)
            if what in BAD:
                wrong.append(line)
    print(table(counts))
    print(*wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
