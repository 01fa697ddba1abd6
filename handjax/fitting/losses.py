"""How well 41 spheres explain depth images, and how much they look like a hand: the losses that the sphere hand learns and is
fitted by (Wan et al. 2019, github.com/melonwan/sphereHand).

Each is a value a sample [*b], to be averaged. Where the original sums over a batch, its weight in `WEIGHTS` is times that batch's
size, so that it means the same whatever the batch. `centers` [s, 3] and `radii` [s] are in mm of the view's own cube (parallel rays
over 300 mm, x = 0 at pixel n/2; `rigs.spheres.sphere_depth_orthographic`), depth in mm from its middle and `BACKGROUND_MM` where
nothing is. `cameras` [v, 4, 4] take each view's mm to those of one frame.
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

SURFACE_WEIGHT = 500.0  # of `surface_distance` beside `render_error`, within `projection`
_FURTHEST_MM = 50.0  # a point that is further from every surface pulls no more
_CLOSEST_MM = 6.0  # centres of different fingers
_LENGTHS = (0.8, 1.05)  # of the table's, which are those of a mean hand
_JUMP_MM = 2500.0

# The original's weights, by its names: its batches were 25 frames of 3 views. A term without weight need not be computed.
WEIGHTS = {
    "synt_uv": 1e3,
    "synt_d": 0.1,
    "mv_projection": 1.0,
    "mv_consistency": 1e-3,  # none in its steps that look at single views
    "uv_hm_mean": 1e-2,
    "pose_prior": 1e-2,
    "collision": 25.0,  # 1, of a sum
    "bone_length": 1.0,
    "temporal_smooth": 0.0,  # 1 where asked for
    "domain": 0.0,
}

# Centres that must not meet: of two fingers, or of a finger and the palm; 690 pairs, each once.
_FINGER = (np.array(HAND.sphere_bones) + 1) // 3  # 0 is the palm
_APART = np.triu(_FINGER[:, None] != _FINGER[None, :]).astype(np.float32)
# What a bone's two centres are apart, as a product with all centres.
_FROM, _TO = (
    np.eye(len(_FINGER), dtype=np.float32)[[bone[end] for bone in BONE_LENGTHS]] for end in (0, 1)
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
    """Mean squared error of z, mm² (`synt_d`). Nothing asks for x and y but the heat maps."""
    return squared_error(centers[..., 2], target[..., 2]).mean(-1)


def render_error(
    depth: Float[Array, "*b n n"], centers: Float[Array, "*b s 3"], radii: Float[Array, "*b s"]
) -> Float[Array, "*b"]:
    """Mean squared difference, mm², of the depth and the spheres' own: model to data. A silhouette that moves gives no gradient:
    where the two do not overlap only `surface_distance` draws them together."""
    rendered, _ = spheres.sphere_depth_orthographic(
        centers, radii, depth.shape[-1], EXTENT_MM, BACKGROUND_MM
    )
    return squared_error(rendered, depth).mean((-2, -1))


def surface_distance(
    depth: Float[Array, "*b n n"], centers: Float[Array, "*b s 3"], radii: Float[Array, "*b s"]
) -> Float[Array, "*b"]:
    """Mean distance, mm and 50 at most, of the depth's points to the nearest surface of any sphere: data to model. The mean is over
    all pixels; background, deeper than 99 mm, counts as 0."""
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
    """`render_error` and `surface_distance` of the hand that each view found, held against every view's depth (`across`) or against
    its own; views² times the mean, as the original weights both. With the second times `SURFACE_WEIGHT` they are
    `mv_projection`. Samples of `single` are held against their own all the same."""
    views = centers.shape[-3]
    of_pairs = (render_error, surface_distance)
    if across:
        centers = between_views(centers, cameras, original)
        radii = jnp.broadcast_to(radii[..., :, None, :], centers.shape[:-1])
        depth = jnp.broadcast_to(
            depth[..., None, :, :, :], (*centers.shape[:-2], *depth.shape[-2:])
        )
    if not across:
        return tuple(views**2 * error(depth, centers, radii).mean(-1) for error in of_pairs)
    counts = jnp.ones((*centers.shape[:-4], views, views))
    if single is not None:
        own = jnp.broadcast_to(views * jnp.eye(views), counts.shape)
        counts = jnp.where(single[..., None, None], own, counts)
    return tuple((counts * error(depth, centers, radii)).sum((-2, -1)) for error in of_pairs)


def between_views(
    centers: Float[Array, "*b v s 3"], cameras: Float[Array, "*b v 4 4"], original: bool = False
) -> Float[Array, "*b v v s 3"]:
    """The centres that view i found, in mm of view j: [i, j]. See `to_common` for `original`."""
    common = to_common(centers, cameras, original)[..., :, None, :, :]
    moved = common - _shift(cameras, original)[..., None, :, None, :]
    # Rows times R are columns times R's inverse.
    rotations = jnp.broadcast_to(cameras[..., None, :, :3, :3], (*moved.shape[:-2], 3, 3))
    return geometry.matmul(moved, rotations)


def to_common(
    centers: Float[Array, "*b v s 3"], cameras: Float[Array, "*b v 4 4"], original: bool = False
) -> Float[Array, "*b v s 3"]:
    """Each view's centres in the one frame. `original` leaves the translation out, as the original does: its files hold it in the
    last row of the matrix and its losses read the last column."""
    turned = geometry.matmul(centers, jnp.swapaxes(cameras[..., :3, :3], -1, -2))
    return turned + _shift(cameras, original)[..., None, :]


def _shift(cameras, original):
    return jnp.zeros_like(cameras[..., :3, 3]) if original else cameras[..., :3, 3]


def multiview_consistency(
    centers: Float[Array, "*b v s 3"], cameras: Float[Array, "*b v 4 4"], original: bool = False
) -> Float[Array, "*b"]:
    """Mean squared distance, mm² a coordinate, of each view's centres from the views' median in the one frame (`mv_consistency`).

    The median is taken coordinate by coordinate, the lower one of an even number. The gradient goes through it, too, as in the
    original: of three views the outer two are drawn to the middle one, and the middle one to their mean, by the sum of both."""
    common = to_common(centers, cameras, original)
    middle = jnp.sort(common, axis=-3)[..., (common.shape[-3] - 1) // 2, :, :]
    return ((common - middle[..., None, :, :]) ** 2).mean((-3, -2, -1))


def heat_mean(heat: Float[Array, "*b h w s"]) -> Float[Array, "*b"]:
    """Mean squared heat where there are no labels (`uv_hm_mean`): maps stay low where nothing speaks for a joint."""
    return (heat**2).mean((-3, -2, -1))


def pose_prior(
    centers: Float[Array, "*b s 3"],
    reconstructed: Float[Array, "*b s 3"],
    mu: Float[Array, "*b l"],
    logvar: Float[Array, "*b l"],
    batch: int | float = 75,
) -> Float[Array, "*b"]:
    """How far centres are from what an auto-encoder (`models.pose_prior.PoseVAE`) makes of them, as a mean square in units of
    100 mm, plus `batch` times the divergence of their code from the standard normal: the original averages the first over a batch,
    of 75 hands, and sums the second."""
    error = squared_error(centers / 100.0, reconstructed / 100.0).mean((-2, -1))
    divergence = -0.5 * (1 + logvar - mu**2 - jnp.exp(logvar)).sum(-1)
    return error + batch * divergence


def collision(centers: Float[Array, "*b 41 3"]) -> Float[Array, "*b"]:
    """Sum of max(6² - d², 0), mm², over the 690 pairs of centres of two fingers, or of a finger and the palm.

    The original gives it and `bone_length` the joints of a frame's three views as one list and so looks at the first view only."""
    away = ((centers[..., :, None, :] - centers[..., None, :, :]) ** 2).sum(-1)
    too_close = jax.nn.relu(_CLOSEST_MM**2 - away)
    return (too_close * jnp.broadcast_to(_APART, too_close.shape)).sum((-2, -1))


def bone_length(centers: Float[Array, "*b 41 3"]) -> Float[Array, "*b"]:
    """Mean over the 35 bones of how far, mm², their squared length is out of [0.8 L, 1.05 L]²."""
    away = geometry.matmul(
        jnp.broadcast_to(_FROM - _TO, (*centers.shape[:-2], *_FROM.shape)), centers
    )
    square = (away**2).sum(-1)
    shortest, longest = (
        jnp.broadcast_to((part * _BONE_MM) ** 2, square.shape).astype(square.dtype)
        for part in _LENGTHS
    )
    return (jax.nn.relu(shortest - square) + jax.nn.relu(square - longest)).mean(-1)


def temporal_smoothness(
    centers: Float[Array, "*b s 3"], before: Float[Array, "*b s 3"]
) -> Float[Array, "*b"]:
    """Mean squared step, mm² a coordinate and cut at 2500 mm, since the frame before, which gets no gradient (`temporal_smooth`).
    The original keeps that frame hidden in its loss."""
    step = jnp.clip(centers - jax.lax.stop_gradient(before), -_JUMP_MM, _JUMP_MM)
    return (step**2).mean((-2, -1))


def domain(synthetic: Float[Array, "m h w c"], real: Float[Array, "n h w c"]) -> Float[Array, ""]:
    """Mean squared difference of the two batches' mean features, channel by channel."""
    return squared_error(synthetic.mean((0, 1, 2)), real.mean((0, 1, 2))).mean()
