import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.data.formats import mesh as mesh_files
from handjax.rigs import hand, skinning

BONES = len(hand.HAND.bones)
# A tetrahedron, faces outward.
VERTICES = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = np.int32([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
WEIGHTS = np.eye(BONES, dtype=np.float32)[:4]


def read(path):
    return mesh_files.read_skin(path, bones=BONES)


def volume(vertices, faces):
    a, b, c = np.moveaxis(np.asarray(vertices, np.float64)[faces], 1, 0)
    return np.sum(np.cross(a, b) * c) / 6


def npz(path, **arrays):
    np.savez(path, **{"vertices": VERTICES, "faces": FACES} | arrays)
    return path


def test_npz(tmp_path):
    read_back = read(npz(tmp_path / "a.npz"))
    np.testing.assert_array_equal(read_back.vertices, VERTICES)
    np.testing.assert_array_equal(read_back.faces, FACES)
    assert read_back.weights is None and read_back.unbind is None
    assert read_back.vertices.dtype == np.float32 and read_back.faces.dtype == np.int32
    unbind = np.tile(np.eye(4), (BONES, 1, 1))
    full = read(
        npz(
            tmp_path / "b.npz",
            weights=WEIGHTS * 1.0005,
            unbind=unbind,
            faces=FACES.astype(np.int64),
        )
    )
    np.testing.assert_allclose(full.weights, WEIGHTS, atol=1e-6)  # normalized
    np.testing.assert_array_equal(full.unbind, unbind)


def test_our_own_skin(repo):
    own, skin = read(repo / "handjax" / "rigs" / "hand_skin.npz"), skinning.hand_skin()
    np.testing.assert_array_equal(own.vertices, skin.vertices)
    np.testing.assert_array_equal(own.faces, skin.faces)
    np.testing.assert_allclose(own.weights, skin.weights, atol=1e-6)
    np.testing.assert_array_equal(own.unbind, skin.unbind)


def test_obj(tmp_path):
    (tmp_path / "a.obj").write_text(
        "# a pyramid\nmtllib a.mtl\no it\nv 0 0 0\nv 2 0 0 1.0\nv 2 2 0 0.5 0.5 0.5\nv 0 2 0\n"
        "vt 0 0\nvn 0 0 1\nv 1 1 -1 # apex\n"
        "g sides\nf 1/1 5/1 2/1\nf 2//1 5//1 3//1\nf 3/1/1 5/1/1 4/1/1\nf -2 -1 -5\n\n"
        "s off\nf 1 2 3 4\n"
    )
    read_back = read(tmp_path / "a.obj")
    assert (
        read_back.vertices.shape == (5, 3)
        and read_back.weights is None
        and read_back.unbind is None
    )
    expected = [[0, 4, 1], [1, 4, 2], [2, 4, 3], [3, 4, 0], [0, 1, 2], [0, 2, 3]]
    np.testing.assert_array_equal(read_back.faces, expected)
    assert volume(read_back.vertices, read_back.faces) == pytest.approx(4 / 3)


OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"


@pytest.mark.parametrize(
    "text, what",
    [
        ("", "vertices are"),
        ("f 1 2 3\n", "vertices are"),
        (OBJ, "faces are"),
        (OBJ + "f 1 2\n", "line 5: 'f 1 2'; expected f with three"),
        (OBJ + "f 1 0 2\n", "line 5"),
        (OBJ + "f 1 -5 2\n", "line 5"),
        (OBJ + "f 1 a 2\n", "line 5"),
        (OBJ + "v 1 2\n", "line 5: 'v 1 2'; expected v x y z"),
        (OBJ + "f 1 2 5\n", "faces name vertices 0 to 4; expected 0 to 3"),
        (OBJ + "v 1 nan 2\nf 1 2 3\n", "NaN or Inf"),
        (OBJ + "f 1 2 3\nf 1 4 2\nf 2 4 3\nf 1 3 4\n", "faces look inward"),
    ],
)
def test_invalid_obj(tmp_path, text, what):
    (tmp_path / "a.obj").write_text(text)
    refused(tmp_path / "a.obj", what)


def refused(path, what, error=ValueError):
    with pytest.raises(error) as caught:
        read(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and what in line and "expected" in line and "\n" not in line


@pytest.mark.parametrize(
    "wrong, what",
    [
        ({"vertices": VERTICES[:0]}, "vertices are (0, 3)"),
        ({"vertices": VERTICES[:, :2]}, "n x 3 numbers"),
        ({"vertices": np.full((4, 3), "a")}, "vertices are (4, 3) of <U1"),
        ({"vertices": VERTICES * np.nan}, "NaN or Inf"),
        ({"faces": FACES[:0]}, "faces are (0, 3)"),
        ({"faces": FACES.astype(np.float32)}, "faces are of float32"),
        ({"faces": FACES + 1}, "faces name vertices 1 to 4; expected 0 to 3"),
        ({"faces": FACES - 1}, "faces name vertices -1 to 2; expected 0 to 3"),
        ({"faces": FACES[:, ::-1]}, "faces look inward"),
        ({"weights": WEIGHTS[:, :16]}, "weights are (4, 16) of float32; expected 4 x 17"),
        ({"weights": WEIGHTS[:3]}, "expected 4 x 17"),
        ({"weights": WEIGHTS * 0.9}, "sum to 0.9 to 0.9"),
        ({"weights": WEIGHTS * 2 - np.roll(WEIGHTS, 1, 1)}, "the smallest is -1"),
        ({"weights": WEIGHTS + np.inf}, "NaN or Inf"),
        ({"unbind": np.eye(4)}, "expected 17 x 4 x 4"),
        ({"unbind": np.zeros((17, 4, 4))}, "unbind holds a matrix that is not a motion"),
    ],
)
def test_invalid_npz(tmp_path, wrong, what):
    refused(npz(tmp_path / "a.npz", **wrong), what)


def test_files_that_are_not_meshes(tmp_path):
    refused(tmp_path / "none.obj", "no such file", FileNotFoundError)
    refused(tmp_path / "a.ply", "expected one of .npz, .obj, .pkl")
    for name in ("a.npz", "a.pkl", "b.obj"):
        (tmp_path / name).write_bytes(b"\xff\xfehello")
        refused(tmp_path / name, "expected")
    np.savez(tmp_path / "c.npz", vertices=VERTICES)
    refused(tmp_path / "c.npz", "has no faces")
    np.savez(tmp_path / "d.npz", vertices=np.array([None]), faces=FACES)
    refused(tmp_path / "d.npz", "allow_pickle")
    with (tmp_path / "e.npz").open("wb") as file:
        np.save(file, VERTICES)
    refused(tmp_path / "e.npz", "expected an npz")


def pickled(path, **changes):
    """A tetrahedron in sphereHand's form: triangles that share no vertex, facing inward."""
    soup = np.concatenate([VERTICES[FACES[:, ::-1]].reshape(-1, 3), np.ones((12, 1))], axis=1)
    bones = [
        {"name": name, "weight_vertexid": np.arange(0), "weight_coeff": np.zeros(0)}
        for name in mesh_files.PICKLE_BONES
    ]
    bones[16] |= {"weight_vertexid": np.arange(12), "weight_coeff": np.ones(12)}
    tree = {
        "vertices": soup,
        "faces": np.arange(12, dtype=np.int32).reshape(4, 3),
        "bones": bones[::-1],
    } | changes
    path.write_bytes(pickle.dumps(tree))
    return path


def test_pickle_is_welded_and_reversed(tmp_path):
    read_back = read(pickled(tmp_path / "a.pkl"))
    assert read_back.vertices.shape == (4, 3) and read_back.faces.shape == (4, 3)
    assert volume(read_back.vertices, read_back.faces) == pytest.approx(1 / 6)
    np.testing.assert_array_equal(
        read_back.weights, np.eye(BONES)[[16] * 4]
    )  # regardless of the order in the file


@pytest.mark.parametrize(
    "changes, what",
    [
        (
            {
                "bones": [
                    {"name": "tail", "weight_vertexid": np.arange(1), "weight_coeff": np.ones(1)}
                ]
            },
            "'tail'",
        ),
        ({"bones": []}, "weights sum to 0"),
        ({"bones": [{"name": "carpals"}]}, "weight_vertexid"),
        (
            {
                "bones": [
                    {
                        "name": "carpals",
                        "weight_vertexid": np.array([99]),
                        "weight_coeff": np.ones(1),
                    }
                ]
            },
            "99",
        ),
        ({"vertices": np.ones((12, 3))}, "expected"),
        ({"faces": np.full((4, 3), 12)}, "faces name vertices 12 to 12"),
        ({"faces": None}, "expected"),
    ],
)
def test_invalid_pickle(tmp_path, changes, what):
    refused(pickled(tmp_path / "a.pkl", **changes), what)
    (tmp_path / "b.pkl").write_bytes(pickle.dumps([1, 2]))
    refused(tmp_path / "b.pkl", "preprocessed_hand")


def test_users_mesh_replaces_ours(real_data):
    """sphereHand's mesh on our kinematics, at poses and spheres computed by sphereHand's code."""
    skin = skinning.bind_mesh(*read(real_data / "hand" / "preprocessed_hand.pkl"))
    assert skin.vertices.shape == (1721, 3) and skin.faces.shape == (3382, 3)
    assert volume(skin.vertices, skin.faces) > 2e5
    with np.load(real_data / "hand" / "sphere_hand_16poses.npz", allow_pickle=False) as file:
        pose, centers, radii = (file[name] for name in ("pose", "joints_mm", "radii_mm"))
    posed = np.asarray(jax.jit(skinning.hand_vertices, static_argnums=0)(skin, jnp.asarray(pose)))
    assert all(volume(v, skinning.right_hand_faces(skin)) > 2e5 for v in posed)
    # The mesh is a few mm thinner than its spheres and has a forearm, which they lack.
    off = np.min(np.linalg.norm(posed[:, :, None] - centers[:, None], axis=-1) - radii, axis=-1)[
        :, skin.vertices[:, 0] < 125
    ]
    assert -3 < np.median(off) < 1 and np.percentile(off, 5) > -7 and np.percentile(off, 95) < 9
    # Every sphere has skin around it: the nearest vertex is at most its radius and some mm away.
    nearest = np.min(np.linalg.norm(posed[:, :, None] - centers[:, None], axis=-1), axis=1)
    assert np.max(nearest - radii) < 5


@pytest.mark.slow
def test_archive_bomb_is_rejected(tmp_path):
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("vertices.npy", "w", force_zip64=True) as part,
    ):
        zeros = bytes(1 << 24)
        for _ in range(65):
            part.write(zeros)
    with pytest.raises(ValueError, match=r"bomb.npz: unpacks to 1090519040 bytes, more than"):
        read(path)
