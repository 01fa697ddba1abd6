"""Results as meshes: the hand of the rig that is nearest to predicted joints."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from handjax.data.formats.mesh_files import ENDINGS, check_ending, write_mesh
from handjax.engine import cli
from handjax.fitting import hand_mesh
from handjax.fitting.depth_cube import CubeFrame
from handjax.fitting.frame_fitter import FittedFrame
from handjax.fitting.hand_mesh import RigHand
from handjax.rigs.hand import FINGERS, POSE_NAMES

SURFACES = ("skin", "spheres")
FOLDER = "meshes"  # of `handjax predict depth --mesh`


@dataclass(frozen=True, eq=False)
class HandMesh:
    """A hand as triangles, camera mm, counter-clockwise seen from outside."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    joints: Float[np.ndarray, "21 3"]  # hand21, of the rig
    side: str
    # The rig's parameters, of a right hand: `pose` is named by rigs.hand.POSE_NAMES, rad and mm.
    pose: Float[np.ndarray, "26"]
    size: float  # relative to the model
    fingers: Float[np.ndarray, "5"]  # sizes of rigs.hand.FINGERS, relative to the palm
    thickness: Float[np.ndarray, "2"]  # of the fingers and of the palm, relative to the model
    distance_mm: float  # mean distance of its joints to those it was made from

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Writes an .obj (mm, camera axes), or with the extra `mesh` a .ply (the same) or a .glb
        (metres, y up), and returns its path. Errors as of `Prediction.save`."""
        return write_mesh(path, self.vertices, self.faces, overwrite)

    def angles(self) -> dict[str, float]:
        """The pose by the names of its numbers, rad and mm, with the sizes of the fingers and how
        thick fingers and palm are."""
        sizes = {f"{finger}_size": v for finger, v in zip(FINGERS, self.fingers, strict=True)}
        sizes |= dict(zip(("finger_thickness", "palm_thickness"), self.thickness, strict=True))
        values = dict(zip(POSE_NAMES, self.pose, strict=True)) | {"size": self.size} | sizes
        return {name: float(value) for name, value in values.items()}

    def __repr__(self) -> str:
        return (
            f"HandMesh({self.side} hand; {len(self.vertices)} vertices, {len(self.faces)} faces, "
            f"camera mm; {self.distance_mm:.1f} mm from the predicted joints)"
        )


def mesh_of(xyz: Float[np.ndarray, "21 3"], side: str, surface: str = "skin") -> HandMesh:
    """The hand of `side` whose joints are nearest to `xyz` (hand21, camera mm)."""
    if surface not in SURFACES:
        raise ValueError(f"surface={surface!r}: expected {' or '.join(SURFACES)}")
    found = hand_mesh.of_joints(xyz, side == "left")
    off = float(np.linalg.norm(found.joints - xyz, axis=-1).mean())
    return of_rig_hand(found, off, surface)


def of_rig_hand(found: RigHand, distance_mm: float, surface: str = "skin") -> HandMesh:
    """The mesh of a hand of the rig."""
    vertices, faces = found.vertices, found.faces
    if surface == "spheres":
        vertices, faces = hand_mesh.sphere_mesh(found.centers, found.radii)
    state = found.state
    return HandMesh(
        vertices,
        faces,
        found.joints,
        "left" if found.frame.left else "right",
        np.asarray(state.pose),
        float(np.exp(state.log_size)),
        np.exp(state.log_fingers),
        np.exp(state.log_flesh),
        distance_mm,
    )


# ---------------------------------------------------------------- by command


def add_flag(flags: cli.Parser) -> None:
    """--mesh."""
    flags.add_argument(
        "--mesh",
        choices=tuple(ending[1:] for ending in ENDINGS),
        help="write the hand's skin as meshes/NAME (obj and ply in camera mm, glb in m, y up)",
    )


def check(kind: str | None) -> None:
    """ValueError if meshes of this kind, if any, cannot be written here."""
    if kind:
        check_ending(f".{kind}")


def write(folder: Path, name: str, fitted: FittedFrame, kind: str) -> None:
    """meshes/NAME of one image, its ending replaced by `kind`, in place of an earlier one."""
    cube = fitted.cube
    found = hand_mesh.of_state(fitted.fit, CubeFrame(cube.center_xyz, cube.left))
    path = (folder / FOLDER / name).with_suffix(f".{kind}")
    write_mesh(path, found.vertices, found.faces, overwrite=True)
