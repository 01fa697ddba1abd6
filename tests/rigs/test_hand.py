import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.pose.skeleton import SKELETONS
from handjax.rigs import hand, poses, skinning


def _poses(n, seed=0, **options):
    return jax.jit(jax.vmap(partial(poses.sample_pose, **options)))(
        jax.random.split(jax.random.key(seed), n)
    )


SPHERES, JOINTS = jax.jit(hand.spheres), {name: jax.jit(of) for name, of in hand.JOINTS.items()}
VERTICES = jax.jit(skinning.hand_vertices, static_argnums=0)


@pytest.fixture(scope="module")
def oracle(real_data):
    """16 poses and what sphereHand's own code makes of them."""
    with np.load(real_data / "hand" / "sphere_hand_16poses.npz", allow_pickle=False) as file:
        return dict(file)


def test_hand_matches_the_original(oracle):
    pose = jnp.asarray(oracle["pose"])
    np.testing.assert_allclose(
        jax.jit(hand.bone_transforms)(pose), oracle["bone_transforms"], atol=1e-3, rtol=0
    )
    centers, radii = SPHERES(pose)
    np.testing.assert_allclose(centers, oracle["joints_mm"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(
        radii, np.broadcast_to(oracle["radii_mm"], radii.shape), atol=1e-3, rtol=0
    )


def test_tables_match_the_original(real_data):
    model = json.loads((real_data / "hand" / "hand_model.json").read_text())
    assert hand.HAND.bones == tuple(
        bone["name"].replace("pinky", "little") for bone in model["bones"]
    )
    np.testing.assert_array_equal(
        hand.HAND.rest, [bone["rest_transform"] for bone in model["bones"]]
    )
    names = [bone["name"] for bone in model["bones"]]
    assert hand.HAND.sphere_bones == tuple(
        names.index(sphere["bone"]) for sphere in model["spheres"]
    )
    np.testing.assert_array_equal(
        hand.HAND.sphere_centers, [sphere["center_mm"] for sphere in model["spheres"]]
    )
    np.testing.assert_array_equal(
        hand.HAND.sphere_radii, [sphere["radius_mm"] for sphere in model["spheres"]]
    )
    np.testing.assert_array_equal(hand.BONE_LENGTHS, model["bone_length_pairs"])
    assert list(hand.NYU14_SPHERES) == model["eval_spheres"]


def test_bone_lengths_are_nine_tenths_of_rest():
    centers = np.asarray(hand.HAND.sphere_centers)
    for a, b, length in hand.BONE_LENGTHS:
        assert abs(0.9 * np.linalg.norm(centers[a] - centers[b]) - length) < 1e-3


def test_tables_are_consistent():
    assert len(hand.POSE_NAMES) == len(set(hand.POSE_NAMES)) == 26
    assert hand.POSE_NAMES[6] == "index_abduction" and hand.POSE_NAMES[25] == "thumb_flexion_3"
    assert (
        len(hand.HAND.bones) == 17
        and len(hand.HAND.sphere_radii) == 41
        and len(hand.BONE_LENGTHS) == 35
    )
    for name, spheres in hand.JOINT_SPHERES.items():
        assert len(spheres) == len(SKELETONS[name].joints)
    for name, sphere in zip(SKELETONS["hand21"].joints, hand.JOINT_SPHERES["hand21"], strict=True):
        assert hand.HAND.bones[hand.HAND.sphere_bones[sphere]].split("_")[0] == (
            "metacarpals" if name == "wrist" else name.split("_")[0]
        )


@pytest.mark.slow
def test_each_parameter_moves_its_finger_only():
    rest = JOINTS["hand21"](jnp.zeros(26))
    moved = JOINTS["hand21"](jnp.eye(26) * 0.3)
    groups = np.asarray(SKELETONS["hand21"].groups)
    for i, name in enumerate(hand.POSE_NAMES[6:], start=6):
        changed = jnp.linalg.norm(moved[i] - rest, axis=-1) > 1e-3
        assert set(groups[np.asarray(changed)]) == {name.split("_")[0]}, name


@pytest.mark.slow
def test_joints_are_inside_the_hand():
    """Joints are inside their spheres, except for bone ends, which may be up to 2 mm outside."""
    pose = _poses(20, seed=0)
    centers, radii = SPHERES(pose)
    for name, of in JOINTS.items():
        own = jnp.asarray(hand.JOINT_SPHERES[name])
        assert jnp.max(jnp.linalg.norm(of(pose) - centers[:, own], axis=-1) - radii[:, own]) < 2


def test_fingers_are_rigid():
    pose = _poses(50, seed=1)
    joints = JOINTS["hand21"](pose)
    for parent, child in SKELETONS["hand21"].bones:
        length = jnp.linalg.norm(joints[:, parent] - joints[:, child], axis=-1)
        assert jnp.ptp(length) < 1e-3


def _handedness(joints, name):
    """True for right hands in camera axes: the thumb points away from the palm's inner side."""
    index = [
        SKELETONS[name].joints.index(joint)
        for joint in ("palm", "index_mid", "little_mid", "thumb_tip")
    ]
    palm, index, little, thumb = (np.asarray(joints)[..., i, :] for i in index)
    return np.sum(np.cross(index - palm, little - palm) * (thumb - palm), axis=-1) > 0


def test_is_a_right_hand_like_real_labels(real_data):
    """In hands that are not folded, whose middle joints stand off the palm."""
    pose = _poses(500, seed=2, modes=("open", "straight"))
    assert _handedness(JOINTS["nyu14"](pose), "nyu14").mean() > 0.9
    uvd = np.loadtxt(real_data / "metrics" / "nyu_test_groundtruth_uvd.txt").reshape(-1, 14, 3)
    real = np.concatenate(
        [(uvd[..., :2] - (320, 240)) / 588.03 * uvd[..., 2:], uvd[..., 2:]], axis=-1
    )
    assert _handedness(real, "nyu14").mean() > 0.95


def test_raised_right_hand_has_its_thumb_on_the_right():
    """Fingers up, palm to the camera: no labels and no other code needed to tell."""
    middle = jnp.asarray([sum(r) / 2 for r in poses.ROTATION_FRONTAL])
    joints = JOINTS["hand21"](jnp.zeros(26).at[:3].set(middle))
    names = SKELETONS["hand21"].joints
    wrist, thumb, middle_base, middle_tip, little = (
        joints[names.index(n)]
        for n in ("wrist", "thumb_tip", "middle_base", "middle_tip", "little_tip")
    )
    assert middle_base[1] < wrist[1] - 60  # up is -y
    assert thumb[0] > little[0] + 40
    assert (
        middle_tip[2] < middle_base[2] - 20
    )  # at rest the fingers bend a little, to the inner side: the camera's


@pytest.mark.slow
def test_scale_stretches_along_camera_axes():
    pose, scale = jnp.ones((2, 26)), jnp.asarray([[0.8, 1.0, 1.2], [0.9, 0.9, 0.9]])
    plain, radii = SPHERES(pose)
    scaled, scaled_radii = SPHERES(pose, scale)
    np.testing.assert_allclose(scaled, plain * scale[:, None], rtol=1e-6)
    np.testing.assert_allclose(scaled_radii, radii * jnp.asarray([[1.0], [0.9]]), rtol=1e-6)
    for of in JOINTS.values():
        np.testing.assert_allclose(of(pose, scale), of(pose) * scale[:, None], rtol=1e-6)


@pytest.mark.slow
def test_gradients_are_finite_and_any_batch_works():
    pose = jax.random.normal(jax.random.key(0), (2, 3, 26)).at[0, 0].set(0.0)
    np.testing.assert_allclose(
        JOINTS["hand21"](pose)[1, 2], JOINTS["hand21"](pose[1, 2]), atol=1e-3
    )
    gradient = jax.jit(
        jax.grad(lambda p: jnp.sum(hand.spheres(p)[0] ** 2) + jnp.sum(hand.joints21(p) ** 2))
    )
    assert jnp.all(jnp.isfinite(gradient(pose)))


SIZES = jnp.asarray([0.8, 0.9, 1.0, 1.1, 1.2])  # index, middle, ring, little, thumb


@pytest.mark.slow
def test_fingers_scale_about_their_first_joint():
    pose, names = _poses(20, seed=3), SKELETONS["hand21"].joints
    sizes = jnp.broadcast_to(SIZES[None], (20, 5))
    plain, grown = (
        JOINTS["hand21"](pose, jnp.ones((20, 3)), s) for s in (jnp.ones((20, 5)), sizes)
    )
    np.testing.assert_allclose(plain, JOINTS["hand21"](pose), atol=1e-4)
    np.testing.assert_allclose(grown[:, 0], plain[:, 0], atol=1e-4)
    for finger, size in zip(hand.FINGERS, SIZES, strict=True):
        base, *beyond = (names.index(f"{finger}_{part}") for part in ("base", "mid", "end", "tip"))
        np.testing.assert_allclose(grown[:, base], plain[:, base], atol=1e-3)
        for joint in beyond:
            expected = plain[:, base] + size * (plain[:, joint] - plain[:, base])
            np.testing.assert_allclose(grown[:, joint], expected, atol=1e-3)


@pytest.mark.slow
def test_spheres_scale_with_their_finger():
    pose = _poses(20, seed=4)
    centers, radii = SPHERES(pose)
    grown, grown_radii = SPHERES(pose, jnp.ones((20, 3)), jnp.broadcast_to(SIZES[None], (20, 5)))
    joints, names = JOINTS["hand21"](pose), SKELETONS["hand21"].joints
    for sphere, bone in enumerate(hand.HAND.sphere_bones):
        finger = hand.HAND.bones[bone].split("_")[0]
        size = SIZES[hand.FINGERS.index(finger)] if finger in hand.FINGERS else 1.0
        about = (
            joints[:, names.index(f"{finger}_base")]
            if finger in hand.FINGERS
            else centers[:, sphere]
        )
        np.testing.assert_allclose(
            grown[:, sphere], about + size * (centers[:, sphere] - about), atol=1e-3
        )
        np.testing.assert_allclose(grown_radii[:, sphere], radii[:, sphere] * size, rtol=1e-6)
    _, one_radii = SPHERES(pose[0], jnp.full(3, 0.9), jnp.full(5, 0.9))  # scale and size multiply
    np.testing.assert_allclose(one_radii[11:], 0.81 * radii[0, 11:], rtol=1e-5)
    np.testing.assert_allclose(one_radii[:11], 0.9 * radii[0, :11], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.8, 1.2])
def test_skin_of_fingertips_stays_close_to_its_sphere(size):
    """As near to it as it is to a finger of its usual size, and larger or smaller with it."""
    pose, skin = _poses(20, seed=5), skinning.hand_skin()
    tips = np.asarray([15, 21, 27, 33, 39])
    away = []  # of the skin's vertices of each tip from its sphere's centre, in radii
    for sizes in (jnp.ones((20, 5)), jnp.full((20, 5), size)):
        vertices = VERTICES(skin, pose, jnp.ones((20, 3)), sizes)
        centers, radii = SPHERES(pose, jnp.ones((20, 3)), sizes)
        last = (
            skin.weights[:, [hand.HAND.sphere_bones[tip] for tip in tips]] > 0.999
        )  # only the last bone's
        assert last.sum(0).min() > 10
        away.append(
            [
                np.linalg.norm(vertices[:, own] - centers[:, tip, None], axis=-1)
                / radii[:, tip, None]
                for tip, own in zip(tips, last.T, strict=True)
            ]
        )
    for usual, sized in zip(*away, strict=True):
        np.testing.assert_allclose(sized, usual, rtol=2e-3)
        assert 0.85 < usual.min() < 1.0  # about the sphere: no vertex much inside of it
