"""The network that is shipped is the one of its model card."""

import jax
import jax.numpy as jnp
import numpy as np

from handjax.fitting import sphere_network
from handjax.rigs import hand, poses
from handjax.rigs.spheres import sphere_depth_orthographic
from handjax.synthetic import render


def test_it_finds_hands_that_face_the_camera():
    """Held up spheres without noise, which it never saw: it learnt from skin. Its card says 14 mm; all in one place is 50."""

    def one(key):
        pose = poses.sample_pose(key, rotation=poses.ROTATION_FRONTAL)
        centers, radii, _ = render.hand_in_camera(pose, jnp.zeros(3), "hand21", jnp.full(3, 0.9))
        return sphere_depth_orthographic(centers, radii, 64)[0], centers

    depth, centers = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 24))
    network = sphere_network.load()
    joints = np.array(hand.NYU14_SPHERES)
    found = np.stack([network(image) for image in np.asarray(depth)])[:, joints]
    error = np.linalg.norm(found - np.asarray(centers)[:, joints], axis=-1).mean()
    assert error < 18.0
