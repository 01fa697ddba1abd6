"""Joint coordinates ↔ heat maps on a grid of any dimension.

Coordinates are in cells along the axes of the grid, first axis first. `cell_center` is the
coordinate of the center of cell 0: 0.5 if cell i covers [i, i+1), 0 if integers are centers. The
layout is [*b, *grid, j].
"""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def gaussian_heatmaps(
    coords: Float[Array, "*b j n"], size: int, sigma: float, cell_center: float
) -> Float[Array, "*b_grid j"]:
    """exp(-d² / (2 sigma²)) at each cell's center, [*b, size, …, size, j]; d and sigma in cells,
    peak 1, not normalized."""
    n, lead, joints = coords.shape[-1], coords.shape[:-2], coords.shape[-2]
    cells = (jnp.arange(size, dtype=coords.dtype) + cell_center).reshape(
        (1,) * len(lead) + (size, 1)
    )
    # A Gaussian is a product over its axes: n small tables and one outer product. With joints last
    # from the start, XLA fuses the product into the loss and never writes the maps to memory.
    heat = jnp.ones((), coords.dtype)
    for axis in range(n):
        table = jnp.exp(-0.5 * ((cells - coords[..., None, :, axis]) / sigma) ** 2)  # [*b, size, j]
        heat = heat * table.reshape(*lead, *(size if a == axis else 1 for a in range(n)), joints)
    return heat


def argmax(
    heatmaps: Float[Array, "*b_grid j"], n: int, cell_center: float
) -> Float[Array, "*b j n"]:
    """Center of the highest cell; the first one at ties."""
    return _peak(heatmaps, n).astype(heatmaps.dtype) + cell_center


def refined_argmax(
    heatmaps: Float[Array, "*b_grid j"], n: int, cell_center: float
) -> Float[Array, "*b j n"]:
    """Centroid, weighted by heat, of the 3ⁿ cells around the highest one (the "smooth maximum" of
    mhruz/hpoes_pytorch). Cells outside the grid and negative heat have no weight.

    Such a short window is biased toward its middle: of a Gaussian's offset from the highest cell it
    recovers 55 % at sigma 1 and 22 % at the papers' 1.7.
    """
    return _centroid(heatmaps, _peak(heatmaps, n), n, cell_center)


def peaks(
    heatmap: Float[Array, "*b_grid 1"], n: int, cell_center: float, count: int
) -> Float[Array, "*b count n"]:
    """The `count` highest local maxima (no higher cell among the 3ⁿ around) of one map
    [*b, *grid, 1], highest first, each refined to its centroid: joints without names.

    Of equal neighbours, which a joint between two cells has, the first counts. If there are fewer
    maxima, the first cells stand for the rest.
    """
    grid = heatmap.shape[-n - 1 : -1]
    padded = jnp.pad(
        heatmap,
        [(0, 0)] * (heatmap.ndim - n - 1) + [(1, 1)] * n + [(0, 0)],
        constant_values=-jnp.inf,
    )
    highest = jnp.ones(heatmap.shape, bool)
    for offset in itertools.product((0, 1, 2), repeat=n):
        around = padded[..., *(slice(o, o + size) for o, size in zip(offset, grid, strict=True)), :]
        highest &= heatmap > around if offset < (1,) * n else heatmap >= around
    flat = _flat(jnp.where(highest, heatmap, -jnp.inf), n)[..., 0, :]
    _, cells = jax.lax.top_k(flat, count)
    repeated = jnp.broadcast_to(heatmap, (*heatmap.shape[:-1], count))
    return _centroid(repeated, _unravel(cells, heatmap.shape[-2], n), n, cell_center)


def _centroid(heatmaps, peak, n, cell_center):
    """Heat-weighted mean cell around `peak` [*b, j, n]."""
    size = heatmaps.shape[-2]
    offsets = jnp.array(list(itertools.product((-1, 0, 1), repeat=n)))  # [3ⁿ, n]
    around = peak[..., None, :] + offsets.reshape((1,) * (peak.ndim - 1) + offsets.shape)
    inside = ((around >= 0) & (around < size)).all(-1)
    flat = jnp.zeros(around.shape[:-1], jnp.int32)
    for axis in range(n):
        flat = flat * size + jnp.clip(around[..., axis], 0, size - 1)
    heat = jnp.take_along_axis(_flat(heatmaps, n), flat, axis=-1)
    weight = jnp.where(inside, jnp.maximum(heat, 0.0), 0.0)
    total = weight.sum(-1, keepdims=True)
    # A peak that is not positive has no centroid: use the cell itself.
    weight = jnp.where(total > 0, weight / jnp.where(total > 0, total, 1.0), 1.0 / weight.shape[-1])
    centroid = (weight[..., None] * around.astype(heatmaps.dtype)).sum(-2)
    return jnp.where(total > 0, centroid, peak.astype(heatmaps.dtype)) + cell_center


def soft_argmax(
    heatmaps: Float[Array, "*b_grid j"], n: int, cell_center: float, beta: float = 1.0
) -> Float[Array, "*b j n"]:
    """Expectation of the cell center under softmax(beta · heat) (Sun et al. 2018, arXiv 1711.08229,
    eq. 3)."""
    return expectation(jax.nn.softmax(beta * heatmaps, axis=_grid(n)), n, cell_center)


def expectation(
    probability: Float[Array, "*b_grid j"], n: int, cell_center: float
) -> Float[Array, "*b j n"]:
    """Mean cell center of maps that each sum to 1."""
    size, axes = probability.shape[-2], _grid(n)
    cells = jnp.arange(size, dtype=probability.dtype) + cell_center
    marginals = [probability.sum([a for a in axes if a != axis]) for axis in axes]  # [*b, size, j]
    return jnp.stack(
        [jnp.einsum("...sj,s->...j", m, cells, precision="highest") for m in marginals], axis=-1
    )


def confidence(heatmaps: Float[Array, "*b_grid j"], n: int) -> Float[Array, "*b j"]:
    """Height of the highest cell."""
    return _flat(heatmaps, n).max(-1)


def _grid(n):
    """The axes of the grid, counted from the last."""
    return tuple(range(-n - 1, -1))


def _flat(heatmaps, n):
    """[*b, *grid, j] → [*b, j, cells]"""
    lead = heatmaps.shape[: -n - 1]
    return jnp.moveaxis(heatmaps, -1, len(lead)).reshape(*lead, heatmaps.shape[-1], -1)


def _peak(heatmaps, n):
    return _unravel(_flat(heatmaps, n).argmax(-1), heatmaps.shape[-2], n)


def _unravel(flat, size, n):
    return jnp.stack([(flat // size ** (n - 1 - axis)) % size for axis in range(n)], axis=-1)
