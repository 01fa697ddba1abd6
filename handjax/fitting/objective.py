"""The hand fitted to one depth image: what is observed, what is looked for, and how well the one explains the other.

The classic tracker (Oikonomidis et al. 2011; of spheres Qian et al. 2014, "Realtime and Robust Hand Tracking from Depth"), in the
frame of `fit_losses`: mm about the middle of a 300 mm cube along parallel rays, `BACKGROUND_MM` where nothing is. The hand is a
right one: a left one is seen in a mirror first. Everything here is of one hand; vmap makes more of it.

    observed = observe(cube_depth)                 once an image
    free = free_from(starts(observed))             24 hands to begin with, along the first axis
    value, parts = objective(free, observed)       to be minimized, for each
    fit = fit_from(free)

What rendered spheres and depth differ by has no gradient from the silhouette, which is where most of a wrong hand's error is. Two
terms stand for it. Points that were measured draw the nearest surface to them, wherever that is ("data"). Spheres may not stand
out beside the silhouette, by a field of distances to its edge that is made once an image ("outside"), so their gradient is there
however far they are off. Bones are rigid here, so `bone_length` has nothing to say; what is likely is said by the sampler's
angles, as a normal distribution, and not by the auto-encoder of centres that the network is trained with.
"""

from functools import cache
from itertools import permutations, product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from handjax.fitting import losses as fit_losses
from handjax.pose import geometry
from handjax.pose.align import kabsch
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.rigs import hand, poses
from handjax.rigs import spheres as balls

MEAN_SIZE = 0.9  # of the sampler's hands, in the model's

# Weights of the terms of `objective`, each in mm² or made comparable to it.
WEIGHTS = {
    "data": 3.0,  # observed points off the surface
    "render": 1.0,  # surface before or behind what is observed, where both are
    "outside": 3.0,  # spheres beside the silhouette
    "collision": 0.05,
    "fingers": 3.0,  # unlikely angles
    "range": 100.0,  # angles beyond what the sampler knows, rad²
    "shape": 2.0,  # unlikely sizes
    "smooth": 0.3,  # away from the frame before, where there is one
}


class Fit(NamedTuple):
    """A hand: what is looked for."""

    pose: Float[Array, "*b 26"]  # hand.POSE_NAMES, rad and mm of the cube
    log_size: Float[Array, "*b"]  # of the whole, in the model's
    log_fingers: Float[Array, "*b 5"]  # of each of hand.FINGERS, beside the palm's
    wrist: Float[
        Array, "*b 2"
    ]  # rad, how the forearm bends away from the palm: about its y, and its z


class Free(NamedTuple):
    """The same hand in numbers that a minimizer can step through: a step of 0.1 is some 6 degrees, 10 mm or a tenth in size, and no
    direction of the palm is special, as it is for three angles one after the other."""

    base: Float[Array, "*b 3 3"]  # not to be changed: the rotation that `turn` goes on from
    turn: Float[Array, "*b 3"]
    move: Float[Array, "*b 3"]  # 100 mm
    angles: Float[Array, "*b 20"]
    size: Float[Array, "*b"]
    fingers: Float[Array, "*b 5"]
    wrist: Float[Array, "*b 2"]


class Observed(NamedTuple):
    """A depth image of `n` cells a side, taken apart once."""

    depth: Float[Array, "*b n n"]
    points: Float[Array, "*b p 3"]  # of the hand's cells, spread evenly over them
    counted: Bool[Array, "*b p"]  # which of them are points
    beside: Float[Array, "*b n n"]  # mm from the cell to the silhouette's edge, negative inside


_POINTS = 768  # that are compared with the surface
_REACH_MM = (
    40.0  # a difference this large counts half of its square, a larger one at most this square
)
_INSIDE = 0.7  # of a sphere's radius must be within the silhouette
_NEAR_SIZE, _NEAR_FINGERS = 0.06, 0.05  # usual deviations of the logarithms
_NEAR_WRIST = 0.6  # rad
# The forearm: spheres that go on from the middle of the wrist, in the model's mm. They explain points and are not asked for.
_FOREARM_MM, _FOREARM_RADIUS = np.arange(20.0, 181.0, 20.0), 27.0
_CLOSED = (0.0, 1.3, 1.5, 1.2) * 4 + (0.0, 0.4, 0.1, -0.8)  # angles of a closed hand, rad
_WRIST = hand.HAND.sphere_centers[5]
# Of `from_centers`: its steps, and what a usual deviation of angles, and of sizes, costs beside a centre's mm.
_STEPS, _ANGLE_MM, _SIZE_MM = 15, 1.0, 2.0


# ---------------------------------------------------------------- what is looked for


def hands(
    rotation: Float[Array, "*b 3 3"], center: Float[Array, "*b 3"], bend: Float[Array, "*b"]
) -> Fit:
    """Right hands of the sampler's mean size, turned by `rotation`, about the camera's axes from the model's rest, their middle at
    `center` mm, the fingers stretched (`bend` 0) to closed (1)."""
    batch = bend.shape
    free = Free(
        base=rotation,
        turn=jnp.zeros((*batch, 3)),
        move=jnp.zeros((*batch, 3)),
        angles=bend[..., None] * jnp.broadcast_to(jnp.asarray(_CLOSED, jnp.float32), (*batch, 20)),
        size=jnp.full(batch, np.log(MEAN_SIZE)),
        fingers=jnp.zeros((*batch, 5)),
        wrist=jnp.zeros((*batch, 2)),
    )
    return fit_from(free._replace(move=(center - spheres(free)[0].mean(-2)) / 100.0))


def starts(observed: Observed, bend: float = 0.2) -> Fit:
    """24 hands about the middle of what is observed, turned as a cube can be turned into itself: no palm is further than 63 degrees
    from all of them."""
    seen = observed.counted[..., None]
    middle = jnp.where(seen, observed.points, 0.0).sum(-2) / jnp.maximum(seen.sum(-2), 1)
    turns = jnp.asarray(_cube_rotations())
    frontal = jnp.asarray([(low + high) / 2 for low, high in poses.ROTATION_FRONTAL])
    frontal = jnp.broadcast_to(_mirrored_turn(_palm_rotation(frontal)), turns.shape)
    return hands(
        geometry.matmul(turns, frontal), jnp.broadcast_to(middle, (24, 3)), jnp.full(24, bend)
    )


def _cube_rotations() -> np.ndarray:
    """The 24 rotations that take a cube to itself, the identity first."""
    found = []
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            matrix = np.diag(signs)[list(order)]
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.stack(found).astype(np.float32)


def free_from(fit: Fit) -> Free:
    """The same hand, to be minimized over."""
    pose, size = fit.pose, jnp.exp(fit.log_size)
    mirror = jnp.asarray([-1.0, 1.0, 1.0], pose.dtype)
    return Free(
        base=_mirrored_turn(_palm_rotation(pose)),
        turn=jnp.zeros_like(pose[..., :3]),
        move=pose[..., 3:6]
        * jnp.broadcast_to(mirror, pose[..., 3:6].shape)
        * size[..., None]
        / 100.0,
        angles=pose[..., 6:],
        size=fit.log_size,
        fingers=fit.log_fingers,
        wrist=fit.wrist,
    )


def fit_from(free: Free) -> Fit:
    """The same hand in the 26 numbers of a pose."""
    rotation = _mirrored_turn(_rotation(free))
    palm = jnp.stack(
        [
            jnp.arctan2(rotation[..., 2, 1], rotation[..., 2, 2]),
            -jnp.arcsin(jnp.clip(rotation[..., 2, 0], -1.0, 1.0)),
            jnp.arctan2(rotation[..., 1, 0], rotation[..., 0, 0]),
        ],
        axis=-1,
    )
    mirror = jnp.broadcast_to(jnp.asarray([-100.0, 100.0, 100.0], palm.dtype), palm.shape)
    move = free.move * mirror / jnp.exp(free.size)[..., None]
    return Fit(
        jnp.concatenate([palm, move, free.angles], axis=-1), free.size, free.fingers, free.wrist
    )


def spheres(found: Fit | Free) -> tuple[Float[Array, "*b 41 3"], Float[Array, "*b 41"]]:
    """Centres and radii of a fit's 41 spheres, mm of the cube."""
    return _hand_and_forearm(found if isinstance(found, Free) else free_from(found))[:2]


def forearm(fit: Fit) -> tuple[Float[Array, "*b a 3"], Float[Array, "*b a"]]:
    """Centres and radii of the spheres that stand for a fit's forearm."""
    return _hand_and_forearm(free_from(fit))[2:]


def joints21(fit: Fit) -> Float[Array, "*b 21 3"]:
    """A fit's joints (skeleton "hand21"), mm of the cube."""
    sizes = jnp.broadcast_to(jnp.exp(fit.log_size)[..., None], (*fit.log_size.shape, 3))
    return hand.joints21(fit.pose, sizes, jnp.exp(fit.log_fingers))


def _hand_and_forearm(free: Free):
    """Centres and radii of the hand's spheres, and of the forearm's."""
    still = jnp.concatenate([jnp.zeros_like(free.angles[..., :6]), free.angles], axis=-1)
    size = jnp.exp(free.size)
    sizes = jnp.broadcast_to(size[..., None], (*size.shape, 3))
    centers, radii = hand.spheres(still, sizes, jnp.exp(free.fingers))
    about_y, about_z = free.wrist[..., 0], free.wrist[..., 1]
    away = jnp.stack(
        [
            -jnp.cos(about_y) * jnp.cos(about_z),
            jnp.sin(about_z),
            jnp.sin(about_y) * jnp.cos(about_z),
        ],
        axis=-1,
    )  # from the wrist, where x is mirrored
    wrist = jnp.broadcast_to(
        jnp.asarray(_WRIST, away.dtype) * jnp.asarray([-1.0, 1.0, 1.0]), away.shape
    )
    arm = wrist[..., None, :] + away[..., None, :] * jnp.broadcast_to(
        jnp.asarray(_FOREARM_MM, away.dtype)[:, None], (*away.shape[:-1], len(_FOREARM_MM), 3)
    )
    both = jnp.concatenate([centers, arm * size[..., None, None]], axis=-2)
    moved = (
        geometry.matmul(both, jnp.swapaxes(_rotation(free), -1, -2))
        + 100.0 * free.move[..., None, :]
    )
    thick = jnp.broadcast_to(_FOREARM_RADIUS * size[..., None], (*size.shape, len(_FOREARM_MM)))
    return moved[..., :41, :], radii, moved[..., 41:, :], thick


def _rotation(free: Free) -> Float[Array, "*b 3 3"]:
    """`turn`, half an axis whose length is a tangent and so without a singular place near 0, after `base`."""
    x, y, z = jnp.moveaxis(free.turn / 2, -1, 0)
    w = jnp.ones_like(x)
    rows = [
        [w + x * x - y * y - z * z, 2 * (x * y - z), 2 * (x * z + y)],
        [2 * (x * y + z), w - x * x + y * y - z * z, 2 * (y * z - x)],
        [2 * (x * z - y), 2 * (y * z + x), w - x * x - y * y + z * z],
    ]
    turn = (
        jnp.stack([jnp.stack(row, -1) for row in rows], -2)
        / (w + x * x + y * y + z * z)[..., None, None]
    )
    return geometry.matmul(turn, jax.lax.stop_gradient(free.base))


def _palm_rotation(pose):
    """Rz·Ry·Rx of a pose, in the model's frame."""
    z, y, x = (
        geometry.rotation_z(pose[..., 2]),
        geometry.rotation_y(pose[..., 1]),
        geometry.rotation_x(pose[..., 0]),
    )
    return geometry.matmul(geometry.matmul(z, y), x)


def _mirrored_turn(rotation):
    """A rotation before the mirror that makes the hand a right one ↔ the one that does the same after it."""
    signs = np.array([[1, -1, -1], [-1, 1, 1], [-1, 1, 1]], np.float32)
    return rotation * jnp.broadcast_to(signs, rotation.shape)


# ---------------------------------------------------------------- what is observed


def observe(depth: Float[Array, "n n"], points: int = _POINTS) -> Observed:
    """A cube's depth, taken apart for `objective`."""
    size = depth.shape[-1]
    cell = EXTENT_MM / size
    is_hand = depth <= BACKGROUND_MM - 1
    at = (jnp.arange(size, dtype=depth.dtype) - size / 2) * cell
    y, x = jnp.meshgrid(at, at, indexing="ij")
    all_points = jnp.stack([x, y, depth], axis=-1).reshape(-1, 3)
    first = jnp.argsort(~is_hand.ravel(), stable=True)  # the hand's cells, row by row
    count = is_hand.sum()
    spread = jnp.where(
        count > points, (jnp.arange(points) + 0.5) * count / points, jnp.arange(points)
    ).astype(jnp.int32)
    chosen = all_points[first[jnp.minimum(spread, size * size - 1)]]
    beside = jnp.where(is_hand, 0.5 - _to_nearest(~is_hand), _to_nearest(is_hand) - 0.5) * cell
    return Observed(depth, chosen, jnp.arange(points) < count, beside)


def _to_nearest(mask: Bool[Array, "n n"]) -> Float[Array, "n n"]:
    """Cells from each to the nearest in the mask (Felzenszwalb and Huttenlocher 2012 without their envelope: n³, and the first
    axis alone, then the second); 2 n where there is none."""
    size = mask.shape[0]
    at = jnp.arange(size, dtype=jnp.float32)
    step = (at[:, None] - at[None, :]) ** 2
    down = jnp.min(jnp.where(mask[None, :, :], step[:, :, None], 4.0 * size**2), axis=1)
    return jnp.sqrt(
        jnp.minimum(jnp.min(down[:, None, :] + step[None, :, :], axis=-1), 4.0 * size**2)
    )


def _sampled(field: Float[Array, "n n"], xy: Float[Array, "s 2"]) -> Float[Array, " s"]:
    """Bilinear, at mm of the cube; at its edge beyond it."""
    size = field.shape[0]
    u, v = jnp.moveaxis(jnp.clip(xy * (size / EXTENT_MM) + size / 2, 0.0, size - 1.001), -1, 0)
    left, top = jnp.floor(u).astype(jnp.int32), jnp.floor(v).astype(jnp.int32)
    a, b = u - left, v - top
    upper = field[top, left] * (1 - a) + field[top, left + 1] * a
    lower = field[top + 1, left] * (1 - a) + field[top + 1, left + 1] * a
    return upper * (1 - b) + lower * b


# ---------------------------------------------------------------- how well the one explains the other


class Typical(NamedTuple):
    """The sampler's finger angles, rad: their mean, what turns deviations into uncorrelated ones of size 1, and their ranges."""

    mean: np.ndarray
    whiten: np.ndarray
    low: np.ndarray
    high: np.ndarray
    drawn: np.ndarray  # some hands of each kind


@cache
def typical_angles() -> Typical:
    with jax.ensure_compile_time_eval():
        drawn = jax.jit(jax.vmap(poses.sample_pose))(jax.random.split(jax.random.key(0), 4096))
        angles = np.asarray(drawn, np.float64)[:, 6:]
    # What the sampler never does, as a thumb's second flexion without its first, is allowed a little: 0.1 rad.
    root = np.linalg.cholesky(np.linalg.inv(np.cov(angles.T) + 0.01 * np.eye(20)))
    return Typical(
        *(
            a.astype(np.float32)
            for a in (angles.mean(0), root, angles.min(0), angles.max(0), angles[:256])
        )
    )


def objective(
    free: Free,
    observed: Observed,
    previous: Free | None = None,
    *,
    weights: dict[str, float | Float[Array, ""]] | None = None,
    forearm: bool = True,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """What a minimizer minimizes, of one hand, and its terms, unweighted."""
    weights = WEIGHTS | (weights or {})
    centers, radii, arm, arm_radii = _hand_and_forearm(free)
    typical = typical_angles()
    hand_cells = jnp.maximum((observed.depth <= BACKGROUND_MM - 1).sum(), 1)

    everything = (
        (jnp.concatenate([centers, arm]), jnp.concatenate([radii, arm_radii]))
        if forearm
        else (centers, radii)
    )
    distance, _ = balls.sphere_distance(observed.points, *everything)
    rendered, winner = balls.sphere_depth_orthographic(
        centers, radii, observed.depth.shape[-1], EXTENT_MM, BACKGROUND_MM
    )
    both = (winner >= 0) & (observed.depth <= BACKGROUND_MM - 1)
    away = jnp.maximum(_sampled(observed.beside, centers[:, :2]) + _INSIDE * radii, 0.0)
    deviation = jnp.matmul(
        free.angles - typical.mean, typical.whiten, precision=jax.lax.Precision.HIGHEST
    )
    beyond = jax.nn.relu(typical.low - free.angles) + jax.nn.relu(free.angles - typical.high)
    parts = {
        "data": (_robust(distance) * observed.counted).sum()
        / jnp.maximum(observed.counted.sum(), 1),
        "render": _robust(jnp.where(both, rendered - observed.depth, 0.0)).sum() / hand_cells,
        "outside": (away**2).mean(),
        "collision": fit_losses.collision(centers),
        "fingers": (deviation**2).mean(),
        "range": (beyond**2).sum(),
        "shape": ((free.size - np.log(MEAN_SIZE)) / _NEAR_SIZE) ** 2
        + ((free.fingers / _NEAR_FINGERS) ** 2).mean()
        + ((free.wrist / _NEAR_WRIST) ** 2).mean(),
    }
    if previous is not None:
        parts["smooth"] = fit_losses.temporal_smoothness(centers, spheres(previous)[0])
    return sum(weights[name] * part for name, part in parts.items()), parts


def _robust(distance):
    """A square that levels off (Geman and McClure 1987): what is far away belongs to something else."""
    square = distance**2
    return square / (1 + square / _REACH_MM**2)


# ---------------------------------------------------------------- the hand of given spheres


def from_centers(centers: Float[Array, "41 3"]) -> Fit:
    """The hand whose spheres are nearest to given centres, mm of the cube: a network's, which need not be any hand's.

    The palm first (Kabsch 1976), then Levenberg and Marquardt's steps for everything, with the sampler's angles and sizes as
    what is likely where centres say little. The forearm stays straight."""
    typical = typical_angles()
    start = hands(jnp.eye(3), jnp.zeros(3), jnp.asarray(0.3))
    rest = spheres(start)[0]
    free = free_from(start)
    palm = slice(0, 11)
    middle, rest_middle = centers[palm].mean(0), rest[palm].mean(0)
    rotation, _ = kabsch(rest[palm] - rest_middle[None], centers[palm] - middle[None])
    free = free._replace(base=rotation)
    free = free._replace(move=free.move + (middle - spheres(free)[0][palm].mean(0)) / 100.0)

    fields = ("turn", "move", "angles", "size", "fingers")
    values, unravel = ravel_pytree({name: getattr(free, name) for name in fields})

    def residuals(values):
        now = free._replace(**unravel(values))
        deviation = jnp.matmul(
            now.angles - typical.mean, typical.whiten, precision=jax.lax.Precision.HIGHEST
        )
        sizes = jnp.concatenate(
            [(now.size - np.log(MEAN_SIZE))[None] / _NEAR_SIZE, now.fingers / _NEAR_FINGERS]
        )
        return jnp.concatenate(
            [(spheres(now)[0] - centers).ravel(), _ANGLE_MM * deviation, _SIZE_MM * sizes]
        )

    def step(_, state):
        values, damping = state
        error, slope = residuals(values), jax.jacfwd(residuals)(values)
        normal = geometry.matmul(slope.T, slope)
        damped = normal + damping * jnp.diag(jnp.diag(normal))
        moved = values - jnp.linalg.solve(damped, geometry.matmul(slope.T, error[:, None]))[:, 0]
        better = (residuals(moved) ** 2).sum() < (error**2).sum()
        return jnp.where(better, moved, values), jnp.where(better, damping / 5, damping * 5)

    values, _ = jax.lax.fori_loop(0, _STEPS, step, (values, jnp.asarray(0.01)))
    return fit_from(free._replace(**unravel(values)))


def shifted(fit: Fit, by: Float[Array, "*b 3"]) -> Fit:
    """The same hand, moved by mm of the cube."""
    free = free_from(fit)
    return fit_from(free._replace(move=free.move + by / 100.0))
