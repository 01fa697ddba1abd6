import shutil

import cv2
import numpy as np
import pytest
from etils import epath

from handjax.data.formats.label_text import read_centers
from handjax.data.formats.uvd_text import read_uvd, uvd_to_camera
from handjax.data.sets.icvl import fake, raw
from handjax.pose.skeleton import SKELETONS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("icvl")
    fake.write(root, 3, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "icvl")
    return epath.Path(tmp_path / "icvl")


def project(xyz, k):
    return (xyz / xyz[..., 2:]) @ k[:2].T


def test_joints_are_behind_the_depth_surface(tree):
    assert raw.missing(tree) == []
    keys = []
    for split, count in {"train": 3, "test": 6}.items():
        found = list(raw.samples(tree, split))
        assert len(found) == count
        for key, sample in found:
            keys.append(key)
            xyz, uv = sample["joints_xyz"], sample["joints_uv"]
            assert sample["id"] == key and xyz.shape == (16, 3)
            np.testing.assert_allclose(project(xyz, sample["k"]), uv, atol=0.01)
            depth = cv2.imdecode(
                np.frombuffer(sample["depth"].read(), np.uint8), cv2.IMREAD_UNCHANGED
            )
            u, v = np.rint(uv).astype(int).T
            behind = xyz[:, 2] - depth[v, u]
            # Each joint is the center of a sphere: half a finger to half a palm under the skin.
            assert depth.dtype == np.uint16 and (behind > 5).all() and np.median(behind) < 40
    assert len(set(keys)) == 9
    assert {"train/90/201403121135/image_0001", "test/test_seq_2/image_0002"} < set(keys)


def test_joints_keep_the_order_of_the_set(tree):
    for _, sample in raw.samples(tree, "test"):
        xyz = dict(zip(SKELETONS["icvl16"].joints, sample["joints_xyz"], strict=True))
        for finger in ("thumb", "index", "middle", "ring", "little"):
            base, mid, tip = (xyz[f"{finger}_{part}"] for part in ("base", "mid", "tip"))
            assert np.linalg.norm(base - xyz["palm"]) < 100
            assert 15 < np.linalg.norm(base - mid) < 75 and 8 < np.linalg.norm(mid - tip) < 75


def test_depth_is_the_bytes_of_the_file(tree):
    for key, sample in raw.samples(tree, "train"):
        file = tree / "Training" / "Depth" / f"{key.removeprefix('train/')}.png"
        assert sample["depth"].read() == file.read_bytes()


def test_missing_files_are_listed(copy, tmp_path):
    lines = raw.missing(epath.Path(tmp_path / "nothing"))
    assert (
        len(lines) == 3
        and "Training/labels.txt" in lines[0]
        and "Testing/test_seq_2.txt" in lines[2]
    )
    (copy / "Testing" / "Depth" / "test_seq_2" / "image_0001.png").unlink()
    shutil.rmtree(copy / "Training" / "Depth" / "90")
    assert raw.missing(copy) == [
        f"{copy}/Training/Depth/90/201403121135: a folder of depth frames",
        f"{copy}/Testing/Depth/test_seq_2/image_0001.png: 1 of 6 depth frames, the first of them",
    ]


def test_single_training_frames_may_lack_their_image(copy):
    (copy / "Training" / "Depth" / "201403121135" / "image_0000.png").unlink()
    assert raw.missing(copy) == [] and raw.without_image(copy, "train") == [
        "201403121135/image_0000.png"
    ]
    assert [key for key, _ in raw.samples(copy, "train")] == [
        "train/90/201403121135/image_0001",
        "train/201403121135/image_0002",
    ]


def test_centers_belong_to_the_lines_of_the_labels(copy):
    centers, _ = read_centers(copy / "center_train_refined.txt", y_up=False)
    (copy / "center_train_refined.txt").write_text(
        f"invalid\n{' '.join(map(str, centers[1]))}\ninvalid\n"
    )
    (copy / "Training" / "Depth" / "201403121135" / "image_0000.png").unlink()
    found = [sample for _, sample in raw.samples(copy, "train")]
    assert [sample["center_valid"] for sample in found] == [True, False]
    assert np.linalg.norm(found[0]["center_xyz"] - found[0]["joints_xyz"].mean(0)) < 0.1
    found = [sample for _, sample in raw.samples(copy, "test")]
    assert [sample["center_valid"] for sample in found] == [True, True, False] * 2
    assert np.linalg.norm(found[4]["center_xyz"] - found[4]["joints_xyz"].mean(0)) < 0.1
    (copy / "center_test_refined.txt").unlink()
    assert not any(sample["center_valid"] for _, sample in raw.samples(copy, "test"))


def edit(text, change, folder="Training"):
    def apply(root):
        path = root / folder / text
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return apply


def word(line, index, value):
    """Replace the word at `index` of a line."""

    def change(lines):
        words = lines[line].split()
        words[index : index + 1] = value
        return [*lines[:line], " ".join(words), *lines[line + 1 :]]

    return edit("labels.txt", change)


def image(data):
    def apply(root):
        path = root / "Training" / "Depth" / "201403121135" / "image_0002.png"
        path.write_bytes(data(path.read_bytes()))

    return apply


def encoded(array):
    return lambda _: cv2.imencode(".png", array)[1].tobytes()


@pytest.mark.parametrize(
    "damage, words",
    [
        (word(1, 7, ["nan"]), "labels.txt, line 2: .* has NaN or Inf"),
        (word(1, 7, ["x1"]), "labels.txt, line 2: .* is not a number"),
        (word(1, 7, []), "labels.txt, line 2: 47 numbers after the name; expected 48"),
        (word(1, 3, ["-1"]), "labels.txt, line 2: the depth of a joint is not positive"),
        (
            word(1, 0, ["../../secret.png"]),
            "labels.txt, line 2: '../../secret.png'; expected the path of a .png below Depth",
        ),
        (word(1, 0, ["/etc/image.png"]), "line 2: '/etc/image.png'"),
        (word(1, 0, ["./201403121135/image_0000.png"]), "line 2: './201403121135/image_0000.png'"),
        (word(1, 0, ["201403121135/image_0000.png"]), "201403121135/image_0000.png has 2 labels"),
        (
            edit("labels.txt", lambda lines: [line.rsplit(" ", 6)[0] for line in lines]),
            "14 joints per line; expected",
        ),
        (edit("labels.txt", lambda lines: [lines[0], "", *lines[1:]]), "line 2: blank"),
        (edit("labels.txt", lambda lines: []), "labels.txt: empty"),
        (image(lambda data: data[:1000]), "image_0002.png: a PNG image; .* cut short"),
        (
            image(lambda data: data[:200] + bytes(64) + data[264:]),
            "image_0002.png: a PNG image; .* it is cut short or damaged",
        ),
        (image(encoded(np.zeros((480, 640), np.uint16))), "640 x 480 pixels; expected 320 x 240"),
        (image(encoded(np.zeros((240, 320), np.uint8))), "8 bits and color type 0"),
        (
            lambda root: (root / "center_train_refined.txt").write_text("1 2 300\n"),
            "1 lines for 3 frames",
        ),
    ],
)
def test_damaged_file_gives_one_line(copy, damage, words):
    damage(copy)
    with pytest.raises(ValueError, match=words) as caught:
        list(raw.samples(copy, "train"))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_a_test_frame_may_not_lack_its_image(copy):
    (copy / "Testing" / "Depth" / "test_seq_1" / "image_0000.png").unlink()
    with pytest.raises(FileNotFoundError, match="image_0000.png: no such file"):
        list(raw.samples(copy, "test"))


def test_real_labels_pass_through(real_data, tmp_path):
    """The real test labels in the set's two files: within 0.2 % of the published camera's mm."""
    uvd = read_uvd(real_data / "metrics" / "icvl_test_groundtruth_uvd.txt", "icvl")
    assert len(uvd) == raw.COUNTS["test"]
    at = 0
    for sequence, count in (("test_seq_1", 2), ("test_seq_2", 3)):
        folder = tmp_path / "Testing" / "Depth" / sequence
        folder.mkdir(parents=True)
        lines = []
        for i in range(count):
            cv2.imwrite(str(folder / f"image_{i:04d}.png"), np.zeros((240, 320), np.uint16))
            lines.append(
                f"{sequence}/image_{i:04d}.png "
                + " ".join(f"{value:.3f}" for value in uvd[at].ravel())
                + " "
            )
            at += 1
        # Copies of these files have such line ends.
        text = "\r\r\n".join([*lines, ""])
        (tmp_path / "Testing" / f"{sequence}.txt").write_bytes(text.encode())
    found = [sample for _, sample in raw.samples(epath.Path(tmp_path), "test")]
    for sample, expected in zip(found, uvd[:5], strict=True):
        np.testing.assert_allclose(sample["joints_uv"], expected[:, :2], atol=1e-4)
        np.testing.assert_allclose(
            project(sample["joints_xyz"], sample["k"]), expected[:, :2], atol=1e-3
        )
        np.testing.assert_allclose(
            sample["joints_xyz"], uvd_to_camera(expected[None], "icvl")[0], rtol=2e-3, atol=1e-3
        )
