import json
import sys
import time

import pytest

from handjax.engine.files import read_jsonl
from handjax.engine.writer import Writer


def write(folder, start, steps, until=None, every=1):
    writer = Writer(folder, start, steps, batch_size=4)
    if start == 0:
        writer.evaluation(0, {"loss": 1.0})
    for step in range(start + 1, (until or steps) + 1):
        writer.step(
            step, {"loss": 1 / step, "grad_norm": 2.0, "finite": 1.0}, record=step % every == 0
        )
        if step % 5 == 0:
            writer.evaluation(step, {"loss": 0.5 / step})
    writer.close()
    return (folder / "metrics.jsonl").read_text()


def test_lines(tmp_path, capsys):
    write(tmp_path, 0, 4, every=2)
    assert read_jsonl(tmp_path / "metrics.jsonl") == [
        {"step": 0, "eval_loss": 1.0},
        {"step": 2, "loss": 0.5, "grad_norm": 2.0},
        {"step": 4, "loss": 0.25, "grad_norm": 2.0},
    ]
    out, err = capsys.readouterr()
    assert "step 0: loss 1" in out and "4/4" in err and "loss 0.25" in err
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_time_that_is_left_leaves_the_first_step_out(tmp_path, monkeypatch):
    """It compiles: 100 s, in a run whose other steps take one."""
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    writer = Writer(tmp_path, 0, 50, batch_size=4)
    writer.bar._time = lambda: now[0]
    for step in range(1, 11):
        now[0] += 100.0 if step == 1 else 1.0
        writer.step(step, {"loss": 1.0, "finite": 1.0}, record=False)
    shown = str(writer.bar)
    writer.close()
    assert "10/50 [00:09<00:40,  1.00step/s" in shown


@pytest.mark.parametrize(("killed", "restart"), [(8, 5), (5, 5), (3, 0), (10, 10)])
def test_a_resumed_run_rewrites_the_later_lines(tmp_path, killed, restart):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = write(tmp_path / "whole", 0, 10)
    write(tmp_path / "broken", 0, 10, until=killed)
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')  # what a kill leaves
    assert write(tmp_path / "broken", restart, 10) == whole
    assert [path.name for path in (tmp_path / "broken").glob("metrics*")] == ["metrics.jsonl"]


def test_a_full_disk_is_one_line(tmp_path, full_disk):
    """Not a thread that dies, and a training that waits for it."""
    writer = Writer(tmp_path, 0, 10**6, 4)
    full_disk(1 << 16)
    with pytest.raises(OSError, match="File too large; raise the limit .* run the command") as e:
        for step in range(1, 5000):
            writer.step(step, {"loss": 1.0, "finite": 1.0}, record=True)
    assert str(e.value).startswith(str(tmp_path)) and "\n" not in str(e.value)
    writer.close()


def test_tensorboard_is_written_without_pytorch(tmp_path, monkeypatch):
    """tensorboardX would import it, which takes seconds."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("tensorboardX", "torch")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torch.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", 0, 2)
    assert list((tmp_path / "run" / "tensorboard").iterdir()) and "torch" not in sys.modules


def test_other_processes_write_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("handjax.engine.writer.jax.process_index", lambda: 1)
    writer = Writer(tmp_path, 0, 10, 4)
    writer.step(1, {"loss": 1.0}, record=True)
    writer.evaluation(1, {"loss": 1.0})
    writer.log("hello")
    writer.close()
    assert not list(tmp_path.iterdir()) and capsys.readouterr() == ("", "")


def test_lines_with_non_finite_values_are_json(tmp_path):
    writer = Writer(tmp_path, 0, 10, 4)
    writer.evaluation(1, {"loss": float("nan")})
    writer.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["step"] == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # wandb and its packages have some
def test_wandb_gets_the_same_numbers(tmp_path, monkeypatch):
    """Offline: what would be sent is in a file. A run that resumes is the same run."""
    pytest.importorskip("wandb", reason="the extra `test-all` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for start, steps in ((0, 2), (2, 3)):
        writer = Writer(tmp_path, start, 3, 4, wandb="hands", config={"lr": 0.5})
        for step in range(start + 1, steps + 1):
            writer.step(step, {"loss": 1 / step, "finite": 1.0}, record=True)
        writer.evaluation(steps, {"loss": 0.5})
        writer.close()
        time.sleep(1.1)  # a folder there is named by the second
    files = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    (name,) = {file.stem for file in files}
    assert name == "run-" + (tmp_path / "wandb_id.txt").read_text().strip()
    lines = [line for file in files for line in offline_lines(file)]
    assert lines == read_jsonl(tmp_path / "metrics.jsonl")


def offline_lines(file) -> list[dict]:
    """The metrics in W&B's file of an offline run: protocol buffers in LevelDB's log format."""
    from wandb.proto import wandb_internal_pb2 as messages

    data, at, parts, lines = file.read_bytes(), 7, [], []  # after the file's own header
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # a block's end that has no room for a header
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts.append(data[at + 7 : at + 7 + size])
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = messages.Record.FromString(b"".join(parts))
            parts = []
            items = record.history.item
            pairs = {one.key or one.nested_key[0]: json.loads(one.value_json) for one in items}
            values = {key: value for key, value in pairs.items() if key[0] != "_"}
            if values:
                lines.append({"step": values.pop("step"), **values})
    return lines


def test_without_wandb_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install 'handjax.wandb.'"):
        Writer(tmp_path, 0, 3, 4, wandb="hands")
