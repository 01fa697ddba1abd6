import jax
import jax.numpy as jnp
import numpy as np

from handjax.pose import geometry as g
from handjax.rigs import kinematics as km

# An arm along x: the upper bone starts at 0, the lower at x = 10; its frame is turned so that its own z is model -y.
ARM = km.Figure(
    bones=("upper", "lower"),
    parents=(-1, 0),
    rest=(
        ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
        ((1.0, 0.0, 0.0, 10.0), (0.0, 0.0, -1.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)),
    ),
    sphere_bones=(0, 1),
    sphere_centers=((5.0, 0.0, 0.0), (15.0, 0.0, 0.0)),
    sphere_radii=(2.0, 1.0),
)


def _local(upper_z: float, lower_y: float):
    rotations = jnp.stack([g.rotation_z(jnp.asarray(upper_z)), g.rotation_y(jnp.asarray(lower_y))])
    return g.homogeneous(rotations, jnp.zeros((2, 3)))


def test_nothing_moves_at_rest():
    transforms = km.bone_transforms(ARM, jnp.eye(4), _local(0.0, 0.0))
    np.testing.assert_allclose(transforms, np.broadcast_to(np.eye(4), (2, 4, 4)), atol=1e-6)


def test_a_bent_arm_by_hand():
    quarter = np.pi / 2
    root = g.homogeneous(jnp.eye(3), jnp.asarray([0.0, 0.0, 7.0]))
    # The shoulder turns x to y. The elbow turns about its own y, which is model z at rest and stays so.
    transforms = km.bone_transforms(ARM, root, _local(quarter, quarter))
    centers = km.attached_points(transforms, ARM.sphere_bones, ARM.sphere_centers)
    np.testing.assert_allclose(centers, [[0, 5, 7], [-5, 10, 7]], atol=1e-5)
    np.testing.assert_allclose(
        km.bone_origins(ARM, transforms, (0, 1)), [[0, 0, 7], [0, 10, 7]], atol=1e-5
    )


def test_any_batch():
    turns = jax.random.normal(jax.random.key(0), (2, 3, 2))
    local = g.homogeneous(g.rotation_x(turns), jnp.zeros((2, 3, 2, 3)))
    root = jnp.broadcast_to(jnp.eye(4), (2, 3, 4, 4))
    one = km.bone_transforms(ARM, root[1, 2], local[1, 2])
    np.testing.assert_allclose(km.bone_transforms(ARM, root, local)[1, 2], one, atol=1e-6)
