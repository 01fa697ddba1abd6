import pytest

from handjax.engine.files import (
    atomic_path,
    back_up,
    read_jsonl,
    refuse_scheme,
    refuse_to_replace,
    write_atomic,
)


def test_back_up_keeps_every_version(tmp_path):
    path = tmp_path / "metrics.json"
    assert back_up(path) is None
    for number in (1, 2, 3):
        path.write_text(str(number))
        assert back_up(path) == tmp_path / f"metrics.{number}.json"
    assert not path.exists()
    assert [(tmp_path / f"metrics.{n}.json").read_text() for n in (1, 2, 3)] == ["1", "2", "3"]


def test_an_atomic_write_leaves_one_file(tmp_path):
    path = tmp_path / "a.json"
    for text in ("old", "new"):
        write_atomic(path, text)
        assert path.read_text() == text and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_failed_write_keeps_the_old_content(tmp_path, old):
    path = tmp_path / "a.h5"
    if old:
        path.write_text(old)
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half")
        assert (path.read_text() if path.exists() else None) == old
        raise KeyboardInterrupt
    assert [file.read_text() for file in tmp_path.iterdir()] == [old] * (old is not None)


def test_only_a_truncated_last_line_is_ignored(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste')
    assert read_jsonl(path) == [{"step": 1}]
    path.write_text('{"ste\n{"step": 1}\n')
    with pytest.raises(ValueError, match="line 1 is not JSON .*; fix or delete it"):
        read_jsonl(path)


def test_results_are_not_replaced_unasked(tmp_path):
    refuse_to_replace(tmp_path / "new", ["a.json"], overwrite=False)
    (tmp_path / "a.json").write_text("")
    refuse_to_replace(tmp_path, ["a.json"], overwrite=True)
    with pytest.raises(FileExistsError, match="holds a.json of an earlier prediction: use --over"):
        refuse_to_replace(tmp_path, ["a.json", "b.json"], overwrite=False)
    with pytest.raises(NotADirectoryError, match="a file, not a folder"):
        refuse_to_replace(tmp_path / "a.json", [], overwrite=True)


@pytest.mark.parametrize(
    "value", ["s3://bucket/run", "gs://b", "hf://x/y", " S3://b", "s3:/b", "https://x.org/a.png"]
)
def test_buckets_are_refused_with_a_way(value):
    with pytest.raises(ValueError, match=r"^--workdir .*cannot be read or written here; mount"):
        refuse_scheme("--workdir", value)


def test_paths_are_no_buckets():
    for value in ("runs/a", "/data/x:1", "a:b", "C:/data", "node1:1234", "", "v2v:quick,h5"):
        refuse_scheme("--workdir", value)
    with pytest.raises(ValueError, match="without file://"):
        refuse_scheme("--workdir", "file:///data")
