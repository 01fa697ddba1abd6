"""From a depth image to joints in camera mm, as functions that can be exported."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax.engine.warm_start import read_weights
from handjax.exporter import contents
from handjax.exporter.contents import Arrays, Contents, Port, all_finite, visibly
from handjax.fitting import sphere_network
from handjax.models.spherenet import SphereNet
from handjax.pose import pinhole
from handjax.pose.center import hand_center
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM
from handjax.prediction import hand_search
from handjax.prediction.depth_base import DepthPredictor
from handjax.prediction.depth_predictors import SpherePredictor, VoxelPredictor
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.hand_voxels import HandVoxelPredictor, crop_batch, from_crops
from handjax.prediction.saving import UNITS
from handjax.rigs import hand
from handjax.targets import spherehand

CENTERS = ("network", "nearest", "given")
_OUTPUTS = UNITS | {
    "xyz": "mm, camera frame: x right, y down, z forward",
    "std": "standard deviation of each coordinate of xyz, mm",
    "left": "whether it is a left hand",
}


class Options(NamedTuple):
    """How the exported function finds its hand."""

    size: tuple[int, int]  # height and width of the depth image, px
    center: str | None  # network, nearest or given: an input; None: the predictor's own
    side: str | None  # right or left; None: the predictor's own


def depth_contents(predictor: DepthPredictor, options: Options) -> Contents:
    """The contents of a predictor of depth images. ValueError for options it does not have."""
    side = options.side or predictor.sides[0]
    if side not in predictor.sides:
        raise ValueError(f"--side {side}: expected {' or '.join(predictor.sides)}")
    if isinstance(predictor, HandDepthPredictor):
        system, one = "hand-depth", _of_hand_network(predictor, options, side)
    elif isinstance(predictor, HandVoxelPredictor):
        system, one = "v2v", _of_hand_voxels(predictor, options, side)
    elif isinstance(predictor, VoxelPredictor):
        system, one = "v2v", _of_voxels(predictor, options.center or predictor.default_center, side)
    elif isinstance(predictor, SpherePredictor):
        system, one = "spherehand", _of_spheres(predictor, options.center or "nearest", side)
    else:
        raise ValueError(f"{predictor}: no export of this kind of model")
    inputs = {
        "depth": Port(options.size, np.float32, "mm along z, 0 = missing, of a pinhole camera"),
        "k": Port((3, 3), np.float32, "intrinsics of the camera, px"),
    }
    if options.center == "given":
        inputs["center"] = Port((3,), np.float32, "middle of the crop, mm, camera frame")
    shape = jax.eval_shape(
        lambda arrays: one(**arrays),
        {n: jax.ShapeDtypeStruct((1, *port.shape), port.dtype) for n, port in inputs.items()},
    )
    return Contents(
        system=system,
        model=predictor.name,
        skeleton=predictor.skeleton,
        inputs=inputs,
        outputs={
            name: text for name, text in _OUTPUTS.items() if name in shape and name not in inputs
        },
        function=one,
        ours=_ours(predictor, options, side),
    )


def _ours(predictor: DepthPredictor, options: Options, side: str) -> Callable[[Arrays], Any]:
    """The predictor's answers, by the names of the exported outputs."""

    def ours(arrays: Arrays) -> dict[str, np.ndarray]:
        center: Any = arrays.get("center", options.center)
        found = predictor(arrays["depth"], arrays["k"], center, side)
        fields = ("xyz", "uv", "center", "confidence", "std", "presence")
        rows = {name: getattr(found, name) for name in fields}
        rows["left"] = np.array([one == "left" for one in found.side or ()])
        return {name: value for name, value in rows.items() if value is not None}

    return ours


def _measured(depth: Float[Array, "b h w"]) -> Float[Array, "b h w"]:
    return jnp.where(jnp.isfinite(depth) & (depth > 0), depth, 0.0)


def _placed(k: Array, rows: dict[str, Array]) -> dict[str, Array]:
    """The outputs of a sample's rows, with `uv`, and NaN where there was nothing to be found."""
    xyz = rows["xyz"]
    uv = jax.vmap(pinhole.project)(xyz, k)
    return visibly(all_finite(k) & all_finite(xyz), {**rows, "uv": uv})


def _seen(depth: Float[Array, "b h w"], range_mm: tuple[float, float]) -> Any:
    near, far = range_mm
    return ((depth >= near) & (depth <= far)).any((1, 2))


# ---------------------------------------------------------------- the hand network


def _hands(predictor: HandDepthPredictor, options: Options, side: str):
    """(measured depth, k, center or None) → the hands, and in which samples there may be any."""
    if options.center == "nearest":
        raise ValueError(
            "--center nearest: the hand network finds hands itself; use given, or none"
        )
    networks, range_mm = predictor.networks, predictor.range_mm
    contents.check_weights(networks, predictor.name)
    odds = np.asarray(hand_search.ODDS[side])

    def hands(depth: Array, k: Array, center: Array | None) -> tuple[hand_search.HandFound, Any]:
        def one(frame: Array, own: Array) -> hand_search.HandFound:
            return hand_search.find(networks, frame, own, jnp.asarray(odds), range_mm)

        def given(frame: Array, own: Array, middle: Array) -> hand_search.HandFound:
            return hand_search.at_either_side(networks, frame, own, middle, jnp.asarray(odds))

        if center is None:
            return jax.vmap(one)(depth, k), _seen(depth, range_mm)
        return jax.vmap(given)(depth, k, center), all_finite(center)

    return hands


def _of_hand_network(predictor: HandDepthPredictor, options: Options, side: str):
    hands = _hands(predictor, options, side)

    def function(depth: Array, k: Array, center: Array | None = None) -> dict[str, Array]:
        found, there = hands(_measured(depth), k, center)
        rows = {"xyz": found.joints, "std": found.std, "presence": found.presence}
        rows |= {"left": found.side < 0, "center": found.center}
        return visibly(there, _placed(k, rows))

    return function


def _found_centers(side: str) -> Callable[[Array, Array], Array]:
    """Means of the joints that the included hand network finds, as V2V-PoseNet starts from."""
    networks, odds = hand_search.included(), np.asarray(hand_search.ODDS[side])

    def centers(depth: Array, k: Array) -> Array:
        def one(frame: Array, own: Array) -> Array:
            return hand_search.find(networks, frame, own, jnp.asarray(odds)).joints.mean(0)

        return jax.vmap(one)(depth, k)

    return centers


def _starts(how: str, side: str, range_mm: tuple[float, float], cube_mm: float):
    """(depth, k, center) → centers of the crops, and in which samples there are any."""
    network = _found_centers(side) if how == "network" else None

    def start(depth: Array, k: Array, center: Array | None) -> tuple[Array, Any]:
        if center is not None:
            return center, all_finite(center)
        if network is not None:
            return network(depth, k), _seen(depth, hand_search.RANGE_MM)
        cubes = jnp.broadcast_to(jnp.asarray([cube_mm], jnp.float32), (depth.shape[0], 3))
        return hand_center(depth, k, cubes, range_mm), _seen(depth, range_mm)

    return start


def _mirrored(depth: Array, k: Array) -> tuple[Array, Array]:
    """The images and cameras of the mirrored hands."""
    width = depth.shape[-1]
    return depth[..., ::-1], k.at[:, 0, 2].set(width - 1 - k[:, 0, 2])


# ---------------------------------------------------------------- V2V-PoseNet and the sphere hand


def _of_hand_voxels(predictor: HandVoxelPredictor, options: Options, side: str):
    hands, network = _hands(predictor.finder, options, side), predictor.network
    contents.check_weights(network.variables, predictor.name)

    def function(depth: Array, k: Array, center: Array | None = None) -> dict[str, Array]:
        depth = _measured(depth)
        found, there = hands(depth, k, center)
        crops, rotations, distances = jax.vmap(hand_search.upright_crop)(
            depth, k, found.joints, found.side
        )
        rows = contents.network_rows(network, crop_batch(crops, distances))
        left = found.side < 0
        made = {
            "xyz": from_crops(rows["joints_xyz"], rotations, left),
            "confidence": rows["confidence"],
            "presence": found.presence,
            "left": left,
            "center": found.joints.mean(1),
        }
        return visibly(there, _placed(k, made))

    return function


def _of_voxels(predictor: VoxelPredictor, how: str, side: str):
    network, cube_mm = predictor.network, predictor.cube_mm
    contents.check_weights(network.variables, predictor.name)
    start = _starts(how, side, predictor.range_mm, cube_mm)
    mirror = np.array([-1 if side == "left" else 1, 1, 1], np.float32)

    def function(depth: Array, k: Array, center: Array | None = None) -> dict[str, Array]:
        depth = _measured(depth)
        middle, there = start(depth, k, center)
        seen, own = _mirrored(depth, k) if side == "left" else (depth, k)
        cubes = jnp.broadcast_to(jnp.asarray([cube_mm], jnp.float32), (depth.shape[0], 3))
        batch = {"depth": seen, "k": own, "cube_mm": cubes, "center_xyz": middle * mirror[None]}
        rows = contents.network_rows(network, batch)
        xyz = rows["joints_xyz"] * mirror[None, None]
        made = {"xyz": xyz, "confidence": rows["confidence"], "center": middle}
        return visibly(there, _placed(k, made))

    return function


def _of_spheres(predictor: SpherePredictor, how: str, side: str):
    cubes_to_joints = _sphere_network(predictor)
    start = _starts(how, side, predictor.range_mm, EXTENT_MM)
    mirror, size = np.array([-1 if side == "left" else 1, 1, 1], np.float32), predictor.size

    def function(depth: Array, k: Array, center: Array | None = None) -> dict[str, Array]:
        depth = _measured(depth)
        middle, there = start(depth, k, center)
        seen, own = _mirrored(depth, k) if side == "left" else (depth, k)
        cubes = jax.vmap(lambda d, c, m: parallel_rays(d, c, m, size))(
            seen, own, middle * mirror[None]
        )
        joints = cubes_to_joints(cubes) * mirror[None, None] + middle[:, None]
        filled = (cubes < BACKGROUND_MM).any((1, 2))
        return visibly(there & filled, _placed(k, {"xyz": joints, "center": middle}))

    return function


def _sphere_network(predictor: SpherePredictor) -> Callable[[Array], Array]:
    """Depth of cubes [b, s, s] → joints, mm from their middles."""
    if (trained := predictor.trained) is not None:
        contents.check_weights(trained.variables, predictor.name)

        def of_run(cubes: Array) -> Array:
            count = cubes.shape[0]
            cameras = jnp.broadcast_to(jnp.eye(4)[None, None], (count, 1, 4, 4))
            middle = jnp.zeros((count, 3))
            batch = {"cube_depth": cubes[:, None], "center_xyz": middle, "cameras": cameras}
            return contents.network_rows(trained, batch)["joints_xyz"]

        return of_run
    variables = read_weights(sphere_network.SHIPPED)
    contents.check_weights(variables, predictor.name)
    model = SphereNet(stacks=1, width=2 * variables["params"]["stem"]["kernel"].shape[-1])
    spheres = np.array(hand.JOINT_SPHERES["hand21"])

    def included(cubes: Array) -> Array:
        maps: Any = model.apply(variables, spherehand.network_input(cubes))
        return spherehand.decode(*spherehand.split(maps[0][:, -1]))[:, spheres]

    return included


def parallel_rays(
    depth: Float[Array, "h w"], k: Float[Array, "3 3"], middle: Float[Array, "3"], size: int
) -> Float[Array, "{size} {size}"]:
    """`pose.cube.parallel_rays` in JAX, and in float32: of a thousand frames, a few have a pixel
    that lies one further."""
    points, measured = pinhole.depth_to_points(depth, k)
    moved = points - middle[None]
    near = measured & (jnp.abs(moved[:, 2]) < EXTENT_MM / 2)
    cell = jnp.round(moved[:, :2] * (size / EXTENT_MM) + size / 2).astype(jnp.int32)
    inside = near & ((cell >= 0) & (cell < size)).all(-1)
    flat = jnp.where(inside, cell[:, 1] * size + cell[:, 0], size**2)
    image = jnp.full(size**2, BACKGROUND_MM, depth.dtype)
    return image.at[flat].min(moved[:, 2], mode="drop").reshape(size, size)
