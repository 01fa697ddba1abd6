"""Flesh on the hand's bones: fingers and palms get thinner where they should, and nothing else
moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.rigs import flesh, hand, skinning
from handjax.rigs.flesh import BUMPS, SHAPES, Flesh

SKIN = skinning.hand_skin()
PALM = SKIN.weights[:, 2:].sum(1) == 0  # what no finger carries with it
SIZE = 0.82  # of an average man's hand, relative to the rig


def of(fingers=1.0, palm=1.0, breadth=1.0, shapes=0.0, bumps=0.0):
    numbers = (np.full(5, fingers), palm, breadth, np.full(len(SHAPES), shapes))
    return Flesh(*(np.asarray(x, np.float32) for x in (*numbers, np.full(BUMPS, bumps))))


def hand_of(some, pose=None):
    """Vertices of a hand at rest, or of `pose`, in the axes of the rig, mm."""
    pose = np.zeros(26, np.float32) if pose is None else pose
    offsets = flesh.skin_offsets(SKIN, some)
    transforms = hand.bone_transforms(jnp.asarray(pose))
    return np.asarray(jax.jit(skinning.skin_vertices, static_argnums=0)(SKIN, transforms, offsets))


def widest(vertices, first, second):
    """The largest breadth, mm, of a finger half-way between two of its spheres at rest, across the
    line of both."""
    finger = (hand.HAND.sphere_bones[first] - 2) // 3
    vertices = vertices[SKIN.weights[:, 2 + 3 * finger : 5 + 3 * finger].sum(1) > 0.99]
    centers = np.asarray(hand.HAND.sphere_centers)
    axis = centers[second] - centers[first]
    length = np.linalg.norm(axis)
    axis = axis / length
    off = vertices - (centers[first] + centers[second]) / 2
    off = off[np.linalg.norm(off, axis=1) < 30]
    off = off[np.abs(off @ axis) < 5]
    across = np.linalg.svd(axis[None])[2][1:]
    angles = np.linspace(0, np.pi, 24, endpoint=False)
    turned = (off @ across.T) @ np.stack([np.cos(angles), np.sin(angles)])
    return np.ptp(turned, axis=0).max()


def test_ones_and_zeros_are_the_skin_itself():
    plain = hand_of(of())
    own = skinning.skin_vertices(SKIN, hand.bone_transforms(jnp.zeros(26)))
    np.testing.assert_allclose(plain, own, atol=1e-3)


def test_an_average_hand_has_the_fingers_and_the_palm_of_people():
    """The rig's index finger is 25 mm wide in its middle and its palm 45 mm thick; people's are 18
    to 21 and 28 to 33."""
    stout, slim = hand_of(of()) * SIZE, hand_of(of(0.76, 0.7)) * SIZE
    middles = [widest(one / SIZE, 14, 13) * SIZE for one in (stout, slim)]
    assert middles[0] > 22 and 16 < middles[1] < 21
    assert middles[1] == pytest.approx(0.76 * middles[0], rel=0.05)
    palms = []
    for one in (stout, slim):  # at the middle of the palm, by the rig's x and y
        near = (np.abs(one[:, 0] - 50 * SIZE) < 10) & (np.abs(one[:, 1]) < 12) & PALM
        palms.append(np.ptp(one[near, 2]))
    assert palms[1] == pytest.approx(0.7 * palms[0], rel=0.08)
    assert palms[1] < 36 < palms[0]


def test_a_thin_palm_is_as_broad_and_less_thin_at_its_ends():
    moved = hand_of(of(palm=0.7)) - hand_of(of())
    np.testing.assert_allclose(moved[PALM, :2], 0, atol=1e-3)
    x = hand_of(of())[:, 0]
    middle, wrist = (np.abs(moved[at, 2]).max() for at in (PALM & (x < 80), x > 115))
    assert middle > 5 and wrist < 0.7 * middle
    broad = hand_of(of(breadth=1.07)) - hand_of(of())
    np.testing.assert_allclose(broad[PALM][:, [0, 2]], 0, atol=1e-3)
    assert 2 < np.abs(broad[:, 1]).max() < 5


@pytest.mark.parametrize("finger", range(5), ids=hand.FINGERS)
def test_a_finger_is_thin_alone(finger):
    some = of()
    moved = hand_of(some._replace(fingers=some.fingers - 0.3 * (np.arange(5) == finger)))
    moved = np.linalg.norm(moved - hand_of(some), axis=1)
    own = SKIN.weights[:, 2 + 3 * finger : 5 + 3 * finger].sum(1)
    assert moved[own > 0.99].min() > 1.5
    np.testing.assert_allclose(moved[own == 0], 0, atol=1e-3)


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)
def test_a_shape_is_on_its_side_of_the_hand_and_as_high_as_it_says(shape):
    centers, _, height, side = list(SHAPES.values())[shape]
    some = of()
    moved = hand_of(some._replace(shapes=np.eye(len(SHAPES), dtype=np.float32)[shape]))
    moved = moved - hand_of(some)
    amount = np.linalg.norm(moved, axis=1)
    assert amount.max() == pytest.approx(abs(height), rel=0.35)
    assert amount.max() <= abs(height) + 1e-3
    at = np.asarray(hand.HAND.sphere_centers)[list(centers)]
    far = np.linalg.norm(hand_of(some)[:, None] - at[None], axis=-1).min(1) > 90
    assert amount[far].max(initial=0) < 0.1
    if side:  # a hollow of the palm moves it to the back, +z being the palm
        onto = moved[amount > abs(height) / 2].mean(0)
        assert np.sign(onto[2]) == side * np.sign(height)


def test_a_bent_finger_is_as_thick_as_a_straight_one():
    pose = np.zeros(26, np.float32)
    pose[7] = 1.0  # the index finger, at the knuckle
    second = SKIN.weights[:, 3] > 0.999
    bent, straight = (
        np.linalg.norm(hand_of(of(fingers=0.7), one) - hand_of(of(), one), axis=1)[second]
        for one in (pose, None)
    )
    assert straight.min() > 2
    np.testing.assert_allclose(bent, straight, atol=1e-3)


def test_joints_have_the_flesh_of_their_finger():
    some = of(palm=0.8)
    some = some._replace(fingers=np.float32([0.1, 0.2, 0.3, 0.4, 0.5]))  # as in hand.FINGERS
    found = np.asarray(flesh.joint_thickness(some))
    assert found.shape == (21,)
    # hand21: the wrist, then thumb, index, middle, ring, little
    wanted = [0.8] + 4 * [0.5] + 4 * [0.1] + 4 * [0.2] + 4 * [0.3] + 4 * [0.4]
    np.testing.assert_allclose(found, wanted)


def test_bumps_are_smooth_and_make_no_fingers():
    moved = hand_of(of(bumps=0.4)) - hand_of(of())
    amount = np.linalg.norm(moved, axis=1)
    assert 0.3 < amount.std() and amount.max() < 6
    a, b = SKIN.faces[:, 0], SKIN.faces[:, 1]
    assert np.linalg.norm(moved[a] - moved[b], axis=1).max() < 2.5
