"""The 3D view of the page."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from handjax.fitting.hand_state import MEAN_SIZE
from handjax.pose.skeleton import SKELETONS, rgb
from handjax.rigs import hand, skinning, spheres
from handjax.viewer.rendering import WINDOW_MM, RenderedHand

if TYPE_CHECKING:
    import viser

_SKELETON = SKELETONS["hand21"]
_JOINT_MM = 3.5  # radius of a joint
_LIKELY = 2.80  # deviations, within which a point of a Gaussian in space is with 95 %
_MOST_POINTS = 6000  # of a point cloud


class Scene:
    """Skin, spheres and joints of the hand; observed points; and the spheres of a network."""

    def __init__(self, server: "viser.ViserServer", skin: skinning.Skin):
        self.server, scene = server, server.scene
        scene.set_up_direction("-y")
        scene.configure_default_lights(False)
        scene.add_light_directional("/light", position=(-300.0, -500.0, -700.0), intensity=2.0)
        server.initial_camera.up = (0.0, -1.0, 0.0)
        self.skin = scene.add_mesh_simple(
            "/skin",
            skin.vertices,
            skinning.right_hand_faces(skin),
            color=(224, 172, 140),
            side="double",
        )
        fingers = np.asarray([rgb(group) for group in hand.SPHERE_GROUPS], np.uint8)
        joints = np.asarray([rgb(group) for group in _SKELETON.groups], np.uint8)
        radii = np.asarray(hand.HAND.sphere_radii)
        self.spheres = self._balls("/spheres", radii, fingers)
        self.joints = self._balls("/joints", np.full(len(joints), _JOINT_MM), joints)
        self.found = self._balls("/found", radii * MEAN_SIZE, fingers)
        self.found.visible, self.found.opacity = False, 0.5
        self.doubt = self._balls("/doubt", np.ones(len(joints)), joints)
        self.doubt.visible, self.doubt.opacity = False, 0.35
        lines = np.repeat(joints[[child for _, child in _SKELETON.bones]][:, None], 2, axis=1)
        self.bones = scene.add_line_segments(
            "/bones", np.zeros((len(lines), 2, 3)), lines, thickness=3.0
        )

    def _balls(
        self, name: str, radii: np.ndarray, colours: UInt8[np.ndarray, "s 3"]
    ) -> "viser.BatchedMeshHandle":
        still = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (len(radii), 4))
        return self.server.scene.add_batched_meshes_simple(
            name,
            *spheres.unit_sphere(),
            still,
            np.zeros((len(radii), 3)),
            batched_scales=radii,
            batched_colors=colours,
            lod="off",
        )

    def look_at(self, center: Float[np.ndarray, "3"]) -> None:
        """Place all cameras, present and future, where the depth camera is: at the origin."""
        cameras: list[Any] = [self.server.initial_camera]
        cameras += [client.camera for client in self.server.get_clients().values()]
        for camera in cameras:
            camera.position, camera.look_at = (0.0, 0.0, 0.0), tuple(center.tolist())
            camera.fov = 2 * math.asin(WINDOW_MM / 2 / float(np.linalg.norm(center)))
            camera.near, camera.far = 10.0, 10000.0

    def show_points(self, points: Float[np.ndarray, "p 3"]) -> None:
        """Show observed points, camera mm, thinned out if there are many."""
        self.points = self.server.scene.add_point_cloud(
            "/points",
            points[:: -(-len(points) // _MOST_POINTS)],
            (80, 200, 255),
            point_size=0.8,
            point_shape="circle",
            precision="float32",
        )

    def show_doubt(
        self, joints: Float[np.ndarray, "j 3"], covariance: Float[np.ndarray, "j 3 3"]
    ) -> None:
        """Show around each joint, camera mm, where it is with a probability of 95 %: an ellipsoid
        of its covariance, mm²."""
        import viser.transforms

        variance, axes = np.linalg.eigh(covariance)
        axes[:, :, 0] *= np.sign(np.linalg.det(axes))[:, None]  # rotations, no mirrors
        self.doubt.batched_positions = joints
        self.doubt.batched_wxyzs = viser.transforms.SO3.from_matrix(axes).wxyz
        self.doubt.batched_scales = _LIKELY * np.sqrt(np.maximum(variance, 1e-6))

    def draw(
        self, now: RenderedHand, faces: Int[np.ndarray, "f 3"], show: Mapping[str, bool]
    ) -> None:
        """Draw the hand; `show`: whether skin, spheres and joints are visible."""
        vertices, centers, radii, joints, _ = map(np.asarray, now)
        self.skin.vertices, self.skin.faces = vertices, faces
        self.spheres.batched_positions, self.spheres.batched_scales = centers, radii
        self.joints.batched_positions = joints
        self.bones.points = joints[np.asarray(_SKELETON.bones)]
        self.skin.visible, self.spheres.visible = show["skin"], show["spheres"]
        self.joints.visible = self.bones.visible = show["joints"]
        # What is around something visible is transparent.
        self.skin.opacity = 0.3 if show["spheres"] or show["joints"] else None
        self.spheres.opacity = 0.3 if show["joints"] else None
