"""Losses of the sphere hand: how well 41 spheres explain depth images, and how hand-like they are.

After Wan et al. 2019 (github.com/melonwan/sphereHand). Each loss is one value per sample [*b], to
be averaged. Where the original sums over a batch, its weight in `WEIGHTS` is multiplied by the size
of the batch, so that it does not depend on it.

`centers` [s, 3] and `radii` [s] are mm of the view's own cube (pose/cube.py: parallel rays over 300
mm, x = 0 at pixel n/2); depth is mm from its middle, `BACKGROUND_MM` where there is no hand.
`cameras` [v, 4, 4] map mm of each view to those of a common frame.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from handjax.pose import geometry
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.pose.losses import squared_error
from handjax.rigs import spheres
from handjax.rigs.hand import BONE_LENGTHS, HAND

SURFACE_WEIGHT = 500.0  # of `surface_distance` relative to `render_error`, in `projection`
_FURTHEST_MM = 50.0  # points further from every surface have no gradient
_CLOSEST_MM = 6.0  # minimum distance of centers of different fingers
_LENGTHS = (0.8, 1.05)  # range of bone lengths relative to a mean hand
_JUMP_MM = 2500.0

# The original's weights and names, for its batches of 25 frames of 3 views. Terms of weight 0 are
# not computed.
WEIGHTS = {
    "synt_uv": 1e3,
    "synt_d": 0.1,
    "mv_projection": 1.0,
    "mv_consistency": 1e-3,  # 0 in the original's single-view steps
    "uv_hm_mean": 1e-2,
    "pose_prior": 1e-2,
    "collision": 25.0,  # 1 in the original, for a sum
    "bone_length": 1.0,
    "temporal_smooth": 0.0,  # 1 with its option
    "domain": 0.0,
}

# Centers that must not be close: of two fingers, or of a finger and the palm; 690 pairs, each once.
_FINGER = (np.array(HAND.sphere_bones) + 1) // 3  # 0 is the palm
_APART = np.triu(_FINGER[:, None] != _FINGER[None, :]).astype(np.float32)
# The vector between the two centers of a bone, as a matrix product with all centers.
_FROM, _TO = (
    np.eye(len(_FINGER), dtype=np.float32)[list(ends)]
    for ends in ([a for a, _, _ in BONE_LENGTHS], [b for _, b, _ in BONE_LENGTHS])
)
_BONE_MM = np.array([length for *_, length in BONE_LENGTHS])


def synthetic_heat(
    heat: Float[Array, "*b h w s"], target: Float[Array, "*b h w s"]
) -> Float[Array, "*b"]:
    """Mean squared error of heat maps (`synt_uv`)."""
    return squared_error(heat, target).mean((-3, -2, -1))


def synthetic_depth(
    centers: Float[Array, "*b s 3"], target: Float[Array, "*b s 3"]
) -> Float[Array, "*b"]:
    """Mean squared error of z, mm² (`synt_d`). x and y are supervised by the heat maps only."""
    return squared_error(centers[..., 2], target[..., 2]).mean(-1)


def synthetic_place(
    centers: Float[Array, "*b s 3"], target: Float[Array, "*b s 3"]
) -> Float[Array, "*b"]:
    """Mean squared distance, mm²: `synt_d` of a network with offsets, whose x and y are decoded
    from more than the heat maps."""
    return squared_error(centers, target).sum(-1).mean(-1)


def render_error(
    depth: Float[Array, "*b n n"], centers: Float[Array, "*b s 3"], radii: Float[Array, "*b s"]
) -> Float[Array, "*b"]:
    """Mean squared difference, mm², between rendered spheres and depth: model to data.

    A moving silhouette gives no gradient; without overlap only `surface_distance` has one.
    """
    rendered, _ = spheres.sphere_depth_orthographic(
        centers, radii, depth.shape[-1], EXTENT_MM, BACKGROUND_MM
    )
    return squared_error(rendered, depth).mean((-2, -1))


def surface_distance(
    depth: Float[Array, "*b n n"], centers: Float[Array, "*b s 3"], radii: Float[Array, "*b s"]
) -> Float[Array, "*b"]:
    """Mean distance, mm, of the points of the depth to the nearest sphere surface: data to model.

    Distances are clipped at 50 mm. The mean is over all pixels, with 0 for background (> 99 mm).
    """
    size = depth.shape[-1]
    at = (jnp.arange(size, dtype=depth.dtype) - size / 2) * (EXTENT_MM / size)
    y, x = (jnp.broadcast_to(grid, depth.shape) for grid in jnp.meshgrid(at, at, indexing="ij"))
    points = jnp.stack([x, y, depth], axis=-1).reshape(*depth.shape[:-2], size * size, 3)
    distance, _ = spheres.sphere_distance(points, centers, radii)
    hand = points[..., 2] <= BACKGROUND_MM - 1
    return jnp.where(hand, jnp.minimum(distance, _FURTHEST_MM), 0.0).mean(-1)


def projection(
    depth: Float[Array, "*b v n n"],
    centers: Float[Array, "*b v s 3"],
    radii: Float[Array, "*b v s"],
    cameras: Float[Array, "*b v 4 4"],
    across: bool = True,
    original: bool = False,
    single: Bool[Array, "*b"] | None = None,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """`render_error` and `surface_distance` of each view's hand compared with the depth of every
    view (`across`) or of its own.

    Both are views² times the mean, as in the original; with the second times `SURFACE_WEIGHT` they
    are its `mv_projection`. Samples of `single` are compared with their own view in any case.
    """
    views = centers.shape[-3]
    if across:
        centers = between_views(centers, cameras, original)
        radii = jnp.broadcast_to(radii[..., :, None, :], centers.shape[:-1])
        depth = jnp.broadcast_to(
            depth[..., None, :, :, :], (*centers.shape[:-2], *depth.shape[-2:])
        )
        counts = jnp.ones((*centers.shape[:-4], views, views))
        if single is not None:
            own = jnp.broadcast_to(views * jnp.eye(views), counts.shape)
            counts = jnp.where(single[..., None, None], own, counts)

    def weighted(errors: Array) -> Array:
        return (counts * errors).sum((-2, -1)) if across else views**2 * errors.mean(-1)

    rendered = weighted(render_error(depth, centers, radii))
    return rendered, weighted(surface_distance(depth, centers, radii))


def between_views(
    centers: Float[Array, "*b v s 3"], cameras: Float[Array, "*b v 4 4"], original: bool = False
) -> Float[Array, "*b v v s 3"]:
    """Centers of view i in mm of view j: [i, j]. See `to_common` for `original`."""
    common = to_common(centers, cameras, original)[..., :, None, :, :]
    moved = common - _shift(cameras, original)[..., None, :, None, :]
    # Rows times R are columns times R's inverse.
    rotations = jnp.broadcast_to(cameras[..., None, :, :3, :3], (*moved.shape[:-2], 3, 3))
    return geometry.matmul(moved, rotations)


def to_common(
    centers: Float[Array, "*b v s 3"], cameras: Float[Array, "*b v 4 4"], original: bool = False
) -> Float[Array, "*b v s 3"]:
    """Centers of each view in the common frame.

    `original` omits the translation, like the original, whose files have it in the last row of the
    matrix while its losses read the last column.
    """
    rotated = geometry.matmul(centers, jnp.swapaxes(cameras[..., :3, :3], -1, -2))
    return rotated + _shift(cameras, original)[..., None, :]


def _shift(cameras: Float[Array, "*b 4 4"], original: bool) -> Float[Array, "*b 3"]:
    """Translation of cameras, 0 for `original`."""
    return jnp.zeros_like(cameras[..., :3, 3]) if original else cameras[..., :3, 3]


def multiview_consistency(
    centers: Float[Array, "*b v s 3"], cameras: Float[Array, "*b v 4 4"], original: bool = False
) -> Float[Array, "*b"]:
    """Mean squared distance, mm² per coordinate, of the views' centers from their median in the
    common frame (`mv_consistency`).

    The median is per coordinate, the lower one of an even number. As in the original it has a
    gradient: of three views the outer two move to the middle one, and the middle one to their mean
    with the sum of both gradients.
    """
    common = to_common(centers, cameras, original)
    middle = jnp.sort(common, axis=-3)[..., (common.shape[-3] - 1) // 2, :, :]
    return ((common - middle[..., None, :, :]) ** 2).mean((-3, -2, -1))


def heat_mean(heat: Float[Array, "*b h w s"]) -> Float[Array, "*b"]:
    """Mean squared heat without labels (`uv_hm_mean`): keeps maps low away from joints."""
    return (heat**2).mean((-3, -2, -1))


def pose_prior(
    centers: Float[Array, "*b s 3"],
    reconstructed: Float[Array, "*b s 3"],
    mu: Float[Array, "*b l"],
    logvar: Float[Array, "*b l"],
    batch: int | float = 75,
) -> Float[Array, "*b"]:
    """Mean squared distance of centers from their reconstruction by an auto-encoder
    (`models.pose_prior.PoseVAE`), in units of 100 mm, plus `batch` times the divergence of the code
    from the standard normal.

    The original averages the former over a batch of 75 hands and sums the latter.
    """
    error = squared_error(centers / 100.0, reconstructed / 100.0).mean((-2, -1))
    divergence = -0.5 * (1 + logvar - mu**2 - jnp.exp(logvar)).sum(-1)
    return error + batch * divergence


def collision(centers: Float[Array, "*b 41 3"]) -> Float[Array, "*b"]:
    """Sum of max(6² - d², 0), mm², over 690 pairs of centers, of two fingers or finger and palm.

    The original passes the joints of three views as one list to this and `bone_length`, which thus
    see the first view only.
    """
    away = ((centers[..., :, None, :] - centers[..., None, :, :]) ** 2).sum(-1)
    too_close = jax.nn.relu(_CLOSEST_MM**2 - away)
    apart = jnp.asarray(_APART, too_close.dtype)
    return (too_close * jnp.broadcast_to(apart, too_close.shape)).sum((-2, -1))


def bone_length(centers: Float[Array, "*b 41 3"]) -> Float[Array, "*b"]:
    """Mean over 35 bones of the excess, mm², of their squared length beyond [0.8 L, 1.05 L]²."""
    difference = jnp.asarray(_FROM - _TO, centers.dtype)
    away = geometry.matmul(
        jnp.broadcast_to(difference, (*centers.shape[:-2], *_FROM.shape)), centers
    )
    square = (away**2).sum(-1)
    shortest, longest = (
        jnp.broadcast_to((factor * _BONE_MM) ** 2, square.shape).astype(square.dtype)
        for factor in _LENGTHS
    )
    return (jax.nn.relu(shortest - square) + jax.nn.relu(square - longest)).mean(-1)


def temporal_smoothness(
    centers: Float[Array, "*b s 3"], before: Float[Array, "*b s 3"]
) -> Float[Array, "*b"]:
    """Mean squared step, mm² per coordinate, clipped at 2500 mm, from the previous frame
    (`temporal_smooth`).

    The previous frame gets no gradient. The original keeps it as hidden state of its loss.
    """
    step = jnp.clip(centers - jax.lax.stop_gradient(before), -_JUMP_MM, _JUMP_MM)
    return (step**2).mean((-2, -1))


def domain(synthetic: Float[Array, "m h w c"], real: Float[Array, "n h w c"]) -> Float[Array, ""]:
    """Mean squared difference of the mean features of two batches, per channel."""
    return squared_error(synthetic.mean((0, 1, 2)), real.mean((0, 1, 2))).mean()
