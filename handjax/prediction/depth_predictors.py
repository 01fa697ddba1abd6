"""Predictors of hand joints from depth images: V2V-PoseNet and the sphere hand."""

import abc
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from handjax.data.batch import pack_voxels
from handjax.fitting import depth_cube, sphere_network
from handjax.pose.center import hand_center
from handjax.pose.cube import EXTENT_MM
from handjax.pose.skeleton import SKELETONS
from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike, CameraLike
from handjax.prediction.base import Prediction, Predictor, named
from handjax.prediction.network import TrainedNetwork
from handjax.rigs import hand


class DepthPredictor(Predictor):
    """Joints of the hand in depth images."""

    reads = "depth images [h, w] or [n, h, w] in mm, camera"
    sides: tuple[str, ...] = ("right", "left")  # that may be asked for; the first by default

    def __init__(self, name: str, joints: tuple[str, ...], range_mm: tuple[float, float]):
        super().__init__(name, joints)
        self.range_mm = range_mm

    def __call__(
        self,
        depth: ArrayLike,
        camera: CameraLike,
        center: ArrayLike | Sequence[Any] | None = None,
        side: str | None = None,
    ) -> Prediction:
        """`xyz` and the crop's `center` in camera mm, `uv` in px of the image, and `confidence`,
        `std` and `presence` if the network has them.

        depth   mm along z, 0 = missing, [h, w] or [n, h, w]
        camera  (fx, fy, cx, cy) in px, K [3, 3], K per frame [n, 3, 3], (K, OpenCV's distortion),
                or text as `--camera` takes it: a name, or with fisheye: or crop: in front
        center  of the crop around the hand, camera mm, [3] or [n, 3]; by default it is found: by
                the hand network's finder, else as the center of mass of the nearest object within
                `range_mm` (`pose.center.hand_center`)
        side    of the hand, "right" or "left"; by default the hand network finds out, and the
                others expect a right hand
        """
        frames = arguments.samples("depth", depth, 2, "[h, w] or [n, h, w] in mm")
        frames = np.where(np.isfinite(frames) & (frames > 0), frames, 0).astype(np.float32)
        images = arguments.pinhole_frames(camera, frames)
        side = side or self.sides[0]
        if side not in self.sides:
            raise ValueError(f"side={side!r}: expected {' or '.join(self.sides)}")
        centers = None if center is None else arguments.centers(center, len(frames))
        rows = self._rows(images.depth, images.k, centers, side)
        xyz = rows["joints_xyz"]
        found = {
            "xyz": xyz,
            "uv": images.pixels(xyz),
            "confidence": rows.get("confidence"),
            "std": rows.get("std"),
            "presence": rows.get("presence"),
            "center": rows["center_xyz"],
        }
        left = rows["left"] if "left" in rows else [side == "left"] * len(frames)
        sides = ["left" if one else "right" for one in left]
        return named(self.joints, found, batched=np.ndim(depth) == 3, side=sides)

    @abc.abstractmethod
    def _rows(
        self,
        frames: Float[np.ndarray, "n h w"],
        k: Float[np.ndarray, "n 3 3"],
        centers: Float[np.ndarray, "n 3"] | None,
        side: str,
    ) -> dict[str, np.ndarray]:
        """`joints_xyz` [n, j, 3] and `center_xyz` [n, 3] in camera mm; and, if there are any,
        `confidence`, `std` [n, j], `presence` and `left` [n]."""


class VoxelPredictor(DepthPredictor):
    """V2V-PoseNet on depth images; `from_voxels` takes occupancy instead.

    The cube around the center has `cube_mm` mm per side, as in training; it can be changed. Runs
    with `task.global_joints` do not name joints: theirs are peak_0, peak_1, ….
    """

    def __init__(self, name: str, network: TrainedNetwork):
        data = network.config.data
        joints = network.skeleton.joints
        if network.config.task.global_joints:
            joints = tuple(f"peak_{i}" for i in range(len(joints)))
        super().__init__(name, joints, tuple(data.get("depth_mm", depth_cube.RANGE_MM)))
        self.network = network
        self.cube_mm = float(data.get("cube_mm", EXTENT_MM))

    @classmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "VoxelPredictor":
        return cls(name, network)

    def _rows(self, frames, k, centers, side):
        left = side == "left"
        cube_mm = np.full((len(frames), 3), self.cube_mm, np.float32)
        if centers is None:
            centers = _hand_centers(frames, k, cube_mm, self.range_mm)
        mirror = np.array([-1 if left else 1, 1, 1], np.float32)
        if left:
            frames, k = np.ascontiguousarray(frames[..., ::-1]), k.copy()
            k[:, 0, 2] = frames.shape[2] - 1 - k[:, 0, 2]
        batch = {"depth": frames, "k": k, "center_xyz": centers * mirror, "cube_mm": cube_mm}
        rows = self.network(batch)
        return rows | {"joints_xyz": rows["joints_xyz"] * mirror, "center_xyz": centers}

    def from_voxels(
        self,
        voxels: ArrayLike,
        center: ArrayLike | Sequence[Any],
        cube_mm: ArrayLike | Sequence[Any] | float | None = None,
    ) -> Prediction:
        """`xyz` in camera mm and `confidence` from occupancy, for runs with `task.rule` hpoes.

        voxels   bool, [y, x, z] or [n, y, x, z], as in the files of `handjax prepare voxel_h5`
        center   of the cube, camera mm, [3] or [n, 3]
        cube_mm  its edges, one number, [3] or [n, 3]; by default as in depth images
        """
        volumes = arguments.samples("voxels", voxels, 3, "occupancy [y, x, z] or [n, y, x, z]") > 0
        edges = np.asarray(self.cube_mm if cube_mm is None else cube_mm, np.float32)
        batch = {
            "voxels": pack_voxels(volumes),
            "center_xyz": arguments.centers(center, len(volumes)),
            "cube_mm": np.ascontiguousarray(np.broadcast_to(edges, (len(volumes), 3))),
        }
        rows = self.network(batch)
        found = {"xyz": rows["joints_xyz"], "confidence": rows["confidence"]}
        return named(self.joints, found, batched=np.ndim(voxels) == 4)


# Depth of cubes [n, s, s] and their centers [n, 3] → joints [n, j, 3], mm from the same origin.
CubeNetwork = Callable[
    [Float[np.ndarray, "n s s"], Float[np.ndarray, "n 3"]], Float[np.ndarray, "n j 3"]
]


class SpherePredictor(DepthPredictor):
    """The sphere hand on depth images; `from_cubes` takes the depth of cubes instead.

    The network sees a cube of 300 mm around the center; a left hand is mirrored first.
    """

    def __init__(self, name: str, joints: tuple[str, ...], size: int, network: CubeNetwork):
        super().__init__(name, joints, depth_cube.RANGE_MM)
        self.size, self.network = size, network

    @classmethod
    def included(cls) -> "SpherePredictor":
        """The network that comes with handjax: models/spherenet.md."""
        return cls("spherehand", SKELETONS["hand21"].joints, depth_cube.SIZE, _included)

    @classmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "SpherePredictor":
        def joints(cubes: np.ndarray, centers: np.ndarray) -> np.ndarray:
            # One view without labels, in its own frame.
            cameras = np.tile(np.eye(4, dtype=np.float32), (len(cubes), 1, 1, 1))
            batch = {"cube_depth": cubes[:, None], "center_xyz": centers, "cameras": cameras}
            return network(batch)["joints_xyz"]

        size = network.task.dummy_inputs(1)["x"].shape[1]
        return cls(name, network.skeleton.joints, size, joints)

    def _rows(self, frames, k, centers, side):
        left = side == "left"
        given = [None] * len(frames) if centers is None else centers
        cubes = [
            depth_cube.crop_cube(frame, own, self.range_mm, left, center, self.size)
            for frame, own, center in zip(frames, k, given, strict=True)
        ]
        depth = np.stack([cube.depth for cube in cubes])
        own = self.network(depth, np.zeros((len(cubes), 3), np.float32))
        placed = [cube.to_camera(joints) for joints, cube in zip(own, cubes, strict=True)]
        centers = np.stack([cube.center_xyz for cube in cubes])
        return {"joints_xyz": np.stack(placed), "center_xyz": centers}

    def from_cubes(
        self, cube_depth: ArrayLike, center: ArrayLike | Sequence[Any] = (0.0, 0.0, 0.0)
    ) -> Prediction:
        """`xyz` in mm from depth along parallel rays (`pose.cube.parallel_rays`).

        cube_depth  mm from the cube's middle, 100 = nothing there, [s, s] or [n, s, s] with s the
                    network's `size`; of right hands
        center      the cube's middle, camera mm, [3] or [n, 3]; by default the origin of `xyz`
        """
        cubes = arguments.samples("cube_depth", cube_depth, 2, "[s, s] or [n, s, s] in mm")
        if cubes.shape[1:] != (self.size, self.size):
            raise ValueError(
                f"cube_depth of {list(cubes.shape[1:])} px: this network takes "
                f"{self.size} x {self.size}"
            )
        xyz = self.network(cubes.astype(np.float32), arguments.centers(center, len(cubes)))
        return named(self.joints, {"xyz": xyz}, batched=np.ndim(cube_depth) == 3)


@cache
def _included_centers() -> Callable[[np.ndarray], np.ndarray]:
    return sphere_network.load()


def _included(cubes: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The included network as a CubeNetwork."""
    spheres = np.stack([_included_centers()(cube) for cube in cubes])
    return spheres[:, np.array(hand.JOINT_SPHERES["hand21"])] + centers[:, None]


@partial(jax.jit, static_argnames="range_mm")
def _jitted_center(depth, k, cube_mm, range_mm):
    return hand_center(depth, k, cube_mm, range_mm)


def _hand_centers(frames, k, cube_mm, range_mm) -> Float[np.ndarray, "n 3"]:
    near, far = range_mm
    empty = ~((frames >= near) & (frames <= far)).any((1, 2))
    if empty.any():
        raise ValueError(
            f"depth: frame {int(np.argmax(empty))} has no depth between {near:g} and {far:g} mm, "
            "where the hand is searched for; set predictor.range_mm, or give its center"
        )
    return np.asarray(_jitted_center(frames, k, cube_mm, range_mm))
