import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.skeleton import SKELETONS
from handjax.rigs import body

NAMES, FLIP = SKELETONS["body18"].joints, SKELETONS["body18"].flip
# Rest pose of the original at scale 1, (x, z, y) in mm, summed by hand along its chains.
REST = {
    "pelvis": (0, 0, 0),
    "right_hip": (-84.7, 0, 0),
    "right_knee": (-84.7, 0, -302),
    "right_ankle": (-84.7, 0, -602),
    "left_hip": (84.7, 0, 0),
    "left_knee": (84.7, 0, -302),
    "left_ankle": (84.7, 0, -602),
    "torso": (0, 0, 165),
    "neck": (0, 0, 326.6),
    "nose": (0, -29, 400.06),
    "head": (0, 0, 466.97),
    "left_shoulder": (117, 0, 320.1),
    "left_elbow": (117, 0, 132.94),
    "left_wrist": (117, 0, -27.66),
    "right_shoulder": (-117, 0, 158.5),
    "right_elbow": (-117, 0, -28.66),
    "right_wrist": (-117, 0, -189.26),
    "thorax": (0, 0, 239.3),
}
joints = jax.jit(body.joints, static_argnames="mode")


def motions(count, seed=0):
    """Motions within the limits, with any root."""
    low, high = np.clip(np.array(body.LIMITS), -2, 2).T
    return jnp.asarray(
        np.random.default_rng(seed).uniform(low, high, (count, 29)) * ([300] * 3 + [1] * 26),
        jnp.float32,
    )


def number(name):
    return body.MOTION_NAMES.index(name)


def moved(**numbers):
    motion = np.zeros(29, np.float32)
    for name, value in numbers.items():
        motion[number(name)] = value
    return dict(zip(NAMES, np.asarray(joints(motion)), strict=True))


def test_parameters_are_in_the_order_of_the_original():
    assert (
        len(body.MOTION_NAMES) == len(set(body.MOTION_NAMES)) == 29 and len(body.LENGTH_NAMES) == 12
    )
    assert body.MOTION_NAMES[9:14] == (
        "left_hip_z",
        "left_hip_x",
        "left_hip_y",
        "left_knee_x",
        "right_hip_z",
    )
    assert body.MOTION_NAMES[17] == "left_shoulder_z" and body.MOTION_NAMES[25:] == (
        "neck_z",
        "neck_x",
        "neck_y",
        "head_x",
    )


def test_rest_pose_of_the_original():
    found = joints(jnp.zeros(29), 1.0, None, mode="original")
    np.testing.assert_allclose(found, [REST[name] for name in NAMES], atol=2e-4)
    np.testing.assert_allclose(
        joints(jnp.zeros(29), jnp.float32(2), None, mode="original"), 2 * found
    )


def test_matches_the_original_with_its_matrix_fixed(real_data):
    with np.load(real_data / "body" / "kinematic_8.npz", allow_pickle=False) as file:
        numbers, expected = jnp.asarray(file["motion_and_scale"]), file["joints"]
    motion, scale = body.motion_and_scale(numbers, "original")
    np.testing.assert_allclose(joints(motion, scale, None, mode="original"), expected, atol=1e-3)
    motion = motion.at[:, jnp.array([0, 1, 2, 28])].set(7)  # parameters it never reads
    np.testing.assert_allclose(joints(motion, scale, None, mode="original"), expected, atol=1e-3)


def test_default_fixes_the_rest_pose():
    found = dict(
        zip(
            NAMES,
            np.asarray(joints(jnp.zeros(29), 1.0, jnp.array(body.ORIGINAL_LENGTHS))),
            strict=True,
        )
    )
    for name in set(NAMES) - {"right_shoulder", "right_elbow", "right_wrist", "thorax"}:
        x, back, up = REST[name]
        np.testing.assert_allclose(found[name], (x, -up, back), atol=2e-4)
    for joint in ("shoulder", "elbow", "wrist"):
        np.testing.assert_allclose(
            found[f"right_{joint}"], found[f"left_{joint}"] * (-1, 1, 1), atol=1e-4
        )
    np.testing.assert_allclose(found["thorax"], (0, -320.1, 0), atol=1e-3)


def test_parameters_move_the_body_as_named():
    rest = moved()
    assert moved(left_hip_x=1.0)["left_knee"][2] < -300  # forward, to the camera
    assert moved(left_knee_x=-1.0)["left_ankle"][2] > 300
    assert moved(right_elbow_x=1.0)["right_wrist"][2] < -100
    assert moved(left_shoulder_z=1.0)["left_elbow"][0] > rest["left_elbow"][0] + 100
    assert moved(trunk_x=-1.0)["neck"][2] < -200 and moved(neck_x=-0.5)["nose"][2] < rest["nose"][2]
    assert moved(root_y=np.pi)["nose"][2] > 50  # seen from behind
    assert moved(neck_y=0.5)["nose"][0] < -20  # to its right
    turned = moved(head_x=0.3)
    assert np.abs(turned["head"] - rest["head"]).max() > 20
    assert all(np.array_equal(turned[name], rest[name]) for name in NAMES if name != "head")
    np.testing.assert_allclose(
        moved(translation_x=10, translation_y=20, translation_z=30)["head"],
        rest["head"] + (10, -20, 30),
    )


def test_body_is_symmetric_and_bones_are_rigid():
    motion = motions(20)
    found = np.asarray(joints(motion))
    np.testing.assert_allclose(
        joints(body.mirrored(motion))[:, FLIP, :], found * (-1, 1, 1), atol=1e-3
    )
    np.testing.assert_array_equal(body.mirrored(body.mirrored(motion)), motion)
    at = dict(zip(NAMES, found.swapaxes(0, 1), strict=True))
    for a, b, length in (
        ("hip", "knee", 436),
        ("knee", "ankle", 448),
        ("shoulder", "elbow", 272),
        ("elbow", "wrist", 250),
    ):
        for side in ("left", "right"):
            np.testing.assert_allclose(
                np.linalg.norm(at[f"{side}_{a}"] - at[f"{side}_{b}"], axis=-1), length, rtol=1e-5
            )
    np.testing.assert_allclose(
        at["thorax"], (at["left_shoulder"] + at["right_shoulder"]) / 2, atol=1e-3
    )
    # Up, ahead and left are those of a person, not of its mirror image.
    rest = moved()
    up, ahead, left = (
        rest["neck"] - rest["pelvis"],
        rest["nose"] - rest["neck"],
        rest["left_hip"] - rest["pelvis"],
    )
    assert np.dot(np.cross(up, ahead), left) > 0


def test_lengths_and_scale_per_sample():
    lengths = np.tile(body.ADULT_LENGTHS, (3, 1))
    lengths[1, body.LENGTH_NAMES.index("shin")] = 500
    found = np.asarray(
        joints(jnp.zeros((3, 29)), jnp.array([1.0, 1.0, 0.5]), jnp.asarray(lengths, jnp.float32))
    )
    np.testing.assert_allclose(
        found[1, NAMES.index("left_ankle")] - found[0, NAMES.index("left_ankle")],
        (0, 52, 0),
        atol=1e-3,
    )
    np.testing.assert_allclose(found[2], found[0] / 2, atol=1e-4)
    np.testing.assert_allclose(
        joints(jnp.zeros((2, 3, 29))), np.broadcast_to(found[0], (2, 3, 18, 3)), atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", body.MODES)
def test_body_gradients_match_finite_differences(mode):
    with jax.enable_x64(True):
        motion, weight = (
            np.asarray(motions(1)[0], np.float64),
            np.random.default_rng(1).standard_normal((18, 3)),
        )
        numbers = jnp.asarray(np.append(motion, 1.1))

        @jax.jit
        def loss(numbers):
            return (body.joints(numbers[:29], numbers[29], None, mode) * weight).sum()

        before = loss(jnp.zeros(30).at[29].set(1.0))
        gradient = jax.jit(jax.grad(loss))(numbers)
        steps = 1e-5 * np.eye(30)
        slopes = [(loss(numbers + step) - loss(numbers - step)) / 2e-5 for step in steps]
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-4)
        dead = {
            name for name, slope in zip(body.MOTION_NAMES, gradient, strict=False) if slope == 0
        }
        assert dead == (
            set()
            if mode == "default"
            else {"translation_x", "translation_y", "translation_z", "head_x"}
        )
        assert loss(jnp.zeros(30).at[29].set(1.0)) == before


@pytest.mark.slow
def test_limits_are_symmetric_with_no_excess_within():
    motion = motions(10)
    np.testing.assert_array_equal(body.beyond_limits(motion), np.zeros((10, 29)))
    over = (
        jnp.zeros((2, 29))
        .at[0, number("left_knee_x")]
        .set(0.25)
        .at[1, number("right_hip_z")]
        .set(-10.0)
    )
    excess = body.beyond_limits(over)
    assert (np.asarray(excess) > 0).sum() == 2
    np.testing.assert_allclose(excess[0, number("left_knee_x")], 0.25)
    np.testing.assert_allclose(excess[1, number("right_hip_z")], 10 - np.deg2rad(60), rtol=1e-6)
    excess = body.beyond_limits(5 * motion)
    assert (np.asarray(excess) > 0).any(0).sum() > 15
    np.testing.assert_allclose(
        body.beyond_limits(body.mirrored(5 * motion)), np.abs(body.mirrored(excess)), atol=1e-5
    )
    assert not np.any(
        body.beyond_limits(jnp.full(29, 100.0).at[6:].set(0))
    )  # the root may be anywhere
    assert np.isfinite(jax.grad(lambda m: (body.beyond_limits(m) ** 2).sum())(over)).all()


def test_network_outputs_of_zero_are_the_rest_pose():
    motion, scale = body.motion_and_scale(jnp.zeros((2, 30)))
    np.testing.assert_array_equal(scale, np.ones(2))
    motion, scale = body.motion_and_scale(jnp.ones(30) * 0.1)
    np.testing.assert_allclose(motion, [100] * 3 + [0.1] * 26, rtol=1e-6)
