"""MPI-INF-3DHP (Mehta et al. 2017): people before a green screen, and others outdoors, 3D joints.

The files are those that datasets/preprocess/mpi_inf_3dhp.py of github.com/nkolot/SPIN reads. Traps:

- The training set has videos. Their frames are extracted first and counted from 1: frame i belongs
  to row i - 1 of the labels. Copies may lack some at the end of a video.
- annot.mat has 28 joints in cells of 14 cameras; the 17 that the test set has are chosen by the
  set's own numbers. Cameras 3 and 9 to 13 look from the ceiling or low down and are not read.
- annot_data.mat is HDF5 and marks the frames that count, `valid_frame`.
- `annot3` are mm in the camera's frame, x right, y down, z forward. `univ_annot3`, on which some
  papers are scored, is scaled to one body height. Only the first is read.
- The test set has no calibration with its labels: `k` is the one that takes annot3 to annot2.
- The joint that the set calls head is its middle; SPIN takes it for Human3.6M's jaw, our nose.
"""

import io
from collections.abc import Collection, Iterator, Mapping
from functools import partial

import numpy as np
from etils import epath

from handjax.data.formats import mat
from handjax.data.formats.folders import names_in
from handjax.data.formats.image import read_image
from handjax.data.preparation.examples import Examples, LazyExamples, unreadable
from handjax.pose.joint_orders import ORDERS, thorax_from_shoulders

LAYOUT = """
manual_dir holds the training and the test set of MPI-INF-3DHP
(https://vcai.mpi-inf.mpg.de/3dhp-dataset/), for people S1 to S8, sequences Seq1 and Seq2 and the
cameras 0 1 2 4 5 6 7 8:

  S1/Seq1/annot.mat, S1/Seq1/camera.calibration
  S1/Seq1/imageFrames/video_0/frame_000001.jpg ..., extracted by
      ffmpeg -i imageSequence/video_0.avi -q:v 2 imageFrames/video_0/frame_%06d.jpg
  mpi_inf_3dhp_test_set/TS1/annot_data.mat, imageSequence/img_000001.jpg ... and so on to TS6

The configuration sample10 needs every tenth frame of the videos only, all needs every one.
"""
CONFIGS = {"sample10": 10, "all": 1}  # of the training set, every so-manieth frame
SKELETON: str | None = "body18"
COUNTS: Mapping[str, int | None] = {"train": None, "test": 2929}

PEOPLE, SEQUENCES, TEST = range(1, 9), (1, 2), range(1, 7)
CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
# The test set's 17 joints among the 28: "relevant" in mpi_inf_3dhp_get_joint_set.m, from 0.
CHOSEN = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)
_ALL_JOINTS, _ALL_CAMERAS = 28, 14
_MOST_FRAMES = 100_000  # of a sequence; a small file can claim any shape
_LIMIT = 1 << 29  # bytes of a variable
_FARTHEST_MM = 50_000.0
_MAY_LACK = 0.01  # share of a video's frames
_FIT_PX = 2.0  # of a test sequence's camera


def missing(
    root: epath.Path, config: str | None = None, only: Collection[str] | None = None
) -> list[str]:
    """Missing labels and frames."""
    lines = []
    for split in only or COUNTS:
        for folder in _folders(root, split):
            names = ["annot.mat", "camera.calibration"] if split == "train" else ["annot_data.mat"]
            if absent := [name for name in names if not (folder / name).exists()]:
                lines += [str((folder / name).relative_to(root)) for name in absent]
                continue
            try:
                for at, wanted, gone in _frames(folder, split, config):
                    if gone and (split == "test" or len(gone) > _MAY_LACK * len(wanted)):
                        lines.append(
                            f"{at.relative_to(root)}: {len(gone)} of {len(wanted)} frames, the "
                            f"first {gone[0]}"
                        )
            except ValueError as error:
                lines.append(str(error))
    return lines


def holes(root: epath.Path, split: str, config: str | None = None) -> dict[str, str]:
    """Frames of the training set that have a label but no image, by key."""
    found: dict[str, str] = {}
    for folder in _folders(root, split) if split == "train" else ():
        for at, _, gone in _frames(folder, split, config):
            key = str(at.relative_to(root))
            found |= {f"{key}/{name.removesuffix('.jpg')}": "no image" for name in gone}
    return found


def splits(root: epath.Path, config: str | None = None) -> tuple[str, ...]:
    return tuple(COUNTS)


def samples(root: epath.Path, split: str, config: str | None = None) -> Examples:
    """Frames by person, sequence and camera, with joints of "body18"; the valid ones of the test
    set."""
    return Examples(_lazy(root, split, config))


def _lazy(root: epath.Path, split: str, config: str | None) -> LazyExamples:
    step = CONFIGS[config or "sample10"]
    for folder in _folders(root, split):
        try:
            videos = list(_train(folder) if split == "train" else _test(folder))
        except (ValueError, OSError) as error:
            yield str(folder.relative_to(root)), unreadable(error)
            continue
        for camera, at, names, k, uv, xyz in videos:
            present = names_in(at) if split == "train" else set(names)
            rows = range(0, len(names), step) if split == "train" else range(len(names))
            for i in rows:
                if names[i] in present:
                    key = f"{at.relative_to(root)}/{names[i].removesuffix('.jpg')}"
                    person = _person(folder, split)
                    content = {"k": k, "subject": person, "camera": np.int32(camera), "id": key}
                    yield key, partial(_sample, at / names[i], content, uv[i], xyz[i])


def _sample(path: epath.Path, content: dict, uv: np.ndarray, xyz: np.ndarray) -> dict:
    where = f"{path}: its label"
    if not (np.isfinite(uv).all() and (np.abs(xyz) < _FARTHEST_MM).all() and (xyz[:, 2] > 0).all()):
        raise ValueError(
            f"{where} is not finite, behind the camera or 50 m away; expected mm: copy it again"
        )
    data, pixels = read_image(path)
    order = ORDERS["mpi_inf_3dhp17"]
    has = np.array(order.has)
    uv, labelled = thorax_from_shoulders(order.convert(uv), has)
    xyz, _ = thorax_from_shoulders(order.convert(xyz), has)
    height, width = pixels.shape[:2]
    inside = np.all((uv > -0.5) & (uv < (width - 0.5, height - 0.5)), axis=-1)
    return {
        "image": io.BytesIO(data),
        "joints_xyz": xyz.astype(np.float32),
        "joints_uv": uv.astype(np.float32),
        "visible": labelled & inside,
        **content,
    }


Video = tuple[int, epath.Path, list[str], np.ndarray, np.ndarray, np.ndarray]


def _train(folder: epath.Path) -> Iterator[Video]:
    """Camera, folder of frames, their names, k [3, 3], px [n, 17, 2] and mm [n, 17, 3]."""
    path = folder / "annot.mat"
    cells = _arrays(path, "annot2", "annot3")
    intrinsics = _calibration(folder / "camera.calibration")
    for camera in CAMERAS:
        found = []
        for cell, size in zip(cells, (2, 3), strict=True):
            whole = cell.shape == (_ALL_CAMERAS, 1)
            value = np.asarray(cell[camera, 0]) if whole else np.zeros((0, 0))
            columns = value.shape[1] if value.ndim == 2 else 0
            if columns != _ALL_JOINTS * size or value.dtype.kind != "f":
                raise ValueError(
                    f"{path}: camera {camera} has no numbers of {_ALL_JOINTS} joints; copy it again"
                )
            found.append(value.reshape(-1, _ALL_JOINTS, size)[:, list(CHOSEN)])
        uv, xyz = found
        if len(uv) != len(xyz) or len(uv) > _MOST_FRAMES:
            raise ValueError(
                f"{path}: {len(uv)} rows of pixels and {len(xyz)} of positions of camera {camera}"
            )
        names = [f"frame_{i + 1:06d}.jpg" for i in range(len(uv))]
        yield camera, folder / "imageFrames" / f"video_{camera}", names, intrinsics[camera], uv, xyz


def _test(folder: epath.Path) -> Iterator[Video]:
    """As `_train`, of the valid frames."""
    path = folder / "annot_data.mat"
    uv, xyz, valid = (np.asarray(x).T for x in _arrays(path, "annot2", "annot3", "valid_frame"))
    count = valid.size
    if uv.shape != (count, 1, 17, 2) or xyz.shape != (count, 1, 17, 3) or count > _MOST_FRAMES:
        raise ValueError(
            f"{path}: annot2 {uv.shape}, annot3 {xyz.shape} and {count} frames; expected 17 joints "
            "of each frame: copy it again"
        )
    chosen = np.flatnonzero(valid.ravel() == 1)
    uv, xyz = (np.asarray(x[chosen, 0], np.float64) for x in (uv, xyz))
    names = [f"img_{i + 1:06d}.jpg" for i in chosen]
    yield 0, folder / "imageSequence", names, _fitted_k(path, uv, xyz), uv, xyz


def _fitted_k(path: epath.Path, uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """The pinhole that takes positions to pixels, by least squares. ValueError if none does."""
    k, away = np.eye(3), np.inf
    sound = np.isfinite(uv).all(-1) & np.isfinite(xyz).all(-1) & (xyz[..., 2] > 0)
    if sound.sum() > 4:
        points, pixels = xyz[sound], uv[sound]
        for axis in range(2):
            slope = points[:, axis] / points[:, 2]
            columns = np.stack([slope, np.ones_like(slope)], axis=-1)
            k[axis, axis], k[axis, 2] = np.linalg.lstsq(columns, pixels[:, axis], rcond=None)[0]
        projected = points[:, :2] / points[:, 2:] * k[[0, 1], [0, 1]] + k[:2, 2]
        away = float(np.median(np.linalg.norm(projected - pixels, axis=-1)))
    if not away < _FIT_PX or min(k[0, 0], k[1, 1]) <= 0:
        raise ValueError(
            f"{path}: no camera takes annot3 to annot2 ({away:.3g} px); expected mm and px of the "
            "same joints: copy it again"
        )
    return k.astype(np.float32)


def _calibration(path: epath.Path) -> list[np.ndarray]:
    """k of every camera: the lines "intrinsic" with the 16 numbers of a 4 x 4 matrix."""
    found = []
    try:
        for line in path.read_text().splitlines():
            name, *words = line.split() or [""]
            if name == "intrinsic":
                k = np.array([float(word) for word in words]).reshape(4, 4)[:3, :3]
                found.append(np.array([[k[0, 0], 0, k[0, 2]], [0, k[1, 1], k[1, 2]], [0, 0, 1]]))
    except (ValueError, UnicodeDecodeError):
        found = []
    wrong = [k for k in found if not np.isfinite(k).all() or min(k[0, 0], k[1, 1]) <= 0]
    if len(found) != _ALL_CAMERAS or wrong:
        raise ValueError(
            f"{path}: expected the intrinsics of {_ALL_CAMERAS} cameras, 16 numbers each; copy it "
            "again"
        )
    return [k.astype(np.float32) for k in found]


def _arrays(path: epath.Path, *names: str) -> list[np.ndarray]:
    try:
        content = mat.arrays(path.read_bytes(), names, _LIMIT)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; expected the labels of a sequence"
        ) from None
    except Exception as error:  # a damaged file may raise anything
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: {what}; expected a MATLAB file: copy it again") from None
    return [np.asarray(content[name]) for name in names]


def _frames(
    folder: epath.Path, split: str, config: str | None
) -> Iterator[tuple[epath.Path, list[str], list[str]]]:
    """Folder of frames, the names that are needed, and those of them that are missing."""
    step = CONFIGS[config or "sample10"] if split == "train" else 1
    for _, at, names, *_ in _train(folder) if split == "train" else _test(folder):
        present, wanted = names_in(at), names[::step]
        yield at, wanted, [name for name in wanted if name not in present]


def _folders(root: epath.Path, split: str) -> list[epath.Path]:
    if split == "test":
        return [root / "mpi_inf_3dhp_test_set" / f"TS{i}" for i in TEST]
    return [root / f"S{person}" / f"Seq{i}" for person in PEOPLE for i in SEQUENCES]


def _person(folder: epath.Path, split: str) -> np.int32:
    """1 to 8 for S1 to S8, 9 to 14 for TS1 to TS6."""
    if split == "test":
        return np.int32(8 + int(folder.name.removeprefix("TS")))
    return np.int32(folder.parent.name.removeprefix("S"))
