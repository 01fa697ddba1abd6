"""predictions.npz: round trips and invalid files."""

import numpy as np
import pytest

from handjax.data.formats import predictions_npz
from handjax.data.formats.predictions_npz import Predictions2d, Predictions3d


def hands(frames: int = 5) -> np.ndarray:
    joints = np.random.default_rng(3).normal(0, 60, (frames, 14, 3)) + [0, 0, 600]
    return joints.astype(np.float32)


@pytest.mark.parametrize("labelled", [True, False])
def test_npz_round_trip(tmp_path, labelled):
    xyz = hands()
    ours = Predictions3d(
        tuple(f"frame/{n:06d} ä" for n in range(5)), xyz, xyz + 1 if labelled else None
    )
    path = predictions_npz.write_predictions(tmp_path / "predictions.npz", ours)
    back = predictions_npz.read_predictions3d(path)
    assert back.ids == ours.ids
    np.testing.assert_array_equal(back.joints_xyz, xyz)
    assert (back.truth is None) == (not labelled)
    if labelled:
        np.testing.assert_array_equal(back.truth, xyz + 1)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        predictions_npz.write_predictions(path, ours)
    assert path.read_bytes() == before
    with np.load(path, allow_pickle=False) as plain:
        assert set(plain.files) == {"ids", "joints_xyz", "kind"} | (
            {"truth"} if labelled else set()
        )


def test_npz_errors(tmp_path):
    xyz = hands()
    path = tmp_path / "predictions.npz"
    with pytest.raises(ValueError, match="4 ids for 5 frames"):
        predictions_npz.write_predictions(path, Predictions3d(("a",) * 4, xyz))
    with pytest.raises(ValueError, match="truth has shape"):
        predictions_npz.write_predictions(path, Predictions3d(("a",) * 5, xyz, xyz[:, :3]))
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        predictions_npz.read_predictions3d(path)
    good = predictions_npz.write_predictions(
        tmp_path / "good.npz", Predictions3d(("a",) * 5, xyz)
    ).read_bytes()
    np.save(tmp_path / "array.npy", xyz)
    np.savez(tmp_path / "other.npz", joints=xyz)
    np.savez(tmp_path / "objects.npz", ids=np.array([None] * 5), joints_xyz=xyz)
    (tmp_path / "cut.npz").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("array.npy", "other.npz", "objects.npz", "cut.npz", "text.npz", "empty.npz"):
        with pytest.raises(ValueError, match=f"{name}: not a predictions.npz"):
            predictions_npz.read_predictions3d(tmp_path / name)
    np.savez(tmp_path / "flat.npz", ids=np.array(["a"] * 5), joints_xyz=xyz[..., 0])
    with pytest.raises(ValueError, match="expected ids"):
        predictions_npz.read_predictions3d(tmp_path / "flat.npz")


def test_image_joints_round_trip(tmp_path):
    uv = hands()[..., :2]
    ids, names = tuple("abcde"), tuple(f"joint {j}" for j in range(14))
    visible = np.arange(5 * 14).reshape(5, 14) % 3 > 0
    ours = Predictions2d(ids, uv, names, truth=uv + 1, visible=visible, box_px=np.full(5, 90.0))
    path = predictions_npz.write_predictions(tmp_path / "predictions.npz", ours)
    back = predictions_npz.read_predictions2d(path)
    assert (back.ids, back.joints, back.confidence) == (ids, names, None)
    np.testing.assert_array_equal(back.joints_uv, uv)
    np.testing.assert_array_equal(back.truth, uv + 1)
    np.testing.assert_array_equal(back.visible, visible)
    np.savez(tmp_path / "bad.npz", **(ours.arrays() | {"box_px": np.ones(4)}))
    with pytest.raises(ValueError, match=r"bad.npz: box_px is \[4\]; expected \[5\]"):
        predictions_npz.read_predictions2d(tmp_path / "bad.npz")
