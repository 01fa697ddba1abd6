import jax
import jax.numpy as jnp
import numpy as np

from handjax.pose import geometry
from handjax.rigs import kinematics

# An arm along x: the upper bone starts at 0, the lower at x = 10, rotated: its z is the model's -y.
ARM = kinematics.Rig(
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
    rotations = jnp.stack(
        [geometry.rotation_z(jnp.asarray(upper_z)), geometry.rotation_y(jnp.asarray(lower_y))]
    )
    return geometry.homogeneous(rotations, jnp.zeros((2, 3)))


def test_transforms_at_rest_are_identities():
    transforms = kinematics.bone_transforms(ARM, jnp.eye(4), _local(0.0, 0.0))
    np.testing.assert_allclose(transforms, np.broadcast_to(np.eye(4), (2, 4, 4)), atol=1e-6)


def test_bent_arm_computed_by_hand():
    quarter = np.pi / 2
    root = geometry.homogeneous(jnp.eye(3), jnp.asarray([0.0, 0.0, 7.0]))
    # The shoulder rotates x to y. The elbow rotates about its own y, which stays the model's z.
    transforms = kinematics.bone_transforms(ARM, root, _local(quarter, quarter))
    centers = kinematics.attached_points(transforms, ARM.sphere_bones, ARM.sphere_centers)
    np.testing.assert_allclose(centers, [[0, 5, 7], [-5, 10, 7]], atol=1e-5)
    np.testing.assert_allclose(
        kinematics.bone_origins(ARM, transforms, (0, 1)), [[0, 0, 7], [0, 10, 7]], atol=1e-5
    )


def test_kinematics_with_any_batch_shape():
    turns = jax.random.normal(jax.random.key(0), (2, 3, 2))
    local = geometry.homogeneous(geometry.rotation_x(turns), jnp.zeros((2, 3, 2, 3)))
    root = jnp.broadcast_to(jnp.eye(4), (2, 3, 4, 4))
    one = kinematics.bone_transforms(ARM, root[1, 2], local[1, 2])
    np.testing.assert_allclose(kinematics.bone_transforms(ARM, root, local)[1, 2], one, atol=1e-6)
