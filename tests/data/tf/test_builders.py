"""The builder of every set on fake files: TFDS's test case, round trips, incomplete folders."""

import importlib
import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from etils import epath

pytest.importorskip(
    "tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it"
)
tfds = pytest.importorskip(
    "tensorflow_datasets",
    reason="tensorflow_datasets is not installed; the extra handjax[data] has it",
)

from tfds_files import assert_same, prepared  # noqa: E402

from handjax.data.preparation.registry import SETS  # noqa: E402
from handjax.data.records import RecordDataset  # noqa: E402
from handjax.data.sets import RawFiles  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

# Set → `n` of its fake files and the resulting samples by split, which for some sets are twice `n`.
CASES = {
    "bighand": (2, {"Subject_1": 4, "Subject_2": 4}),
    "coco_person": (2, {"train": 4, "validation": 4}),
    "dexycb": (1, {"train": 15, "validation": 8, "test": 8}),
    "freihand": (1, {"train": 4, "test": 1}),
    "hands2017": (2, {"train": 2, "test": 2}),
    "ho3d": (1, {"train": 2, "test": 1}),
    "hpoes_voxels": (1, {"train": 1, "test": 1}),
    "human36m": (1, {"validation": 16}),
    "human36m_challenge": (2, {"train": 2, "validation": 2, "test": 2}),
    "icvl": (2, {"train": 2, "test": 4}),
    "interhand": (2, {"train": 4, "validation": 4, "test": 4}),
    "itop": (2, {"train": 2, "test": 2}),
    "keypoint_list": (2, {"train": 2, "test": 2}),
    "landmarks": (2, {"train": 2, "test": 2}),
    "mpi_inf_3dhp": (1, {"train": 128, "test": 6}),
    "mpii": (2, {"train": 4, "validation": 4, "test": 4}),
    "msra_hand": (2, {f"P{person}": 2 for person in range(9)}),
    "nyu_hand": (2, {"train": 2, "test": 2}),
    "panoptic_hand": (1, {"train": 1, "test": 1}),
    "rhd": (2, {"train": 2, "test": 2}),
    "stb": (1, {"train": 10, "test": 2}),
}
# The configuration of the TFDS case where not all are tested.
CONFIGS = {"dexycb": "s0", "ho3d": "v3", "human36m": "validact03", "itop": "side"}
CONFIGS |= {"hands2017": "hands2019"}
CONFIGS |= {"mpi_inf_3dhp": "sample10", "panoptic_hand": "manual"}


def modules(name):
    """fake, raw and the builder class of a set."""
    fake, raw = (
        importlib.import_module(f"handjax.data.sets.{name}.{part}") for part in ("fake", "raw")
    )
    return (
        fake,
        raw,
        importlib.import_module(f"handjax.data.sets.{name}.{name}_dataset_builder").Builder,
    )


def write(name, root, n, seed, *more):
    root.mkdir(exist_ok=True)
    modules(name)[0].write(root, n, seed, *more)


def case(name):
    """TFDS's test case for one set."""
    count, splits = CASES[name]

    class Case(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = modules(name)[2]
        SPLITS = splits
        if name in CONFIGS:
            BUILDER_CONFIG_NAMES_TO_TEST = [CONFIGS[name]]

        @classmethod
        def setUpClass(cls):
            super().setUpClass()
            cls.EXAMPLE_DIR = tempfile.mkdtemp()
            cls.addClassCleanup(shutil.rmtree, cls.EXAMPLE_DIR)
            write(
                name,
                Path(cls.EXAMPLE_DIR),
                count,
                0,
                *([CONFIGS[name]] if name == "human36m" else []),
            )

    return Case


(TestBighand,) = map(case, list(CASES)[:1])
TestCocoPerson, TestDexycb, TestFreihand, TestHands2017 = map(case, list(CASES)[1:5])
TestHo3d, TestHpoesVoxels, TestHuman36m, TestHuman36mChallenge = map(case, list(CASES)[5:9])
TestIcvl, TestInterhand, TestItop, TestKeypointList = map(case, list(CASES)[9:13])
TestLandmarks, TestMpiInf3dhp, TestMpii, TestMsraHand = map(case, list(CASES)[13:17])
TestNyuHand, TestPanopticHand, TestRhd, TestStb = map(case, list(CASES)[17:])


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """tree(set, n, …) → a folder with its fake files in `raw`, written once."""
    made = {}

    def make(name, n=2, *more):
        if (name, n, *more) not in made:
            root = made[name, n, *more] = tmp_path_factory.mktemp(name)
            write(name, root / "raw", n, 3, *more)
        return made[name, n, *more]

    return make


@pytest.fixture
def copy(tree, tmp_path):
    """copy(set, n, …) → a folder of this test alone with the set's fake files in `raw`."""

    def make(*what):
        shutil.copytree(tree(*what) / "raw", tmp_path / "raw")
        return tmp_path

    return make


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_its_raw_files_and_builder(name):
    _, raw, builder_class = modules(name)
    assert isinstance(raw, RawFiles) and builder_class.RAW is raw and builder_class.name == name
    assert builder_class.MANUAL_DOWNLOAD_INSTRUCTIONS == raw.LAYOUT
    assert [config.name for config in builder_class.BUILDER_CONFIGS] == list(raw.CONFIGS)


@pytest.mark.parametrize(
    "name",
    [
        "bighand",
        "coco_person",
        "freihand",
        "human36m_challenge",
        "icvl",
        "interhand",
        "mpii",
        "rhd",
    ],
)
def test_prepared_samples_equal_the_raw_ones(tree, tmp_path, name):
    root, (_, raw, builder_class) = tree(name, CASES[name][0]), modules(name)
    builder = prepared(builder_class, root, data_dir=tmp_path)
    for split in raw.splits(epath.Path(root / "raw")):
        samples = dict(raw.samples(epath.Path(root / "raw"), split))
        assert_same(builder, split, samples)
        assert len(samples) == CASES[name][1][split]
    assert all(feature.doc.desc for feature in builder.info.features.values())


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("dexycb", "s2"),
        ("hands2017", "hands2017"),
        ("hands2017", "hands2019"),
        ("ho3d", "v3"),
        ("itop", "side"),
        ("itop", "top"),
        ("mpi_inf_3dhp", "sample10"),
        ("nyu_hand", "single"),
        ("nyu_hand", "multiview"),
        ("stb", "bb"),
        ("stb", "sk"),
        ("stb", "sk_320"),
    ]
    + [("panoptic_hand", config) for config in ("manual", "synth", "studio")],
)
def test_every_configuration_reads_its_own_files(tree, tmp_path, name, config):
    root, (_, raw, builder_class) = tree(name, CASES[name][0]), modules(name)
    assert config in raw.CONFIGS
    builder = prepared(builder_class, root, config, data_dir=tmp_path)
    splits = raw.splits(epath.Path(root / "raw"), config)
    assert set(builder.info.splits) == set(splits)
    for split in splits:
        assert_same(builder, split, dict(raw.samples(epath.Path(root / "raw"), split, config)))
    assert all(feature.doc.desc for feature in builder.info.features.values())


def test_every_subset_of_human36m_is_a_configuration(tree, tmp_path):
    root, (_, raw, builder_class) = tree("human36m", 2, "validact16"), modules("human36m")
    assert set(builder_class.builder_configs) == set(raw.CONFIGS)
    samples = dict(raw.samples(epath.Path(root / "raw"), "validation", "validact16"))
    assert len(samples) == 32 and {sample["action"] for sample in samples.values()} == {
        "walking_together"
    }
    assert_same(
        prepared(builder_class, root, "validact16", data_dir=tmp_path), "validation", samples
    )


def test_split_names_of_msra_leave_one_person_out(tree, tmp_path):
    root, (_, raw, builder_class) = tree("msra_hand"), modules("msra_hand")
    builder = prepared(builder_class, root, data_dir=tmp_path)
    others = "+".join(person for person in raw.COUNTS if person != "P3")
    for split in ("P3", others):
        samples = dict(
            pair
            for person in split.split("+")
            for pair in raw.samples(epath.Path(root / "raw"), person)
        )
        assert len(samples) == 2 * len(split.split("+"))
        assert_same(builder, split, samples)


@pytest.mark.parametrize(
    "order", importlib.import_module("handjax.data.sets.keypoint_list.raw").CONFIGS
)
def test_lists_of_any_name_are_splits(copy, order):
    root, (_, raw, builder_class) = copy("keypoint_list", 2, order), modules("keypoint_list")
    (root / "raw/train.txt").rename(root / "raw/all_mine.txt")
    (root / "raw/train").rename(root / "raw/all_mine")
    builder = prepared(builder_class, root, order)
    assert set(builder.info.splits) == {"all_mine", "test"}
    for split in builder.info.splits:
        assert_same(builder, split, dict(raw.samples(epath.Path(root / "raw"), split, order)))
    assert all(feature.doc.desc for feature in builder.info.features.values())


def test_voxels_are_read_back(tree, tmp_path):
    root, (_, raw, builder_class) = tree("hpoes_voxels"), modules("hpoes_voxels")
    builder = prepared(builder_class, root, data_dir=tmp_path)
    for split in ("train", "test"):
        samples = dict(raw.samples(epath.Path(root / "raw"), split))
        assert_same(builder, split, samples)
        records = RecordDataset(builder.data_path, split)
        rows = records.rows(np.arange(2))
        for i, name in enumerate(records.names(np.arange(2))):
            for key in ("voxels", "joints_xyz", "center_xyz", "cube_mm"):
                np.testing.assert_array_equal(rows[key][i], samples[name][key])
    assert all(feature.doc.desc for feature in builder.info.features.values())


# Set, configuration, removed files, message.
LACKS = [
    (
        "coco_person",
        None,
        ["images/train2017", "annotations/person_keypoints_val2017.json"],
        "missing images/train2017; annotations/person_keypoints_val2017.json; handjax prepare ",
    ),
    (
        "bighand",
        None,
        ["Subject_2/ego/image_D00000001.png"],
        "missing .*/Subject_2/ego/image_D00000001.png: 1 of 2 depth frames, the first of them",
    ),
    (
        "dexycb",
        "s0",
        ["20200709-subject-01/20200709_140019/836212060125/labels_000001.npz"],
        "missing .*140019/836212060125: 1 of 6 files, the first labels_000001.npz; handjax prepare",
    ),
    (
        "freihand",
        None,
        ["training/rgb/00000006.jpg", "evaluation_xyz.json"],
        "missing training/rgb: 1 of 8 images, the first 00000006.jpg; evaluation_xyz.json; ",
    ),
    (
        "hands2017",
        None,
        ["training/images/image_D00000002.png"],
        "missing .*/training/images/image_D00000002.png: 1 of 2 depth frames, the first of them",
    ),
    (
        "ho3d",
        "v3",
        ["train/MC1/meta/0001.pkl", "evaluation_xyz.json"],
        "missing train/MC1/meta: 1 of 2 .pkl files, the first 0001.pkl; evaluation_xyz.json; ",
    ),
    (
        "human36m_challenge",
        None,
        ["Val/POSE/00001.csv", "Val/POSE/00002.csv", "Test/IMG/00001.jpg", "Test/IMG/00002.jpg"],
        "missing Val/POSE; Test/IMG; handjax prepare",
    ),
    (
        "icvl",
        None,
        ["Testing/Depth/test_seq_1/image_0000.png"],
        "missing .*image_0000.png: 1 of 4 depth frames",
    ),
    (
        "interhand",
        None,
        ["images/val/Capture0/ROM01/cam400263/image00001.jpg"],
        "missing images/val/Capture0/ROM01/cam400263: 1 of 2 images, the first image00001.jpg; ",
    ),
    (
        "keypoint_list",
        None,
        ["test/some folder/00000.jpg"],
        "incomplete, missing test/some folder/00000.jpg: 1 of 2 images of test.txt",
    ),
    (
        "mpi_inf_3dhp",
        "sample10",
        ["S2/Seq1/annot.mat", "S3/Seq2/imageFrames/video_4/frame_000001.jpg"],
        "missing S2/Seq1/annot.mat; S3/Seq2/imageFrames/video_4: 1 of 1 frames, the first frame_0",
    ),
    (
        "mpii",
        None,
        ["annot/test.json", "images/200000000.jpg"],
        "missing annot/test.json; images/200000000.jpg: 1 of 2 images of valid.json; ",
    ),
    (
        "msra_hand",
        None,
        ["P7/1/000000_depth.bin"],
        "missing .*000000_depth.bin: 1 of 1 depth frames",
    ),
    (
        "nyu_hand",
        "single",
        ["test/depth_1_0000001.png"],
        "missing .*depth_1_0000001.png: 1 of 2 depth frames",
    ),
    (
        "rhd",
        None,
        ["training/mask/00000.png"],
        "incomplete, missing training/mask: 1 of 2 images, the first 00000.png",
    ),
]


@pytest.mark.parametrize(
    ("name", "config", "removed", "message"), LACKS, ids=[row[0] for row in LACKS]
)
def test_incomplete_folder_is_refused_before_writing(copy, name, config, removed, message):
    root = copy(name, 2)
    for path in removed:
        path = root / "raw" / path
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ValueError, match=message) as caught:
        prepared(modules(name)[2], root, config)
    assert "\n" not in str(caught.value) and not list((root / "prepared").rglob("*.tfrecord*"))


@pytest.mark.parametrize(
    ("name", "removed", "whole", "broken", "message"),
    [
        (
            "itop",
            "ITOP_top_test_labels.h5",
            "side",
            "top",
            "incomplete, missing ITOP_top_test_labels.h5; handjax prepare itop",
        ),
        (
            "stb",
            "images/B2Random/SK_depth_0.png",
            "bb",
            "sk",
            "incomplete, missing images/B2Random: 1 of 1 images of SK_depth",
        ),
        (
            "panoptic_hand",
            "hand_labels_synth/synth2/00000000.jpg",
            "manual",
            "synth",
            "incomplete, missing hand_labels_synth/synth2: 1 of 1 .jpg files",
        ),
    ],
)
def test_configuration_needs_only_its_own_files(copy, name, removed, whole, broken, message):
    root = copy(name, 1)
    (root / "raw" / removed).unlink()
    prepared(modules(name)[2], root, whole)
    with pytest.raises(ValueError, match=message) as caught:
        prepared(modules(name)[2], root, broken)
    assert "\n" not in str(caught.value) and not list(
        (root / "prepared" / name / broken).rglob("*.tfrecord*")
    )


def test_incomplete_folder_of_human36m_is_refused(tmp_path):
    builder_class = modules("human36m")[2]
    write("human36m", tmp_path / "raw", 1, 3, "validact02")
    with pytest.raises(
        ValueError,
        match="missing annot/s_01_act_02_subact_01_ca_01/matlab_meta.txt; .* and 1195 more; ",
    ) as caught:
        prepared(builder_class, tmp_path, "train")
    assert "\n" not in str(caught.value)
    shutil.rmtree(tmp_path / "raw/images/s_11_act_02_subact_02_ca_04")
    with pytest.raises(
        ValueError,
        match="missing images/s_11_act_02_subact_02_ca_04; handjax prepare human36m",
    ):
        prepared(builder_class, tmp_path, "validact02")
    assert not list((tmp_path / "prepared").rglob("*.tfrecord*"))


def test_folder_without_voxels_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/readme").write_text("nothing else")
    with pytest.raises(ValueError, match="missing HDF5 file NAME.h5; "):
        prepared(modules("hpoes_voxels")[2], tmp_path)


def test_icvl_labels_without_an_image_are_logged(copy, caplog):
    root = copy("icvl", 3)
    (root / "raw/Training/Depth/201403121135/image_0000.png").unlink()
    with caplog.at_level(logging.WARNING):
        builder = prepared(modules("icvl")[2], root)
    assert "1 training frames have a label but no image" in caplog.text
    assert builder.info.splits["train"].num_examples == 2
