"""HO-3D, versions 2 and 3 (Hampali et al. 2020): a right hand and an object, color and depth.

The files are those that github.com/shreyashampali/ho3d reads (utils/vis_utils.py, vis_HO3D.py,
eval.py). Traps:

- Joints are metres in OpenGL's frame, y up and z backward, and in MANO's order, where the little
  finger comes before the ring finger and all tips come last.
- The evaluation frames have the wrist alone. Their joints are in evaluation_xyz.json, published in
  November 2024 as one archive per version; its wrists must be those of the frames.
- Depth is packed: (R + 256 G) times 0.12498664727900177 mm. It is aligned to the color image.
- The two versions have the same names of files but for .png (2) and .jpg (3).

Objects, segmentation and parameters of MANO are not read.
"""

import io
from collections.abc import Collection, Mapping
from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats import unpickle
from handjax.data.formats.folders import names_in
from handjax.data.formats.image import below, read_image
from handjax.data.formats.json_labels import finite_numbers, read_json
from handjax.data.formats.label_text import read_lines
from handjax.data.preparation.examples import Examples, LazyExamples
from handjax.pose.joint_orders import ORDERS
from handjax.pose.pinhole import project

LAYOUT = """
manual_dir is HO-3D_v3 or HO-3D_v2 as github.com/shreyashampali/ho3d links it, unpacked; the
configuration is the version, v3 or v2:

  train.txt, train/ABF10/rgb/0000.jpg (v2: .png), train/ABF10/depth/0000.png,
      train/ABF10/meta/0000.pkl, ...
  evaluation.txt, evaluation/SM1/rgb/0000.jpg, ...
  evaluation_xyz.json, of the archive of ground truth of the same version
"""
CONFIGS = {"v3": ".jpg", "v2": ".png"}
SKELETON: str | None = "hand21"
COUNTS: Mapping[str, int | None] = {
    **{"v3/train": 83325, "v3/test": 20137},
    **{"v2/train": 66034, "v2/test": 11524},
}
HEIGHT, WIDTH = 480, 640
JOINTS = 21
DEPTH_UNIT_MM = 0.12498664727900177

FOLDERS = {"train": "train", "test": "evaluation"}
_TO_CAMERA = np.array([1000, -1000, -1000])  # from metres in OpenGL's frame
_FARTHEST_MM = 10_000.0
_SAME_MM = 1.0  # wrists of a frame and of the ground truth


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing lists, ground truth and files of frames."""
    lines = []
    for split in only or FOLDERS:
        folder = FOLDERS[split]
        texts = [f"{folder}.txt"] + ["evaluation_xyz.json"] * (split == "test")
        if absent := [name for name in texts if not (root / name).exists()]:
            lines += absent
            continue
        try:
            names = _names(root, folder)
            if split == "test":
                _truth(root, len(names))
        except ValueError as error:
            lines.append(str(error))
            continue
        lines += _missing_frames(root / folder, names, CONFIGS[config or "v3"])
    return lines


def _missing_frames(folder: epath.Path, names: list[str], ending: str) -> list[str]:
    lines = []
    for sequence in sorted({name.split("/")[0] for name in names}):
        frames = [name.split("/")[1] for name in names if name.startswith(f"{sequence}/")]
        for kind, suffix in (("rgb", ending), ("depth", ".png"), ("meta", ".pkl")):
            at = folder / sequence / kind
            present = names_in(at)
            if absent := [frame for frame in frames if f"{frame}{suffix}" not in present]:
                lines.append(
                    f"{folder.name}/{sequence}/{kind}: {len(absent)} of {len(frames)} {suffix} "
                    f"files, the first {absent[0]}{suffix}"
                )
    return lines


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(FOLDERS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames in the order of the lists, with the joints in the order "hand21"."""
    return Examples(_lazy(root, split, CONFIGS[config or "v3"]))


def _lazy(root: epath.Path, split: str, ending: str) -> LazyExamples:
    folder = FOLDERS[split]
    names = _names(root, folder)
    truth = _truth(root, len(names)) if split == "test" else [None] * len(names)
    for i, (name, joints) in enumerate(zip(names, truth, strict=True)):
        sequence, frame = name.split("/")
        where = f"{root / 'evaluation_xyz.json'}, hand {i}"
        at = below(root / folder, sequence, str(root / f"{folder}.txt"))
        yield f"{folder}/{name}", partial(_sample, at, frame, ending, joints, where)


def _sample(folder: epath.Path, frame: str, ending: str, joints: object, where: str) -> dict:
    """`joints` is the ground truth of an evaluation frame, from the place `where`; None for those
    that have their own."""
    path = folder / "meta" / f"{frame}.pkl"
    meta = unpickle.read(path)
    k = _numbers(meta, "camMat", path, 3, 3)
    if joints is None:
        own = _numbers(meta, "handJoints3D", path, JOINTS, 3)
    else:
        own = finite_numbers({"xyz": joints}, "xyz", where, JOINTS, 3)
        wrist = _numbers(meta, "handJoints3D", path, 3)
        if np.abs((own[0] - wrist) * 1000).max() > _SAME_MM:
            raise ValueError(
                f"{where}: its wrist is not that of {path}; expected the ground truth of the same "
                "version"
            )
    xyz = ORDERS["ho3d"].convert(own * _TO_CAMERA)
    wrong = (np.abs(xyz) > _FARTHEST_MM).any() or (xyz[:, 2] <= 0).any()
    if wrong or min(k[0, 0], k[1, 1]) <= 0:
        raise ValueError(
            f"{path if joints is None else where}: joints behind the camera or 10 m away, or a "
            "focal length below 0; expected metres in OpenGL's frame: copy it again"
        )
    data, _ = _image(folder / "rgb" / f"{frame}{ending}")
    _, packed = _image(folder / "depth" / f"{frame}.png")
    units = packed[..., 0].astype(np.uint16) + 256 * packed[..., 1].astype(np.uint16)
    uv = project(xyz, k)
    return {
        "image": io.BytesIO(data),
        "depth": np.rint(units * DEPTH_UNIT_MM).astype(np.uint16)[..., None],
        "k": k.astype(np.float32),
        "joints_xyz": xyz.astype(np.float32),
        "joints_uv": uv.astype(np.float32),
        "visible": np.all((uv > -0.5) & (uv < (WIDTH - 0.5, HEIGHT - 0.5)), axis=-1),
        "side": "right",
        "root": ORDERS["ho3d"].root,
        "id": f"{folder.parent.name}/{folder.name}/{frame}",
    }


def _image(path: epath.Path) -> tuple[bytes, np.ndarray]:
    data, pixels = read_image(path)
    if pixels.shape != (HEIGHT, WIDTH, 3):
        raise ValueError(f"{path}: pixels of shape {pixels.shape}; expected {(HEIGHT, WIDTH, 3)}")
    return data, pixels


def _numbers(meta: object, key: str, path: epath.Path, *shape: int) -> np.ndarray:
    value = np.asarray(meta.get(key)) if isinstance(meta, dict) else np.empty(0)
    if value.shape != shape or value.dtype.kind != "f" or not np.isfinite(value).all():
        expected = " x ".join(map(str, shape))
        raise ValueError(f"{path}: {key!r} is not {expected} finite numbers; copy it again")
    return value.astype(np.float64)


def _names(root: epath.Path, folder: str) -> list[str]:
    """ "ABF10/0000" and so on."""
    path = root / f"{folder}.txt"
    names = []
    for number, line in read_lines(path):
        if line.count("/") != 1 or not all(part.isalnum() for part in line.split("/")):
            raise ValueError(
                f"{path}, line {number}: {line[:40]!r}; expected a sequence and a frame, as in "
                "ABF10/0000"
            )
        names.append(line)
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: a frame stands twice; copy it again")
    return names


def _truth(root: epath.Path, count: int) -> list:
    path = root / "evaluation_xyz.json"
    content = read_json(path, "the joints of the evaluation frames")
    if not isinstance(content, list) or len(content) != count:
        found = f"{len(content)} hands" if isinstance(content, list) else "no list"
        raise ValueError(
            f"{path}: {found} for the {count} frames of evaluation.txt; expected the ground truth "
            "of the same version"
        )
    return content
