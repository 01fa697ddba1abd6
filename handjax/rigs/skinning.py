"""Linear blend skinning: a closed triangle mesh of the hand that is moved by the bones of its rig.

Our own skin (`hand_skin`) is computed from the spheres of the rig by scripts/make_skin.py; no hand
was modelled or scanned for it. Your own mesh becomes a `Skin` by `bind_mesh`.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int, Int32

from handjax.pose import geometry
from handjax.rigs import hand, kinematics
from handjax.rigs.skin_weights import HAND_LINKS, Links, distance_field, skin_weights


# Hashed by identity, so that jitted functions may close over it or take it as a static argument.
@dataclass(frozen=True, eq=False)
class Skin:
    """Triangles bound to bones; vertices in mm, in the rig's model frame and the bind pose.

    A face (a, b, c) runs counter-clockwise seen from outside: (b - a) x (c - a) points outward. The
    weights of a vertex sum to 1. `unbind` are the inverse bind matrices, the inverses of what
    `kinematics.bone_transforms` gives in the bind pose: identities for a mesh bound at rest.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    weights: Float32[np.ndarray, "v n"]
    unbind: Float32[np.ndarray, "n 4 4"]


def skin_vertices(
    skin: Skin,
    transforms: Float[Array, "*b n 4 4"],
    offsets: Float[Array, "*b v 3"] | None = None,
) -> Float[Array, "*b v 3"]:
    """Vertices, mm, under the bones' `transforms` (rest model → posed model): v' = Σ w T U v.

    A single product of the constant w · (v, 1) [v, 4 n] and the moving T U [4 n, 3]. `offsets` move
    the vertices in the bind pose first, mm.
    """
    moves = geometry.matmul(
        transforms, jnp.broadcast_to(jnp.asarray(skin.unbind, transforms.dtype), transforms.shape)
    )
    if offsets is not None:
        rows = moves[..., :3, :].reshape(*transforms.shape[:-2], 12)
        blended = jnp.einsum(
            "vn,...nk->...vk",
            jnp.asarray(skin.weights, rows.dtype),
            rows,
            precision=lax.Precision.HIGHEST,
        ).reshape(*rows.shape[:-2], len(skin.vertices), 3, 4)
        at = jnp.asarray(skin.vertices, rows.dtype) + offsets
        return (blended[..., :3] * at[..., None, :]).sum(-1) + blended[..., 3]
    columns = jnp.swapaxes(moves[..., :3, :], -1, -2).reshape(*transforms.shape[:-3], -1, 3)
    bound = np.pad(skin.vertices, ((0, 0), (0, 1)), constant_values=1.0)
    shares = jnp.asarray(
        (skin.weights[:, :, None] * bound[:, None, :]).reshape(len(bound), -1), columns.dtype
    )
    return jnp.einsum("vk,...kc->...vc", shares, columns, precision=lax.Precision.HIGHEST)


def hand_vertices(
    skin: Skin,
    pose: Float[Array, "*b 26"],
    scale: Float[Array, "*b 3"] | float = 1.0,
    fingers: hand.Fingers = 1.0,
    offsets: Float[Array, "*b v 3"] | None = None,
) -> Float[Array, "*b v 3"]:
    """Vertices, mm, of a posed right hand in camera axes, its model origin at 0 (`hand.spheres`).

    The mirror that makes it a right hand turns the faces inside out: use `right_hand_faces(skin)`.
    A left hand is the mirror image (x negated) and has `skin.faces`. `offsets`: of its flesh
    (`flesh.skin_offsets`).
    """
    return hand.right_hand(skin_vertices(skin, hand.bone_transforms(pose, fingers), offsets), scale)


@functools.cache
def vertex_normals(skin: Skin) -> Float32[np.ndarray, "v 3"]:
    """Outward unit normals in the bind pose: means of adjacent faces' normals, weighted by area."""
    a, b, c = (skin.vertices[skin.faces[:, i]] for i in range(3))
    normals = np.zeros(skin.vertices.shape)
    for i in range(3):
        np.add.at(normals, skin.faces[:, i], np.cross(b - a, c - a))
    return (normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)).astype(
        np.float32
    )


def hand_normals(
    skin: Skin,
    pose: Float[Array, "*b 26"],
    scale: Float[Array, "*b 3"] | float = 1.0,
    fingers: hand.Fingers = 1.0,
) -> Float[Array, "*b v 3"]:
    """Outward unit normals at `hand_vertices`: those of the bind pose, rotated by the bones.

    Close to the normals of the bent surface, though not equal at knuckles, and cheap: no area or
    neighbour of a face is needed.
    """
    rotations = hand.bone_transforms(pose, fingers).at[..., :3, 3].set(0.0)
    unbind = np.array(skin.unbind)
    unbind[:, :3, 3] = 0.0
    rotated = skin_vertices(Skin(vertex_normals(skin), skin.faces, skin.weights, unbind), rotations)
    scales = jnp.broadcast_to(jnp.asarray(scale, rotated.dtype), (*pose.shape[:-1], 3))
    normals = hand.right_hand(rotated, 1 / scales)
    return normals / (geometry.safe_norm(normals)[..., None] + 1e-12)


def right_hand_faces(skin: Skin) -> Int32[np.ndarray, "f 3"]:
    """Faces that run counter-clockwise seen from outside on `hand_vertices`."""
    return skin.faces[:, [1, 0, 2]]


@functools.cache
def hand_skin() -> Skin:
    """Our own skin of the hand, from the file that scripts/make_skin.py writes."""
    with np.load(Path(__file__).with_name("hand_skin.npz"), allow_pickle=False) as file:
        return Skin(file["vertices"], file["faces"], file["weights"], file["unbind"])


def bind_mesh(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    weights: Float[np.ndarray, "v n"] | None = None,
    unbind: Float[np.ndarray, "n 4 4"] | None = None,
    rig: kinematics.Rig = hand.HAND,
    links: Links = HAND_LINKS,
) -> Skin:
    """Your own mesh, in mm of the rig's model frame, as a `Skin`.

    Without `unbind` it is bound in the rest pose. Without `weights` it gets those that our own skin
    would have at the same places, so it must lie around the spheres of the rig.
    """
    unbind = (
        np.tile(np.eye(4), (len(rig.bones), 1, 1))
        if unbind is None
        else np.asarray(unbind, np.float64)
    )
    if weights is None:
        field = distance_field(rig, np.linalg.inv(unbind), links)
        weights = skin_weights(rig, field, np.asarray(vertices, np.float64))
    return Skin(
        np.asarray(vertices, np.float32),
        np.asarray(faces, np.int32),
        np.asarray(weights, np.float32),
        np.asarray(unbind, np.float32),
    )
