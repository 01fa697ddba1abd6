"""An articulated figure: a tree of bones at rest, spheres fixed to them, and its forward kinematics."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax.pose import geometry

Row = tuple[float, float, float, float]


@dataclass(frozen=True)
class Figure:
    """Bones in an order where parents come first, each with its rest frame; spheres in the figure's rest pose.

    `rest[i]` is the 4x4 transform bone → model at rest; `parents[i] == -1` hangs the bone on the figure's root.
    Sphere s moves rigidly with bone `sphere_bones[s]`; its centre is in model mm, at rest.
    """

    bones: tuple[str, ...]
    parents: tuple[int, ...]
    rest: tuple[tuple[Row, Row, Row, Row], ...]
    sphere_bones: tuple[int, ...]
    sphere_centers: tuple[tuple[float, float, float], ...]
    sphere_radii: tuple[float, ...]


def bone_transforms(
    figure: Figure, root: Float[Array, "*b 4 4"], local: Float[Array, "*b n 4 4"]
) -> Float[Array, "*b n 4 4"]:
    """Rest model → posed model for every bone; the identity where nothing moves (a skinning matrix).

    `root` moves the whole figure; `local[i]` moves bone i inside its own rest frame:
    T_i = T_parent · rest_i · local_i · rest_i⁻¹.
    """
    rest = np.asarray(figure.rest)
    frames, inverses = (
        jnp.broadcast_to(jnp.asarray(m, local.dtype), local.shape)
        for m in (rest, np.linalg.inv(rest))
    )
    steps = geometry.matmul(geometry.matmul(frames, local), inverses)
    posed = {-1: root}
    for members in _generations(figure.parents):
        before = jnp.stack([posed[figure.parents[i]] for i in members], axis=-3)
        after = geometry.matmul(before, steps[..., np.asarray(members), :, :])
        posed |= {i: after[..., j, :, :] for j, i in enumerate(members)}
    return jnp.stack([posed[i] for i in range(len(figure.bones))], axis=-3)


def _generations(parents: tuple[int, ...]) -> list[list[int]]:
    """Bones without a parent, their children, their children's children: one matrix product each, not one a bone."""
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
    """Points of the rest model, mm, carried along rigidly: point i by bone `bones[i]`."""
    carriers = transforms[..., np.asarray(bones), :, :]
    at_rest = jnp.broadcast_to(jnp.asarray(points, transforms.dtype), (*carriers.shape[:-2], 3))
    return geometry.transform_points(carriers, at_rest[..., None, :])[..., 0, :]


def bone_origins(
    figure: Figure, transforms: Float[Array, "*b n 4 4"], bones: tuple[int, ...]
) -> Float[Array, "*b p 3"]:
    """Where the frames of the given bones start, in posed model mm: the joints."""
    return attached_points(
        transforms, bones, tuple(tuple(row[3] for row in figure.rest[b][:3]) for b in bones)
    )
