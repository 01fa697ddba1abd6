"""Occupancy grids in HDF5, in the format of hpoes_pytorch (github.com/mhruz/hpoes_pytorch, Utils/process_data.py).

key              type                meaning
real_voxels/<i>  (1,) opaque bytes   a `numpy.savez_compressed` archive, member arr_0: bool [s, s, s], axes (row y,
                                     column x, depth z), at most one occupied voxel per (row, column)
labels           f4 [n, j, 3]        (x, y, z) joints, y down: offset from the crop center / (cube / 2), so -1..1 inside
cube             f4 [n, 3]           mm
com3D            f4 [n, 3]           crop center, mm, in the frame of the source's labels. NYU: y UP, the original's
                                     isOPENGLcoord, which negates y for `labels` and flips the grid, nothing else
gt3Dcrop         f4 [n, j, 3]        joints - com3D, mm, in that same frame
M                f4 [n, 3, 3]        see `crop_affine`
file_name/<i>    (1,) opaque bytes   source frame

The original divides all three axes of `labels` by cube_z / 2; here each axis goes by its own edge, as the original's
training code reads them. The two differ only for cubes with unequal edges.
"""

import io
import os
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Bool, Float, Float32
from tqdm import tqdm

from handjax.data.batch import pack_voxels
from handjax.engine.files import atomic_path

MAX_SIZE = 256  # voxels a side; with the next line it bounds what a file can make us allocate
SLACK = (
    1 << 16
)  # bytes an archive may be larger than its voxels: headers, and deflate's overhead on noise
MAX_JOINTS = 1024
FIT_MM = 0.01  # float32 rounding of labels * cube / 2 is 1e-5 mm


class VoxelH5:
    """Random access to one file; `rows` gives a Batch. Threads may share it, processes open the file for themselves.

    Everything but the grids is read and checked here, at once; grids are checked when they are read, which is at open
    with `in_memory` (packed: s^3 / 8 bytes a frame, 85 kB at 88^3).

    `center_from` says where the crop center came from. `com3D` is in the frame of the source's labels, whose y may
    point up, so `gt3Dcrop` decides: "com3D" when it equals labels * cube / 2, "com3D, y negated" when it does so with y
    negated. Where it does neither, or a key is missing, it is "none": centers are 0, joints mm relative to the crop.
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
        self._packed = None
        self.__setstate__({})
        file = self._open()

        group = self._get(file, voxels_key, "voxels_key", h5py.Group)
        labels = self._get(file, labels_key, "labels_key", h5py.Dataset)
        cubes = self._get(file, cube_key, "cube_key", h5py.Dataset)
        n = len(group)
        if n == 0:
            raise ValueError(f"{self.path}: {voxels_key} is empty; expected one archive per sample")
        lost = next((i for i in range(n) if str(i) not in group), None)
        if lost is not None:
            raise ValueError(
                f"{self.path}: {voxels_key}/{lost} is missing; expected {n} members named 0 to {n - 1}"
            )
        if labels.ndim != 3 or not 0 < labels.shape[1] <= MAX_JOINTS:
            wanted = f"[{n}, joints, 3] with 1 to {MAX_JOINTS} joints"
            raise ValueError(
                f"{self.path}: {labels_key} has shape {list(labels.shape)}; expected {wanted}"
            )
        joints = labels.shape[1]
        labels = self._floats(labels, (n, joints, 3))
        self.cube_mm = self._floats(cubes, (n, 3))
        if (self.cube_mm <= 0).any():
            row = int(np.argmax((self.cube_mm <= 0).any(-1)))
            raise ValueError(
                f"{self.path}: {cube_key} of row {row} is {self.cube_mm[row].tolist()}; expected edges > 0 mm"
            )
        reach = np.abs(labels).max((1, 2))
        if reach.max() > max_label:
            row = int(np.argmax(reach > max_label))
            raise ValueError(
                f"{self.path}: {labels_key} of row {row} reach {reach[row]:.4g}, outside the cube (|label| <= "
                f"{max_label:g}), as do {int((reach > max_label).sum())} of {n} rows; labels are offsets / (cube / 2): "
                f"allow joints that stick out with config.data.max_label={np.ceil(reach.max() * 100) / 100:g}, or mend the file"
            )
        offsets = labels * self.cube_mm[:, None] / 2
        self.center_from, self.center_xyz = "none", np.zeros((n, 3), np.float32)
        if "com3D" in file and "gt3Dcrop" in file:
            com = self._floats(self._get(file, "com3D", None, h5py.Dataset), (n, 3))
            crop = self._floats(self._get(file, "gt3Dcrop", None, h5py.Dataset), (n, joints, 3))
            for name, sign in (("com3D", 1), ("com3D, y negated", -1)):
                flip = np.asarray([1, sign, 1], np.float32)
                if (
                    self.center_from == "none"
                    and np.abs(offsets - crop * flip[None, None]).max() < FIT_MM
                ):
                    self.center_from, self.center_xyz = name, com * flip[None]
        self.joints_xyz = offsets + self.center_xyz[:, None]
        self._has_names = isinstance(file.get("file_name"), h5py.Group)

        self.size = len(self._grid(0))
        if in_memory:
            packed = np.empty((n, self.size, self.size, self.size // 8), np.uint8)
            for i in tqdm(range(n), desc=self.path.name, unit="frame", disable=n < 1000):
                packed[i] = pack_voxels(self._grid(i))
            self._packed = packed
            self.close()

    def __len__(self) -> int:
        return len(self.joints_xyz)

    @property
    def joints(self) -> int:
        return self.joints_xyz.shape[1]

    def rows(self, indices: np.ndarray) -> dict:
        """Batch of these rows: voxels (y, x, z) packed, joints_xyz, center_xyz, cube_mm, mask (all True), index."""
        indices = self._indices(indices)
        if self._packed is not None:
            packed = self._packed[indices]
        else:
            packed = [pack_voxels(self._grid(i)) for i in indices.tolist()]
        return {
            "voxels": np.asarray(packed, np.uint8).reshape(
                len(indices), self.size, self.size, self.size // 8
            ),
            "joints_xyz": self.joints_xyz[indices],
            "center_xyz": self.center_xyz[indices],
            "cube_mm": self.cube_mm[indices],
            "mask": np.ones(len(indices), bool),
            "index": indices.astype(np.int32),
        }

    def names(self, indices: np.ndarray) -> list[str]:
        """Source frames, from file_name; the row's number where the file has none."""
        rows = [str(i) for i in self._indices(indices)]
        if not self._has_names:
            return rows
        return [self._bytes("file_name", row, 4096).decode("utf-8", "replace") for row in rows]

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        with self._lock:
            if self._handle and self._handle[0] == os.getpid():
                self._handle[1].close()
            self._handle = None

    # A copy in another process has its own lock and opens the file for itself.
    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_handle")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _handle=None)

    def _open(self) -> h5py.File:
        """This process's handle; HDF5 must not be used through one that was inherited by a fork."""
        if self._handle is None or self._handle[0] != os.getpid():
            if not self.path.exists():
                raise FileNotFoundError(f"{self.path}: no such file; give an HDF5 file of voxels")
            try:
                self._handle = os.getpid(), h5py.File(self.path, "r")
            except OSError as error:
                reason = str(error).splitlines()[0]
                raise ValueError(
                    f"{self.path}: not an HDF5 file, or cut short or locked ({reason})"
                ) from None
        return self._handle[1]

    def _get(self, file: h5py.File, key: str, option: str | None, kind: type):
        if key not in file:
            way = f"; name the right one with {option}" if option else ""
            raise ValueError(
                f"{self.path}: no key {key!r}; the file has {', '.join(sorted(file)) or 'none'}{way}"
            )
        value = file[key]
        if not isinstance(value, kind):
            raise ValueError(
                f"{self.path}: {key} is a {type(value).__name__.lower()}; expected a {kind.__name__.lower()}"
            )
        return value

    def _floats(self, data: h5py.Dataset, shape: tuple) -> np.ndarray:
        """All of a small dataset as float32; its shape is looked at before anything is allocated."""
        where = f"{self.path}: {data.name.lstrip('/')}"
        if data.shape != shape:
            raise ValueError(
                f"{where} has shape {list(data.shape)}; expected {list(shape)}, for {shape[0]} voxel grids"
            )
        if data.dtype.kind not in "fiu":
            raise ValueError(f"{where} is {data.dtype}; expected floating point numbers")
        try:
            with np.errstate(
                over="ignore"
            ):  # a float64 beyond float32 turns into inf and is named below
                values = np.asarray(data[()], np.float32)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"{where} cannot be read ({str(error).splitlines()[0]}); write the file anew"
            ) from None
        bad = ~np.isfinite(values).all(tuple(range(1, values.ndim)))
        if bad.any():
            row, count = int(np.argmax(bad)), int(bad.sum())
            raise ValueError(
                f"{where} of row {row} has NaN or Inf, as do {count} of {len(values)} rows; mend the file"
            )
        return values

    def _indices(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices, np.int64).reshape(-1)
        if indices.size and not (0 <= indices.min() and indices.max() < len(self)):
            raise IndexError(
                f"{self.path}: rows {indices.min()} to {indices.max()} asked for; the file has 0 to {len(self) - 1}"
            )
        return indices

    def _bytes(self, key: str, row: int | str, limit: int) -> bytes:
        """An opaque value, refused by its declared length before it is read."""
        where = f"{self.path}: {key}/{row}"
        with self._lock:
            file = self._open()
            try:
                data = file[key][str(row)]
                if (
                    not isinstance(data, h5py.Dataset)
                    or data.shape != (1,)
                    or data.dtype.kind != "V"
                    or data.dtype.names
                ):
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
                    f"{where} cannot be read ({reason}); write the file anew"
                ) from None

    def _grid(self, row: int) -> Bool[np.ndarray, "s s s"]:
        size = getattr(self, "size", None)
        blob = self._bytes(self.voxels_key, row, (size or MAX_SIZE) ** 3 + SLACK)
        try:
            return decode_grid(blob, size)
        except ValueError as error:
            raise ValueError(f"{self.path}: {self.voxels_key}/{row} {error}") from None


def decode_grid(blob: bytes, size: int | None = None) -> Bool[np.ndarray, "s s s"]:
    """Voxels of one archive, [size]^3 or any cube up to MAX_SIZE; ValueError says what is wrong with the bytes.

    Nothing here trusts the archive: the declared size is bounded before unpacking, unpacking stops at the bound, only
    deflate is taken (zipfile's readers of bzip2 and lzma are not bounded), and the array's header is read first.
    """
    limit = (size or MAX_SIZE) ** 3 + SLACK
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            members = {info.filename: info for info in archive.infolist()}
            info = members.get("arr_0.npy")
            if (
                info
                and info.file_size <= limit
                and info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            ):
                with archive.open(info) as member:
                    raw = member.read(limit + 1)
    except (
        Exception
    ) as error:  # zipfile raises a dozen kinds on bytes it does not like; all mean the same here
        raise ValueError(
            f"is no zip archive that can be read ({error or type(error).__name__}); write it anew"
        ) from None
    if info is None:
        raise ValueError(
            f"has members {sorted(members)[:5]}; expected arr_0.npy, as numpy.savez_compressed(file, voxels) writes"
        )
    if info.file_size > limit:
        raise ValueError(
            f"unpacks to {info.file_size} bytes; expected at most {limit}: a zip bomb, or no voxel grid"
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"is compressed by method {info.compress_type}; expected deflate (numpy.savez_compressed)"
        )

    stream = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f".npy version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # whatever the header's parser trips over
        raise ValueError(
            f"has an arr_0 that is no .npy array ({str(error).splitlines()[0]})"
        ) from None
    if dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        raise ValueError(f"holds {dtype}; expected bool or uint8 voxels")
    side = size or (shape[0] if shape else 0)
    if shape != (side,) * 3 or side % 8 or not 0 < side <= MAX_SIZE:
        expected = [size] * 3 if size else f"[s, s, s] with s a multiple of 8 up to {MAX_SIZE}"
        raise ValueError(f"has shape {list(shape)}; expected {expected}")
    voxels = np.frombuffer(raw, np.uint8, offset=stream.tell())
    if voxels.size != side**3:
        raise ValueError(f"has {voxels.size} bytes of voxels; expected {side**3}")
    if voxels.max() > 1:
        raise ValueError(f"has values up to {voxels.max()}; expected 0 and 1")
    if not voxels.any():
        raise ValueError("has no occupied voxel; leave the frame out")
    return voxels.view(bool).reshape(shape, order="F" if fortran else "C")


def crop_affine(
    center_xyz: Float[np.ndarray, "3"],
    cube_mm: Float[np.ndarray, "3"],
    k: Float[np.ndarray, "3 3"],
    size: int,
) -> Float32[np.ndarray, "3 3"]:
    """DeepPrior's M: pixels (u, v, 1) of the source image to pixels of its size x size crop.

    The crop is the cube's outline at the depth of its center, rounded to whole pixels, scaled by its longer edge and
    put in the middle (Oberweger and Lepetit 2017). The grid itself is orthographic and does not go through it.
    """
    (x, y, z), (cube_x, cube_y, _) = (np.asarray(v, np.float64) for v in (center_xyz, cube_mm))
    center = np.asarray([k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]])
    half = np.asarray([k[0, 0] * cube_x, k[1, 1] * cube_y]) / z / 2
    start, stop = np.floor(center - half + 0.5), np.floor(center + half + 0.5)
    edge = stop - start
    scale = size / edge.max()
    margin = np.floor((size - np.floor(edge * scale)) / 2)
    shift = margin - start * scale
    return np.asarray([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]], np.float32)


def write_voxel_h5(
    path: str | os.PathLike,
    samples: Iterable[tuple],
    *,
    k: np.ndarray | None = None,
    y_up: bool = True,
    overwrite: bool = False,
) -> int:
    """Writes samples as they come and returns their number.

    A sample is (voxels bool [s, s, s] (y, x, z), joints_xyz [j, 3] camera mm, center_xyz [3], cube_mm [3], name).
    `y_up` writes com3D and gt3Dcrop with y up, the original's isOPENGLcoord, as for NYU. M needs the intrinsics `k` and
    is left out without them. The file appears under its name only when it is complete, and never over one that is there
    unless `overwrite` says so. Joints outside the cube are written as they are: the reader's `max_label` decides.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; give another name, or ask for it to be overwritten")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path.parent}: no such folder; make it before writing {path.name}"
        )
    flip = np.asarray([1, -1 if y_up else 1, 1], np.float32)
    columns: dict[str, list] = {"labels": [], "cube": [], "com3D": [], "gt3Dcrop": []} | (
        {} if k is None else {"M": []}
    )
    with atomic_path(path) as temporary:
        with h5py.File(temporary, "w") as file:
            grids, names = file.create_group("real_voxels"), file.create_group("file_name")
            first = None
            for i, (voxels, joints_xyz, center_xyz, cube_mm, name) in enumerate(samples):
                voxels = np.asarray(voxels)
                joints_xyz, center_xyz, cube_mm = (
                    np.asarray(v, np.float32) for v in (joints_xyz, center_xyz, cube_mm)
                )
                first = first or (voxels.shape, joints_xyz.shape)
                _check_sample(
                    f"sample {i} ({name})", first, voxels, joints_xyz, center_xyz, cube_mm
                )
                archive = io.BytesIO()
                np.savez_compressed(archive, voxels)
                for group, data in (
                    (grids, archive.getvalue()),
                    (names, str(name).encode() or str(i).encode()),
                ):
                    group.create_dataset(str(i), data=np.asarray([np.void(data)]))
                offset = joints_xyz - center_xyz[None]
                columns["labels"].append(offset / (cube_mm[None] / 2))
                columns["cube"].append(cube_mm)
                columns["com3D"].append(center_xyz * flip)
                columns["gt3Dcrop"].append(offset * flip[None])
                if k is not None:
                    columns["M"].append(
                        crop_affine(center_xyz, cube_mm, np.asarray(k, np.float32), voxels.shape[0])
                    )
            if first is None:
                raise ValueError(f"{path}: no samples to write; nothing was written")
            for key, rows in columns.items():
                file.create_dataset(key, data=np.stack(rows).astype(np.float32))
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} appeared while it was being written; give another name")
    return len(columns["labels"])


def _check_sample(name: str, first: tuple, voxels, joints_xyz, center_xyz, cube_mm) -> None:
    """What the reader would refuse is not written."""
    if (
        voxels.dtype != bool
        or voxels.ndim != 3
        or len(set(voxels.shape)) != 1
        or voxels.shape[0] % 8
    ):
        raise ValueError(
            f"{name}: voxels are {voxels.dtype} {list(voxels.shape)}; expected bool [s, s, s], s a multiple of 8"
        )
    if (
        joints_xyz.ndim != 2
        or joints_xyz.shape[1:] != (3,)
        or center_xyz.shape != (3,)
        or cube_mm.shape != (3,)
    ):
        shapes = [list(v.shape) for v in (joints_xyz, center_xyz, cube_mm)]
        raise ValueError(f"{name}: joints, center and cube are {shapes}; expected [j, 3], [3], [3]")
    if (voxels.shape, joints_xyz.shape) != first:
        found = [list(voxels.shape), list(joints_xyz.shape)]
        raise ValueError(
            f"{name}: voxels and joints are {found}; expected {[list(s) for s in first]}, as in sample 0"
        )
    if (
        not all(np.isfinite(v).all() for v in (joints_xyz, center_xyz, cube_mm))
        or (cube_mm <= 0).any()
    ):
        raise ValueError(f"{name}: joints, center and cube must be finite and the cube > 0 mm")
    if not voxels.any():
        raise ValueError(f"{name}: no occupied voxel; leave the frame out")
