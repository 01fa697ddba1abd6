import shutil

import cv2
import numpy as np
import pytest
import scipy.io
from etils import epath

from handjax.data.formats.label_text import read_centers, read_joints
from handjax.data.formats.uvd_text import read_uvd, uvd_to_camera
from handjax.data.sets.nyu_hand import fake, raw
from handjax.pose.joint_orders import ORDERS
from handjax.pose.skeleton import SKELETONS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("nyu") / "dataset"
    fake.write(root, 2, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "dataset")
    return epath.Path(tmp_path / "dataset")


def project(xyz, k):
    return (xyz / xyz[..., 2:]) @ k[:2].T


@pytest.mark.slow
@pytest.mark.parametrize("config", raw.CONFIGS)
def test_joints_are_behind_the_depth_surface(tree, config):
    assert raw.missing(tree, config) == []
    views = len(raw.CONFIGS[config])
    for split in raw.COUNTS:
        found = list(raw.samples(tree, split, config))
        assert len({key for key, _ in found}) == 2
        for key, sample in found:
            assert sample["id"] == key and key.startswith(split)
            sample = (
                sample
                if views > 1
                else {name: np.asarray(value)[None] for name, value in sample.items()}
            )
            assert (
                sample["depth"].shape == (views, 480, 640, 1) and sample["depth"].dtype == np.uint16
            )
            assert sample["joints_xyz"].shape == (views, 36, 3) and sample["k"].shape == (
                views,
                3,
                3,
            )
            for depth, k, xyz, uv in zip(
                *(sample[n] for n in ("depth", "k", "joints_xyz", "joints_uv")), strict=True
            ):
                np.testing.assert_allclose(project(xyz, k), uv, atol=0.01)
                u, v = np.rint(uv).astype(int).T
                behind = xyz[:, 2] - depth[v, u, 0]
                # Each joint is the center of a sphere: half a finger to half a palm under the skin.
                assert (behind > 5).all() and np.median(behind) < 40


@pytest.mark.slow
def test_joints_keep_the_order_of_the_set(tree):
    (_, sample), *_ = raw.samples(tree, "test")
    xyz = dict(zip(SKELETONS["nyu36"].joints, sample["joints_xyz"], strict=True))
    for finger in ("thumb", "index", "middle", "ring", "little"):
        chain = np.stack([at for name, at in xyz.items() if name.startswith(finger)])
        steps = np.linalg.norm(np.diff(chain, axis=0), axis=-1)
        assert len(chain) == 6 and (3 < steps).all() and (steps < 50).all()
        palm = np.linalg.norm(chain - xyz["palm_3"], axis=-1)
        assert palm[-1] < 100  # the chain ends at the base of the finger
    assert all(
        ORDERS["nyu36"].to_common[i] == j
        for i, j in enumerate((0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32))
    )
    labels = scipy.io.loadmat(str(tree / "test" / "joint_data.mat"))["joint_xyz"]
    np.testing.assert_allclose(labels[0, 0] * (1, -1, 1), sample["joints_xyz"], rtol=1e-6)


def test_three_views_show_one_hand(tree):
    for _, sample in raw.samples(tree, "train", "multiview"):
        apart = [np.linalg.norm(xyz[:, None] - xyz[None], axis=-1) for xyz in sample["joints_xyz"]]
        np.testing.assert_allclose(apart[1:], [apart[0]] * 2, atol=0.01)
        assert np.abs(sample["joints_xyz"][0] - sample["joints_xyz"][1]).max() > 20


def test_single_view_needs_one_kinect(copy):
    for split in raw.COUNTS:
        for path in (copy / split).glob("depth_[23]_*.png"):
            path.unlink()
    assert raw.missing(copy) == [] and len(list(raw.samples(copy, "train"))) == 2
    lines = raw.missing(copy, "multiview")
    assert len(lines) == 4 and "depth_2_0000001.png: 2 of 2 depth frames of Kinect 2" in lines[0]


def test_missing_files_are_listed(copy, tmp_path):
    lines = raw.missing(epath.Path(tmp_path))
    assert [
        str(tmp_path / split / "joint_data.mat") in line
        for split, line in zip(raw.COUNTS, lines, strict=True)
    ] == [True] * 2
    (copy / "test" / "depth_1_0000002.png").unlink()
    assert raw.missing(copy) == [
        f"{copy}/test/depth_1_0000002.png: 1 of 2 depth frames of Kinect 1, the first of them"
    ]


def test_centers_are_optional(copy):
    centers, _ = read_centers(copy / "center_train_refined.txt", y_up=True)
    (copy / "center_train_refined.txt").write_text(
        f"invalid\n{centers[1][0]} {-centers[1][1]} {centers[1][2]}\n"
    )
    found = [sample for _, sample in raw.samples(copy, "train", "multiview")]
    assert [sample["center_valid"].tolist() for sample in found] == [
        [False] * 3,
        [True, False, False],
    ]
    joints = found[1]["joints_xyz"][0]
    assert (
        np.linalg.norm(found[1]["center_xyz"][0] - joints.mean(0)) < 0.1
        and not found[1]["center_xyz"][1:].any()
    )
    (copy / "center_train_refined.txt").unlink()
    assert not any(sample["center_valid"] for _, sample in raw.samples(copy, "train"))


def edit(change):
    """Rewrite the variables of train/joint_data.mat."""

    def apply(root):
        path = str(root / "train" / "joint_data.mat")
        labels = {
            name: value
            for name, value in scipy.io.loadmat(path).items()
            if not name.startswith("__")
        }
        scipy.io.savemat(path, change(labels), do_compression=True)

    return apply


def put(name, index, value):
    def change(labels):
        labels[name][index] = value
        return labels

    return change


def cut(name, keep):
    def apply(root):
        path = root / "train" / name
        path.write_bytes(path.read_bytes()[:keep])

    return apply


def flip(root):
    path = root / "train" / "joint_data.mat"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :: 7] = bytes(255 - byte for byte in data[len(data) // 2 :: 7])
    path.write_bytes(data)


def paint(image):
    return lambda root: (root / "train" / "depth_1_0000002.png").write_bytes(
        cv2.imencode(".png", image)[1].tobytes()
    )


@pytest.mark.parametrize(
    "damage, words",
    [
        (
            edit(put("joint_xyz", (0, 1, 5, 2), np.nan)),
            r"1 of 2 rows have joints that are not finite.*depth_1_0000002\.png",
        ),
        (edit(put("joint_uvd", (0, 0, 5, 0), np.inf)), r"not finite.*depth_1_0000001\.png"),
        (edit(put("joint_xyz", (0, 1, 0, 2), -700.0)), "behind the camera"),
        (edit(lambda labels: {"joint_xyz": labels["joint_xyz"]}), "joint_uvd is missing"),
        (
            edit(lambda labels: labels | {"joint_uvd": labels["joint_uvd"][:, :1]}),
            r"joint_uvd is \(3, 1, 36, 3\)",
        ),
        (
            edit(lambda labels: labels | {"joint_xyz": labels["joint_xyz"][:, :, :21]}),
            r"joint_xyz is \(3, 2, 21, 3\)",
        ),
        (edit(lambda labels: labels | {"joint_xyz": "nothing"}), "joint_xyz is .*char"),
        (cut("joint_data.mat", 3000), "expected the set's MATLAB file"),
        (cut("joint_data.mat", 50), "expected the set's MATLAB file"),
        (cut("joint_data.mat", 0), "expected the set's MATLAB file"),
        (flip, "expected the set's MATLAB file"),
        (cut("depth_1_0000002.png", 5000), "cut short"),
        (paint(np.zeros((240, 320, 3), np.uint8)), "320 x 240 pixels; expected 640 x 480"),
        (paint(np.zeros((480, 640), np.uint16)), "16 bits and color type 0"),
        (
            lambda root: (root / "center_train_refined.txt").write_text("1 2 700\n"),
            "1 lines for 2 frames",
        ),
        (lambda root: (root / "train" / "depth_1_0000002.png").unlink(), "no such file"),
    ],
)
def test_damaged_file_gives_one_line(copy, damage, words):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        list(raw.samples(copy, "train"))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_real_joints_and_centers_pass_through(real_data, tmp_path):
    """The labels of six real frames as a joint_data.mat: joints in camera mm, near the centers."""
    order = list(ORDERS["nyu36"].to_common)
    _, joints = read_joints(real_data / "voxel" / "joint_data_train.txt", y_up=False)
    xyz = np.repeat(joints[None, :, -1:], 36, axis=2).repeat(3, axis=0)
    xyz[:, :, order] = joints
    (tmp_path / "train").mkdir()
    scipy.io.savemat(tmp_path / "train" / "joint_data.mat", {"joint_xyz": xyz, "joint_uvd": xyz})
    for i in range(6):
        cv2.imwrite(
            str(tmp_path / "train" / f"depth_1_{i + 1:07d}.png"), np.zeros((480, 640, 3), np.uint8)
        )
    shutil.copy(real_data / "voxel" / "center_train_refined.txt", tmp_path)
    found = [sample for _, sample in raw.samples(epath.Path(tmp_path), "train")]
    for sample, joint in zip(found, joints, strict=True):
        np.testing.assert_array_equal(sample["joints_xyz"][order], joint * (1, -1, 1))
        assert (
            sample["center_valid"]
            and np.abs(sample["joints_xyz"] - sample["center_xyz"]).max() < 125
        )
        uv = project(sample["joints_xyz"], sample["k"])
        assert (0 < uv).all() and (uv < (640, 480)).all()


def test_camera_is_that_of_published_predictions(real_data):
    uvd = read_uvd(real_data / "metrics" / "nyu_test_groundtruth_uvd.txt", "nyu")
    np.testing.assert_allclose(
        project(uvd_to_camera(uvd, "nyu"), np.asarray(raw.K)), uvd[..., :2], atol=0.01
    )
    assert len(uvd) == raw.COUNTS["test"]
