"""Making the hand's skin: a closed surface of well-shaped triangles, and the script's messages."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from handjax.rigs import hand, skinning
from scripts import make_skin
from scripts.make_skin import volume


@pytest.fixture(scope="module")
def skin():
    return skinning.hand_skin()


def edges(faces):
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def lengths(vertices, faces):
    a, b = np.moveaxis(np.asarray(vertices)[..., edges(faces), :], -2, 0)
    return np.linalg.norm(a - b, axis=-1)


def closed(faces):
    """Whether edges are in two faces, once per direction, and a vertex's faces are connected."""
    directed = {tuple(edge) for edge in edges(faces).tolist()}
    # A vertex has as many faces as neighbours if its faces form a single fan.
    fans = np.bincount(faces.ravel())
    neighbours = np.bincount([a for a, _ in directed])
    return (
        len(directed) == 3 * len(faces)
        and all((b, a) in directed for a, b in directed)
        and np.array_equal(fans, neighbours)
    )


def test_skin_is_one_closed_surface_without_handles(skin):
    v, f = len(skin.vertices), len(skin.faces)
    assert closed(skin.faces)
    assert np.array_equal(np.unique(skin.faces), np.arange(v))
    assert v - len(edges(skin.faces)) // 2 + f == 2
    graph = sparse.coo_matrix((np.ones(3 * f), tuple(edges(skin.faces).T)), (v, v))
    assert sparse.csgraph.connected_components(graph)[0] == 1


def test_open_or_pinched_surfaces_are_not_closed(skin):
    assert not closed(skin.faces[1:])
    assert not closed(np.concatenate([skin.faces[:1, ::-1], skin.faces[1:]]))


def test_sizes(skin):
    assert 3000 <= len(skin.faces) <= 7000
    assert make_skin.OUT.stat().st_size < 200_000
    assert skin.weights.shape == (len(skin.vertices), 17) and skin.unbind.shape == (17, 4, 4)
    assert (
        2 < lengths(skin.vertices, skin.faces).min()
        and lengths(skin.vertices, skin.faces).max() < 14
    )
    angles = make_skin.corner_angles(skin.vertices, skin.faces)
    assert angles.min() > 15 and np.percentile(angles.min(axis=1), 1) > 30


@pytest.mark.slow
def test_skin_is_bound_in_the_bind_pose(skin):
    np.testing.assert_allclose(
        hand.bone_transforms(jnp.asarray(make_skin.BIND_POSE)),
        np.linalg.inv(skin.unbind.astype(np.float64)),
        atol=1e-4,
    )


@pytest.mark.slow
@pytest.mark.parametrize("cell_mm", [9.0, 10.0])
def test_other_cell_sizes_give_a_closed_surface(cell_mm):
    skin = make_skin.build_hand_skin(cell_mm)
    assert closed(skin.faces) and volume(skin.vertices, skin.faces) > 7e5


@pytest.mark.slow
def test_shipped_skin_is_reproducible(skin):
    made = make_skin.build_hand_skin()
    np.testing.assert_array_equal(made.faces, skin.faces)
    np.testing.assert_allclose(made.vertices, skin.vertices, atol=1e-3)
    np.testing.assert_allclose(made.weights, skin.weights, atol=1e-4)
    np.testing.assert_allclose(made.unbind, skin.unbind, atol=1e-4)


@pytest.mark.slow
def test_script_writes_npz_and_overwrites_no_file(tmp_path, capsys):
    out = tmp_path / "skin.npz"
    make_skin.main(["--out", str(out), "--cell-mm", "10"])
    assert "faces" in capsys.readouterr().out
    with np.load(out, allow_pickle=False) as file:
        assert set(file) == {"vertices", "faces", "weights", "unbind"} and closed(file["faces"])
    before = out.read_bytes()
    with pytest.raises(SystemExit):
        make_skin.main(["--out", str(out)])
    assert "--force" in capsys.readouterr().err and out.read_bytes() == before
    for wrong in (
        ["--out", str(tmp_path / "a" / "skin.npz")],
        ["--out", str(tmp_path / "b.obj")],
        ["--cell-mm", "0", "--force"],
    ):
        with pytest.raises(SystemExit):
            make_skin.main(wrong)
