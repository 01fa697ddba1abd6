"""matlab_meta.txt, the annotation of one sequence of Human3.6M by Sun et al. 2018.

Nine lines about the sequence and its camera, then a line of 32 joints in world mm per frame.
"""

from dataclasses import dataclass

import numpy as np
from etils import epath
from jaxtyping import Float

from handjax.data.formats.words import to_number
from handjax.pose.joint_orders import ORDERS

# The 17 of the file's 32 joints that are used, numbered from 1; the file lists them as well.
USED = tuple(i + 1 for i in ORDERS["human36m32"].to_common if i >= 0)
_LARGEST_MM = 1e5  # limit of world coordinates
# Lines of matlab_meta.txt before the frames, and the count of numbers in each.
_HEAD = (
    ("frames", 1),
    ("width and height", 2),
    ("R", 9),
    ("T", 3),
    ("f", 2),
    ("c", 2),
    ("k", 3),
    ("p", 2),
    ("joint ids", 17),
)
HEAD_LINES = len(_HEAD)


@dataclass(frozen=True)
class LensCamera:
    """x_camera = rotation (x_world - position), mm; `distortion` is k1, k2, k3, p1, p2."""

    height: int
    width: int
    rotation: Float[np.ndarray, "3 3"]
    position: Float[np.ndarray, "3"]
    k: Float[np.ndarray, "3 3"]
    distortion: Float[np.ndarray, "5"]

    def from_world(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """World mm → camera mm."""
        return (points - self.position) @ self.rotation.T


def read_annotation(path: epath.Path) -> tuple[LensCamera, list[str]]:
    """The camera, and the unparsed lines of the frames."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected the annotation of a sequence")
    try:
        lines = path.read_bytes().decode("ascii").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(
            f"{path}: not plain text; expected matlab_meta.txt, copy it again"
        ) from None
    if len(lines) < len(_HEAD):
        raise ValueError(
            f"{path}: {len(lines)} lines; expected {len(_HEAD)} before those of the frames, "
            "copy it again"
        )
    head = [
        _numbers(path, i, line, what, n)
        for i, (line, (what, n)) in enumerate(zip(lines, _HEAD, strict=False), 1)
    ]
    (count,), (width, height), rotation, position, focal, center, radial, tangential, used = head
    if count < 1 or count != len(lines) - len(_HEAD):
        raise ValueError(
            f"{path}: line 1 gives {count:g} frames, {len(lines) - len(_HEAD)} follow; "
            "expected the same number, copy it again"
        )
    rotation = rotation.reshape(3, 3).T  # written column by column, by MATLAB
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise ValueError(f"{path}, line 3: R is not a rotation; copy it again")
    if (
        np.abs(position).max() > _LARGEST_MM
        or min(width, height, *focal) <= 0
        or np.abs(radial).max() > 10
    ):
        raise ValueError(
            f"{path}, lines 2 to 7: size, T, f or k is not a camera's; "
            "expected mm and px, copy it again"
        )
    if tuple(used) != USED:
        raise ValueError(
            f"{path}, line 9: joints {' '.join(f'{i:g}' for i in used)}; "
            f"expected {' '.join(map(str, USED))}"
        )
    k = np.array([[focal[0], 0, center[0]], [0, focal[1], center[1]], [0, 0, 1]])
    distortion = np.concatenate([radial, tangential])
    camera = LensCamera(round(height), round(width), rotation, position, k, distortion)
    return camera, lines[len(_HEAD) :]


def world_joints(path: epath.Path, number: int, line: str) -> Float[np.ndarray, "18 3"]:
    """World mm: the 17 joints and, as in Sun et al., the thorax midway between the shoulders."""
    points = _numbers(path, number, line, "joints", 96).reshape(32, 3)
    if np.abs(points).max() > _LARGEST_MM:
        raise ValueError(
            f"{path}, line {number}: a joint is {np.abs(points).max():g} mm away; "
            "expected mm, copy it again"
        )
    joints = ORDERS["human36m32"].convert(points)
    joints[-1] = (joints[11] + joints[14]) / 2
    return joints


def _numbers(
    path: epath.Path, number: int, line: str, what: str, count: int
) -> Float[np.ndarray, " n"]:
    """The last `count` words of a line; a name may precede them."""
    words = line.split()
    try:
        if len(words) in (count, count + 1):
            return np.array([to_number(word) for word in words[-count:]])
        problem = f"{len(words)} words"
    except ValueError as error:
        problem = str(error)
    raise ValueError(
        f"{path}, line {number}: {problem}; expected {count} numbers ({what}), copy it again"
    )
