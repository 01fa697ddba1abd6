"""Readers of a user's own hand mesh, in place of the figure's own skin: .npz, .obj, and sphereHand's .pkl.

All are in the figure's model frame, mm, in which a left hand lies: palm to +z, fingers to -x, thumb to -y. A mesh is at
rest there unless the file says otherwise (`unbind`).
"""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from handjax.data.formats import unpickle

# The bones of sphereHand's pickle (preprocessed_hand.pkl of github.com/melonwan/sphereHand) in the order of ours. Its
# fingers are counted from the little one, the thumb is the fifth.
PICKLE_BONES = (
    "metacarpals",
    "carpals",
    *(f"finger{f}joint{j}" for f in (4, 3, 2, 1, 5) for j in (1, 2, 3)),
)

MAX_BYTES = 1 << 30  # of an archive, unpacked: a small file may claim any size


class MeshFile(NamedTuple):
    """A mesh as read: mm; faces counter-clockwise seen from outside. What a file does not tell is None."""

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    weights: Float32[np.ndarray, "v n"] | None  # of each bone; they sum to 1
    unbind: (
        Float32[np.ndarray, "n 4 4"] | None
    )  # inverse of each bone's motion, rest → the pose the mesh was bound in


def read_skin(path: str | os.PathLike, *, bones: int) -> MeshFile:
    """A mesh for a figure of so many bones; the suffix says the form.

    .npz: `vertices` [v, 3] and `faces` [f, 3], and if they are known `weights` [v, bones] and `unbind` [bones, 4, 4].
    .obj: v and f lines; polygons are cut into fans, textures, normals and groups are passed over.
    .pkl: as sphereHand's preprocessed_hand.pkl, unpickled with nothing admitted but arrays (`unpickle`); its triangles
    share no vertices there and do here.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise ValueError(f"{path}: no mesh by its suffix; expected one of {', '.join(_READERS)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a mesh")
    mesh = _checked(path, _READERS[path.suffix](path), bones)
    return _welded(mesh) if path.suffix == ".pkl" else mesh


def _read_npz(path: Path) -> tuple:
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
            f"{path}: has no {' and no '.join(sorted(missing))}; expected vertices [v, 3] and faces [f, 3]"
        )
    return arrays["vertices"], arrays["faces"], arrays.get("weights"), arrays.get("unbind")


def _read_obj(path: Path) -> tuple:
    vertices, faces = [], []
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: no UTF-8 text; expected an obj file") from None
    for number, line in enumerate(lines, 1):
        kind, *words = line.split("#")[0].split() or [""]
        try:
            if kind == "v":
                x, y, z, *_ = map(float, words)  # a weight or a colour may follow
                vertices.append((x, y, z))
            elif kind == "f":
                faces.extend(_fan([_corner(word, len(vertices)) for word in words]))
        except ValueError:
            expected = (
                "v x y z"
                if kind == "v"
                else "f with three or more of v, v/vt, v//vn, v/vt/vn, from 1 or, back, from -1"
            )
            raise ValueError(
                f"{path}, line {number}: {line.strip()!r}; expected {expected}"
            ) from None
    return (
        np.reshape(np.asarray(vertices), (-1, 3)),
        np.reshape(np.asarray(faces, np.int64), (-1, 3)),
        None,
        None,
    )


def _corner(word: str, vertices_so_far: int) -> int:
    """The first number of v/vt/vn, from 0; what is negative counts back from the last vertex."""
    index = int(word.split("/")[0])
    if index == 0 or index < -vertices_so_far:
        raise ValueError(word)
    return index - 1 if index > 0 else vertices_so_far + index


def _fan(corners: list[int]) -> Iterator[tuple[int, int, int]]:
    if len(corners) < 3:
        raise ValueError(corners)
    for b, c in zip(corners[1:-1], corners[2:], strict=True):
        yield corners[0], b, c


def _read_pickle(path: Path) -> tuple:
    """Its triangles share no vertices, and face inward in the model's frame, for sphereHand mirrors x last: turned here."""
    tree = unpickle.read(path)
    try:
        vertices = np.asarray(tree["vertices"], np.float64)
        weights = np.zeros((len(vertices), len(PICKLE_BONES)))
        column = {name: i for i, name in enumerate(PICKLE_BONES)}
        for bone in tree["bones"]:
            weights[np.asarray(bone["weight_vertexid"]), column[bone["name"]]] = bone[
                "weight_coeff"
            ]
        return (
            vertices[:, :3] / vertices[:, 3:],
            np.asarray(tree["faces"])[:, [1, 0, 2]],
            weights,
            None,
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path}: {error!r}; expected what sphereHand's preprocessed_hand.pkl holds: vertices [v, 4], faces [f, 3] and "
            f"bones, each with one of {len(PICKLE_BONES)} names, weight_vertexid and weight_coeff"
        ) from None


_READERS = {".npz": _read_npz, ".obj": _read_obj, ".pkl": _read_pickle}


def _checked(path: Path, mesh: tuple, bones: int) -> MeshFile:
    vertices, faces, weights, unbind = mesh

    def check(holds: bool | np.bool_, found: str, expected: str):
        if not holds:
            raise ValueError(f"{path}: {found}; expected {expected}")

    def numbers(name: str, array: np.ndarray, shape: tuple) -> np.ndarray:
        fits = array.dtype.kind in "fiu" and array.ndim == len(shape)
        fits = (
            fits
            and len(array) > 0
            and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        )
        wanted = " x ".join("n" if n is None else str(n) for n in shape)
        check(fits, f"{name} are {array.shape} of {array.dtype}", f"{wanted} numbers")
        check(np.isfinite(array).all(), f"{name} hold NaN or Inf", "finite numbers")
        return array.astype(np.float64)

    vertices = numbers("vertices", vertices, (None, 3))
    check(
        faces.dtype.kind in "iu",
        f"faces are of {faces.dtype}",
        "whole numbers, indices of vertices from 0",
    )
    low, high = (int(f) for f in (np.min(numbers("faces", faces, (None, 3))), np.max(faces)))
    check(
        low >= 0 and high < len(vertices),
        f"faces name vertices {low} to {high}",
        f"0 to {len(vertices) - 1}",
    )
    a, b, c = np.moveaxis((vertices - vertices.mean(0))[faces], 1, 0)
    outward = np.sum(np.cross(a, b) * c) > 0
    check(
        outward,
        "faces look inward, or enclose nothing",
        "each counter-clockwise seen from outside; swap two of its indices",
    )
    if weights is not None:
        weights = numbers("weights", weights, (len(vertices), bones))
        sums = np.sum(weights, axis=1)
        whole = weights.min() >= 0 and np.abs(sums - 1).max() <= 1e-3
        found = f"a vertex's weights sum to {sums.min():.4g} to {sums.max():.4g}, the least is {weights.min():.4g}"
        check(whole, found, "weights from 0, with a sum of 1 at each vertex")
        weights = (weights / sums[:, None]).astype(np.float32)
    if unbind is not None:
        unbind = numbers("unbind", unbind, (bones, 4, 4))
        affine = np.allclose(unbind[:, 3], [0, 0, 0, 1]) and np.all(np.linalg.det(unbind) > 1e-6)
        check(
            affine,
            "unbind holds what is no motion",
            "4 x 4 matrices that can be undone, over a last row of 0 0 0 1",
        )
        unbind = unbind.astype(np.float32)
    return MeshFile(vertices.astype(np.float32), faces.astype(np.int32), weights, unbind)


def _welded(mesh: MeshFile) -> MeshFile:
    """One vertex where several agree in place and weights."""
    both = np.concatenate([mesh.vertices, mesh.weights], axis=1)
    both, index = np.unique(both, axis=0, return_inverse=True)
    return MeshFile(
        both[:, :3], index.reshape(-1)[mesh.faces].astype(np.int32), both[:, 3:], mesh.unbind
    )
