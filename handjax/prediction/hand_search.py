"""Where hands are in a whole depth image, and their joints: functions of arrays, as one program.

Two networks come with handjax (models/handnet.md): the finder looks at the whole image, the hand
network at crops of 300 mm. Both were learnt from synthetic hands alone.
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from handjax import models
from handjax.engine.warm_start import read_weights
from handjax.models.handfinder import HandFinder
from handjax.models.handnet import HandNet
from handjax.ops.batching import as_one_batch
from handjax.ops.stored import stored
from handjax.pose import geometry, look_at
from handjax.pose.center import hand_center
from handjax.targets import handfinder as finder_target
from handjax.targets import handnet as target

SIZE = 64  # px of a crop
CANDIDATES = 3  # places that the finder proposes; the nearest thing is one more
REFINEMENTS = 3  # crops around the joints of the crop before
RANGE_MM = (150.0, 1500.0)  # distance of hands from the camera
UNSURE = 0.5  # presence below which a hand is not to be trusted
_STEADY_MM, _STEADY_STEP_MM = 20.0, 2.0  # deviation, along an axis, that is half steady
_CERTAIN_MM, _CERTAIN_STEP_MM = 7.0, 0.6  # and which only hands have, whatever the logit
# Which place: by what the network says of a hand's presence, at most `_SUREST`, and by how well it
# knows the joints, which counts twice what was fitted (conditional logit of the place, in 900
# synthetic frames) and, like the limit, costs nothing on these. A real frame needs both, on which a
# head looks surer than the hand, whose joints are known twice as well.
_SUREST, _PRESENT, _KNOWN = 3.0, 0.5, 2.5
# Which side: of two of five real hands the logits have the wrong one, by up to 5, and of all the
# deviations have the right one. So logits count between 0 and 1 alone, and deviations more than was
# fitted: that costs 0.6 % of the sides in the synthetic frames (94.0 → 93.4 %).
_SIDE_SUREST, _SIDE_PRESENT, _SIDE_KNOWN = 1.0, 1.7, 3.4
_FIRST = 0.4  # weight of the first look's logit
_FINDER = 2.1  # of the finder's score
_LOOKS = 2.0  # log of the looks at a picture of which the surest counts
_NEAREST = 0.2  # score of the nearest thing beside the finder's
_ANOTHER_MM = 50.0  # between the means of the joints of two hands
_FARTHEST_MM = 4000.0  # what the finder sees of a room
NETWORK = Path(models.__file__).with_name("handnet.npz")
FINDER = Path(models.__file__).with_name("handfinder.npz")


class HandFound(NamedTuple):
    """One hand in a depth image, camera mm."""

    joints: Float[Array, "21 3"]
    std: Float[Array, "21"]  # deviation along an axis, mm
    presence: Float[Array, ""]  # 0 to 1: that a hand is there, and that its joints are known
    side: Float[Array, ""]  # -1 left, 1 right
    center: Float[Array, "3"]  # middle of the last crop
    covariance: Float[Array, "21 3 3"] | None = None  # mm², after a fit; else std² in any direction


class Looks(NamedTuple):
    """A hand, and what the network said of its presence at the first and the last look."""

    found: HandFound
    first: Float[Array, ""]  # logits
    last: Float[Array, ""]


class Networks(NamedTuple):
    """Variables of the two networks; without a finder the nearest thing is the hand."""

    hand: dict[str, Any]
    finder: dict[str, Any] | None


def is_hand_network(variables: Mapping[str, Any]) -> bool:
    """Whether these are variables of a `HandNet`."""
    return {"stem", "maps", "presence"} <= set(variables.get("params", ()))


def _network(variables: Mapping[str, Any]) -> HandNet:
    """The network of these variables, whatever its widths and blocks."""
    params = variables["params"]
    entries = ("stem", "enter1", "enter2")
    widths = [params[name]["conv"]["kernel"].shape[-1] for name in entries]
    blocks = [sum(name.startswith(f"down{level}_") for name in params) for level in range(3)]
    return HandNet(params["maps"]["bias"].shape[0] // 3, tuple(widths), tuple(blocks))


@cache
def included() -> Networks:
    """The networks that come with handjax."""
    return Networks(read_weights(NETWORK), read_weights(FINDER))


def find(
    networks: Networks,
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    sides: Float[Array, "2"],
    range_mm: tuple[float, float] = RANGE_MM,
) -> HandFound:
    """The surest hand in a depth image, mm along z, 0 missing, of camera `k`.

    `sides`: the log-odds of a right and of a left hand before looking: (0, -inf) if only a right
    one is asked for. A hand is at the likeliest place, of whichever side it looks; then the side
    asked for counts.
    """
    found, likely = everywhere(networks, depth, k, sides, range_mm)
    best = jnp.argmax(likely)
    return jax.tree.map(lambda x: x[best], found)


def everywhere(
    networks: Networks,
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    sides: Float[Array, "2"],
    range_mm: tuple[float, float] = RANGE_MM,
) -> tuple[HandFound, Float[Array, " n"]]:
    """The hand at each place where one may be, and how likely it is there; arguments as of `find`.

    Places come from the finder and, as one more, from the nearest thing
    (`pose.center.hand_center`). Each is cropped and seen as a right and as a left hand, and cropped
    again around the joints, three times: only when a hand points up in its crop the sides, and
    hands and other things, are told apart well. Several places may end at one hand.
    """
    places, prior = _places(networks, depth, k, range_mm)
    both = jax.vmap(lambda place: _both_sides(networks, depth, k, place))(places)
    found = jax.vmap(_of_side, in_axes=(0, None))(both, sides)
    first = _FIRST * jnp.minimum(both.first, _SUREST).max(-1)
    return found, trust(both.last, both.found.std).max(-1) + first + _FINDER * prior


def at(
    networks: Networks,
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    center: Float[Array, "3"],
    side: Float[Array, ""],
    refinements: int,
) -> Looks:
    """The hand of `side` in the crop around `center`, camera mm, which then moves `refinements`
    times to the mean of the joints, and turns until the hand points up in it."""

    def again(_, before: tuple[HandFound, Array]) -> tuple[HandFound, Array]:
        return look_around(networks, depth, k, before[0].joints, side, before[0].center)

    first = _look(networks, depth, k, center, jnp.zeros(()), side)
    found, last = lax.fori_loop(0, refinements, again, first)
    return Looks(found, first[1], last)


def look_around(
    networks: Networks,
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    joints: Float[Array, "21 3"],
    side: Float[Array, ""],
    otherwise: Float[Array, "3"],
) -> tuple[HandFound, Float[Array, ""]]:
    """The hand of `side` in the crop around `joints`, camera mm, in which they point up, and its
    logit; around `otherwise` if they are not in front of the camera."""
    middle = joints.mean(0)
    usable = jnp.isfinite(middle).all() & (middle[2] > 50.0)
    middle = jnp.where(usable, middle, otherwise)
    ahead = geometry.map_points(look_at.towards(middle), joints)
    return _look(networks, depth, k, middle, look_at.roll(ahead), side)


def _look(
    networks: Networks, depth: Array, k: Array, center: Array, roll: Array, side: Array
) -> tuple[HandFound, Array]:
    """The hand of `side` in the crop around `center`, turned by `roll`, and its logit."""
    mirror = jnp.stack([side, jnp.ones_like(side), jnp.ones_like(side)])
    crop, rotation, distance = _crop(depth, k, center, roll, side)
    joints, std, logits = _apply(networks.hand, crop[None], distance[None])
    placed = jnp.matmul(joints[0] * mirror[None], rotation, precision="highest")
    found = HandFound(placed, std[0], presence(logits[0], std[0]), side, center)
    return found, logits[0]


def upright_crop(
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    joints: Float[Array, "21 3"],
    side: Float[Array, ""],
) -> tuple[Float[Array, "s s"], Float[Array, "3 3"], Float[Array, ""]]:
    """The crop around a hand's `joints`, camera mm, in which it points up, as a right hand; the
    rotation of the crop's camera, and the distance of the crop's middle, mm. Joints of a left hand
    in it are mirrored."""
    middle = joints.mean(0)
    turn = look_at.roll(geometry.map_points(look_at.towards(middle), joints))
    return _crop(depth, k, middle, turn, side)


def at_either_side(
    networks: Networks,
    depth: Float[Array, "h w"],
    k: Float[Array, "3 3"],
    center: Float[Array, "3"],
    sides: Float[Array, "2"],
) -> HandFound:
    """The hand in the crop around a given center, camera mm, of the likelier side; `sides` as of
    `find`."""
    return _of_side(_both_sides(networks, depth, k, center), sides)


def _both_sides(networks: Networks, depth: Array, k: Array, center: Array) -> Looks:
    """The hand around `center` as a right and as a left one: leading axis of two."""
    look = partial(at, networks, depth, k, center, refinements=REFINEMENTS)
    return jax.vmap(lambda side: look(side=side))(jnp.array([1.0, -1.0]))


def _of_side(both: Looks, sides: Float[Array, "2"]) -> HandFound:
    best = jnp.argmax(side_odds(both.last, both.found.std) + sides)
    return jax.tree.map(lambda x: x[best], both.found)


def trust(logit: Float[Array, "*b"], std: Float[Array, "*b 21"]) -> Float[Array, "*b"]:
    """Log-odds, up to a constant, that a look shows a hand: by the network's `logit` and the
    deviations of the joints, mm."""
    return _PRESENT * jnp.minimum(logit, _SUREST) - _KNOWN * jnp.log(_rms(std))


def side_odds(logit: Float[Array, "*b"], std: Float[Array, "*b 21"]) -> Float[Array, "*b"]:
    """Log-odds, up to a constant, that a look at a hand shows one of the side that was looked for;
    arguments as of `trust`."""
    return _SIDE_PRESENT * jnp.clip(logit, 0.0, _SIDE_SUREST) - _SIDE_KNOWN * jnp.log(_rms(std))


def _rms(std: Float[Array, "*b 21"]) -> Float[Array, "*b"]:
    return jnp.maximum(jnp.sqrt((std**2).mean(-1)), 1e-3)


def presence(logit: Float[Array, "*b"], std: Float[Array, "*b 21"]) -> Float[Array, "*b"]:
    """That a hand is there and its joints are known, 0 to 1, of one of several looks.

    The network's own logit is too sure here: it learnt from crops of which more than half have the
    hand, and of four places and two sides the surest look is taken. The log-odds lose log 8, are
    halved, and fall where the joints' deviations have a root mean square near 20 mm or above.
    Joints that are known to 7 mm or better are a hand's without more ado: of 292 looks at synthetic
    frames with such deviations 289 were at a hand, and all 12 with a logit below 3. Real hands need
    that, whose logits are lower than those of synthetic ones.
    """
    rms = _rms(std)
    seen = jax.nn.sigmoid((logit - _LOOKS) / 2)
    seen *= jax.nn.sigmoid((_STEADY_MM - rms) / _STEADY_STEP_MM)
    known = jax.nn.sigmoid((_CERTAIN_MM - rms) / _CERTAIN_STEP_MM)
    return 1 - (1 - seen) * (1 - known)


def _places(
    networks: Networks, depth: Array, k: Array, range_mm: tuple[float, float]
) -> tuple[Float[Array, "n 3"], Float[Array, " n"]]:
    """Where hands may be, camera mm, in front of the camera, and the log of how likely."""
    nearest = hand_center(depth, k, jnp.full(3, look_at.CROP_MM), range_mm)
    nearest = jnp.where(nearest[2] > 0, nearest, jnp.array([0.0, 0.0, 500.0]))
    if networks.finder is None:
        return nearest[None], jnp.zeros(1)
    rows, columns = look_at.FRAME_SIZE
    focal = jnp.minimum(look_at.FRAME_FOCAL, _whole_picture(k, *depth.shape))
    own = look_at.centered_camera(focal, rows, columns)
    seen = look_at.resample(depth, k, jnp.eye(3), own, rows, columns)
    inside = (seen > range_mm[0]) & (seen < _FARTHEST_MM)
    # Seen by a shorter focal length, all is smaller, as if it were as much further away.
    further = look_at.FRAME_FOCAL / focal
    x = finder_target.network_input(jnp.where(inside, seen * further, 0.0))
    apply = cast(Any, HandFinder().apply)
    maps = as_one_batch(apply, networks.finder, x[None])[0]
    known = look_at.centered_camera(jnp.asarray(look_at.FRAME_FOCAL), rows, columns)
    found = finder_target.decode(maps, known, CANDIDATES)
    places = found.xyz.at[:, 2].divide(further)
    likely = jnp.log(jnp.append(found.score, _NEAREST) + 1e-3)
    return jnp.concatenate([places, nearest[None]]), likely


def _whole_picture(k: Array, height: int, width: int) -> Float[Array, ""]:
    """Focal length, px, with which the finder's frame shows the whole picture of camera `k`."""
    rows, columns = look_at.FRAME_SIZE
    aside, up = (
        jnp.maximum(k[axis, 2], size - 1 - k[axis, 2]) / k[axis, axis]
        for axis, size in ((0, width), (1, height))
    )
    return jnp.minimum(columns / 2 / aside, rows / 2 / up)


def _crop(
    depth: Array, k: Array, center: Array, roll: Array, side: Array
) -> tuple[Float[Array, "s s"], Float[Array, "3 3"], Float[Array, ""]]:
    """The crop around `center`, turned by `roll`, as that of a right hand; the rotation of its
    camera and the distance of its middle."""
    distance = jnp.linalg.norm(center)
    rotation = geometry.matmul(geometry.rotation_z(-roll), look_at.towards(center))
    camera = look_at.crop_camera(distance, SIZE)
    crop = look_at.resample(depth, k, rotation, camera, SIZE, SIZE)
    # Stored, or XLA reads the image anew for every use of a pixel.
    return stored(jnp.where(side < 0, crop[:, ::-1], crop)), rotation, distance


def _apply(
    variables: dict[str, Any], crops: Float[Array, "n s s"], distance: Float[Array, " n"]
) -> tuple[Float[Array, "n 21 3"], Float[Array, "n 21"], Float[Array, " n"]]:
    """Joints in mm of each crop's camera, their deviations, and the logit of a right hand."""
    x = target.network_input(crops, distance)
    outputs = as_one_batch(lambda v, x: _network(v).apply(v, x), variables, x)
    maps, presence = cast(tuple[Array, Array], outputs)
    joints, std = target.decode(maps)
    k = look_at.crop_camera(distance, SIZE)
    return target.camera_coordinates(joints, k, distance, SIZE), std, presence


def apart(hand: HandFound, others: Sequence[HandFound]) -> bool:
    """Whether a hand is another one than each of `others`: NumPy arrays."""
    middle = hand.joints.mean(0)
    far = [np.linalg.norm(middle - other.joints.mean(0)) for other in others]
    return bool(min(far, default=_ANOTHER_MM) >= _ANOTHER_MM)


# Side that is asked for → log-odds of a right and of a left hand before looking.
ODDS = {
    "auto": np.zeros(2, np.float32),
    "right": np.array([0, -1e9], np.float32),
    "left": np.array([-1e9, 0], np.float32),
}
