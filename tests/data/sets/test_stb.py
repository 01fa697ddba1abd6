import io
import shutil

import cv2
import numpy as np
import pytest
import scipy.io
from etils import epath

from handjax.data.sets import fake_hand
from handjax.data.sets.stb import fake, raw
from handjax.pose.joint_orders import ORDERS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("stb")
    fake.write(root, 1, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    return epath.Path(shutil.copytree(tree, tmp_path / "stb"))


def project(xyz, k):
    return (xyz / xyz[..., 2:]) @ np.asarray(k)[:2].T


def pixels(file):
    return cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]


def on_skin(file, uv):
    """Whether joints lie on the rendered skin, whose red : green : blue is 224 : 172 : 140."""
    u, v = np.rint(uv).astype(int).T
    rgb = pixels(file)[v, u].astype(float)
    return (
        np.abs(rgb / rgb.sum(axis=-1, keepdims=True) - np.array([224, 172, 140]) / 536).max(axis=-1)
        < 0.02
    )


def test_splits_are_by_background():
    assert {split: 1500 * len(names) for split, names in raw.SEQUENCES.items()} == raw.COUNTS
    assert not set(raw.SEQUENCES["train"]) & set(raw.SEQUENCES["test"])


@pytest.mark.parametrize("config", raw.CONFIGS)
def test_empty_folder_lacks_every_sequence(tmp_path, config):
    found = raw.missing(epath.Path(tmp_path), config)
    assert (
        len(found) == 12
        and found[0] == f"labels/B1Counting_{config[:2].upper()}.mat"
        and found[0] in raw.LAYOUT
    )


@pytest.mark.slow
def test_joints_lie_on_the_hand_in_both_stereo_images(tree):
    assert raw.missing(tree, "bb") == []
    for split, count in (("train", 10), ("test", 2)):
        found = dict(raw.samples(tree, split, "bb"))
        assert len(found) == count and all(key == sample["id"] for key, sample in found.items())
        for sample in found.values():
            np.testing.assert_allclose(
                project(sample["joints_xyz"], sample["k"]), sample["joints_uv"], atol=0.01
            )
            assert on_skin(sample["image"], sample["joints_uv"]).all()
            assert on_skin(sample["image_right"], sample["joints_uv_right"]).all()
            # Disparity is f b / z.
            disparity = sample["joints_uv"] - sample["joints_uv_right"]
            np.testing.assert_allclose(
                822.79041 * 120.054 / disparity[:, 0], sample["joints_xyz"][:, 2], rtol=1e-4
            )
            np.testing.assert_allclose(disparity[:, 1], 0, atol=1e-4)


@pytest.mark.slow
def test_joints_lie_on_the_hand_in_sensor_color_and_depth(tree):
    assert raw.missing(tree, "sk") == []
    for _, sample in raw.samples(tree, "test", "sk"):
        for lead, k in (("", raw.COLOR_K), ("sensor_", raw.DEPTH_K)):
            np.testing.assert_allclose(sample[f"{lead}k"], np.array(k), rtol=1e-6)
            np.testing.assert_allclose(
                project(sample[f"{lead}joints_xyz"], k), sample[f"{lead}joints_uv"], atol=0.01
            )
        assert on_skin(sample["image"], sample["joints_uv"]).all() and sample["visible"].all()
        # The depth camera's joints are 24 mm off in the color camera, so no longer on the skin.
        assert not on_skin(sample["image"], project(sample["sensor_joints_xyz"], raw.COLOR_K)).all()
        u, v = np.rint(sample["sensor_joints_uv"]).astype(int).T
        behind = sample["sensor_joints_xyz"][:, 2] - sample["sensor_depth"][v, u, 0]
        assert (behind > 0).all() and np.median(behind) < 40


@pytest.mark.slow
def test_crop_has_the_pixels_of_the_image_and_fitting_k(tree):
    assert raw.missing(tree, "sk_320") == []
    whole = dict(raw.samples(tree, "test", "sk"))
    for key, sample in raw.samples(tree, "test", "sk_320"):
        assert sample["id"] == key and sample["root"] == "palm" and "sensor_depth" not in sample
        square = pixels(sample["image"])
        assert square.shape == (320, 320, 3)
        u, v = whole[key]["joints_uv"][9].astype(int)  # base of the middle finger
        np.testing.assert_array_equal(
            square, pixels(whole[key]["image"])[v - 160 : v + 160, u - 160 : u + 160]
        )
        np.testing.assert_array_equal(sample["joints_xyz"], whole[key]["joints_xyz"])
        np.testing.assert_allclose(
            sample["joints_uv"], whole[key]["joints_uv"] - (u - 160, v - 160), atol=1e-3
        )
        np.testing.assert_allclose(
            project(sample["joints_xyz"], sample["k"]), sample["joints_uv"], atol=0.01
        )
        assert on_skin(sample["image"], sample["joints_uv"][sample["visible"]]).all()


@pytest.mark.parametrize(
    ("center", "half"),
    [((-190.0, 20.0, 500.0), 121), ((20.0, 140.0, 500.0), 70), ((-10.0, 30.0, 500.0), 160)],
)
def test_smaller_square_near_the_edge_is_resized(center, half):
    """White dots at the joints in a black image are at the joints of the crop."""
    angle = np.linspace(0, 2 * np.pi, 21)[:, None]
    joints = np.array(center) + 40 * np.concatenate(
        [np.cos(angle), np.sin(angle), 0 * angle], axis=-1
    )
    joints[9] = center
    image = np.zeros((480, 640, 3), np.uint8)
    for u, v in project(raw.depth_to_color(joints), raw.COLOR_K):
        cv2.circle(
            image, (round(u * 256), round(v * 256)), 4 * 256, (255, 255, 255), -1, cv2.LINE_AA, 8
        )
    made = raw._cropped(joints.astype(np.float32), (b"", image))
    np.testing.assert_allclose(made["k"][0, 0], raw.COLOR_K[0][0] * 160 / half, rtol=1e-6)
    square = pixels(made["image"])
    u, v = np.rint(made["joints_uv"][made["visible"]]).astype(int).T
    assert (
        square.shape == (320, 320, 3) and made["visible"].sum() == 21 and (square[v, u] > 200).all()
    )
    # Center of the dot at the joint in the center of the crop, to a tenth of a pixel.
    u, v = made["joints_uv"][9]
    distance = np.hypot(*np.meshgrid(np.arange(320) - u, np.arange(320) - v))
    others = np.linalg.norm(made["joints_uv"] - made["joints_uv"][9], axis=-1)
    radius = 6 * 160 / half
    assert np.sort(others)[1] > 2 * radius
    light = np.where(distance < radius, square[..., 0], 0).astype(float)
    rows, columns = np.mgrid[:320, :320]
    np.testing.assert_allclose(
        [(light * columns).sum(), (light * rows).sum()] / light.sum(), [u, v], atol=0.15
    )


def test_no_crop_around_a_joint_outside_the_image(copy):
    path = copy / "labels/B1Random_SK.mat"
    hands = scipy.io.loadmat(io.BytesIO(path.read_bytes()))["handPara"]
    hands[0, 9, 0] += 1000
    file = io.BytesIO()
    scipy.io.savemat(file, {"handPara": hands})
    path.write_bytes(file.getvalue())
    assert len(list(raw.samples(copy, "test", "sk"))) == 2
    with pytest.raises(
        ValueError,
        match="B1Random, frame 0: the base of the middle finger is at .* px, outside the image",
    ):
        list(raw.samples(copy, "test", "sk_320"))


def test_depth_to_color_inverts_the_authors_transform():
    points = np.random.default_rng(0).uniform(-200, 200, (5, 21, 3)) + [0, 0, 500]
    (x, y, z), translation = raw.COLOR_TO_DEPTH
    angle = np.sqrt(x * x + y * y + z * z)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / angle
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    np.testing.assert_allclose(
        raw.depth_to_color(points @ rotation.T + translation), points, atol=1e-9
    )


def test_joints_are_a_left_hand_in_the_order_hand21(tree):
    _, sample = next(raw.samples(tree, "test", "bb"))
    own = scipy.io.loadmat(io.BytesIO((tree / "labels/B1Counting_BB.mat").read_bytes()))[
        "handPara"
    ][..., 0].T
    assert (sample["side"], sample["root"]) == ("left", ORDERS["stb"].root) == ("left", "palm")
    xyz = sample["joints_xyz"]
    np.testing.assert_allclose(xyz[0], own[0], rtol=1e-6)
    for finger in range(5):  # thumb first, last in the files; base to tip in both
        np.testing.assert_allclose(
            xyz[1 + 4 * finger : 5 + 4 * finger], own[17 - 4 * finger : 21 - 4 * finger], rtol=1e-6
        )
    steps = np.linalg.norm(np.diff(xyz[1:].reshape(5, 4, 3), axis=1), axis=-1)
    assert (steps > 10).all() and (steps < 70).all()
    assert (np.linalg.norm(xyz[5::4] - xyz[0], axis=-1) < 80).all()  # knuckles are near the palm


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def relabel(change):
    def harm(path):
        hands = scipy.io.loadmat(io.BytesIO(path.read_bytes()))["handPara"]
        file = io.BytesIO()
        scipy.io.savemat(file, change(hands))
        path.write_bytes(file.getvalue())

    return harm


def set_z(value):
    def change(hands):
        hands[2, 4, 0] = value
        return {"handPara": hands}

    return change


LABELS = "labels/B1Random_SK.mat"
DAMAGE = {
    "cut labels": (LABELS, truncate, "B1Random_SK.mat: .*expected a MATLAB file"),
    "no labels": (
        LABELS,
        lambda p: p.write_bytes(b"nothing at all"),
        "B1Random_SK.mat: .*expected a MATLAB file",
    ),
    "lost labels": (LABELS, lambda p: p.unlink(), "B1Random_SK.mat: no such file"),
    "other name": (LABELS, relabel(lambda hands: {"hand": hands}), "handPara has the shape None"),
    "wrong count": (
        LABELS,
        relabel(lambda hands: {"handPara": hands[:, :20]}),
        r"shape \(3, 20, 1\)",
    ),
    "text": (
        LABELS,
        relabel(lambda hands: {"handPara": np.full(hands.shape, "x", object)}),
        "expected a MATLAB file",
    ),
    "NaN": (LABELS, relabel(set_z(np.nan)), "B1Random_SK.mat, frame 0: joints that are not finite"),
    "behind": (
        LABELS,
        relabel(set_z(-5)),
        "B1Random_SK.mat, frame 0: joints .* behind the camera",
    ),
    "cut image": ("images/B1Random/SK_depth_0.png", truncate, "SK_depth_0.png: .*cut short"),
    "small image": (
        "images/B1Random/SK_color_0.png",
        lambda p: p.write_bytes(fake_hand.encode(np.zeros((8, 8, 3), np.uint8))),
        r"SK_color_0.png: pixels of shape \(8, 8, 3\)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_gives_one_line(copy, damage):
    path, harm, message = DAMAGE[damage]
    harm(copy / path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        list(raw.samples(copy, "test", "sk"))
    assert "\n" not in str(caught.value)


def test_flipped_bytes_in_labels_never_crash(copy):
    path = copy / LABELS
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            found = list(raw.samples(copy, "test", "sk"))
        except ValueError as error:
            refused += 1
            assert "B1Random_SK.mat" in str(error) and "\n" not in str(error)
        else:
            assert all(np.isfinite(sample["joints_xyz"]).all() for _, sample in found)
    assert refused > 10


def test_counts_that_disagree_are_reported(copy):
    (copy / "images/B3Random/BB_left_0.png").unlink()
    (copy / "images/B1Random/BB_right_0.png").copy(copy / "images/B1Random/BB_right_1.png")
    assert raw.missing(copy, "bb") == [
        "labels/B1Random_BB.mat: a label of BB_right_1.png; it has 1 frames",
        "images/B3Random: 1 of 1 images of BB_left, the first BB_left_0.png",
    ]
