"""The world of depth cameras: labels lie where the images show them, and every part can be had or
left out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose import look_at
from handjax.pose.pinhole import depth_to_points, project
from handjax.rigs import skinning
from handjax.synthetic import camera_world, hand_scene, surroundings
from handjax.synthetic.draws import Draws
from handjax.synthetic.surroundings import NOTHING, USUAL, Shares

pytestmark = pytest.mark.slow  # two long compilations
COUNT = 48
KEYS = jax.random.split(jax.random.key(3), COUNT)


# Hands alone, without sensor, in crops that are centered on them. One program for all shares.
alone = jax.jit(
    lambda keys, left: jax.vmap(
        lambda key: camera_world.crop_sample(
            key, shares=NOTHING, sensors=(), none=0.0, left=left, shift_mm=(0.0, 0.0)
        )
    )(keys)
)


# Crops with all that there is; also one program, for all shares of crops without a hand.
usual = jax.jit(
    lambda keys, none: jax.vmap(lambda key: camera_world.crop_sample(key, none=none))(keys)
)


@pytest.fixture(scope="module")
def bare():
    return jax.device_get(alone(KEYS, 0.0))


@pytest.fixture(scope="module")
def crops():
    """As in training."""
    return jax.device_get(usual(KEYS, 0.1))


@pytest.fixture(scope="module")
def frames():
    draw = partial(camera_world.frame_sample, shares=USUAL._replace(second=1.0))
    return jax.device_get(jax.jit(jax.vmap(draw))(KEYS))


def test_all_that_a_bare_crop_shows_is_the_hand_around_its_middle(bare):
    for depth, k, joints, center in zip(
        bare["depth"], bare["k"], bare["joints_xyz"], bare["center_xyz"], strict=True
    ):
        points, measured = depth_to_points(depth, k)
        # No point of the skin is further than 30 mm from the bones between the joints.
        away = np.linalg.norm(points[measured][:, None] - joints[None], axis=-1).min(1)
        assert measured.sum() > 100 and away.max() < 75
        np.testing.assert_allclose(joints.mean(0), center, atol=1e-2)


def test_visible_joints_lie_under_the_surface_that_is_seen(bare):
    deeper = []
    for depth, k, joints, visible in zip(
        bare["depth"], bare["k"], bare["joints_xyz"], bare["visible"], strict=True
    ):
        uv = np.rint(project(joints, k)).astype(int)[visible]
        seen = depth[uv[:, 1], uv[:, 0]]
        deeper.append((joints[visible, 2] - seen)[seen > 0])  # one crop in twelve is cut
    deeper = np.concatenate(deeper)
    assert len(deeper) > 8 * COUNT
    assert -8 < np.median(deeper) < 25 and deeper.max() < 40


def test_crops_show_300_mm_at_their_middle(bare):
    edges = (np.array([[0, 0], [63, 63]]) - bare["k"][0, :2, 2]) / bare["k"][0, 0, 0]
    width = np.diff(edges, axis=0) * bare["center_xyz"][0, 2]
    np.testing.assert_allclose(width, 300 * 63 / 64, rtol=1e-5)


def test_training_crops_have_hands_of_both_sides_and_none(crops):
    assert all(np.isfinite(value).all() for value in crops.values())
    right = crops["right"]
    assert 0.55 < right.mean() < 0.95
    assert (crops["labelled"] == right[:, None]).all()
    middle = crops["joints_xyz"][right].mean(1) - crops["center_xyz"][right]
    assert np.abs(middle).max() < 70 and middle.std() > 5
    assert (crops["depth"] >= 0).all() and (crops["depth"] < camera_world.FAR_MM).all()
    measured = crops["depth"][crops["depth"] > 0]
    assert measured.min() > camera_world.NEAR_MM


def test_crops_without_a_hand_look_at_something_else():
    draw = partial(
        camera_world.crop_sample, none=1.0, shares=USUAL._replace(second=0.0), sensors=()
    )
    drawn = jax.device_get(jax.jit(jax.vmap(draw))(KEYS))
    assert not drawn["right"].any() and not drawn["labelled"].any()
    middle = drawn["depth"][:, 30:34, 30:34]
    off = np.abs(np.where(middle > 0, middle, 1e6) - drawn["center_xyz"][:, 2, None, None])
    aside = np.linalg.norm(drawn["joints_xyz"].mean(1) - drawn["center_xyz"], axis=-1)
    # Half of them look at a point of an arm, a person or a thing, which may be on its far side.
    assert 0.3 < ((off.min((1, 2)) < 120) & (aside > 89)).mean() < 0.9
    assert aside.max() < 451


def test_a_sample_is_a_function_of_its_key(bare):
    again = jax.device_get(alone(KEYS[::-1], 0.0))
    for name, values in bare.items():
        np.testing.assert_array_equal(again[name][::-1], values, err_msg=name)
    assert len(np.unique(bare["joints_xyz"], axis=0)) == COUNT


def test_a_left_hand_is_the_mirror_image(bare):
    left = jax.device_get(alone(KEYS, 1.0))
    np.testing.assert_array_equal(left["depth"], bare["depth"][:, :, ::-1])
    mirrored = left["joints_xyz"] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored, bare["joints_xyz"], atol=1e-4)
    assert bare["right"].mean() > 0.9 and not left["right"].any()


def test_upright_hands_point_up_and_others_anywhere():
    @partial(jax.jit, static_argnums=0)
    def roll(share):
        def one(key):
            drawn = hand_scene.draw_hand(key, 0.0, skin=skinning.hand_skin(), upright=share)
            return look_at.roll(drawn.joints)

        return jnp.rad2deg(jax.vmap(one)(KEYS))

    assert 8 < roll(1.0).std() < 25 < 60 < roll(0.0).std()


def test_present_hands_of_frames_are_inside_and_in_front(frames):
    uv = project(frames["hands"], frames["k"])
    there = frames["present"]
    assert 0.4 < there[:, 0].mean() < 1 and there[:, 1].any()
    height, width = frames["depth"].shape[1:]
    assert ((uv[there] >= 0) & (uv[there] < [width, height])).all()
    assert set(np.unique(frames["sides"])) == {-1.0, 1.0}


def test_planes_are_behind_the_hand():
    points = jax.random.normal(jax.random.key(0), (21, 3)) * 60 + jnp.array([[0.0, 0, 500]])
    always = Shares(wall=1.0, table=1.0)

    def planes(key):
        return surroundings.planes(Draws(key, 10), points, always)

    for plane in np.concatenate(jax.jit(jax.vmap(planes))(KEYS)):
        assert plane[2] > 0 or plane[3] > 0
        assert (points @ plane[:3]).max() < plane[3]


def test_more_numbers_than_were_drawn_are_refused():
    draws = Draws(jax.random.key(0), 3)
    draws.uniform(2)
    with pytest.raises(ValueError, match="4 numbers drawn of 3"):
        draws.normal(2)
