"""Distance of measured points to the surface of a fitted hand, and the forearm's share of them."""

import numpy as np
from jaxtyping import Array, Bool, Float

# Centers and radii, mm.
Spheres = tuple[Float[Array | np.ndarray, "_ 3"], Float[Array | np.ndarray, " _"]]


def signed_distance(
    points: Float[np.ndarray, "p 3"],
    centers: Float[Array | np.ndarray, "s 3"],
    radii: Float[Array | np.ndarray, " s"],
) -> Float[np.ndarray, " p"]:
    """Distance to the surface of the union of spheres, mm, negative inside."""
    least = np.full(len(points), np.inf, np.float32)
    for center, radius in zip(np.asarray(centers), np.asarray(radii), strict=True):
        least = np.minimum(least, np.linalg.norm(points - center, axis=1) - radius)
    return least


def mean_distance(points: Float[np.ndarray, "p 3"], hand: Spheres) -> float:
    """Mean unsigned distance of points to the surface of a hand, mm."""
    return float(np.abs(signed_distance(points, *hand)).mean())


def nearer_to_forearm(
    points: Float[np.ndarray, "p 3"], hand: Spheres, forearm: Spheres
) -> Bool[np.ndarray, " p"]:
    """The points nearer to the forearm than to the hand; none if all of them are."""
    nearer = signed_distance(points, *forearm) < signed_distance(points, *hand)
    return nearer if not nearer.all() else ~nearer
