import shutil

import numpy as np
import pytest
from etils import epath

from handjax.data.formats.label_text import read_centers
from handjax.data.sets.msra_hand import fake, raw
from handjax.pose.skeleton import SKELETONS


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("msra")
    fake.write(root, 2, seed=1)
    return epath.Path(root)


@pytest.fixture
def copy(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "msra")
    return epath.Path(tmp_path / "msra")


@pytest.mark.slow
def test_joints_are_behind_the_depth_surface(tree):
    assert raw.missing(tree) == [] and len(raw.COUNTS) == 9
    keys = []
    for person in raw.COUNTS:
        for key, sample in raw.samples(tree, person):
            keys.append(key)
            xyz, uv, depth = sample["joints_xyz"], sample["joints_uv"], sample["depth"]
            assert (
                sample["id"] == key == f"{person}/{sample['gesture']}/000000"
                and sample["root"] == "wrist"
            )
            assert (
                depth.shape == (240, 320, 1) and depth.dtype == np.uint16 and xyz.shape == (21, 3)
            )
            np.testing.assert_allclose((xyz / xyz[:, 2:]) @ sample["k"][:2].T, uv, atol=0.01)
            u, v = np.rint(uv).astype(int).T
            behind = xyz[:, 2] - depth[v, u, 0]
            # Joints are under the skin, those of a bent finger close to it.
            assert (0 < depth[v, u, 0]).all() and (behind > -1).all() and np.median(behind) < 40
    assert len(set(keys)) == 18


def test_joints_are_in_the_order_hand21(tree):
    for _, sample in raw.samples(tree, "P4"):
        xyz = dict(zip(SKELETONS["hand21"].joints, sample["joints_xyz"], strict=True))
        thumb = np.linalg.norm(xyz["thumb_base"] - xyz["wrist"])
        for finger in ("index", "middle", "ring", "little"):
            chain = [xyz[f"{finger}_{part}"] for part in ("base", "mid", "end", "tip")]
            steps = np.linalg.norm(np.diff(chain, axis=0), axis=-1)
            assert (5 < steps).all() and (steps < 80).all()
            # The base of the thumb is nearest to the wrist.
            assert thumb < np.linalg.norm(chain[0] - xyz["wrist"])


def test_files_have_thumb_last_and_negative_z(tree):
    (_, sample), *_ = raw.samples(tree, "P0")
    words = (tree / "P0" / "1" / "joint.txt").read_text().split()
    joints = np.asarray(words[1:], np.float32).reshape(21, 3)
    assert words[0] == "1" and (joints[:, 2] < 0).all()
    np.testing.assert_array_equal(joints[17:] * (1, -1, -1), sample["joints_xyz"][1:5])
    np.testing.assert_array_equal(
        joints[:17] * (1, -1, -1), sample["joints_xyz"][[0, *range(5, 21)]]
    )


def test_missing_files_are_listed(copy, tmp_path):
    assert len(raw.missing(epath.Path(tmp_path / "nothing"))) == 9 * 17
    (copy / "P3" / "TIP" / "joint.txt").unlink()
    (copy / "P5" / "2" / "000000_depth.bin").unlink()
    assert raw.missing(copy) == [
        f"{copy}/P3/TIP/joint.txt: the joints of a gesture",
        f"{copy}/P5/2/000000_depth.bin: 1 of 1 depth frames, the first of them",
    ]


def test_centers_are_optional(copy):
    centers, _ = read_centers(copy / "center_test_6_refined.txt", y_up=False)
    x, y, z = centers[1]
    (copy / "center_test_6_refined.txt").write_text(f"invalid\n{x} {y} {z}\n")
    found = [sample for _, sample in raw.samples(copy, "P6")]
    assert [sample["center_valid"] for sample in found] == [False, True]
    assert np.linalg.norm(found[1]["center_xyz"] - found[1]["joints_xyz"].mean(0)) < 0.1
    (copy / "center_test_6_refined.txt").unlink()
    assert not any(sample["center_valid"] for _, sample in raw.samples(copy, "P6"))


def text(change):
    def apply(root):
        path = root / "P0" / "2" / "joint.txt"
        path.write_text(change(path.read_text()))

    return apply


def replaced(i, value):
    return text(
        lambda old: (
            "1\n" + " ".join([*(words := old.split()[1:])[:i], *value, *words[i + 1 :]]) + "\n"
        )
    )


def depth(change):
    def apply(root):
        path = root / "P0" / "2" / "000000_depth.bin"
        path.write_bytes(change(path.read_bytes()))

    return apply


def head(i, value):
    return depth(lambda data: data[: 4 * i] + np.uint32(value).tobytes() + data[4 * i + 4 :])


def pixel(value):
    return depth(lambda data: data[:24] + np.float32(value).tobytes() + data[28:])


@pytest.mark.parametrize(
    "damage, words",
    [
        (text(lambda old: ""), "joint.txt: empty"),
        (text(lambda old: old.replace("1\n", "2\n", 1)), "first line is '2' and 1 lines follow"),
        (
            text(lambda old: old.split("\n", 1)[1]),
            "and 0 lines follow; expected their number",
        ),
        (replaced(5, ["nan"]), "joint.txt, line 2: .* has NaN or Inf"),
        (replaced(5, ["l0"]), "joint.txt, line 2: .* is not a number"),
        (replaced(5, []), "joint.txt, line 2: 62 numbers; expected x y z of 21 joints"),
        (replaced(5, ["300"]), "joint.txt, line 2: a joint is behind the camera"),
        (depth(lambda data: data[:-4]), "000000_depth.bin: .* bytes that start with"),
        (depth(lambda data: data + b"\0"), "000000_depth.bin: .* bytes that start with"),
        (depth(lambda data: data[:20]), "000000_depth.bin: 20 bytes that start with"),
        (depth(lambda data: b""), "000000_depth.bin: 0 bytes that start with"),
        (head(0, 640), r"start with \[640, 240"),
        (head(4, 4_000_000_000), "4000000000"),
        (head(2, 319), r"start with \[320, 240, 319"),
        (pixel(np.nan), "depth that is negative, not finite"),
        (pixel(-1), "depth that is negative, not finite"),
        (pixel(1e6), "beyond 65 m"),
        (lambda root: (root / "P0" / "2" / "000000_depth.bin").unlink(), "no such file"),
        (
            lambda root: (root / "center_test_0_refined.txt").write_text("1 2 300\n"),
            "1 lines for 2 frames",
        ),
    ],
)
def test_damaged_file_gives_one_line(copy, damage, words):
    damage(copy)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        list(raw.samples(copy, "P0"))
    assert str(copy) in str(caught.value) and "\n" not in str(caught.value)


def test_counts_add_up_to_the_release():
    assert sum(raw.COUNTS.values()) == 76375
