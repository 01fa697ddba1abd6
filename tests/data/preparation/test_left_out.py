"""`prepare` without what is missing: one split, known holes, samples that do not read."""

import importlib
import json
import shutil

import numpy as np
import pytest
from etils import epath

pytest.importorskip(
    "tensorflow", reason="tensorflow is not installed; the extra handjax[data] has it"
)

from handjax.data import left_out  # noqa: E402
from handjax.data.records import RecordDataset, describe  # noqa: E402
from handjax.data.sets.human36m import raw as human36m  # noqa: E402
from handjax.prepare import main  # noqa: E402
from tests.data.preparation.refusals import refused  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
HOLE = "s_11_act_02_subact_02_ca_01"


@pytest.fixture
def fake(tmp_path):
    def make(name, n, **options):
        root = tmp_path / name
        root.mkdir()
        importlib.import_module(f"handjax.data.sets.{name}.fake").write(root, n, 0, **options)
        return root

    return make


def command(name, raw, tmp_path, *more):
    out = tmp_path / "out"
    return [name, f"--manual_dir={raw}", f"--data_dir={out}", "--workers=1", *more]


def test_one_split_of_a_set(fake, tmp_path, capsys):
    raw = fake("nyu_hand", 3)
    shutil.rmtree(raw / "train")
    refused(command("nyu_hand", raw, tmp_path), "1 missing: ", "; test alone: --split test")
    refused(command("nyu_hand", raw, tmp_path, "--split=train"), "1 missing: ")
    refused(command("nyu_hand", raw, tmp_path, "--split=val"), "--split val: ", "train, test")
    main(command("nyu_hand", raw, tmp_path, "--split=test"))
    folder = tmp_path / "out/nyu_hand/single/1.0.0"
    assert f"{folder}: test 3 frames\n" in capsys.readouterr().out
    assert describe(folder)[:3] == ("nyu_hand", "single", ("test",))
    assert len(RecordDataset(folder, "test")) == 3
    with pytest.raises(ValueError, match="no split 'train' .*; the set has test"):
        RecordDataset(folder, "train")
    # Replacing a set by a part of it would lose the rest.
    whole = fake("stb", 1)
    main(command("stb", whole, tmp_path))
    refused(
        command("stb", whole, tmp_path, "--split=test", "--overwrite"),
        "holds train, too, which --overwrite would delete",
    )


def test_a_known_hole_is_named_and_left_out(fake, tmp_path, capsys):
    raw = fake("human36m", 1, config="validact02")
    for part in ("images", "annot"):
        shutil.rmtree(raw / part / HOLE)
    main(command("human36m", raw, tmp_path, "--config=validact02"))
    folder = tmp_path / "out/human36m/validact02/1.0.0"
    out = capsys.readouterr().out
    assert f"{folder}: validation 15 frames\n" in out
    assert f"validation: 1 known to be missing in copies of the set ({HOLE})\n" in out
    found = json.loads((folder / "report.json").read_text())["splits"]["validation"]
    assert list(found["holes"]) == [HOLE] and found["left_out"] == {} == found["unreadable"]
    assert "video is damaged, 40 frames" in found["holes"][HOLE]
    assert HOLE in (folder / "report.html").read_text()
    assert left_out.of_split(folder, "validation[:50%]").holes == found["holes"]
    assert HOLE in left_out.told(folder, "validation") and not left_out.told(folder, "train")
    # Any other sequence must be there, and the known one is read where it is.
    shutil.rmtree(raw / "images" / HOLE.replace("ca_01", "ca_02"))
    refused(
        command("human36m", raw, tmp_path / "b", "--config=validact02"),
        "1 missing: ",
        HOLE.replace("ca_01", "ca_02"),
    )
    assert human36m.holes(epath.Path(raw), "validation", "trainfull") == {}


def test_damaged_and_missing_samples_are_left_out_on_request(fake, tmp_path, capsys):
    raw = fake("keypoint_list", 20, config="rhd")
    images = sorted((raw / "train").rglob("*.jpg"))
    damaged, missing = images[3], images[7]
    damaged.write_bytes(damaged.read_bytes()[:-700])
    missing.unlink()
    argv = command("keypoint_list", raw, tmp_path, "--config=rhd", "--shard_mb=0.1")
    refused(argv, "1 missing: ")
    (raw / "train" / missing.relative_to(raw / "train")).write_bytes(b"")
    refused(argv, "train: 2 unreadable: ", "with --leave_out_unreadable")
    missing.unlink()
    argv.append("--leave_out_unreadable")
    main([*argv, "--check", f"--report={tmp_path / 'look'}"])
    assert "train: 2 left out, as they cannot be read (" in capsys.readouterr().out
    main(argv)
    folder = tmp_path / "out/keypoint_list/rhd/1.0.0"
    out, err = capsys.readouterr()
    assert "1 missing, left out: " in err and "train: 2 left out, as they cannot be read (" in out
    names = {f"train/{path.relative_to(raw / 'train')}" for path in (damaged, missing)}
    for report in (tmp_path / "look/report.json", folder / "report.json"):
        assert set(json.loads(report.read_text())["splits"]["train"]["left_out"]) == names
    left = left_out.read(folder)
    assert set(left) == {"train"} and set(left["train"].unreadable) == names
    assert "2 left out, as they cannot be read" in (folder / "report.html").read_text() or (
        "2 samples are left out" in (folder / "report.html").read_text()
    )
    records = RecordDataset(folder, "train", keys=("joints_uv",))
    there = records.names(np.arange(len(records)))
    assert not names & set(there) and len(there) >= 18
    # Whoever repairs them and prepares again has them.
    assert "2 left out" in left_out.told(folder, "train")


def test_what_is_no_sample_is_never_left_out(fake, tmp_path):
    raw = fake("keypoint_list", 2, config="rhd")
    for image in (raw / "train" / "some folder").iterdir():
        image.write_bytes(b"x")
    argv = command("keypoint_list", raw, tmp_path, "--config=rhd", "--leave_out_unreadable")
    refused(argv, "split 'train': none of its samples can be read")
    (raw / "train.txt").write_bytes(b"\xff\xfe\x00")
    refused(argv, "train.txt")
