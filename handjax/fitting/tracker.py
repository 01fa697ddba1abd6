"""The classic tracker: a depth image's hand, found by stepping towards it. On the level of the doors, for `predict` and `view`."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax import models
from handjax.engine import weights as files
from handjax.engine.checkpoint import Checkpoints
from handjax.fitting import objective as fitting
from handjax.fitting.objective import Fit
from handjax.fitting.solver import minimizer
from handjax.models.spherenet import SphereNet
from handjax.pose.center import hand_center
from handjax.pose.cube import BACKGROUND_MM, EXTENT_MM, parallel_rays
from handjax.targets import spherehand

SIZE = 64  # cells a side of the cube's depth
RANGE_MM = (200.0, 900.0)
HANDS = 24  # that go side by side
ROUND = 40  # steps until the best of them
BEST = 6  # take the places of the others


class View(NamedTuple):
    """A hand's cube, of a depth image: everything is of a right hand, so x of a left one is mirrored."""

    cube_depth: Float[np.ndarray, "n n"]  # mm from the middle, 100: nothing there
    points: Float[np.ndarray, "p 3"]  # every measured pixel in the cube, mm from the middle
    center_xyz: Float[np.ndarray, "3"]  # the middle, camera mm, not mirrored
    left: bool


class Step(NamedTuple):
    step: int
    fit: Fit
    value: float


def view(
    depth: Float[np.ndarray, "h w"],
    k: Float[np.ndarray, "3 3"],
    range_mm: tuple[float, float] = RANGE_MM,
    left: bool = False,
    center_xyz: Float[np.ndarray, "3"] | None = None,
    size: int = SIZE,
) -> View:
    """The cube of 300 mm about the hand in depth (mm, 0 missing) of camera `k`: `center_xyz`, or where `hand_center` finds it."""
    depth, k = np.asarray(depth, np.float32), np.array(k, np.float32)
    if center_xyz is None:
        if not ((depth >= range_mm[0]) & (depth <= range_mm[1])).any():
            seen = depth[depth > 0]
            there = (
                f"it is from {seen.min():.0f} to {seen.max():.0f} mm"
                if len(seen)
                else "no pixel was measured"
            )
            raise ValueError(
                f"no depth between {range_mm[0]:g} and {range_mm[1]:g} mm, where hands are looked for; {there}"
            )
        center_xyz = np.asarray(_center(depth, k, tuple(range_mm)))
    # A left hand, seen in a mirror, is a right one.
    mirror = np.array([-1 if left else 1, 1, 1], np.float32)
    if left:
        depth, k[0, 2] = depth[:, ::-1], depth.shape[1] - 1 - k[0, 2]
    middle = np.asarray(center_xyz, np.float32) * mirror
    cube_depth = parallel_rays(depth, k, middle, size)
    v, u = np.nonzero(depth)
    z = depth[v, u]
    points = (
        np.stack([(u - k[0, 2]) * z / k[0, 0], (v - k[1, 2]) * z / k[1, 1], z], axis=-1) - middle
    )
    inside = (np.abs(points[:, :2]) <= EXTENT_MM / 2).all(1) & (points[:, 2] >= -EXTENT_MM / 2)
    points = points[inside & (points[:, 2] <= BACKGROUND_MM - 1)].astype(np.float32)
    if not len(points):
        raise ValueError(
            f"nothing within {EXTENT_MM / 2:g} mm of {', '.join(f'{c:.0f}' for c in middle * mirror)} mm"
        )
    return View(cube_depth, points, middle * mirror, left)


@partial(jax.jit, static_argnames="range_mm")
def _center(depth, k, range_mm):
    return hand_center(depth, k, jnp.full(3, EXTENT_MM), range_mm)


def to_camera(points: Float[np.ndarray, "*b 3"], view: View) -> Float[np.ndarray, "*b 3"]:
    """mm of the cube → camera mm, of the hand's own side."""
    return (
        np.asarray(points) * np.array([-1 if view.left else 1, 1, 1], np.float32) + view.center_xyz
    )


class Tracker:
    """Fits hands to cubes of depth. What it compiles serves all images of a size: make one and keep it."""

    def __init__(
        self,
        method: str = "adam",
        forearm: bool = True,
        weights: dict | None = None,
        chunk: int = 10,
    ):
        """`forearm`: whether there may be one, which is then not taken for a hand. `weights` beside `fitting.WEIGHTS`; `chunk`:
        steps from one `Step` to the next."""

        weights = fitting.WEIGHTS | (weights or {})

        def objective(free, observed, previous, near):
            given = weights | {"smooth": near * weights["smooth"]}
            return fitting.objective(free, observed, previous, weights=given, forearm=forearm)[0]

        self._run = minimizer(objective, method=method, rate=0.05, chunk=chunk)
        self._observe = jax.jit(fitting.observe)
        self._starts = jax.jit(lambda observed: fitting.free_from(fitting.starts(observed)))
        self._free, self._fit = jax.jit(fitting.free_from), jax.jit(fitting.fit_from)
        self.spheres, self.joints21 = jax.jit(fitting.spheres), jax.jit(fitting.joints21)
        self.forearm, self.shifted = jax.jit(fitting.forearm), jax.jit(fitting.shifted)
        self.from_centers = jax.jit(fitting.from_centers)

    def steps(
        self,
        cube_depth: Float[Array | np.ndarray, "n n"],
        steps: int,
        start: Fit | None = None,
        previous: Fit | None = None,
    ) -> Iterator[Step]:
        """The best fit so far, before the first step and after every `chunk`: from `start`, or without it from 24 directions of the
        palm. `previous`: the frame before, to be near to.

        Fingers slip into each other's places and no small step gets them out. So 24 hands go side by side, and after every `ROUND`
        the best six go on, each beside itself with its fingers stretched and as the sampler draws them: in the manner of Qian et
        al. 2014, whose swarm is of particles."""
        observed = self._observe(jnp.asarray(cube_depth, jnp.float32))
        if start is None:
            hands = self._starts(observed)
        else:
            hands = _spread(
                jax.tree.map(
                    lambda leaf: np.asarray(leaf)[None],
                    self._free(jax.tree.map(jnp.asarray, start)),
                ),
                0,
            )
        one = (
            jax.tree.map(lambda leaf: leaf[0], hands)
            if previous is None
            else self._free(jax.tree.map(jnp.asarray, previous))
        )
        data = (
            observed,
            jax.tree.map(jnp.asarray, one),
            jnp.asarray(previous is not None, jnp.float32),
        )
        for done in range(0, max(steps, 1), ROUND):
            for found in self._run(hands, min(ROUND, steps - done), *data):
                if found.step or not done:
                    best = int(np.argmin(found.values))
                    fit = self._fit(jax.tree.map(lambda leaf, best=best: leaf[best], found.params))
                    yield Step(done + found.step, fit, float(found.values[best]))
            order = np.argsort(found.values)[:BEST]
            hands = _spread(
                jax.tree.map(lambda leaf, order=order: np.asarray(leaf)[order], found.params),
                done // ROUND + 1,
            )


def _spread(hands: fitting.Free, turn: int) -> fitting.Free:
    """Some hands → 24: each as it is, with its fingers stretched, and with those of others, every `turn` of others again."""
    kept = len(hands.angles)
    each = HANDS // kept
    drawn = fitting.typical_angles().drawn
    strange = drawn[(np.arange(HANDS) + HANDS * turn) % len(drawn)].reshape(kept, each, -1)
    angles = np.concatenate(
        [hands.angles[:, None], np.zeros_like(strange[:, :1]), strange[:, 2:]], axis=1
    )
    spread = jax.tree.map(lambda leaf: np.repeat(leaf, each, axis=0), hands)
    return spread._replace(angles=angles.reshape(HANDS, -1))


SHIPPED = Path(models.__file__).with_name("spherenet.npz")


def network(
    path: str | Path | None = None,
) -> Callable[[Float[np.ndarray, "n n"]], Float[np.ndarray, "41 3"]]:
    """A trained SphereNet, cube depth → centres, mm of the cube: of a run's folder, whose newest checkpoint counts, of an .npz of
    weights, or the one that is shipped."""
    path = Path(path) if path else SHIPPED
    if path.is_dir():
        checkpoints = Checkpoints(path / "checkpoints", read_only=True)
        try:
            if not (steps := checkpoints.steps()):
                raise FileNotFoundError(
                    f"{path}: no checkpoint there; name the folder of a run, or an .npz of weights"
                )
            variables = checkpoints.weights(steps[-1])
        finally:
            checkpoints.close()
    elif path == SHIPPED and not path.exists():
        raise FileNotFoundError(
            "handjax has no trained network of the sphere hand here; name one by --workdir or --weights, or use --start rest"
        )
    else:
        variables = files.load(path)
    params = variables.get("params", {})
    stacks = sum(name.startswith("out") and name.endswith("_maps") for name in params)
    if not stacks or "stem" not in params:
        raise ValueError(
            f"{path}: weights of another network; expected those of a run of configs/spherehand.py"
        )
    model = SphereNet(stacks=stacks, width=2 * params["stem"]["kernel"].shape[-1])

    @jax.jit
    def centers(cube_depth):
        maps, _ = model.apply({"params": params}, spherehand.network_input(cube_depth)[None])
        return spherehand.decode(*spherehand.split(maps[0, -1]))

    return lambda cube_depth: np.asarray(centers(jnp.asarray(cube_depth, jnp.float32)))
