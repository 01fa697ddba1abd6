"""Lenses that distort: OpenCV's models and librealsense's inverse one, undistorted images, and the
lens of Human3.6M."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from handjax.pose.pinhole import project

MODELS = ("opencv", "fisheye", "inverse")
# Coefficients in OpenCV's order: of opencv (Brown–Conrady, extended) k1, k2, p1, p2, k3, k4, k5,
# k6, s1, s2, s3, s4, tx, ty; of fisheye (Kannala–Brandt) k1, k2, k3, k4. Those of inverse, k1, k2,
# p1, p2, k3 of librealsense's "Inverse Brown Conrady", lead from the image to the ray.
COUNTS = {"opencv": (4, 5, 8, 12, 14), "fisheye": (4,), "inverse": (5,)}
_STEPS = 4096  # of the search for the widest ray


class Lens(NamedTuple):
    """How a lens bends rays: (x / z, y / z) → where the ray meets the image, before K."""

    model: str  # one of MODELS
    coefficients: tuple[float, ...]  # as many as COUNTS admits

    def undistort(self, slopes: Float[np.ndarray, "*b 2"]) -> Float[np.ndarray, "*b 2"]:
        """The slopes of the rays that meet the image at these: `distort` backwards; but for an
        inverse lens in steps, which end within 1e-6 for rays well inside `widest`."""
        if self.model == "inverse":
            return _brown(slopes, self.coefficients)
        found = slopes
        for _ in range(60):
            found = found + 0.8 * (slopes - self.distort(found))
        return found

    def distort(self, slopes: Float[np.ndarray, "*b 2"]) -> Float[np.ndarray, "*b 2"]:
        """The slopes at which a pinhole would see the same pixel. Rays beyond `widest` fold back
        into the image; those that meet no pixel of an inverse lens become NaN."""
        if self.model == "fisheye":
            radius = np.linalg.norm(slopes, axis=-1, keepdims=True)
            bent = _fisheye(radius, self.coefficients)
            return slopes * np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1)
        if self.model == "inverse":
            return self._meets(slopes)
        return _brown(slopes, self.coefficients)

    def widest(self) -> float:
        """Largest slope up to which wider rays meet the image farther out, at most 12 (85°)."""
        slopes = np.tan(np.linspace(0, np.arctan(12.0), _STEPS))
        if self.model == "fisheye":
            radii = _fisheye(slopes, self.coefficients)
        else:
            radii = _radial(slopes, self.coefficients)
        if self.model == "inverse":  # from places in the image to rays
            return float(min(_rising(radii)[-1], slopes[-1]))
        return float(slopes[len(_rising(radii)) - 1])

    def _meets(self, slopes: Float[np.ndarray, "*b 2"]) -> Float[np.ndarray, "*b 2"]:
        """Where rays meet the image of an inverse lens, or NaN: along the radius first, then by
        Newton's steps."""
        places = np.tan(np.linspace(0, np.arctan(12.0), _STEPS))
        rays = _rising(_radial(places, self.coefficients))
        wanted = slopes.reshape(-1, 2)
        length = np.linalg.norm(wanted, axis=-1, keepdims=True)
        found = wanted * (np.interp(length, rays, places[: len(rays)]) / np.maximum(length, 1e-9))
        todo = np.arange(len(found))
        for _ in range(12):
            away = wanted[todo] - _brown(found[todo], self.coefficients)
            left = np.linalg.norm(away, axis=-1) > 1e-10
            todo, away = todo[left], away[left]
            step = _newton(found[todo], away, self.coefficients)
            size = np.linalg.norm(step, axis=-1, keepdims=True)
            found[todo] += step * np.minimum(1, 0.2 / np.maximum(size, 1e-9))
        missed = np.linalg.norm(wanted - _brown(found, self.coefficients), axis=-1) > 1e-6
        missed |= np.linalg.norm(found, axis=-1) > places[len(rays) - 1] + 0.1
        found[missed] = np.nan
        return found.reshape(slopes.shape)

    def project(
        self, xyz: Float[np.ndarray, "*b n 3"], k: Float[np.ndarray, "*#b 3 3"]
    ) -> Float[np.ndarray, "*b n 2"]:
        """Camera mm → px of the distorted image."""
        bent = self.distort(xyz[..., :2] / xyz[..., 2:])
        return project(np.concatenate([bent, np.ones_like(bent[..., :1])], axis=-1), k)


class Undistortion(NamedTuple):
    """Where the pixels of a pinhole's image are in the image of a lens with the same focal length.

    The pinhole's image is as large as it must be to hold every pixel of the lens's image, at most
    twice its size per axis.
    """

    rows: Int[np.ndarray, "a b"]  # -1: outside the lens's image
    columns: Int[np.ndarray, "a b"]
    k: Float[np.ndarray, "3 3"]  # of the pinhole

    @classmethod
    def of(cls, lens: Lens, k: Float[np.ndarray, "3 3"], height: int, width: int) -> "Undistortion":
        """For images of `height` by `width` px of a camera `k` with `lens`."""
        top, left = height // 2, width // 2
        v, u = np.mgrid[-top : height + top, -left : width + left].astype(np.float64)
        focal, center = np.diag(k)[:2].astype(np.float64), k[:2, 2].astype(np.float64)
        slopes = (np.stack([u, v], axis=-1) - center) / focal
        seen = np.linalg.norm(slopes, axis=-1) <= lens.widest()
        at = np.full((*seen.shape, 2), np.nan)
        at[seen] = lens.distort(slopes[seen]) * focal + center
        seen &= np.isfinite(at).all(-1)
        at = np.where(seen[..., None], at, -1.0)
        columns, rows = np.moveaxis(np.rint(at), -1, 0)
        seen &= (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        if not seen.any():
            raise ValueError("no ray of the lens meets its image")
        span = [np.flatnonzero(seen.any(axis)) for axis in (1, 0)]
        crop = tuple(slice(along[0], along[-1] + 1) for along in span)
        own = np.array(k, copy=True)
        own[:2, 2] = center + [left - crop[1].start, top - crop[0].start]
        rows, columns = (np.where(seen, at, -1)[crop].astype(np.int32) for at in (rows, columns))
        return cls(rows, columns, own)

    def __call__(self, depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "a b"]:
        """The pinhole's depth image, each pixel from the nearest one; 0 where there is none.

        Depth is along the camera's axis, which a lens does not change; edges stay sharp.
        """
        return np.where(self.rows >= 0, depth[self.rows, self.columns], np.zeros((), depth.dtype))


def _padded(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    return (*coefficients, *(0.0,) * (14 - len(coefficients)))


def _brown(
    slopes: Float[np.ndarray, "*b 2"], coefficients: tuple[float, ...]
) -> Float[np.ndarray, "*b 2"]:
    """OpenCV's polynomials, radial, tangential, of a thin prism and of a tilted sensor."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tx, ty = _padded(coefficients)
    x, y = slopes[..., 0], slopes[..., 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    bent = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + r2 * s4),
        ],
        axis=-1,
    )
    return _tilt(bent, tx, ty) if tx or ty else bent


def _newton(
    at: Float[np.ndarray, "n 2"],
    away: Float[np.ndarray, "n 2"],
    coefficients: tuple[float, ...],
) -> Float[np.ndarray, "n 2"]:
    """How far to go from `at` so that `_brown`, of five coefficients, changes by `away`."""
    k1, k2, p1, p2, k3 = coefficients
    x, y = at.T
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    growth = 2 * (k1 + r2 * (2 * k2 + 3 * r2 * k3))
    xx = radial + x * x * growth + 2 * p1 * y + 6 * p2 * x
    yy = radial + y * y * growth + 6 * p1 * y + 2 * p2 * x
    xy = x * y * growth + 2 * p1 * x + 2 * p2 * y
    flat = np.maximum(xx * yy - xy * xy, 1e-6)  # where it turns back
    across, down = away.T
    return np.stack([yy * across - xy * down, xx * down - xy * across], axis=-1) / flat[:, None]


def _radial(
    radius: Float[np.ndarray, "*b"], coefficients: tuple[float, ...]
) -> Float[np.ndarray, "*b"]:
    """The radial part of `_brown`; 0 from a pole on."""
    k1, k2, _, _, k3, k4, k5, k6, *_ = _padded(coefficients)
    r2 = radius**2
    below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / np.where(below > 0, below, np.inf)
    return radius * radial


def _rising(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """As far as each is larger than the one before."""
    falls = np.flatnonzero(np.diff(values) <= 0)
    return values[: falls[0] + 1] if len(falls) else values


def _fisheye(
    radius: Float[np.ndarray, "*b"], coefficients: tuple[float, ...]
) -> Float[np.ndarray, "*b"]:
    """Slope of a ray → its distance from the principal point, in focal lengths."""
    k1, k2, k3, k4 = coefficients
    angle = np.arctan(radius)
    a2 = angle**2
    return angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))


def _tilt(points: Float[np.ndarray, "*b 2"], tx: float, ty: float) -> Float[np.ndarray, "*b 2"]:
    """Onto a sensor turned by `tx` about x, then by `ty` about y, rad: OpenCV's tilted model."""
    sin_x, cos_x, sin_y, cos_y = np.sin(tx), np.cos(tx), np.sin(ty), np.cos(ty)
    about_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
    about_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    turn = about_y @ about_x
    onto = np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]]) @ turn
    turned = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) @ onto.T
    return turned[..., :2] / turned[..., 2:]


def project_through_lens(
    xyz: Float[np.ndarray, "n 3"],
    k: Float[np.ndarray, "3 3"],
    distortion: Float[np.ndarray, "5"],
) -> Float[np.ndarray, "n 2"]:
    """Camera mm → px through a lens with `distortion` k1, k2, k3, p1, p2.

    The lens model is that of Human3.6M's toolbox: OpenCV's with half of its tangential terms. On
    real frames it meets the published 2D joints to 1e-4 px; OpenCV's model is off by 0.07 px, and
    the pinhole alone, which Sun et al. (2018) train with, by 1.5 px.
    """
    k1, k2, k3, p1, p2 = distortion
    slopes = xyz[..., :2] / xyz[..., 2:]
    r2 = (slopes**2).sum(-1, keepdims=True)
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + slopes @ np.array([[p2], [p1]])
    slopes = slopes * radial + r2 * np.array([p2, p1])
    return project(np.concatenate([slopes, np.ones_like(slopes[..., :1])], axis=-1), k)
