"""Fake MPI-INF-3DHP files: rendered people, in the set's format, in small images."""

from pathlib import Path

import h5py
import numpy as np
import scipy.io

from handjax.data.sets import fake_body
from handjax.data.sets.mpi_inf_3dhp import raw
from handjax.pose.joint_orders import ORDERS

_SIZE = 160  # px
_OWN = [fake_body.JOINTS.index(joint) for joint in ORDERS["mpi_inf_3dhp17"].joints]


def write(root: Path, n: int, seed: int) -> None:
    """Write `n` frames per training sequence, and `n` valid ones per test sequence before another
    that is not. All sequences of a split show the same."""
    rng = np.random.default_rng(seed)
    train, test = (
        [fake_body.snapshot(rng, _SIZE, _SIZE) for _ in range(count)] for count in (n, n + 1)
    )
    for person in raw.PEOPLE:
        for number in raw.SEQUENCES:
            folder = root / f"S{person}" / f"Seq{number}"
            for camera in raw.CAMERAS:
                _write_images(folder / "imageFrames" / f"video_{camera}", "frame", train)
            _write_labels(folder, train)
    for person in raw.TEST:
        folder = root / "mpi_inf_3dhp_test_set" / f"TS{person}"
        _write_images(folder / "imageSequence", "img", test)
        with h5py.File(folder / "annot_data.mat", "w") as file:
            file["annot2"], file["annot3"] = (
                np.stack([scene[key][:, _OWN] for scene in test])
                for key in ("joints_uv", "joints_xyz")
            )
            file["univ_annot3"] = file["annot3"][()] * 0.9
            file["valid_frame"] = (np.arange(n + 1) < n).astype(float)[:, None]


def _write_images(folder: Path, name: str, scenes: list[dict[str, np.ndarray]]) -> None:
    folder.mkdir(parents=True)
    for i, scene in enumerate(scenes):
        (folder / f"{name}_{i + 1:06d}.jpg").write_bytes(fake_body.jpeg(scene["image"]))


def _write_labels(folder: Path, scenes: list[dict[str, np.ndarray]]) -> None:
    cells = {}
    for name, key in (("annot2", "joints_uv"), ("annot3", "joints_xyz")):
        values = np.stack([scene[key][0] for scene in scenes])
        whole = np.repeat(values[:, :1], 28, axis=1)  # joints that are not read: the pelvis
        whole[:, list(raw.CHOSEN)] = values[:, _OWN]
        cells[name] = np.empty((14, 1), object)
        for camera in range(14):
            cells[name][camera, 0] = whole.reshape(len(scenes), -1)
    scipy.io.savemat(folder / "annot.mat", cells, do_compression=True)
    k = scenes[0]["k"]
    matrix = np.eye(4)
    matrix[:3, :3] = k
    numbers = " ".join(f"{value:.6f}" for value in matrix.ravel())
    lines = ["Skeletool Camera Calibration File V1.0"]
    for camera in range(14):
        lines += [
            f"name          {camera}",
            "sensor        10 10",
            f"size          {_SIZE} {_SIZE}",
        ]
        lines += ["animated      0", f"intrinsic     {numbers} ", f"extrinsic     {numbers} "]
        lines += ["radial        0"]
    (folder / "camera.calibration").write_text("\n".join(lines) + "\n")
