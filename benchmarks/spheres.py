"""The sphere renderer, compared with PyTorch."""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Case, Effort
from benchmarks.scenes import hand_count
from handjax.rigs import hand, poses, spheres


def cases(effort: Effort) -> Iterator[Case]:
    """Depth images of 41 spheres per hand, with and without their gradients."""
    batch, size = effort.batch(48), effort.size(64)
    pose = jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(jax.random.key(0), batch))
    centers, radii = jax.jit(hand.spheres)(pose)
    weight = jax.random.normal(jax.random.key(1), (batch, size, size))

    def draw(centers):
        return spheres.sphere_depth_orthographic(centers, radii, size)[0]

    forward, backward = (
        jax.jit(draw),
        jax.jit(jax.value_and_grad(lambda c: jnp.sum(draw(c) * weight))),
    )
    peers = torch_spheres(np.asarray(centers), np.asarray(radii), np.asarray(weight), size)
    where = f"{size} x {size}, {centers.shape[1]} spheres, {hand_count(batch)}"
    yield Case(
        f"forward, {where}",
        batch,
        "hand",
        {"handjax": lambda: forward(centers), "PyTorch": peers[0]},
    )
    yield Case(
        f"forward and gradient, {where}",
        batch,
        "hand",
        {"handjax": lambda: backward(centers), "PyTorch": peers[1]},
    )


def torch_spheres(
    centers: np.ndarray, radii: np.ndarray, weight: np.ndarray, size: int
) -> Sequence[Callable[[], None] | str]:
    """Forward, and with gradient: the minimum over one image per sphere, as in the original."""
    try:
        import torch
    except ImportError:
        return ["not installed: pip install torch"] * 2
    at = (torch.arange(size) - size / 2) * (300.0 / size)
    y, x = at[None, None, :, None], at[None, None, None, :]
    centers, radii, weight = (torch.tensor(a) for a in (centers, radii, weight))
    centers.requires_grad_()
    r2 = (radii * radii)[..., None, None]

    def draw():
        cx, cy, cz = (centers[..., i, None, None] for i in range(3))
        chord = r2 - (x - cx) ** 2 - (y - cy) ** 2
        depth = cz - torch.sqrt(torch.clamp(chord, min=0.01))
        return torch.where(chord > 0, depth, 100.0).amin(dim=1).clamp(max=100.0)

    def forward():
        with torch.no_grad():
            draw()

    def backward():
        centers.grad = None
        (draw() * weight).sum().backward()

    return forward, backward
