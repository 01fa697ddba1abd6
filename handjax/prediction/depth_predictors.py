"""Predictors of hand joints from depth images: V2V-PoseNet and the sphere hand."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from handjax.data.batch import pack_voxels
from handjax.fitting import depth_cube, sphere_network
from handjax.pose.cube import EXTENT_MM
from handjax.pose.skeleton import SKELETONS, Skeleton, unnamed
from handjax.pose.skeleton_file import NAME as OWN
from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike
from handjax.prediction.base import Prediction
from handjax.prediction.depth_base import DepthPredictor, nearest_centers
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.network import TrainedNetwork
from handjax.rigs import hand


class VoxelPredictor(DepthPredictor):
    """V2V-PoseNet on depth images; `from_voxels` takes occupancy instead.

    Where no center is given, the hand network finds the hand, and for joints of your own the
    nearest thing within `range_mm` is taken. The cube around it has `cube_mm` mm per side, as in
    training; it can be changed. Runs with `task.global_joints` do not name joints:
    theirs are peak_0, peak_1, ….
    """

    def __init__(self, name: str, network: TrainedNetwork):
        data = network.config.data
        skeleton = network.skeleton
        if network.config.task.global_joints:
            skeleton = unnamed(tuple(f"peak_{i}" for i in range(len(skeleton.joints))))
        super().__init__(name, skeleton, tuple(data.get("depth_mm", depth_cube.RANGE_MM)))
        self.network = network
        self.cube_mm = float(data.get("cube_mm", EXTENT_MM))

    @classmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "VoxelPredictor":
        return cls(name, network)

    @property
    def default_center(self) -> str:
        """How the crop is found where nothing is said: joints of your own need not be a hand's."""
        return "nearest" if self.skeleton.name == OWN else "network"

    def _cube_mm(self):
        return self.cube_mm

    def _rows(self, frames, k, centers, side, how):
        left = side == "left"
        cube_mm = np.full((len(frames), 3), self.cube_mm, np.float32)
        if centers is None and self.default_center == "nearest":
            centers = nearest_centers(frames, k, self.cube_mm, self.range_mm)
        elif centers is None:
            centers = found_centers(frames, k, side)
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
        return self.named(found, batched=np.ndim(voxels) == 4)


def found_centers(
    frames: Float[np.ndarray, "n h w"], k: Float[np.ndarray, "n 3 3"], side: str
) -> Float[np.ndarray, "n 3"]:
    """Means of the joints that the included hand network finds, camera mm."""
    finder = HandDepthPredictor.included()
    hands = [finder.locate(frame, own, side) for frame, own in zip(frames, k, strict=True)]
    return np.stack([np.asarray(hand.joints).mean(0) for hand in hands])


# Depth of cubes [n, s, s] and their centers [n, 3] → joints [n, j, 3], mm from the same origin.
CubeNetwork = Callable[
    [Float[np.ndarray, "n s s"], Float[np.ndarray, "n 3"]], Float[np.ndarray, "n j 3"]
]


class SpherePredictor(DepthPredictor):
    """The sphere hand on depth images; `from_cubes` takes the depth of cubes instead.

    The network sees a cube of 300 mm around the center; a left hand is mirrored first.
    """

    def __init__(self, name: str, skeleton: Skeleton, size: int, network: CubeNetwork):
        super().__init__(name, skeleton, depth_cube.RANGE_MM)
        self.size, self.network = size, network
        self.trained: TrainedNetwork | None = None  # behind `network`; None: the included one

    @classmethod
    def included(cls) -> "SpherePredictor":
        """The network that comes with handjax: models/spherenet.md."""
        return cls("spherehand", SKELETONS["hand21"], depth_cube.SIZE, _included)

    @classmethod
    def of_run(cls, name: str, network: TrainedNetwork) -> "SpherePredictor":
        def joints(cubes: np.ndarray, centers: np.ndarray) -> np.ndarray:
            # One view without labels, in its own frame.
            cameras = np.tile(np.eye(4, dtype=np.float32), (len(cubes), 1, 1, 1))
            batch = {"cube_depth": cubes[:, None], "center_xyz": centers, "cameras": cameras}
            return network(batch)["joints_xyz"]

        size = network.task.dummy_inputs(1)["x"].shape[1]
        predictor = cls(name, network.skeleton, size, joints)
        predictor.trained = network
        return predictor

    def _rows(self, frames, k, centers, side, how):
        left = side == "left"
        if how == "network":
            centers = found_centers(frames, k, side)
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
        return self.named({"xyz": xyz}, batched=np.ndim(cube_depth) == 3)


@cache
def _included_centers() -> Callable[[np.ndarray], np.ndarray]:
    return sphere_network.load()


def _included(cubes: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The included network as a CubeNetwork."""
    spheres = np.stack([_included_centers()(cube) for cube in cubes])
    return spheres[:, np.array(hand.JOINT_SPHERES["hand21"])] + centers[:, None]
