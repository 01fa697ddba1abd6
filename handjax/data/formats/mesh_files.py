"""Writes triangle meshes: Wavefront OBJ, and, with trimesh (the extra `mesh`), PLY and GLB."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from handjax.engine.files import atomic_path, naming

ENDINGS = (".obj", ".ply", ".glb")
# glTF is in metres with y up and z towards the viewer.
_GLTF = np.array([1e-3, -1e-3, -1e-3], np.float32)


def write_mesh(
    path: str | Path,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    overwrite: bool = False,
) -> Path:
    """Writes a mesh in camera mm (x right, y down, z forward) as the ending says, and returns its
    path. OBJ and PLY keep these axes and mm; GLB, as glTF asks, is in metres with y up.

    ValueError for another ending, or without trimesh; FileExistsError unless `overwrite`.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(ENDINGS)}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists already; use overwrite=True or another name")
    data = obj_bytes(vertices, faces) if ending == ".obj" else _by_trimesh(ending, vertices, faces)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return path


def obj_bytes(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> bytes:
    """The mesh as Wavefront OBJ, camera mm."""
    text = io.StringIO()
    text.write("# mm of the camera: x right, y down, z forward\n")
    np.savetxt(text, vertices, "v %.3f %.3f %.3f")
    np.savetxt(text, np.asarray(faces) + 1, "f %d %d %d")
    return text.getvalue().encode()


def check_ending(ending: str) -> None:
    """ValueError if files of this ending cannot be written here."""
    if ending != ".obj":
        _trimesh()


def _by_trimesh(ending: str, vertices: np.ndarray, faces: np.ndarray) -> bytes:
    library = _trimesh()
    placed = np.asarray(vertices, np.float32) * (_GLTF if ending == ".glb" else np.float32(1))
    mesh = library.Trimesh(placed, np.asarray(faces), process=False)
    return bytes(mesh.export(file_type=ending[1:]))


def _trimesh() -> Any:
    try:
        import trimesh
    except ImportError as error:
        raise ValueError(
            f"PLY and GLB need trimesh ({error}): pip install 'handjax[mesh]', or write .obj"
        ) from None
    return trimesh
