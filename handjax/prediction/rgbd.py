"""Joints in the pixels of a picture and depth of the same camera: metric joints from both."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from handjax.data.cameras import Camera
from handjax.pose.rays import fuse_rays
from handjax.pose.spread import deviation, isotropic
from handjax.prediction import arguments
from handjax.prediction.arguments import ArrayLike, PinholeFrames


def rays_of(
    uv: ArrayLike, uv_std: float, cameras: Sequence[Camera], joints: int
) -> Float[np.ndarray, "n j 3"]:
    """Directions (x, y, 1) of joints in px of the frames, NaN where there is none. ValueError for
    what cannot be such joints."""
    given = arguments.samples("uv", uv, 2, f"px, [{joints}, 2] or [n, {joints}, 2]")
    if given.shape != (len(cameras), joints, 2):
        raise ValueError(
            f"uv: {list(np.shape(uv))}; expected px of {joints} joints in {len(cameras)} frames, "
            f"[{joints}, 2] or [{len(cameras)}, {joints}, 2]"
        )
    if not 0 < uv_std < 1e4:
        raise ValueError(f"uv_std={uv_std:g}: expected px, above 0")
    pairs = zip(cameras, given.astype(np.float64), strict=True)
    return np.stack([camera.rays(own) for camera, own in pairs]).astype(np.float32)


def centers(
    rays: Float[np.ndarray, "n j 3"], images: PinholeFrames, range_mm: tuple[float, float]
) -> Float[np.ndarray, "n 3"]:
    """Where the hand is, camera mm: the mean ray, as far as the median of the depth that its joints
    show. ValueError names a frame without depth there."""
    found = []
    for number, (own, depth, k) in enumerate(zip(rays, images.depth, images.k, strict=True)):
        seen = own[np.isfinite(own).all(-1)]
        at = np.rint(seen[:, :2] * (k[0, 0], k[1, 1]) + k[:2, 2]).astype(int)
        inside = ((at >= 0) & (at < depth.shape[::-1])).all(-1)
        z = depth[at[inside, 1], at[inside, 0]]
        z = z[(z >= range_mm[0]) & (z <= range_mm[1])]
        if not len(z):
            raise ValueError(
                f"uv: frame {number} has no depth between {range_mm[0]:g} and {range_mm[1]:g} mm "
                "at these joints; expected px of the depth image"
            )
        found.append(seen.mean(0) * np.median(z))
    return np.stack(found).astype(np.float32)


def fuse(
    rows: dict[str, np.ndarray],
    rays: Float[np.ndarray, "n j 3"],
    uv_std: float,
    images: PinholeFrames,
) -> dict[str, np.ndarray]:
    """The rows of a network with joints moved towards their rays. ValueError without `std`."""
    if "std" not in rows:
        raise ValueError("uv: this network gives no std of its joints; expected hand-depth")
    xyz, std = rows["joints_xyz"], rows["std"]
    spread = rows.get("covariance", isotropic(std))
    focal = np.array([camera.k[0, 0] for camera in images.cameras if camera.k is not None])
    across = (uv_std * xyz[..., 2] / focal[:, None]).astype(np.float32)
    moved, left = fuse_rays(xyz, spread, rays, across)
    return rows | {"joints_xyz": moved, "covariance": left, "std": deviation(left)}
