"""RHD, STB, HandDB and lists of keypoints, alone and mixed, as sources."""

import numpy as np
import pytest
from ml_collections import ConfigDict

pytest.importorskip(
    "tensorflow",
    reason="tensorflow is not installed: pip install 'handjax[data]'",
    exc_type=ImportError,
)

from prepared import write  # noqa: E402

from handjax.data.batch import check_batch  # noqa: E402
from handjax.data.sets.rhd import raw as rhd  # noqa: E402
from handjax.engine.feed import train_indices  # noqa: E402
from handjax.sources import SOURCES  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

SIZES = {
    "rhd": (320, 320),
    "freihand": (224, 224),
    "dexycb": (480, 640),
    "interhand": (334, 512),
    "stb": (480, 640),
    "panoptic_hand": (90, 160),
    "keypoint_list": (50, 40),
}
MIDDLE, RING = 9, 13  # bases of these fingers


def sample(name: str, number: int) -> dict:
    """A hand of points: an image of one grey, its number. Joint 5 is hidden, in some sets without a
    position."""
    rng = np.random.default_rng((len(name), number))
    size = SIZES[name]
    k = np.array([[500, 0, size[1] / 2], [0, 510, size[0] / 2], [0, 0, 1]], np.float32)
    reach = 0.4 * min(size)
    uv = (np.array(size[::-1]) / 2 + rng.uniform(-reach, reach, (21, 2))).astype(np.float32)
    z = rng.uniform(400, 600, (21, 1))
    visible = np.arange(21) != 5
    if name in ("panoptic_hand", "keypoint_list", "interhand"):
        uv[~visible] = 0
    return {
        "id": f"{name}-{number}",
        "image": np.full((*size, 3), number, np.uint8),
        "k": k,
        "joints_uv": uv,
        "joints_xyz": (np.concatenate([uv, np.ones((21, 1))], 1) @ np.linalg.inv(k).T * z).astype(
            np.float32
        ),
        "visible": visible,
        "side": ("left", "right")[number % 2],
        "root": "palm" if name == "stb" else "wrist",
        "box": np.array([10, 5, 60, 60], np.float32),
    }


def samples(name, first, count):
    return [sample(name, number) for number in range(first, first + count)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    write(root, "rhd", {"train": samples("rhd", 1, 6), "test": samples("rhd", 101, 3)})
    write(
        root, "freihand", {"train": samples("freihand", 51, 3), "test": samples("freihand", 151, 2)}
    )
    write(
        root, "dexycb", {"train": samples("dexycb", 61, 2), "test": samples("dexycb", 161, 2)}, "s0"
    )
    write(
        root,
        "interhand",
        {"train": samples("interhand", 71, 2), "validation": samples("interhand", 171, 2)},
    )
    write(root, "stb", {"train": samples("stb", 11, 4), "test": samples("stb", 111, 2)}, "bb")
    write(
        root,
        "panoptic_hand",
        {"train": samples("panoptic_hand", 21, 3), "test": samples("panoptic_hand", 121, 2)},
        "manual",
    )
    write(root, "panoptic_hand", {"synth": samples("panoptic_hand", 31, 2)}, "synth")
    write(root, "keypoint_list", {"train": samples("keypoint_list", 41, 2)}, "keypoint_list")
    return root


def make(at, /, train=True, **changes):
    data = dict(
        name="rgb_hand",
        path=str(at),
        sets=("rhd",),
        weights=(),
        train_split="",
        eval_split="",
        eval_sets=(),
    )
    data |= dict(root="as_labelled", image_size=(320, 320), crop_boxes=0.0)
    return SOURCES["rgb_hand"](ConfigDict(dict(seed=0, data=data | changes)), train=train)


def in_file(batch):
    """Joints in px of the file."""
    return np.einsum(
        "bij,bkj->bki", batch["source_from_image"], np.insert(batch["joints_uv"], 2, 1, axis=-1)
    )


def every(source):
    batch = source.eval_rows(np.arange(source.eval_size))
    check_batch(batch)
    return batch, [
        sample(name.split("/")[-1].split("-")[0], int(name.split("-")[-1]))
        for name in source.names(batch["index"])
    ]


def test_one_set(root):
    source = make(root)
    batch, true = every(source)
    assert set(batch) == {
        *(
            "image",
            "joints_uv",
            "visible",
            "labelled",
            "source_from_image",
            "left",
            "joints_xyz",
            "k",
            "mask",
            "index",
        ),
    }
    for row, one in enumerate(true):
        np.testing.assert_array_equal(batch["image"][row], one["image"])
        for key in ("joints_uv", "joints_xyz", "k", "visible"):
            np.testing.assert_array_equal(batch[key][row], one[key])
        assert batch["left"][row] == (one["side"] == "left")
    assert batch["labelled"].all() and source.skeleton.name == "hand21" and source.train_size == 6
    assert sorted(name for name in source.names(np.arange(3))) == ["rhd-101", "rhd-102", "rhd-103"]
    assert source.description == "frames: 3 of rhd, test; joint 0 is as in the set"
    # The prepared folder itself works too, and an evaluation does not need the training split.
    assert make(root / "rhd/1.0.0", train=False, eval_split="train").eval_size == 6


def test_benchmark_is_named_if_all_of_it_is_evaluated(root, monkeypatch):
    monkeypatch.setitem(rhd.COUNTS, "test", 3)
    assert make(root).benchmark == "rhd"
    assert (
        make(root, eval_split="test[:2]").benchmark
        == make(root, sets=("rhd", "stb"), root="palm").benchmark
        == ""
    )
    monkeypatch.undo()
    assert make(root).benchmark == ""


def test_the_mixture_of_the_originals(root):
    """RS: concatenated sets; an epoch has each image once."""
    source = make(root, sets=("rhd", "stb"), root="palm", image_size=(480, 640))
    assert source.train_size == 10 and source.description.startswith(
        "frames: 3 of rhd, test + 2 of stb, test; joint 0 is the palm"
    )
    rows = source.train_rows(train_indices(0, 10, source.train_size, seed=0))
    check_batch(rows)
    assert sorted(rows["image"][:, 0, 0, 0].tolist()) == [1, 2, 3, 4, 5, 6, 11, 12, 13, 14]
    beside = rows["image"][rows["image"][:, 0, 0, 0] < 10][
        :, 320:
    ]  # RHD's images keep their size, in the corner
    assert beside.size and (beside == 128).all()
    batch, true = every(source)
    assert [name.split("/")[0] for name in source.names(np.arange(5))] == ["rhd"] * 3 + ["stb"] * 2
    for row, one in enumerate(true):
        for key in ("joints_uv", "joints_xyz"):
            joints = one[key].copy()
            if one["root"] == "wrist":
                joints[0] = (joints[0] + joints[MIDDLE]) / 2
            np.testing.assert_allclose(batch[key][row], joints, rtol=1e-6)
    smaller = make(root, sets=("rhd", "stb"), root="palm")
    batch, true = every(smaller)
    assert batch["image"].shape == (5, 320, 320, 3) and (batch["image"][3:, 240:] == 128).all()
    np.testing.assert_allclose(
        in_file(batch)[3:, 1:], [one["joints_uv"][1:] for one in true[3:]], atol=1e-3
    )
    projected = np.einsum("bij,bkj->bki", batch["k"], batch["joints_xyz"])
    np.testing.assert_allclose(
        (projected[..., :2] / projected[..., 2:])[:, 1:], batch["joints_uv"][:, 1:], atol=1e-2
    )


def test_freihand_and_dexycb_have_all_joints_and_a_wrist(root):
    sets = ("rhd", "freihand", "dexycb/s0")
    batch, true = every(make(root, sets=sets, image_size=(480, 640)))
    assert batch["labelled"].all() and batch["image"].shape == (7, 480, 640, 3)
    for row, one in enumerate(true):
        for key in ("joints_uv", "joints_xyz", "k", "visible"):
            np.testing.assert_array_equal(batch[key][row], one[key])


def test_joints_of_interhand_may_lack_a_label(root):
    batch, true = every(make(root, sets=("interhand",), image_size=(334, 512)))
    assert not batch["labelled"][:, 5].any() and batch["labelled"].sum() == 40
    np.testing.assert_array_equal(batch["labelled"], batch["visible"])
    for row, one in enumerate(true):
        np.testing.assert_array_equal(batch["joints_xyz"][row], one["joints_xyz"])
        assert batch["left"][row] == (one["side"] == "left")


def test_the_wrist_follows_from_the_palm(root):
    batch, true = every(make(root, sets=("rhd", "stb"), root="wrist", image_size=(480, 640)))
    for row, one in enumerate(true):
        joints = one["joints_xyz"].copy()
        if one["root"] == "palm":
            joints[0] = 2 * joints[0] - joints[RING]
        np.testing.assert_allclose(batch["joints_xyz"][row], joints, rtol=1e-5)


def test_mixing_wrist_and_palm_is_an_error(root):
    words = "not the same in these sets: rhd the wrist, stb the palm; choose config.data.root=palm"
    with pytest.raises(ValueError, match=words):
        make(root, sets=("rhd", "stb"))
    with pytest.raises(
        ValueError, match="rhd the wrist, stb the palm"
    ):  # nor trained on one and evaluated on the other
        make(root, eval_sets=("stb",))
    assert make(root, eval_sets=("stb",), train=False).eval_size == 2
    assert (
        make(root, sets=("rhd", "panoptic_hand/manual")).train_size == 9
    )  # joint 0 is the wrist in both


def test_a_mixture_with_weights(root):
    source = make(root, sets=("rhd", "stb/bb"), weights=(0.7, 0.3), root="palm", eval_sets=("stb",))
    assert (
        source.train_size is None
        and source.eval_size == 2
        and source.description.startswith("frames: 2 of stb, test;")
    )
    shares = source.train_rows(np.arange(100))["index"] < 6
    assert 0.55 < shares.mean() < 0.85
    again = source.train_rows(np.arange(90, 100))
    np.testing.assert_array_equal(again["index"] < 6, shares[90:])


def test_joints_without_a_position(root):
    batch, true = every(make(root, sets=("panoptic_hand/manual",)))
    assert "joints_xyz" not in batch and batch["box"].tolist() == [[10, 5, 60, 60]] * 2
    np.testing.assert_array_equal(batch["labelled"], batch["visible"])
    np.testing.assert_array_equal(batch["joints_uv"], [one["joints_uv"] for one in true])
    # Cropped to the hand: labelled joints map back to the file, the others stay 0.
    cut, true = every(
        make(root, sets=("panoptic_hand/manual",), crop_boxes=1.0, image_size=(20, 20))
    )
    assert (
        "cropped to 1 boxes"
        in make(root, sets=("panoptic_hand/manual",), crop_boxes=1.0).description
    )
    assert cut["image"].shape == (2, 20, 20, 3) and not cut["joints_uv"][:, 5].any()
    for row, one in enumerate(true):
        labelled = one["visible"]
        np.testing.assert_allclose(
            in_file(cut)[row][labelled], one["joints_uv"][labelled], atol=1e-3
        )
        assert np.all((cut["joints_uv"][row] > -1) & (cut["joints_uv"][row] < 20.5))
        np.testing.assert_allclose(
            cut["box"][row, 2:] * cut["source_from_image"][row, [0, 1], [0, 1]], 60, rtol=1e-5
        )


def test_a_palm_needs_both_of_its_joints(tmp_path):
    hands = samples("panoptic_hand", 1, 3)
    hands[1]["visible"][0], hands[2]["visible"][MIDDLE] = False, False
    write(tmp_path, "panoptic_hand", {"train": hands, "test": hands}, "manual")
    source = make(tmp_path, sets=("panoptic_hand",), root="palm")
    batch = source.eval_rows(np.arange(3))
    by_name = dict(zip(source.names(np.arange(3)), np.arange(3), strict=True))
    order = [by_name[f"panoptic_hand-{number}"] for number in (1, 2, 3)]
    assert (
        batch["labelled"][order, 0].tolist()
        == batch["visible"][order, 0].tolist()
        == [True, False, False]
    )
    assert not batch["joints_uv"][order[1:], 0].any()


def test_batches_have_the_keys_common_to_all_sets(root):
    batch = make(
        root,
        sets=("panoptic_hand/synth", "keypoint_list"),
        eval_split="train[:1]",
        eval_sets=("rhd",),
    ).train_rows(np.arange(4))
    check_batch(batch)
    assert set(batch) == {
        "image",
        "joints_uv",
        "visible",
        "labelled",
        "source_from_image",
        "mask",
        "index",
    }
    assert sorted(batch["image"][:, 0, 0, 0].tolist()) == [
        31,
        32,
        41,
        42,
    ]  # a set with one split is for training


def test_the_newest_version_is_read(tmp_path):
    for version, count in (("1.9.0", 1), ("1.10.0", 2)):
        write(
            tmp_path,
            "rhd",
            {"train": samples("rhd", 1, count), "test": samples("rhd", 9, count)},
            version=version,
        )
    assert make(tmp_path).train_size == 2
    assert make(tmp_path, sets=("rhd/1.9.0",)).train_size == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(path=""), "config.data.path is empty: name the folder of the prepared sets"),
        (
            dict(path="/no/such/folder"),
            "/no/such/folder: expected one prepared rhd, found none",
        ),
        (dict(sets=("nyu_hand",)), "expected one prepared nyu_hand, found none"),
        (
            dict(sets=("panoptic_hand",)),
            "one prepared panoptic_hand, found panoptic_hand/manual, panoptic_hand/synth",
        ),
        (
            dict(sets=("panoptic_hand/synth",)),
            "no split test or validation but synth; name one by config.data.eval_split",
        ),
        (dict(eval_split="valid"), "no split 'valid'"),
        (
            dict(image_size=(320,)),
            r"config.data.image_size=\(320,\): expected height and width in px",
        ),
        (
            dict(crop_boxes=0.5),
            "config.data.crop_boxes=0.5: expected 0 for the entire image, or the size",
        ),
        (
            dict(root="middle"),
            "config.data.root=middle is unknown: use as_labelled or palm or wrist",
        ),
        (dict(sets=("rhd", "stb"), root="palm", weights=(1.0,)), "2 sets and 1 weights"),
        (dict(sets=()), "config.data.sets is empty"),
    ],
)
def test_invalid_options_are_reported(root, changes, words):
    with pytest.raises(ValueError, match=words) as error:
        make(root, **changes)
    assert "\n" not in str(error.value)


def test_one_prepared_set_is_not_a_folder_of_sets(root):
    with pytest.raises(
        ValueError,
        match="rhd/1.0.0 is one prepared set; for several give the folder that holds them",
    ):
        make(root / "rhd/1.0.0", eval_sets=("stb",))
    with pytest.raises(
        ValueError,
        match="a prepared stb; config.data.name=body reads human36m, human36m_challenge, mpii, ",
    ):
        data = dict(
            name="body",
            path=str(root),
            sets=("stb",),
            eval_sets=(),
            weights=(),
            train_split="",
            eval_split="",
        )
        SOURCES["body"](
            ConfigDict(
                dict(seed=0, data=data | dict(image_size=(8, 8), crop_boxes=0.0, box_mm=2000.0))
            )
        )
