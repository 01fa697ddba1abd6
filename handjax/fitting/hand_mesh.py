"""The hand of the rig as a triangle mesh: of a fit, or of joints that any network gave."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from handjax.fitting import hand_state
from handjax.fitting.depth_cube import CubeFrame
from handjax.fitting.hand_state import HandState
from handjax.fitting.inverse_kinematics import hand_from_joints
from handjax.rigs import flesh, skinning, spheres


class RigHand(NamedTuple):
    """The rig's hand in camera mm. Faces are counter-clockwise seen from outside."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    joints: Float[np.ndarray, "21 3"]  # hand21
    centers: Float[np.ndarray, "41 3"]  # of the spheres
    radii: Float[np.ndarray, "41"]
    state: HandState  # pose and sizes of the hand as a right one, mm of `frame`
    frame: CubeFrame


def of_joints(joints: Float[np.ndarray, "21 3"], left: bool) -> RigHand:
    """The rig's hand whose joints are nearest to `joints` (hand21, camera mm): its bones have
    lengths of a hand, so it may not reach them."""
    frame = CubeFrame(np.asarray(joints, np.float32).mean(0), left)
    return of_state(_from_joints(frame.from_camera(joints).astype(np.float32)), frame)


def of_state(state: HandState, frame: CubeFrame) -> RigHand:
    """The rig's hand of a fit in the axes of `frame`."""
    state = HandState(*(jnp.asarray(leaf, jnp.float32) for leaf in state))
    vertices, centers, radii, joints = jax.device_get(_rig_hand(state))
    skin = skinning.hand_skin()
    faces = skin.faces if frame.left else skinning.right_hand_faces(skin)
    placed = (frame.to_camera(points) for points in (vertices, joints, centers))
    vertices, joints, centers = placed
    return RigHand(vertices, faces, joints, centers, radii, state, frame)


def sphere_mesh(
    centers: Float[np.ndarray, "s 3"], radii: Float[np.ndarray, " s"]
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Spheres as one mesh, one after another."""
    points, faces = spheres.unit_sphere()
    placed = centers[:, None] + radii[:, None, None] * points[None]
    numbered = faces[None] + len(points) * np.arange(len(centers))[:, None, None]
    return placed.reshape(-1, 3).astype(np.float32), numbered.reshape(-1, 3)


_from_joints = jax.jit(hand_from_joints)


@jax.jit
def _rig_hand(state: HandState):
    """Vertices, sphere centers and radii, and joints, mm of the frame."""
    scale = jnp.full(3, jnp.exp(state.log_size))
    skin, fingers = skinning.hand_skin(), jnp.exp(state.log_fingers)
    offsets = flesh.skin_offsets(skin, flesh.of_thickness(jnp.exp(state.log_flesh)))
    vertices = skinning.hand_vertices(skin, state.pose, scale, fingers, offsets)
    return vertices, *hand_state.spheres(state), hand_state.joints21(state)
