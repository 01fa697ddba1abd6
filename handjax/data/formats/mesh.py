"""Readers of a user's own hand mesh, which replaces the rig's skin: .npz, .obj, sphereHand's .pkl.

All are in the rig's model frame, in mm, where a left hand has its palm towards +z, fingers towards
-x and thumb towards -y. A mesh is at rest there unless the file provides `unbind`.
"""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from handjax.data.formats import unpickle
from handjax.data.formats.words import to_number

# Bones of sphereHand's pickle (preprocessed_hand.pkl of github.com/melonwan/sphereHand) in our
# order. It counts fingers from the little one; the thumb is the fifth.
PICKLE_BONES = (
    "metacarpals",
    "carpals",
    *(f"finger{f}joint{j}" for f in (4, 3, 2, 1, 5) for j in (1, 2, 3)),
)

MAX_BYTES = 1 << 30  # of an unpacked archive; a small file may claim any size


class MeshFile(NamedTuple):
    """A mesh as read: mm; faces counter-clockwise seen from outside; None if not in the file.

    `weights` of each bone sum to 1 per vertex. `unbind` inverts each bone's motion from rest to the
    pose in which the mesh was bound.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    weights: Float32[np.ndarray, "v n"] | None
    unbind: Float32[np.ndarray, "n 4 4"] | None


class _Arrays(NamedTuple):
    """Unchecked content of a file."""

    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray | None = None
    unbind: np.ndarray | None = None


def read_skin(path: str | os.PathLike, *, bones: int) -> MeshFile:
    """A mesh for a rig with this many bones; the suffix decides the format.

    .npz: `vertices` [v, 3] and `faces` [f, 3]; optional `weights` [v, bones] and `unbind`
    [bones, 4, 4].
    .obj: v and f lines. Polygons are cut into fans; textures, normals and groups are ignored.
    .pkl: sphereHand's preprocessed_hand.pkl, unpickled with arrays only (`unpickle`). Its triangles
    share no vertices; here they do.

    FileNotFoundError or ValueError, one line, for a missing or invalid file.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise ValueError(
            f"{path}: not a mesh, by its suffix; expected one of {', '.join(_READERS)}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a mesh")
    mesh = _Checker(path).mesh(_READERS[path.suffix](path), bones)
    return _welded(mesh) if path.suffix == ".pkl" else mesh


def _read_npz(path: Path) -> _Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(part.file_size for part in archive.infolist())
        if claimed > MAX_BYTES:
            raise ValueError(f"unpacks to {claimed} bytes, more than the {MAX_BYTES} of any mesh")
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {error}; expected an npz of plain arrays") from None
    missing = {"vertices", "faces"} - set(arrays)
    if missing:
        raise ValueError(
            f"{path}: has no {' and no '.join(sorted(missing))}; "
            "expected vertices [v, 3] and faces [f, 3]"
        )
    optional = arrays.get("weights"), arrays.get("unbind")
    return _Arrays(arrays["vertices"], arrays["faces"], *optional)


def _read_obj(path: Path) -> _Arrays:
    vertices: list[tuple[float, ...]] = []
    faces: list[tuple[int, int, int]] = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text; expected an obj file") from None
    for number, line in enumerate(lines, 1):
        kind, *words = line.split("#")[0].split() or [""]
        try:
            if kind == "v":
                x, y, z, *_ = map(to_number, words)  # a weight or a color may follow
                vertices.append((x, y, z))
            elif kind == "f":
                faces.extend(_fan([_corner(word, len(vertices)) for word in words]))
        except ValueError as error:
            expected = f"v x y z ({error})"
            if kind == "f":
                expected = (
                    "f with three or more of v, v/vt, v//vn, v/vt/vn, "
                    "counted from 1 or backwards from -1"
                )
            raise ValueError(
                f"{path}, line {number}: {line.strip()!r}; expected {expected}"
            ) from None
    return _Arrays(
        np.reshape(np.asarray(vertices), (-1, 3)),
        np.reshape(np.asarray(faces, np.int64), (-1, 3)),
    )


def _corner(word: str, vertices_so_far: int) -> int:
    """The first number of v/vt/vn, from 0; negative ones count back from the last vertex."""
    index = int(word.split("/")[0])
    if index == 0 or index < -vertices_so_far:
        raise ValueError(word)
    return index - 1 if index > 0 else vertices_so_far + index


def _fan(corners: list[int]) -> Iterator[tuple[int, int, int]]:
    if len(corners) < 3:
        raise ValueError(corners)
    for b, c in zip(corners[1:-1], corners[2:], strict=True):
        yield corners[0], b, c


def _read_pickle(path: Path) -> _Arrays:
    """Faces are reversed: sphereHand mirrors x last, so in the model's frame they face inward."""
    tree: Any = unpickle.read(path)
    try:
        vertices = np.asarray(tree["vertices"], np.float64)
        weights = np.zeros((len(vertices), len(PICKLE_BONES)))
        column = {name: i for i, name in enumerate(PICKLE_BONES)}
        for bone in tree["bones"]:
            rows = np.asarray(bone["weight_vertexid"])
            weights[rows, column[bone["name"]]] = bone["weight_coeff"]
        faces = np.asarray(tree["faces"])[:, [1, 0, 2]]
        return _Arrays(vertices[:, :3] / vertices[:, 3:], faces, weights)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path}: {error!r}; expected the content of sphereHand's preprocessed_hand.pkl: "
            f"vertices [v, 4], faces [f, 3] and bones, each with one of {len(PICKLE_BONES)} names, "
            "weight_vertexid and weight_coeff"
        ) from None


_READERS = {".npz": _read_npz, ".obj": _read_obj, ".pkl": _read_pickle}


class _Checker:
    """Checks the content of a file and raises ValueError, one line."""

    def __init__(self, path: Path):
        self._path = path

    def mesh(self, arrays: _Arrays, bones: int) -> MeshFile:
        vertices = self._numbers("vertices", arrays.vertices, (None, 3))
        faces = self._faces(arrays.faces, vertices)
        weights = arrays.weights
        if weights is not None:
            weights = self._weights(self._numbers("weights", weights, (len(vertices), bones)))
        unbind = arrays.unbind
        if unbind is not None:
            unbind = self._unbind(self._numbers("unbind", unbind, (bones, 4, 4)))
        return MeshFile(vertices.astype(np.float32), faces, weights, unbind)

    def _check(self, holds: bool | np.bool_, found: str, expected: str) -> None:
        if not holds:
            raise ValueError(f"{self._path}: {found}; expected {expected}")

    def _numbers(self, name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
        fits = array.dtype.kind in "fiu" and array.ndim == len(shape) and len(array) > 0
        fits = fits and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        expected = " x ".join("n" if n is None else str(n) for n in shape)
        self._check(fits, f"{name} are {array.shape} of {array.dtype}", f"{expected} numbers")
        self._check(np.isfinite(array).all(), f"{name} hold NaN or Inf", "finite numbers")
        return array.astype(np.float64)

    def _faces(self, faces: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        self._check(
            faces.dtype.kind in "iu",
            f"faces are of {faces.dtype}",
            "whole numbers, indices of vertices from 0",
        )
        self._numbers("faces", faces, (None, 3))
        low, high = int(np.min(faces)), int(np.max(faces))
        self._check(
            low >= 0 and high < len(vertices),
            f"faces name vertices {low} to {high}",
            f"0 to {len(vertices) - 1}",
        )
        a, b, c = np.moveaxis((vertices - vertices.mean(0))[faces], 1, 0)
        self._check(
            np.sum(np.cross(a, b) * c) > 0,
            "faces look inward, or enclose nothing",
            "each counter-clockwise seen from outside; swap two of its indices",
        )
        return faces.astype(np.int32)

    def _weights(self, weights: np.ndarray) -> np.ndarray:
        sums = np.sum(weights, axis=1)
        self._check(
            weights.min() >= 0 and np.abs(sums - 1).max() <= 1e-3,
            f"a vertex's weights sum to {sums.min():.4g} to {sums.max():.4g}, "
            f"the smallest is {weights.min():.4g}",
            "weights from 0, with a sum of 1 at each vertex",
        )
        return (weights / sums[:, None]).astype(np.float32)

    def _unbind(self, unbind: np.ndarray) -> np.ndarray:
        affine = np.allclose(unbind[:, 3], [0, 0, 0, 1]) and np.all(np.linalg.det(unbind) > 1e-6)
        self._check(
            affine,
            "unbind holds a matrix that is not a motion",
            "invertible 4 x 4 matrices with a last row of 0 0 0 1",
        )
        return unbind.astype(np.float32)


def _welded(mesh: MeshFile) -> MeshFile:
    """Merges vertices of equal position and weights."""
    if mesh.weights is None:
        return mesh
    both = np.concatenate([mesh.vertices, mesh.weights], axis=1)
    both, index = np.unique(both, axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces].astype(np.int32)
    return MeshFile(both[:, :3], faces, both[:, 3:], mesh.unbind)
