"""Results as meshes: the rig's hand nearest to predicted joints, and its files."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from handjax.data.formats.mesh import read_skin
from handjax.data.formats.mesh_files import write_mesh
from handjax.fitting import hand_mesh
from handjax.fitting.depth_cube import CubeFrame
from handjax.fitting.hand_state import USUAL_FLESH, HandState
from handjax.pose.skeleton import SKELETONS
from handjax.prediction.base import Prediction
from handjax.rigs import poses

HAND = SKELETONS["hand21"]
CENTER = np.float32([40, -30, 600])


@pytest.fixture(scope="module")
def posed():
    """A hand of the rig, right and left, in camera mm."""
    pose = jax.jit(poses.sample_pose)(jax.random.key(3))
    state = HandState(pose, jnp.float32(-0.1), jnp.zeros(5), jnp.zeros(2), jnp.asarray(USUAL_FLESH))
    return [hand_mesh.of_state(state, CubeFrame(CENTER, left)) for left in (False, True)]


def result(*hands, **more):
    joints = np.stack([one.joints for one in hands])
    sides = tuple("left" if one.frame.left else "right" for one in hands)
    return Prediction(HAND.joints, xyz=joints, side=sides, skeleton=HAND, **more)


def test_a_hand_comes_back_from_its_joints(posed):
    """With its skin and its spheres; a left one as a left one."""
    found = result(*posed).mesh()
    for mesh, hand, side in zip(found, posed, ("right", "left"), strict=True):
        assert mesh.side == side and mesh.distance_mm < 0.5
        assert np.linalg.norm(mesh.vertices - hand.vertices, axis=-1).max() < 4
        np.testing.assert_array_equal(mesh.faces, hand.faces)
        assert abs(mesh.size - np.exp(-0.1)) < 0.02
        assert set(mesh.angles()) >= {"palm_rotation_x", "thumb_flexion_3", "index_size"}
        closed = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert closed.is_watertight and 1e5 < closed.volume < 1e6  # mm3, and faces look outward
        off = np.linalg.norm(mesh.vertices[:, None] - mesh.joints[None], axis=-1).min(0)
        assert off.max() < 30  # the skin is around the joints
    one = result(*posed)[1].mesh("spheres")
    assert len(one.vertices) == 41 * 260 and one.faces.max() == len(one.vertices) - 1
    center, radius = posed[1].centers[40], posed[1].radii[40]
    off = np.linalg.norm(one.vertices[-260:] - center, axis=-1)
    assert np.abs(off - radius).max() < 3
    assert "left hand; 10660 vertices" in repr(one)


def test_joints_of_no_hand_have_a_distance(posed):
    bent = np.array(posed[0].joints)
    bent[8] += [0, 0, 60]
    mesh = Prediction(HAND.joints, xyz=bent, side="right", skeleton=HAND).mesh()
    assert 0.5 < mesh.distance_mm < 10 and np.isfinite(mesh.vertices).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": "pelvis"}, "no mesh: expected a hand of 21 joints in camera mm"),
        ({"side": None}, "no mesh: this prediction does not say which hand it is"),
    ],
)
def test_what_has_no_mesh_is_one_line(posed, change, message):
    given = {"xyz": posed[0].joints, "side": "right"} | change
    with pytest.raises(ValueError, match=message):
        Prediction(HAND.joints, **given).mesh()
    with pytest.raises(ValueError, match="surface='bones': expected skin or spheres"):
        result(*posed).mesh("bones")


@pytest.mark.parametrize("ending", [".obj", ".ply", ".glb"])
def test_files_of_a_mesh(posed, tmp_path, ending):
    path, hand = tmp_path / f"hand{ending}", posed[0]
    assert write_mesh(path, hand.vertices, hand.faces) == path
    read = trimesh.load(path, force="mesh", process=False)
    unit = np.float32([1e-3, -1e-3, -1e-3]) if ending == ".glb" else np.ones(3)
    np.testing.assert_allclose(read.vertices, hand.vertices * unit, atol=1e-3)
    assert read.is_watertight and read.volume > 0
    with pytest.raises(FileExistsError, match="exists already"):
        write_mesh(path, hand.vertices, hand.faces)
    if ending == ".obj":
        assert len(read_skin(path, bones=17).vertices) == len(hand.vertices)


def test_files_that_cannot_be_written(posed, tmp_path, monkeypatch):
    hand = posed[0]
    with pytest.raises(ValueError, match="a.stl: expected a name that ends in .obj, .ply, .glb"):
        write_mesh(tmp_path / "a.stl", hand.vertices, hand.faces)
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ValueError, match="need trimesh .*handjax.mesh.*, or write .obj"):
        write_mesh(tmp_path / "a.glb", hand.vertices, hand.faces)
    assert not list(tmp_path.iterdir())
