"""`prepare NAME` on generated data sets: prepared, read back, checked, damaged, killed."""

import importlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
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

from handjax.data import records as pipeline  # noqa: E402
from handjax.data.preparation import shard, workers  # noqa: E402
from handjax.data.preparation.registry import SETS, raw_files  # noqa: E402
from handjax.data.sets.mpii import raw as mpii  # noqa: E402
from handjax.data.sets.msra_hand import raw as msra_hand  # noqa: E402
from handjax.prepare import main  # noqa: E402
from tests.data.preparation.refusals import refused  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
FRAMES = 8  # images per split of mpii, with two people in each


def fake(name, tmp_path_factory, n, **options):
    root = tmp_path_factory.mktemp(name)
    importlib.import_module(f"handjax.data.sets.{name}.fake").write(root, n, 0, **options)
    return root


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return fake("mpii", tmp_path_factory, FRAMES)


@pytest.fixture
def copy(people, tmp_path):
    return Path(shutil.copytree(people, tmp_path / "raw"))


def command(name, raw, tmp_path, *more):
    return [
        name,
        f"--manual_dir={raw}",
        f"--data_dir={tmp_path / 'out'}",
        "--workers=1",
        "--shard_mb=0.04",
        *more,
    ]


def run_command(argv, **options):
    return subprocess.run(
        [sys.executable, "-m", "handjax.prepare", *argv], capture_output=True, text=True, **options
    )


def tree(folder):
    """Relative path → content of all files except the pages, which hold the time."""
    paths = (p for p in Path(folder).rglob("*") if p.is_file() and p.suffix != ".html")
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def examples(folder):
    """Shard → its records, parsed: the bytes may differ, since protobuf's maps have no order."""
    shards = sorted(Path(folder).glob("*.tfrecord-*"))
    read = pipeline.tf.train.Example.FromString
    return {
        s.name: [read(record.numpy()) for record in pipeline.tf.data.TFRecordDataset(str(s))]
        for s in shards
    }


def test_registry_has_every_set_and_configuration(repo):
    assert set(SETS) == {
        path.parent.name for path in (repo / "handjax/data/sets").glob("*/*_dataset_builder.py")
    }
    for name in SETS:
        builder = importlib.import_module(
            f"handjax.data.sets.{name}.{name}_dataset_builder"
        ).Builder
        configs = tuple(config.name for config in builder.BUILDER_CONFIGS)
        assert tuple(raw_files(name).CONFIGS) == configs, name


def test_prepared_and_read_back(people, tmp_path):
    """By the command itself, with worker processes."""
    done = run_command(command("mpii", people, tmp_path, "--workers=2"))
    folder = tmp_path / "out/mpii/1.0.0"
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{folder}: train 16, validation 16, test 16 frames",
        f"report: {folder / 'report.html'}",
    ]
    assert (
        "mpii train" in done.stderr and "frame/s" in done.stderr and "Traceback" not in done.stderr
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mpii"]
    builder = tfds.builder_from_directory(folder)
    for split in mpii.COUNTS:
        data = dict(mpii.samples(epath.Path(people), split))
        records = pipeline.RecordDataset(folder, split, keys=("joints_uv", "visible", "scale"))
        assert records.names(np.arange(len(records))) == list(data)  # in file order
        rows = records.rows(np.arange(len(records)))
        for i, sample in enumerate(data.values()):
            for key in ("joints_uv", "visible", "scale"):
                np.testing.assert_array_equal(rows[key][i], sample[key])
        pictures = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        back = {row["id"].decode(): row["image"] for row in tfds.as_numpy(pictures)}
        assert list(back) == list(data) and all(
            back[key] == data[key]["image"].getvalue() for key in data
        )
        assert len(builder.info.splits[split].shard_lengths) > 2
    shards = [name for name in tree(folder) if ".tfrecord-" in name]
    assert sorted(set(tree(folder)) - set(shards)) == [
        "dataset_info.json",
        "features.json",
        "report.json",
    ]


def test_depth_set_and_its_report(tmp_path_factory, tmp_path, capsys):
    raw = fake("msra_hand", tmp_path_factory, 2)
    main(command("msra_hand", raw, tmp_path, "--shard_mb=64"))
    folder = tmp_path / "out/msra_hand/1.0.0"
    assert capsys.readouterr().out.endswith(f"report: {folder / 'report.html'}\n")
    numbers = json.loads((folder / "report.json").read_text())
    assert (numbers["set"], numbers["config"], numbers["manual_dir"]) == (
        "msra_hand",
        None,
        str(raw),
    )
    assert list(numbers["splits"]) == list(msra_hand.COUNTS)
    for split, data in numbers["splits"].items():
        assert (data["frames"], data["published_frames"]) == (2, msra_hand.COUNTS[split])
        assert not any(data["frames_with"].values()) and data["unreadable"] == {}
        assert (
            data["visible_joints"] == data["reprojected_joints"] == 42
            and data["reprojection_largest_px"] < 0.01
        )
        assert data["surface_share_within_mm"]["50"] > 0.6 and data["surface_joints"] >= 38
    page = (folder / "report.html").read_text()
    assert "P0: 2 frames; 8,499 are published." in page and "None were found." in page
    assert page.count("data:image/jpeg;base64,") == 1 and "P8/" in page
    assert 'src="http' not in page
    records = pipeline.RecordDataset(folder, "P3")
    sample = dict(msra_hand.samples(epath.Path(raw), "P3"))[records.names(np.zeros(1, int))[0]]
    row = records.rows(np.zeros(1, int))
    np.testing.assert_array_equal(row["depth"][0], sample["depth"][..., 0])
    for key in ("k", "joints_xyz", "center_xyz"):
        np.testing.assert_array_equal(row[key][0], sample[key])


def test_all_missing_files_are_listed_at_once(tmp_path):
    (tmp_path / "raw").mkdir()
    done = run_command(command("human36m", tmp_path / "raw", tmp_path, "--config=validact03"))
    (line,) = done.stderr.splitlines()
    assert (
        done.returncode == 2
        and done.stdout == ""
        and line.startswith(f"error: --manual_dir {tmp_path / 'raw'}: 32 missing: ")
    )
    for subject in ("09", "11"):
        for camera in "1234":
            sequence = f"s_{subject}_act_03_subact_02_ca_0{camera}"
            assert f"annot/{sequence}/matlab_meta.txt" in line and f"images/{sequence}" in line
    assert not (tmp_path / "out").exists()
    refused(
        command("human36m", tmp_path / "none", tmp_path),
        "none: no such folder",
        "handjax prepare human36m --help",
    )
    refused(
        command("mpii", tmp_path / "raw", tmp_path),
        "5 missing: annot/train.json; ",
        "annot/gt_valid.mat; images",
    )
    refused(command("mpii", tmp_path / "raw", tmp_path, "--workers=0"), "--workers 0")
    refused(command("stb", tmp_path / "raw", tmp_path, "--config=rgb"), "invalid choice: 'rgb'")
    assert not (tmp_path / "out").exists()


def test_prepared_set_is_not_overwritten_by_default(people, copy, tmp_path, capsys):
    main(command("mpii", people, tmp_path))
    before = tree(tmp_path / "out")
    refused(command("mpii", people, tmp_path), "mpii/1.0.0: exists already", "--overwrite")
    assert tree(tmp_path / "out") == before
    text = (copy / "annot/train.json").read_text().replace('"scale": ', '"scale": 1')
    (copy / "annot/train.json").write_text(text)
    main(command("mpii", copy, tmp_path, "--overwrite"))
    after = tree(tmp_path / "out")
    assert after.keys() == before.keys() and after != before
    scales = pipeline.RecordDataset(tmp_path / "out/mpii/1.0.0", "train", keys=("scale",)).rows(
        np.arange(16)
    )["scale"]
    np.testing.assert_allclose(
        scales, [s["scale"] for _, s in mpii.samples(epath.Path(copy), "train")]
    )


def test_check_writes_only_the_report(people, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(command("mpii", people, tmp_path, "--check"))
    assert (
        sorted(tree(tmp_path)) == ["mpii-check/report.json"]
        and (tmp_path / "mpii-check/report.html").exists()
    )
    assert capsys.readouterr().out == f"report: {tmp_path / 'mpii-check/report.html'}\n"
    numbers = json.loads((tmp_path / "mpii-check/report.json").read_text())["splits"]
    assert [data["frames"] for data in numbers.values()] == [16] * 3
    main(command("mpii", people, tmp_path, "--check", f"--report={tmp_path / 'here'}"))
    main(command("mpii", people, tmp_path, "--check", f"--report={tmp_path / 'here'}"))
    kept = ["report.1.html", "report.1.json", "report.html", "report.json"]
    assert sorted(p.name for p in (tmp_path / "here").iterdir()) == kept


def test_damaged_files_are_reported_then_repaired(copy, people, tmp_path, capsys):
    """Two images of one split and one of another, each with two people. All are reported, and the
    rest is checked and kept."""
    names = {
        split: [p["image"] for p in json.loads((copy / f"annot/{file}").read_text())]
        for split, file in mpii.FILES.items()
    }
    bad = [
        copy / "images" / names[split][i]
        for split, i in (("validation", 4), ("validation", 10), ("test", 0))
    ]
    for path in bad:
        path.write_bytes(path.read_bytes()[:-900])
    done = run_command(command("mpii", copy, tmp_path, "--check", f"--report={tmp_path / 'look'}"))
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "unreadable=4" in done.stderr and "Traceback" not in done.stderr
    assert (
        line.startswith(f"error: validation: 4 unreadable: {bad[0]}: ")
        and f"; test: 2 unreadable: {bad[2]}: " in line
    )
    assert "(1 more in the report)" in line and line.endswith(
        f"report: {tmp_path / 'look/report.html'}"
    )
    numbers = json.loads((tmp_path / "look/report.json").read_text())["splits"]
    assert [(data["frames"], data["unreadable_frames"]) for data in numbers.values()] == [
        (16, 0),
        (12, 4),
        (14, 2),
    ]
    assert [list(data["unreadable"].values()) for data in numbers.values()] == [[], [2, 2], [2]]
    page = (tmp_path / "look/report.html").read_text()
    assert all(str(path) in page for path in bad)

    refused(
        command("mpii", copy, tmp_path),
        f"validation: 4 unreadable: {bad[0]}",
        "finished shards are kept",
        "report.html",
    )
    unfinished = tmp_path / "out/unfinished/mpii/1.0.0"
    assert not (tmp_path / "out/mpii").exists()
    data = json.loads((unfinished / "report.json").read_text())["splits"]
    assert {split: of["unreadable"] for split, of in data.items()} == {
        split: of["unreadable"] for split, of in numbers.items()
    }
    made = {p: p.stat().st_ino for p in unfinished.glob("*.tfrecord*")}
    assert len(made) > 6
    refused(
        command("mpii", copy, tmp_path, "--shard_mb=1"),
        "started with",
        "use the same values, or remove that folder",
    )
    for path in bad:
        shutil.copy(people / "images" / path.name, path)
    capsys.readouterr()
    main(command("mpii", copy, tmp_path))
    assert f"resuming in {unfinished}\n" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mpii"]
    kept = {p.stat().st_ino for p in (tmp_path / "out/mpii/1.0.0").iterdir()}
    assert set(made.values()) <= kept
    assert len(list((tmp_path / "out/mpii/1.0.0").glob("report*"))) == 2
    main(command("mpii", people, tmp_path / "again"))
    one, other = (examples(at / "out/mpii/1.0.0") for at in (tmp_path, tmp_path / "again"))
    assert one == other and len(one) > 6


def test_broken_labels_end_only_their_own_split(copy, tmp_path):
    (copy / "annot/valid.json").write_text("[]")
    refused(command("mpii", copy, tmp_path), "1 missing: ", "valid.json: not a list of people")
    mat = copy / "annot/gt_valid.mat"
    mat.unlink()
    shutil.copy(copy / "annot/train.json", copy / "annot/valid.json")
    mat.write_bytes(b"x" * 400)
    text = refused(
        command("mpii", copy, tmp_path, "--check", f"--report={tmp_path / 'look'}"),
        "validation: 1 unreadable: ",
    )
    assert "gt_valid.mat" in text and "(nothing after it was read)" in text
    numbers = json.loads((tmp_path / "look/report.json").read_text())["splits"]
    assert [data["frames"] for data in numbers.values()] == [16, 0, 16]
    assert text.split(": ", 2)[2].startswith(next(iter(numbers["validation"]["unreadable"])))


def test_shards_of_changed_samples_are_rewritten(copy, people, tmp_path):
    """The labels are corrected between two runs: nothing of the old ones stays."""
    whole = (copy / "annot/train.json").read_text()
    people_of = json.loads(whole)
    people_of[0]["scale"] *= 2
    people_of[-1]["scale"] = "tall"
    (copy / "annot/train.json").write_text(json.dumps(people_of))
    refused(command("mpii", copy, tmp_path), "train: 1 unreadable: ", "'scale' is not")
    (copy / "annot/train.json").write_text(whole)
    main(command("mpii", copy, tmp_path))
    scales = pipeline.RecordDataset(tmp_path / "out/mpii/1.0.0", "train", keys=("scale",)).rows(
        np.arange(16)
    )["scale"]
    np.testing.assert_array_equal(
        scales, [s["scale"] for _, s in mpii.samples(epath.Path(people), "train")]
    )


def test_killed_run_is_resumed(copy, people, tmp_path, capsys):
    """A pipe instead of an image blocks the reader until it is killed; its workers must end too."""
    names = [person["image"] for person in json.loads((copy / "annot/train.json").read_text())]
    held = copy / "images" / names[12]
    held.unlink()
    os.mkfifo(held)
    argv = [
        sys.executable,
        "-m",
        "handjax.prepare",
        *command("mpii", copy, tmp_path, "--workers=2"),
    ]
    running = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    unfinished, children = tmp_path / "out/unfinished/mpii/1.0.0", []
    try:
        deadline = time.monotonic() + 180
        while len(list(unfinished.glob("train.0*.json"))) < 2:
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    lock = json.loads(unfinished.with_name("1.0.0.lock").read_text())
    assert lock["pid"] == running.pid  # stale, and taken over below
    while any(
        Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes()
        for child in children
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    held.unlink()
    shutil.copy(people / "images" / names[12], held)
    whole = {
        p.name.split(".")[1]: json.loads(p.read_text())["frames"]
        for p in unfinished.glob("train.0*.json")
    }
    kept = {
        (unfinished / f"mpii-train.tfrecord-{n}").stat().st_ino for n in whole
    }  # the other worker may be ahead of the pipe
    assert 0 < sum(whole.values()) < 16 and not (tmp_path / "out/mpii").exists()

    main(command("mpii", copy, tmp_path))
    assert "resuming in" in capsys.readouterr().out
    assert kept <= {p.stat().st_ino for p in (tmp_path / "out/mpii/1.0.0").iterdir()}
    main(command("mpii", people, tmp_path / "again"))
    killed, never = (at / "out/mpii/1.0.0" for at in (tmp_path, tmp_path / "again"))
    assert tree(killed).keys() == tree(never).keys() and examples(killed) == examples(never)
    killed, never = (
        json.loads((at / "report.json").read_text())["splits"] for at in (killed, never)
    )
    assert killed == never


def test_two_runs_at_once(copy, people, tmp_path):
    """A pipe blocks the first run. The second reports that and changes nothing; then the first,
    unblocked, finishes."""
    names = [person["image"] for person in json.loads((copy / "annot/train.json").read_text())]
    held = copy / "images" / names[12]
    held.unlink()
    os.mkfifo(held)
    argv = [sys.executable, "-m", "handjax.prepare", *command("mpii", copy, tmp_path)]
    first = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    unfinished, whole = tmp_path / "out/unfinished/mpii/1.0.0", None
    try:
        deadline = time.monotonic() + 180
        while len(list(unfinished.glob("train.0*.json"))) < (whole or 1):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
            whole = (
                12 // json.loads(data.read_text())
                if (data := unfinished / "train.chunk.json").exists()
                else None
            )
        time.sleep(0.2)  # it opens the pipe
        before = tree(tmp_path / "out")
        line = refused(command("mpii", people, tmp_path, "--overwrite"))
        assert line.startswith(
            f"{unfinished}: in use by process {first.pid} on {socket.gethostname()} since "
        )
        assert line.endswith(f"wait for it, or if it is gone remove {unfinished}.lock")
        assert tree(tmp_path / "out") == before
        with held.open("wb") as pipe:
            os.replace(
                shutil.copy(people / "images" / names[12], tmp_path / "whole.jpg"), held
            )  # for the image's second person
            pipe.write(held.read_bytes())
        assert (
            "train 16, validation 16, test 16 frames" in first.communicate(timeout=180)[0]
            and first.returncode == 0
        )
    finally:
        first.kill()
        first.communicate()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mpii"]


def test_lock_of_another_machine_is_kept(people, tmp_path):
    lock = tmp_path / "out/unfinished/mpii/1.0.0.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(
        json.dumps({"pid": 1 << 22, "host": "elsewhere", "since": "2026-01-01 00:00:00"})
    )
    words = f"in use by process {1 << 22} on elsewhere since 2026-01-01 00:00:00; "
    words += f"wait for it, or if it is gone remove {lock}"
    refused(command("mpii", people, tmp_path), words)
    assert lock.exists()
    lock.unlink()
    main(command("mpii", people, tmp_path))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mpii"]


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return fake("human36m", tmp_path_factory, 2, config="validact02")


def test_beam_writes_the_same_records(bodies, tmp_path, capsys):
    """First with a damaged image, which is reported as without Beam; finished shards are kept."""
    if not importlib.util.find_spec("apache_beam"):
        pytest.skip("apache_beam is not installed; the extra handjax[beam] has it")
    raw = Path(shutil.copytree(bodies, tmp_path / "raw"))
    more = ("--config=validact02", "--shard_mb=0.1")
    argv = [
        arg for arg in command("human36m", raw, tmp_path, *more) if not arg.startswith("--workers")
    ]
    refused([*argv, "--beam", "--check"], "--beam prepares")
    refused([*argv, "--beam", "--workers=2"], "use it without --check and --workers")
    sequence = "s_11_act_02_subact_01_ca_03"
    bad = raw / f"images/{sequence}/{sequence}_000002.jpg"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:3000])
    done = run_command([*argv, "--beam"])
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(
        f"error: validation: 1 unreadable: {bad}: "
    )
    unfinished = tmp_path / "out/unfinished/human36m/validact02/1.0.0"
    made = {p.stat().st_ino for p in unfinished.glob("*.tfrecord*")}
    bad.write_bytes(whole)
    done = run_command([*argv, "--beam=runner=FnApiRunner"])
    folder = tmp_path / "out/human36m/validact02/1.0.0"
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        f"{folder}: validation 32 frames",
        f"report: {folder / 'report.html'}",
    ]
    assert len(made) > 1 and made <= {p.stat().st_ino for p in folder.iterdir()}
    main(command("human36m", raw, tmp_path / "local", *more))
    local = tmp_path / "local/out/human36m/validact02/1.0.0"
    assert examples(folder) == examples(local) and len(examples(folder)) == len(made) + 1
    for name in ("dataset_info.json", "features.json", "report.json"):
        assert (folder / name).read_text() == (local / name).read_text(), name
    assert "32 frames" in capsys.readouterr().out


def test_missing_beam_gives_the_install_command(bodies, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    argv = [
        "human36m",
        "--config=validact02",
        f"--manual_dir={bodies}",
        f"--data_dir={tmp_path / 'out'}",
        "--beam",
    ]
    refused(argv, "apache_beam is not installed; pip install 'handjax[beam]'")
    assert not (tmp_path / "out/human36m").exists()


def test_dead_worker_is_reported(tmp_path):
    with (
        workers.Workers(2) as pool,
        pytest.raises(OSError, match="a worker process died.*fewer --workers"),
    ):
        list(pool.each(os._exit, [(3,)]))


def test_duplicate_keys_are_rejected():
    with pytest.raises(ValueError, match="two samples have the key 'a'"):
        list(shard.unique([("a", dict), ("b", dict), ("a", dict)]))


def test_fakes_are_written_into_empty_folders_only(repo, tmp_path):
    def fakes(*argv):
        return subprocess.run(
            [sys.executable, "scripts/fakes.py", *argv], cwd=repo, capture_output=True, text=True
        )

    done = fakes("mpii", "--out", str(tmp_path / "new/mpii"), "-n", "2", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert f"handjax prepare mpii --manual_dir {tmp_path / 'new/mpii'}" in done.stdout
    assert mpii.missing(epath.Path(tmp_path / "new/mpii")) == []
    again = fakes("mpii", "--out", str(tmp_path / "new/mpii"))
    assert again.returncode == 2 and "exists and is not an empty folder" in again.stderr
    assert fakes("mpii", "--out", str(tmp_path / "other"), "--config", "x").returncode == 2
    assert not (tmp_path / "other").exists()


def test_labels_in_fractions_are_refused_until_they_are_px(tmp_path_factory, tmp_path):
    root = fake("keypoint_list", tmp_path_factory, 4)
    right = {path: path.read_text() for path in root.glob("*.txt")}
    for path, text in right.items():
        rows = [line.rsplit(maxsplit=63) for line in text.splitlines()]
        path.write_text(
            "\n".join(
                " ".join(
                    [
                        row[0],
                        *(w if i % 3 == 2 else str(float(w) / 320) for i, w in enumerate(row[1:])),
                    ]
                )
                for row in rows
            )
        )
    argv = command("keypoint_list", root, tmp_path)
    words = ("train: 4 of 4 frames: all joints lie within 1 px", "fractions of the picture")
    refused(argv, *words)
    refused([*argv, "--check", f"--report={tmp_path / 'check'}"], *words)
    assert not (tmp_path / "out/keypoint_list/keypoint_list/1.0.0").exists()
    for path, text in right.items():
        path.write_text(text)
    main(argv)  # nothing of the refused run is kept
    prepared = pipeline.RecordDataset(
        tmp_path / "out/keypoint_list/keypoint_list/1.0.0", "train", keys=("joints_uv",)
    )
    assert np.ptp(prepared.rows(np.arange(4))["joints_uv"], axis=1).min() > 20


def test_a_box_without_size_is_named_and_replaced(tmp_path_factory, tmp_path, capsys):
    root = fake("coco_person", tmp_path_factory, 2)
    path = root / "annotations/person_keypoints_train2017.json"
    content = json.loads(path.read_text())
    (person,) = [entry for entry in content["annotations"] if entry["id"] == 1010]
    person["bbox"] = [10, 10, 0, 0]
    path.write_text(json.dumps(content))
    main(command("coco_person", root, tmp_path))
    said = capsys.readouterr().out
    assert "train: 1 of 4 frames: a box without size" in said and "000000001000_1010" in said
    prepared = pipeline.RecordDataset(tmp_path / "out/coco_person/1.0.0", "train", keys=("box",))
    assert prepared.rows(np.arange(4))["box"][:, 2:].min() > 20


def test_skeleton_cannot_change_between_splits(tmp_path, capsys):
    """A stopped preparation of users' own joints, which goes on after an edit of landmarks.json."""
    raw = tmp_path / "raw"
    raw.mkdir()
    importlib.import_module("handjax.data.sets.landmarks.fake").write(raw, 1, 0)
    picture = raw / "images/train/00001.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:-100])
    refused(command("landmarks", raw, tmp_path), "train: 2 unreadable", "finished shards are kept")
    picture.write_bytes(whole)
    (raw / "landmarks.json").write_text('{"joints": ["nose", "left_eye"]}')
    words = "started with skeleton", "or remove that folder"
    refused(command("landmarks", raw, tmp_path), *words)
    (raw / "landmarks.json").unlink()
    capsys.readouterr()
    main(command("landmarks", raw, tmp_path))
    said = capsys.readouterr().out
    assert "train 1, test 1 frames" in said and "14 bones; mirrored pairs: left_top_front –" in said
    with open(tmp_path / "out/landmarks/1.0.0/metadata.json") as file:
        stored = json.load(file)
    assert stored["labels"] == {"category": "", "held_out": 0.2}
    assert len(stored["skeleton"]["joints"]) == 11
