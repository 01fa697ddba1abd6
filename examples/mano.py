"""MANO's parameters of a predicted hand, by body-models: pose, shape and placement.

    python examples/mano.py MANO_RIGHT.pkl hand.json

hand.json is what `result.save("hand.json")` writes. MANO's files come from mano.is.tue.mpg.de under
its own license. MANO is in metres, handjax in mm, both in the axes of the camera here.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from body_models.mano.jax import MANO
from scipy.optimize import least_squares

from handjax.pose.skeleton import SKELETONS

JOINTS = SKELETONS["hand21"].joints
# Of MANO's joints, wrist, index, middle, little, ring, thumb, those of hand21; then its tips, which
# are vertices: thumb, index, middle, ring, little.
OWN = [0, *(first + k for first in (5, 9, 17, 13, 1) for k in range(3))]
OWN_TIPS = [4, 8, 12, 16, 20]
TIP_VERTICES = (744, 320, 443, 554, 671)
# What a deviation of one from the mean costs, in mm of a joint: joints alone leave twists and most
# of the shape open.
POSE_MM, SHAPE_MM = 1.0, 2.0


class ManoHand(NamedTuple):
    """Parameters as body-models' MANO takes them: axis-angles in rad, metres."""

    hand_pose: np.ndarray  # [15, 3], relative to MANO's mean pose
    shape: np.ndarray  # [10]
    global_rotation: np.ndarray  # [3]
    global_translation: np.ndarray  # [3]
    error_mm: float  # mean distance of its joints and tips to the given ones


def fit(joints_mm: np.ndarray, model: MANO) -> ManoHand:
    """The MANO hand nearest to 21 joints (hand21), mm, by Levenberg-Marquardt steps from 24
    directions of the palm, of which the best is taken."""
    target = jnp.asarray(np.asarray(joints_mm)[OWN + OWN_TIPS], jnp.float32)
    middle = target.mean(0)

    def unpack(values: jax.Array) -> dict[str, jax.Array]:
        pose, shape, turn, move = jnp.split(values, (45, 55, 58))
        return {
            "hand_pose": pose.reshape(15, 3),
            "shape": shape,
            "global_rotation": turn,
            "global_translation": move,
        }

    def points(values: jax.Array) -> jax.Array:
        given = unpack(values)
        joints = model.forward_skeleton(**given)[:, :3, 3]
        tips = model.forward_vertices(**given, vertex_indices=TIP_VERTICES)
        return 1000.0 * jnp.concatenate([joints, tips])

    def residuals(values: jax.Array) -> jax.Array:
        off = (points(values) - target + middle).ravel()
        return jnp.concatenate([off, POSE_MM * values[:45], SHAPE_MM * values[45:55]])

    value, slope = jax.jit(residuals), jax.jit(jax.jacfwd(residuals))
    # Not at zero, where the gradient of an axis-angle is not defined.
    starts = [np.r_[np.full(55, 1e-3), turn + 1e-3, np.zeros(3)] for turn in directions()]
    costs = [float((np.asarray(value(jnp.float32(start))) ** 2).sum()) for start in starts]
    found = [
        least_squares(
            lambda x: np.asarray(value(jnp.float32(x)), np.float64),
            starts[i],
            lambda x: np.asarray(slope(jnp.float32(x)), np.float64),
            max_nfev=50,
        )
        for i in np.argsort(costs)[:3]
    ]
    best = jnp.float32(min(found, key=lambda one: one.cost).x)
    error = float(jnp.linalg.norm(points(best) - target + middle, axis=-1).mean())
    given = {name: np.array(part) for name, part in unpack(best).items()}
    given["global_translation"] += np.asarray(middle) / 1000.0
    return ManoHand(**given, error_mm=error)


def directions() -> list[np.ndarray]:
    """Axis-angles of the 24 rotations of a cube."""
    from scipy.spatial.transform import Rotation

    return list(Rotation.create_group("O").as_rotvec())


def main() -> None:
    """Print the parameters of every hand in a file, as JSON."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("model", type=Path, help="MANO_RIGHT.pkl or MANO_LEFT.pkl")
    flags.add_argument("hands", type=Path, help="what result.save wrote as .json")
    args = flags.parse_args()
    model = MANO(model_path=args.model)
    for sample in json.loads(args.hands.read_text())["samples"]:
        xyz = np.array([sample["joints"][name]["xyz"] for name in JOINTS])
        print(json.dumps({name: plain(value) for name, value in fit(xyz, model)._asdict().items()}))


def plain(value: Any) -> Any:
    """As JSON has it."""
    return np.asarray(value, float).round(5).tolist()


if __name__ == "__main__":
    main()
