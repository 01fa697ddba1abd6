"""The file for hand_pose_tensorflow, parsed as in its data_loader.py."""

import importlib

import cv2
import numpy as np
import pytest
from etils import epath

pytest.importorskip(
    "tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it"
)
pytest.importorskip(
    "tensorflow_datasets",
    reason="tensorflow_datasets is not installed; the extra handjax[data] has it",
)

from handjax.data.records import tf  # noqa: E402
from handjax.data.sets.rhd import raw as rhd  # noqa: E402
from handjax.data.sets.stb import raw as stb  # noqa: E402
from handjax.prepare import main  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    for name, more in (("rhd", []), ("stb", ["--config=sk_320"])):
        (root / name).mkdir()
        importlib.import_module(f"handjax.data.sets.{name}.fake").write(root / name, 1, 0)
        main(
            [
                name,
                f"--manual_dir={root / name}",
                f"--data_dir={root / 'out'}",
                "--workers=1",
                *more,
            ]
        )
    return root


def read(path):
    kinds = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "name", "joints")}
    for record in tf.data.TFRecordDataset(str(path)):
        data = tf.io.parse_single_example(record, kinds)
        image = tf.reshape(tf.io.decode_raw(data["image"], tf.uint8), [320, 320, 3]).numpy()
        yield (
            data["name"].numpy().decode(),
            image,
            tf.reshape(tf.io.decode_raw(data["joints"], tf.float32), [21, 3]).numpy(),
        )


def test_two_sets_are_concatenated(prepared, tmp_path, capsys):
    sets = [f"--set={prepared / 'out/rhd/1.0.0'}", f"--set={prepared / 'out/stb/sk_320/1.0.0'}"]
    argv = [
        "tfrecord",
        *sets,
        "--split=test",
        f"--output={tmp_path / 'eval_of_RHD_STB_320_3.tfrecords'}",
    ]
    main(argv)
    assert capsys.readouterr().out == f"{tmp_path / 'eval_of_RHD_STB_320_3.tfrecords'}: 3 records\n"
    own = dict(rhd.samples(epath.Path(prepared / "rhd"), "test"))
    crops = dict(stb.samples(epath.Path(prepared / "stb"), "test", "sk_320"))
    found = list(read(tmp_path / "eval_of_RHD_STB_320_3.tfrecords"))
    assert [name for name, *_ in found] == [*own, *crops]
    for (_, image, joints), sample in zip(found, [*own.values(), *crops.values()], strict=True):
        pixels = cv2.imdecode(
            np.frombuffer(sample["image"].getvalue(), np.uint8), cv2.IMREAD_COLOR
        )[..., ::-1]
        np.testing.assert_array_equal(image, pixels)
        common = np.concatenate([sample["joints_uv"], sample["visible"][:, None]], axis=-1)
        np.testing.assert_array_equal(joints[0], common[0])
        for finger in range(5):  # there from tip to base
            np.testing.assert_array_equal(
                joints[1 + 4 * finger : 5 + 4 * finger], common[4 + 4 * finger : 4 * finger : -1]
            )
        np.testing.assert_array_equal(
            joints[12], common[9]
        )  # base of the middle finger, the center of the original's crop

    for wrong, words in (
        (argv, "exists; use another name or --overwrite"),
        (
            [*argv[:-2], "--split=validation", "--output=" + str(tmp_path / "x")],
            "no split 'validation'",
        ),
        ([*argv[:-1], "--output=" + str(tmp_path / "no/x")], "no such folder"),
    ):
        with pytest.raises((ValueError, OSError), match=words) as mistake:
            main(wrong)
        assert "\n" not in str(mistake.value)
    main([*argv, "--overwrite"])
    assert (
        len(list(read(tmp_path / "eval_of_RHD_STB_320_3.tfrecords")))
        == len(list(tmp_path.iterdir())) + 2
        == 3
    )


def test_images_of_another_size_are_rejected(prepared, tmp_path):
    main(
        [
            "stb",
            "--config=sk",
            f"--manual_dir={prepared / 'stb'}",
            f"--data_dir={tmp_path}",
            "--workers=1",
        ]
    )
    with pytest.raises(
        ValueError,
        match="images of 480 x 640 x 3, 21 joints; expected 320 x 320 x 3 .* stb --config sk_320",
    ):
        main(
            [
                "tfrecord",
                f"--set={tmp_path / 'stb/sk/1.0.0'}",
                "--split=test",
                f"--output={tmp_path / 'x'}",
            ]
        )
    assert not (tmp_path / "x").exists()
