"""Text files of joints and crop centers."""

import numpy as np
import pytest

from handjax.data.formats.label_text import read_centers, read_joints


def write(path, text):
    path.write_text(text)
    return path


def test_real_texts(real_data):
    names, joints = read_joints(real_data / "voxel" / "joint_data_train.txt", y_up=True)
    centers, valid = read_centers(real_data / "voxel" / "center_train_refined.txt", y_up=True)
    assert (
        names[0] == "depth_1_0000001.png"
        and joints.shape == (6, 14, 3)
        and valid.tolist() == [True] * 6
    )
    np.testing.assert_allclose(joints[0, 0], [-173.8928, -55.5048, 731.0690], atol=1e-4)
    np.testing.assert_allclose(centers[0], [-110.0121, 11.1812, 751.8770], atol=1e-4)
    assert np.abs(joints - centers[:, None]).max() < 150


def test_texts_in_either_frame(tmp_path):
    path = write(
        tmp_path / "j.txt", "my frame.png\t1\t2\t3\t4\t5\t6\nb.png\t7\t8\t9\t-1\t-2\t3e2\n\n"
    )
    names, joints = read_joints(path, y_up=False)
    assert names == ["my frame.png", "b.png"] and joints[1].tolist() == [[7, 8, 9], [-1, -2, 300]]
    assert read_joints(path, y_up=True)[1][1].tolist() == [[7, -8, 9], [-1, 2, 300]]
    path = write(tmp_path / "c.txt", "1 2 700\ninvalid\ninvalid invalid invalid\n0 0 0\n")
    centers, valid = read_centers(path, y_up=True)
    assert valid.tolist() == [True, False, False, False] and centers[0].tolist() == [1, -2, 700]
    assert not centers[1:].any()


@pytest.mark.parametrize(
    "read, text, words",
    [
        (read_joints, "", "empty"),
        (
            read_joints,
            "a.png\t1\t2\t3\nb.png\t1\t2\n",
            "line 2: 2 numbers after the name; expected 3 ",
        ),
        (
            read_joints,
            "a.png\t1\t2\t3\nb.png\t1\t2\t3\t4\t5\t6\n",
            "line 2: 6 numbers after the name; expected 3 ",
        ),
        (
            read_joints,
            "a.png\t1\t2\n",
            "line 1: 2 numbers after the name; expected a multiple of 3",
        ),
        (read_joints, "a.png\n", "line 1: 0 numbers"),
        (read_joints, "a.png\t1\t2\t3\n\nb.png\t1\t2\t3\n", "line 2: blank"),
        (
            read_joints,
            "a.png\t1\tzwei\t3\n",
            "line 1: 'zwei' is not a number; expected numbers in mm",
        ),
        (read_joints, "a.png\t1\tnan\t3\n", "line 1: .* has NaN or Inf"),
        (read_centers, "1 2 3\n1 2\n", "line 2: 2 values; expected 'x y z' in mm, or 'invalid'"),
        (read_centers, "1 2 Inf\n", "line 1: .* has NaN or Inf"),
        (read_centers, "none\n", "line 1: 1 values"),
        (read_centers, "1 2 -700\n", "line 1: z is -700 mm"),
        (read_centers, "1 2 0\n", "line 1: z is 0 mm"),
    ],
)
def test_bad_text_is_rejected_by_line(tmp_path, read, text, words):
    with pytest.raises(ValueError, match=words) as caught:
        read(write(tmp_path / "t.txt", text), y_up=True)
    assert str(tmp_path / "t.txt") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_joints, read_centers])
def test_files_that_are_not_text(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read(tmp_path / "none.txt", y_up=True)
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read(tmp_path / "t.txt", y_up=True)
