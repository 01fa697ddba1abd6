import shutil

import h5py
import numpy as np
import pytest
from etils import epath

from handjax.data.batch import unpack_voxels
from handjax.data.preparation.validate import examine
from handjax.data.sets.hpoes_voxels import fake, raw


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("voxels")
    fake.write(root, 2, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "voxels"))


@pytest.mark.slow
def test_joints_are_just_behind_the_voxels(tree):
    assert raw.missing(tree) == [] and raw.splits(tree) == ("test", "train")
    for split in raw.splits(tree):
        found = dict(raw.samples(tree, split))
        assert list(found) == [f"{split}/000000", f"{split}/000001"]
        for key, sample in found.items():
            assert sample["id"] == key and sample["joints_xyz"].shape == (21, 3)
            grid = unpack_voxels(sample["voxels"])
            assert grid.shape == (fake.SIZE,) * 3 and grid.sum(-1).max() == 1
            row, column, depth = np.argwhere(grid).T
            unit = (
                np.stack(
                    [(column + 0.5) / fake.SIZE, (row + 0.5) / fake.SIZE, depth / (fake.SIZE - 2)],
                    axis=-1,
                )
                - 0.5
            )
            cells = sample["center_xyz"] + unit * sample["cube_mm"]
            distance = np.linalg.norm(sample["joints_xyz"][:, None] - cells, axis=-1).min(1)
            # Joints are under the skin, or behind another finger.
            assert np.median(distance) < 20 and (distance < 30).mean() > 0.7
    numbers = examine(raw.samples(tree, "train").lazy).summary(None)
    assert (
        not any(numbers["frames_with"].values()) and numbers["surface_share_within_mm"]["50"] > 0.6
    )


def test_empty_folder_is_reported(tmp_path):
    assert (
        raw.missing(epath.Path(tmp_path))
        == raw.missing(epath.Path(tmp_path / "none"))
        == ["HDF5 file NAME.h5"]
    )
    (tmp_path / "NYU train.h5").write_bytes(b"")
    with pytest.raises(ValueError, match="NYU train.h5: not a valid name of a split"):
        raw.missing(epath.Path(tmp_path))


def change(key, edit):
    def harm(path):
        with h5py.File(path, "r+") as file:
            value = edit(file[key][()])
            del file[key]
            file[key] = value

    return harm


def nan(values):
    values[1, 3, 2] = np.nan
    return values


DAMAGE = {
    "cut": (
        lambda p: p.write_bytes(p.read_bytes()[:3000]),
        "train.h5: not an HDF5 file, or cut short",
    ),
    "no file": (lambda p: p.write_bytes(b"nothing"), "train.h5: not an HDF5 file"),
    "gone": (lambda p: p.unlink(), "train.h5: no such file"),
    "NaN": (change("labels", nan), "labels of row 1 has NaN or Inf"),
    "wrong count": (
        change("labels", lambda v: v[:1]),
        r"labels has shape \[1, 21, 3\]; expected \[2, 21, 3\]",
    ),
    "flipped": (
        change("real_voxels/1", lambda v: np.asarray([np.void(v[0].tobytes()[::-1])])),
        "real_voxels/1 is not a readable zip archive",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_gives_one_line(copy, damage):
    harm, message = DAMAGE[damage]
    harm(copy / "train.h5")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "train"))
    assert "\n" not in str(caught.value)


def test_real_voxels(real_data, tmp_path):
    shutil.copy(real_data / "voxel/nyu_voxels_6frames.h5", tmp_path / "train.h5")
    found = examine(raw.samples(epath.Path(tmp_path), "train").lazy).summary(6)
    assert (
        found["frames"] == 6 and not any(found["frames_with"].values()) and not found["unreadable"]
    )
    assert found["visible_joints"] == 6 * 14 and found["surface_share_within_mm"]["20"] > 0.5
