"""Occupancy grids in HDF5, in the format of hpoes_pytorch (github.com/mhruz/hpoes_pytorch,
Utils/process_data.py). voxel_h5_writer.py writes it.

key              type                meaning
real_voxels/<i>  (1,) opaque bytes   a `numpy.savez_compressed` archive, member arr_0: bool
                                     [s, s, s], axes (row y, column x, depth z), at most one
                                     occupied voxel per (row, column)
labels           f4 [n, j, 3]        (x, y, z) joints, y down: offset from the crop center divided
                                     by cube / 2, so -1..1 inside
cube             f4 [n, 3]           mm
com3D            f4 [n, 3]           crop center, mm, in the frame of the source's labels. NYU: y
                                     UP, the original's isOPENGLcoord, which negates y for `labels`
                                     and flips the grid, nothing else
gt3Dcrop         f4 [n, j, 3]        joints - com3D, mm, in that same frame
M                f4 [n, 3, 3]        see `crop_affine`
file_name/<i>    (1,) opaque bytes   source frame

The original divides all three axes of `labels` by cube_z / 2; here each axis is divided by its own
edge, as the original's training code reads them. They differ only for cubes with unequal edges.
"""

import os
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float32, Int
from tqdm import tqdm

from handjax.data import plausible, surface_check
from handjax.data.batch import pack_voxels
from handjax.data.formats.voxel_grid import MAX_SIZE, SLACK, decode_grid

MAX_JOINTS = 1024
_LEAST_JOINTS = 4  # fewer may be in one place
TOLERANCE_MM = 0.01  # float32 rounding of labels * cube / 2 is 1e-5 mm


class VoxelH5:
    """Random access to one file; `rows` returns a Batch. Safe to share between threads and to send
    to other processes, which open the file themselves.

    Everything except the grids is read and checked at once. Grids are checked when they are read;
    with `in_memory` that is at once too, and they stay packed: s^3 / 8 bytes per frame, 85 kB at
    88^3. `joints_xyz` [n, j, 3], `center_xyz` [n, 3] and `cube_mm` [n, 3] are in camera mm.

    `center_from` is the origin of the crop center. com3D is in the frame of the source's labels,
    whose y may point up, so gt3Dcrop decides: "com3D" if it equals labels * cube / 2, "com3D, y
    negated" if it does with y negated. If neither, or if a key is missing, it is "none": centers
    are 0 and joints are mm relative to the crop.

    `max_label` is the largest allowed |label|; 1 is the surface of the cube. ValueError or OSError,
    one line, for an invalid file.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        voxels_key: str = "real_voxels",
        labels_key: str = "labels",
        cube_key: str = "cube",
        max_label: float = 1.0,
        in_memory: bool = False,
    ):
        self.path, self.voxels_key = Path(path), voxels_key
        self._packed: np.ndarray | None = None
        self._lock = threading.Lock()
        self._handle: tuple[int, h5py.File] | None = None  # process id, and its open file
        try:
            file = self._open()

            # --- tables
            n = self._count(file)
            labels = self._labels(file, labels_key, n, max_label)
            self.cube_mm = self._floats(self._get(file, cube_key, "cube_key", h5py.Dataset), (n, 3))
            if (self.cube_mm <= 0).any():
                row = int(np.argmax((self.cube_mm <= 0).any(-1)))
                edges = self.cube_mm[row].tolist()
                raise ValueError(
                    f"{self.path}: {cube_key} of row {row} is {edges}; expected edges > 0 mm"
                )
            self._refuse(f"{cube_key}", [plausible.cube_fault(cube) for cube in self.cube_mm])
            offsets = labels * self.cube_mm[:, None] / 2
            if labels.shape[1] >= _LEAST_JOINTS:
                self._refuse(f"{labels_key} * {cube_key} / 2", plausible.span_faults(offsets))
            self.center_from, self.center_xyz = self._centers(file, offsets)
            self.joints_xyz = offsets + self.center_xyz[:, None]
            self._has_names = isinstance(file.get("file_name"), h5py.Group)

            # --- grids
            self.size = len(self._grid(0))
            if labels.shape[1] >= _LEAST_JOINTS:
                self._check_surface(offsets)
            if in_memory:
                packed = np.empty((n, self.size, self.size, self.size // 8), np.uint8)
                for i in tqdm(range(n), desc=self.path.name, unit="frame", disable=n < 1000):
                    packed[i] = pack_voxels(self._grid(i))
                self._packed = packed
                self.close()
        except (RuntimeError, KeyError, OverflowError) as error:  # h5py's, for damaged trees
            self.close()
            reason = " ".join(str(error).split())
            raise ValueError(f"{self.path}: damaged HDF5 ({reason}); copy it again") from None

    def __len__(self) -> int:
        return len(self.joints_xyz)

    @property
    def joints(self) -> int:
        """Number of joints."""
        return self.joints_xyz.shape[1]

    def rows(self, indices: Int[np.ndarray, " b"]) -> dict[str, np.ndarray]:
        """Batch of these rows: voxels with axes (y, x, z), packed; joints_xyz, center_xyz, cube_mm,
        mask (all True) and index. IndexError for a row that does not exist."""
        indices = self._indices(indices)
        if self._packed is not None:
            packed = self._packed[indices]
        else:
            grids = [pack_voxels(self._grid(i)) for i in indices.tolist()]
            shape = len(grids), self.size, self.size, self.size // 8
            packed = np.asarray(grids, np.uint8).reshape(shape)
        return {
            "voxels": packed,
            "joints_xyz": self.joints_xyz[indices],
            "center_xyz": self.center_xyz[indices],
            "cube_mm": self.cube_mm[indices],
            "mask": np.ones(len(indices), bool),
            "index": indices.astype(np.int32),
        }

    def names(self, indices: Int[np.ndarray, " b"]) -> list[str]:
        """Source frames, from file_name; the row's number if the file has no names."""
        rows = [str(i) for i in self._indices(indices)]
        if not self._has_names:
            return rows
        return [self._bytes("file_name", row, 4096).decode("utf-8", "replace") for row in rows]

    def close(self) -> None:
        """Closes the file; the next read opens it again."""
        with self._lock:
            if self._handle and self._handle[0] == os.getpid():
                self._handle[1].close()
            self._handle = None

    # A copy in another process has its own lock and opens the file itself.
    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_handle")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _handle=None)

    def _open(self) -> h5py.File:
        """This process's handle; HDF5 must not be used through one inherited by a fork."""
        if self._handle is None or self._handle[0] != os.getpid():
            if not self.path.exists():
                raise FileNotFoundError(
                    f"{self.path}: no such file; expected an HDF5 file of voxels"
                )
            try:
                self._handle = os.getpid(), h5py.File(self.path, "r")
            except OSError as error:
                reason = str(error).splitlines()[0]
                raise ValueError(
                    f"{self.path}: not an HDF5 file, or cut short or locked ({reason})"
                ) from None
        return self._handle[1]

    def _count(self, file: h5py.File) -> int:
        """Number of grids; they must be named 0 to n - 1."""
        group = self._get(file, self.voxels_key, "voxels_key", h5py.Group)
        n = len(group)
        if n == 0:
            raise ValueError(
                f"{self.path}: {self.voxels_key} is empty; expected one archive per sample"
            )
        missing = next((i for i in range(n) if str(i) not in group), None)
        if missing is not None:
            raise ValueError(
                f"{self.path}: {self.voxels_key}/{missing} is missing; "
                f"expected {n} members named 0 to {n - 1}"
            )
        return n

    def _labels(
        self, file: h5py.File, key: str, n: int, max_label: float
    ) -> Float32[np.ndarray, "n j 3"]:
        data = self._get(file, key, "labels_key", h5py.Dataset)
        if data.ndim != 3 or not 0 < data.shape[1] <= MAX_JOINTS:
            raise ValueError(
                f"{self.path}: {key} has shape {list(data.shape)}; "
                f"expected [{n}, joints, 3] with 1 to {MAX_JOINTS} joints"
            )
        labels = self._floats(data, (n, data.shape[1], 3))
        reach = np.abs(labels).max((1, 2))
        if reach.max() > max_label:
            row = int(np.argmax(reach > max_label))
            raise ValueError(
                f"{self.path}: {key} of row {row} reach {reach[row]:.4g}, outside the cube "
                f"(|label| <= {max_label:g}), as do {int((reach > max_label).sum())} of {n} rows; "
                "labels are offsets / (cube / 2): allow joints outside the cube with "
                f"config.data.max_label={np.ceil(reach.max() * 100) / 100:g}, or fix the file"
            )
        return labels

    def _centers(
        self, file: h5py.File, offsets: Float32[np.ndarray, "n j 3"]
    ) -> tuple[str, Float32[np.ndarray, "n 3"]]:
        """(center_from, center_xyz)."""
        if "com3D" in file and "gt3Dcrop" in file:
            com = self._floats(self._get(file, "com3D", None, h5py.Dataset), (len(offsets), 3))
            crop = self._floats(self._get(file, "gt3Dcrop", None, h5py.Dataset), offsets.shape)
            for name, sign in (("com3D", 1), ("com3D, y negated", -1)):
                flip = np.asarray([1, sign, 1], np.float32)
                if np.abs(offsets - crop * flip[None, None]).max() < TOLERANCE_MM:
                    if com.any():  # zeros: unknown
                        self._refuse("com3D", [plausible.distance_fault(z) for z in com[:, 2:]])
                    return name, com * flip[None]
            ratio = float(np.abs(offsets).mean() / max(np.abs(crop).mean(), 1e-9))
            if crop.any() and not 0.2 < ratio < 5:
                raise ValueError(
                    f"{self.path}: gt3Dcrop is {ratio:.3g} times smaller than labels * cube / 2: "
                    "one of them in metres? Expected mm for both"
                )
        return "none", np.zeros((len(offsets), 3), np.float32)

    def _refuse(self, what: str, faults: list[str | None]) -> None:
        """ValueError that names the first row with a fault, if there is one."""
        rows = [row for row, fault in enumerate(faults) if fault]
        if rows:
            raise ValueError(
                f"{self.path}: {what} of row {rows[0]}: {faults[rows[0]]}, as in {len(rows)} of "
                f"{len(faults)} rows; correct the file"
            )

    def _check_surface(self, offsets: Float32[np.ndarray, "n j 3"]) -> None:
        """ValueError if the joints, mm from the crop centers, do not lie on the occupied cells."""
        frames = []
        for row in surface_check.spread(len(offsets)):
            cells = np.argwhere(self._grid(row))[:, [1, 0, 2]]  # (row y, column x, depth z)
            points = (cells / self.size - 0.5) * self.cube_mm[row]
            frames.append(surface_check.LabelledDepth(points, offsets[row].astype(np.float64)))
        found = surface_check.check(frames)
        if found.refused:
            raise ValueError(f"{self.path}: {found}")

    def _get(self, file: h5py.File, key: str, option: str | None, kind: type) -> Any:
        if key not in file:
            hint = f"; set the right one with {option}" if option else ""
            raise ValueError(
                f"{self.path}: no key {key!r}; "
                f"the file has {', '.join(sorted(file)) or 'none'}{hint}"
            )
        value = file[key]
        if not isinstance(value, kind):
            name, expected = type(value).__name__.lower(), kind.__name__.lower()
            raise ValueError(f"{self.path}: {key} is a {name}; expected a {expected}")
        return value

    def _floats(self, data: h5py.Dataset, shape: tuple[int, ...]) -> np.ndarray:
        """All of a small dataset as float32. Its shape is checked before memory is allocated."""
        where = f"{self.path}: {data.name.lstrip('/')}"
        if data.shape != shape:
            raise ValueError(
                f"{where} has shape {list(data.shape)}; "
                f"expected {list(shape)}, for {shape[0]} voxel grids"
            )
        if data.dtype.kind not in "fiu":
            raise ValueError(f"{where} is {data.dtype}; expected floating point numbers")
        try:
            with np.errstate(over="ignore"):  # beyond float32 becomes inf and is reported below
                values = np.asarray(data[()], np.float32)
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{where} cannot be read ({reason}); write the file again") from None
        bad = ~np.isfinite(values).all(tuple(range(1, values.ndim)))
        if bad.any():
            row, count = int(np.argmax(bad)), int(bad.sum())
            raise ValueError(
                f"{where} of row {row} has NaN or Inf, as do {count} of {len(values)} rows; "
                "fix the file"
            )
        return values

    def _indices(self, indices: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        indices = np.asarray(indices, np.int64).reshape(-1)
        if indices.size and not (0 <= indices.min() and indices.max() < len(self)):
            raise IndexError(
                f"{self.path}: rows {indices.min()} to {indices.max()} requested; "
                f"the file has 0 to {len(self) - 1}"
            )
        return indices

    def _bytes(self, key: str, row: int | str, limit: int) -> bytes:
        """An opaque value; rejected by its declared length before it is read."""
        where = f"{self.path}: {key}/{row}"
        with self._lock:
            file = self._open()
            try:
                data = file[key][str(row)]
                opaque = isinstance(data, h5py.Dataset) and data.shape == (1,)
                if not opaque or data.dtype.kind != "V" or data.dtype.names:
                    raise ValueError(
                        f"{where} is {data!r}; expected one opaque value (shape (1,), type V)"
                    )
                if data.dtype.itemsize > limit:
                    raise ValueError(
                        f"{where} is {data.dtype.itemsize} bytes; expected at most {limit}"
                    )
                return data[0].tobytes()
            except (KeyError, OSError, RuntimeError) as error:
                reason = str(error).strip("'\"").splitlines()[0]
                raise ValueError(
                    f"{where} cannot be read ({reason}); write the file again"
                ) from None

    def _grid(self, row: int) -> Bool[np.ndarray, "s s s"]:
        size = getattr(self, "size", None)
        blob = self._bytes(self.voxels_key, row, (size or MAX_SIZE) ** 3 + SLACK)
        try:
            return decode_grid(blob, size)
        except ValueError as error:
            raise ValueError(f"{self.path}: {self.voxels_key}/{row} {error}") from None
