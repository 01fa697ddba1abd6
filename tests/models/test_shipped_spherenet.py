"""The shipped network is as good as its model card says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.fitting import sphere_network
from handjax.rigs import hand, poses
from handjax.rigs.spheres import sphere_depth_orthographic
from handjax.synthetic import render


@pytest.mark.slow
def test_it_finds_hands_that_face_the_camera():
    """On spheres without noise, which are new to it: it was trained on skin. By its card the error
    is 14 mm; all joints at one point would be 50."""

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
