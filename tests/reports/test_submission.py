"""Files of the Human3.6M challenge: the reader of the data set, and users' mistakes."""

import numpy as np
import pytest
from etils import epath

from handjax.data.sets.human36m_challenge import raw
from handjax.reports import submission


def poses(frames):
    return np.random.default_rng(0).normal(0, 300, (frames, 18, 3)) + [0, 0, 4000]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_read_by_the_data_sets_reader(tmp_path, capsys):
    pred = poses(2)
    submission.write_submission(tmp_path / "new", {1: pred[0], 12: pred[1]})
    assert files(tmp_path / "new") == ["00001.csv", "00012.csv"]
    assert f"submission: 2 files in {tmp_path / 'new'}" in capsys.readouterr().out
    lines = (tmp_path / "new" / "00012.csv").read_text().splitlines()
    assert len(lines) == 17 and lines[0] == "0.00,0.00,0.00"
    assert all(len(word.split(".")[1]) == 2 for word in lines[5].split(","))
    read = raw._joints(epath.Path(tmp_path) / "new" / "00012.csv")[:17]
    np.testing.assert_allclose(read, (pred[1] - pred[1, 0])[:17], atol=0.00501)


def test_nothing_is_overwritten_or_half_written(tmp_path):
    pred = poses(1)[0]
    submission.write_submission(tmp_path / "new", {1: pred})
    with pytest.raises(FileExistsError, match="not empty, has 00001.csv; name a new folder"):
        submission.write_submission(tmp_path / "new", {1: pred})
    with pytest.raises(ValueError, match="frame 3: a coordinate is not finite"):
        submission.write_submission(tmp_path / "other", {1: pred, 3: pred * np.nan})
    assert not (tmp_path / "other").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="a file; name a new folder"):
        submission.write_submission(tmp_path / "file", {1: pred})


def test_files_are_named_by_the_ids(tmp_path):
    pred = poses(3)
    submission.submit(tmp_path / "s", [f"test/{n:05d}" for n in (3, 1, 24416)], pred)
    assert files(tmp_path / "s") == ["00001.csv", "00003.csv", "24416.csv"]
    assert (tmp_path / "s" / "00001.csv").read_text() == submission.frame_text(pred[1])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["test/00001", "validation/00001", "test/00002"], "3 frames have 2 numbers"),
        (["test/00001", "frame 1", "test/00002"], "frame 1 is no frame of the challenge"),
    ],
)
def test_ids_of_other_frames(tmp_path, ids, message):
    with pytest.raises(ValueError, match=message):
        submission.submit(tmp_path / "s", ids, poses(3))
    assert not (tmp_path / "s").exists()
