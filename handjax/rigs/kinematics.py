"""Articulated models (rigs): a tree of bones with attached spheres, and forward kinematics."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax.pose import geometry

Row = tuple[float, float, float, float]


@dataclass(frozen=True)
class Rig:
    """Bones, parents before children, with their rest frames, and spheres attached to them.

    `rest[i]` is the 4x4 transform bone → model at rest. `parents[i] == -1` attaches the bone to the
    root. Sphere s moves rigidly with bone `sphere_bones[s]`; its center is in model mm at rest.
    """

    bones: tuple[str, ...]
    parents: tuple[int, ...]
    rest: tuple[tuple[Row, Row, Row, Row], ...]
    sphere_bones: tuple[int, ...]
    sphere_centers: tuple[tuple[float, float, float], ...]
    sphere_radii: tuple[float, ...]


def bone_transforms(
    rig: Rig, root: Float[Array, "*b 4 4"], local: Float[Array, "*b n 4 4"]
) -> Float[Array, "*b n 4 4"]:
    """Skinning matrices: rest model → posed model for every bone, the identity at rest.

    `root` moves the whole model; `local[i]` moves bone i in its own rest frame:
    T_i = T_parent · rest_i · local_i · rest_i⁻¹.
    """
    rest = np.asarray(rig.rest)
    frames, inverses = (
        jnp.broadcast_to(jnp.asarray(m, local.dtype), local.shape)
        for m in (rest, np.linalg.inv(rest))
    )
    steps = geometry.matmul(geometry.matmul(frames, local), inverses)
    posed = {-1: root}
    for members in _generations(rig.parents):
        before = jnp.stack([posed[rig.parents[i]] for i in members], axis=-3)
        after = geometry.matmul(before, steps[..., np.asarray(members), :, :])
        posed |= {i: after[..., j, :, :] for j, i in enumerate(members)}
    return jnp.stack([posed[i] for i in range(len(rig.bones))], axis=-3)


def _generations(parents: tuple[int, ...]) -> list[list[int]]:
    """Bones by depth in the tree, so that there is one matrix product per depth, not per bone."""
    generation = {-1: -1}
    for i, parent in enumerate(parents):
        generation[i] = generation[parent] + 1
    return [
        [i for i in range(len(parents)) if generation[i] == g]
        for g in range(max(generation.values()) + 1)
    ]


def attached_points(
    transforms: Float[Array, "*b n 4 4"],
    bones: tuple[int, ...],
    points: tuple[tuple[float, float, float], ...],
) -> Float[Array, "*b p 3"]:
    """Posed positions of points of the rest model, mm; point i moves rigidly with `bones[i]`."""
    carriers = transforms[..., np.asarray(bones), :, :]
    at_rest = jnp.broadcast_to(jnp.asarray(points, transforms.dtype), (*carriers.shape[:-2], 3))
    return geometry.transform_points(carriers, at_rest[..., None, :])[..., 0, :]


def bone_origins(
    rig: Rig, transforms: Float[Array, "*b n 4 4"], bones: tuple[int, ...]
) -> Float[Array, "*b p 3"]:
    """Origins of the frames of the given bones, the joints, in posed model mm."""
    origins = tuple((x[3], y[3], z[3]) for x, y, z, _ in (rig.rest[bone] for bone in bones))
    return attached_points(transforms, bones, origins)
