"""The sphere hand's network as a function from the depth of a cube to sphere centers."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from handjax import models
from handjax.engine.warm_start import read_weights
from handjax.models.spherenet import SphereNet
from handjax.targets import spherehand

SHIPPED = Path(models.__file__).with_name("spherenet.npz")

# Depth of a cube, mm (`DepthCube.depth`) → centers of the spheres, mm of the cube.
SphereNetwork = Callable[[Float[np.ndarray, "n n"]], Float[np.ndarray, "41 3"]]


def load(path: str | Path | None = None) -> SphereNetwork:
    """A trained SphereNet: of the newest checkpoint of a run's folder, of an .npz of weights, or by
    default the network that comes with handjax.

    Raises FileNotFoundError if there is none, and ValueError for the weights of another network.
    The function raises ValueError for an output that is not finite.
    """
    path = Path(path) if path else SHIPPED
    if path == SHIPPED and not path.exists():
        raise FileNotFoundError(
            "this installation has no trained network of the sphere hand; name one by --workdir or "
            "--weights, or use --start rest"
        )
    params = read_weights(path).get("params", {})
    stacks = sum(name.startswith("out") and name.endswith("_maps") for name in params)
    if not stacks or "stem" not in params:
        raise ValueError(
            f"{path}: weights of another network; expected those of a run of configs/spherehand.py"
        )
    model = SphereNet(stacks=stacks, width=2 * params["stem"]["kernel"].shape[-1])

    @jax.jit
    def centers(cube_depth: Float[Array, "n n"]) -> Float[Array, "41 3"]:
        maps, _ = model.apply({"params": params}, spherehand.network_input(cube_depth)[None])
        return spherehand.decode(*spherehand.split(maps[0, -1]))

    def network(cube_depth: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "41 3"]:
        found = np.asarray(centers(jnp.asarray(cube_depth, jnp.float32)))
        if not np.isfinite(found).all():
            raise ValueError(
                f"{path} gives an output that is not finite: no result; use another checkpoint"
            )
        return found

    return network
