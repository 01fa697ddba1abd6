import asyncio
import gc
import json
import shutil

import jax
import numpy as np
import optax
import pytest

from handjax.engine import checksums, ranking, sharding
from handjax.engine.checkpoint import Checkpoints
from handjax.engine.step import init_state, state_target

pytestmark = [
    # orbax leaves unraisable exceptions behind when it cannot read a file.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def state(tiny_task):
    """state(step, devices=1) → a state whose parameters depend on the step, and its target."""
    task, optimizer = tiny_task(True), optax.adam(1e-3)
    first = jax.device_get(init_state(jax.random.key(0), task, optimizer))

    def make(step, devices=1):
        target = state_target(task, optimizer, sharding.make_mesh(devices))
        moved = jax.tree.map(lambda p: p + np.float32(step), first.params)
        made = first.replace(step=np.int32(step), params=moved)
        return jax.device_put(made, jax.tree.map(lambda t: t.sharding, target)), target

    return make


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def saved(folder, state, errors, keep=3):
    """Checkpoints at the steps of `errors`, with these errors."""
    checkpoints = Checkpoints(folder, keep)
    for step, error in errors.items():
        checkpoints.save(state(step)[0], error)
    checkpoints.close()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("saving", "restoring"), [(1, 8), (8, 2)])
def test_a_state_comes_back_on_other_devices(tmp_path, state, saving, restoring):
    original, _ = state(7, saving)
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(original, 1.0)
    checkpoints.close()
    _, target = state(0, restoring)
    restored = Checkpoints(tmp_path / "c").restore_latest(target)
    equal(original, restored)
    for array, wanted in zip(*map(jax.tree.leaves, (restored, target)), strict=True):
        assert array.sharding == wanted.sharding and array.dtype == wanted.dtype


def test_orbax_does_not_speak_of_options_that_are_ours(tmp_path, state, caplog, monkeypatch):
    monkeypatch.delenv("HANDJAX_TRACEBACK", raising=False)
    folder = saved(tmp_path / "c", state, {1: 1.0})
    reader = Checkpoints(folder, read_only=True)
    assert reader.restore_latest(state(0)[1]) is not None
    reader.close()
    assert not [record for record in caplog.records if record.name == "absl"]


def test_saving_copies_the_state(tmp_path, state):
    """Checkpoints are written in the background while the donated buffers are reused."""
    first, target = state(1)
    expected = jax.device_get(first)
    expected = jax.tree.map(np.copy, expected)
    checkpoints = Checkpoints(tmp_path / "c")
    go_on = jax.jit(lambda s: jax.tree.map(lambda x: x * 3 + 1, s), donate_argnums=0)
    checkpoints.save(first)
    changed = first
    for _ in range(5):
        changed = go_on(changed)
    jax.block_until_ready(changed)
    checkpoints.wait()
    equal(checkpoints.restore(1, target), expected)
    checkpoints.close()


def test_the_newest_and_the_best_are_kept(tmp_path, state):
    errors = {1: 5.0, 2: 1.0, 3: 4.0, 4: None, 5: 3.0, 6: 2.0}
    checkpoints = Checkpoints(saved(tmp_path / "c", state, errors, keep=2))
    assert checkpoints.steps() == [2, 5, 6]
    assert checkpoints.best() == 2
    checkpoints.close()
    # A resumed run counts the checkpoints that exist.
    checkpoints = Checkpoints(saved(tmp_path / "c", state, {7: 0.5, 8: None}, keep=2))
    assert checkpoints.steps() == [7, 8] and checkpoints.best() == 7
    checkpoints.close()


def test_without_evaluations_there_is_no_best(tmp_path, state):
    checkpoints = Checkpoints(saved(tmp_path / "c", state, {1: None, 2: None, 3: None, 4: None}))
    assert checkpoints.steps() == [2, 3, 4] and checkpoints.best() is None
    checkpoints.close()


def test_looking_creates_no_folder(tmp_path, state):
    for read_only in (False, True):
        checkpoints = Checkpoints(tmp_path / "c", read_only=read_only)
        assert checkpoints.steps() == [] and checkpoints.restore_latest(state(0)[1]) is None
        checkpoints.close()
    assert not list(tmp_path.iterdir())


def test_a_saved_step_is_not_saved_again(tmp_path, state):
    saved(tmp_path / "c", state, {1: 1.0})
    before = snapshot(tmp_path)
    saved(tmp_path / "c", state, {1: 2.0})
    assert snapshot(tmp_path) == before


def snapshot(folder):
    return {
        p.relative_to(folder): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_a_resumed_run_removes_half_written_checkpoints(tmp_path, state):
    folder = saved(tmp_path / "c", state, {1: 1.0, 2: 1.0})
    half = folder / "3.orbax-checkpoint-tmp"
    shutil.copytree(folder / "2", half)
    reader = Checkpoints(folder, read_only=True)
    assert reader.steps() == [1, 2]
    equal(reader.restore(2, state(0)[1]), state(2)[0])
    reader.close()
    assert half.is_dir()
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps() == [1, 2]
    checkpoints.save(state(3)[0], 1.0)
    checkpoints.wait()
    equal(checkpoints.restore(3, state(0)[1]), state(3)[0])
    checkpoints.close()
    assert not half.exists()


@pytest.mark.slow
def test_any_file_of_the_newest_may_be_truncated(tmp_path, state):
    """A saved state comes back: the newest if the file is not needed, else the one before it."""
    folder = saved(tmp_path / "good", state, {5: 1.0, 10: 0.5})
    _, target = state(0)
    files = sorted(p.relative_to(folder) for p in (folder / "10").rglob("*") if p.is_file())
    fell_back = 0
    for number, file in enumerate(files):
        broken = tmp_path / f"{number}" / "checkpoints"
        shutil.copytree(folder, broken)
        content = (broken / file).read_bytes()
        (broken / file).write_bytes(content[: len(content) // 2])
        said = []
        checkpoints = Checkpoints(broken, log=said.append)
        restored = checkpoints.restore_latest(target)
        step = int(restored.step)
        equal(restored, state(step)[0])
        assert step in (5, 10), file
        if file.parts[1] == "metrics" and file.name == "metrics":
            assert (
                step == 10
                and len(said) == 1
                and "no longer counts as a candidate for the best" in said[0]
            )
            assert checkpoints.best() == 5
        elif step == 5:
            fell_back += 1
            assert len(said) == 1 and "\n" not in said[0]
            assert (
                str(broken / "10") in said[0]
                and "cannot be read" in said[0]
                and "using the checkpoint of step 5" in said[0]
            )
            assert (
                broken.parent / "unreadable" / "10" / file.relative_to("10")
            ).read_bytes() == content[: len(content) // 2]
            assert checkpoints.steps() == [5]
        else:
            assert not said, file
        # The run continues from there.
        checkpoints.save(state(11)[0], 0.1)
        checkpoints.wait()
        assert checkpoints.steps()[-1] == 11 and checkpoints.best() == 11
        checkpoints.close()
    assert fell_back >= 2


def test_a_full_disk_is_one_line_and_keeps_the_last(tmp_path, state, full_disk, capfd):
    folder = saved(tmp_path / "c", state, {5: 1.0})
    before = snapshot(tmp_path)
    checkpoints = Checkpoints(folder)
    full_disk(64)
    with pytest.raises(OSError) as caught:
        checkpoints.save(state(10)[0], 0.5)
        checkpoints.wait()
    text = str(caught.value)
    assert text.startswith(f"checkpoint {folder / '10'} cannot be written: File too large; ")
    assert "newest is that of step 5" in text and "\n" not in text
    checkpoints.wait()  # what a caller's `finally` does adds nothing
    checkpoints.close()
    assert snapshot(tmp_path) == before
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("text", ['{"err', '{"errog": 0.5}', '{"error": "x"}', "[]", "1"])
def test_a_reader_reports_corrupt_metrics(tmp_path, state, text):
    folder = saved(tmp_path / "c", state, {5: 1.0, 10: 0.5})
    (folder / "10" / "metrics" / "metrics").write_text(text)
    before = snapshot(tmp_path)
    with pytest.raises(
        ValueError,
        match=f"{folder}: checkpoint metrics are corrupt .*; resume training to repair them",
    ):
        Checkpoints(folder, read_only=True).steps()
    assert snapshot(tmp_path) == before


def test_all_stay_if_none_can_be_read(tmp_path, state):
    folder = saved(tmp_path / "c", state, {5: 1.0, 10: 0.5})
    for file in folder.rglob("*"):
        if file.is_file() and file.parent.name == "d":
            file.write_bytes(file.read_bytes()[:9])
    before = snapshot(tmp_path)
    checkpoints = Checkpoints(folder)
    with pytest.raises(
        ValueError,
        match="checkpoint .*10 cannot be read.* nor any of the 1 before it: .*another --workdir",
    ) as caught:
        checkpoints.restore_latest(state(0)[1])
    assert "\n" not in str(caught.value)
    checkpoints.close()
    assert snapshot(tmp_path) == before


def test_the_state_of_another_network_is_rejected(tmp_path, state, tiny_task):
    folder = saved(tmp_path / "c", state, {5: 1.0})
    target = state_target(tiny_task(False), optax.adam(1e-3), sharding.make_mesh(1))
    checkpoints = Checkpoints(folder)
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoints.restore(5, target)
    checkpoints.close()


def test_metrics_are_stored_with_the_state(tmp_path, state):
    folder = saved(tmp_path / "c", state, {5: 1.25})
    assert json.loads((folder / "5" / ranking.FILE).read_text())["error"] == 1.25


def test_a_nan_is_never_the_best(tmp_path, state):
    errors = {1: float("nan"), 2: 3.0, 3: float("nan"), 4: None}
    checkpoints = Checkpoints(saved(tmp_path / "c", state, errors, keep=1))
    assert checkpoints.steps() == [2, 4] and checkpoints.best() == 2
    checkpoints.close()


def test_another_error_than_was_saved_does_not_rank(tmp_path, state):
    folder = saved(tmp_path / "c", state, {5: 1.0, 10: 7.0})
    metrics = folder / "10" / ranking.FILE
    metrics.write_text(metrics.read_text().replace("7.0", "0.0"))
    said = []
    checkpoints = Checkpoints(folder, log=said.append)
    assert int(checkpoints.restore_latest(state(0)[1]).step) == 10
    assert checkpoints.best() == 5 and len(said) == 1
    checkpoints.close()


def test_a_step_is_ranked_after_it_was_saved(tmp_path, state):
    folder = saved(tmp_path / "c", state, {5: 1.0, 10: None})
    checkpoints = Checkpoints(folder)
    assert checkpoints.ranked(5) and not checkpoints.ranked(10)
    checkpoints.rank(10, 0.5)
    assert checkpoints.ranked(10) and checkpoints.best() == 10
    equal(checkpoints.restore(10, state(0)[1]), state(10)[0])
    checkpoints.close()


def flip(file, place, bit):
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


def forget(folder, step, arrays):
    """Removes the list of files of a step, and its arrays' checksums."""
    (folder / str(step) / "files.json").unlink()
    if arrays:
        metadata = folder / str(step) / "_CHECKPOINT_METADATA"
        content = json.loads(metadata.read_text())
        del content["custom_metadata"]
        metadata.write_text(json.dumps(content))


def largest(folder):
    return max(folder.rglob("d/*"), key=lambda path: path.stat().st_size)


def test_a_flipped_bit_names_the_file(tmp_path, state):
    folder = saved(tmp_path / "c", state, {5: 1.0, 10: 0.5})
    file = largest(folder / "10")
    flip(file, file.stat().st_size // 2, 3)
    said = []
    reader = Checkpoints(folder, log=said.append, read_only=True)
    step, variables = reader.newest(reader.weights)
    assert step == 5
    equal(variables["params"], state(5)[0].params)
    (line,) = said
    assert f"{folder / '10'} cannot be read: {file.relative_to(folder / '10')} is damaged" in line
    assert line.endswith("using the checkpoint of step 5") and (folder / "10").is_dir()
    with pytest.raises(ValueError, match=f"{file.name} is damaged: its checksum"):
        reader.restore(10, state(0)[1])
    reader.close()


def test_changed_numbers_name_the_array(tmp_path, state):
    """What the files' checksums cannot know: here, two checkpoints of which one is the other."""
    folder = saved(tmp_path / "c", state, {5: 1.0, 10: 0.5})
    shutil.rmtree(folder / "10" / "default")
    shutil.copytree(folder / "5" / "default", folder / "10" / "default")
    forget(folder, 10, arrays=False)
    reader = Checkpoints(folder, read_only=True)
    with pytest.raises(ValueError, match=r"10 cannot be read: params/\S+ is damaged: its checksum"):
        reader.weights(10)
    reader.close()


def test_checkpoints_without_checksums_are_read(tmp_path, state):
    folder = saved(tmp_path / "c", state, {5: 1.0, 10: 0.5})
    forget(folder, 5, arrays=True)
    forget(folder, 10, arrays=True)
    said = []
    checkpoints = Checkpoints(folder, log=said.append)
    equal(checkpoints.restore_latest(state(0)[1]), state(10)[0])
    equal(checkpoints.restore(5, state(0)[1]), state(5)[0])
    checkpoints.close()
    assert len(said) == 1 and f"{folder / '10'} has no checksums" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize(("listed", "bits"), [(True, 20), (False, 100)])
def test_no_flipped_bit_goes_unnoticed(tmp_path, state, listed, bits):
    """One at a time: the state is the saved one, or that of the step before. The list of files
    names the file; without it the arrays' checksums are enough."""
    good = saved(tmp_path / "good", state, {5: 1.0, 10: 0.5})
    if not listed:
        forget(good, 10, arrays=False)
    files = sorted(p.relative_to(good) for p in (good / "10").rglob("*") if p.stat().st_size)
    files = [file for file in files if (good / file).is_file()]
    rng, fell_back = np.random.default_rng(0), 0
    for number in range(bits):
        folder = tmp_path / "flipped" / "checkpoints"
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.copytree(good, folder)
        file = folder / files[number % len(files)]
        flip(file, rng.integers(file.stat().st_size), rng.integers(8))
        said = []
        checkpoints = Checkpoints(folder, log=said.append)
        restored = checkpoints.restore_latest(state(0)[1])
        step = int(restored.step)
        equal(restored, state(step)[0])
        fell_back += step == 5
        assert step == 10 or "cannot be read" in said[0]
        assert checkpoints.best() == 10 or said  # ranked as it was, or not at all
        checkpoints.close()
    assert fell_back > (0.7 if listed else 0.2) * bits


@pytest.mark.parametrize(("part", "value"), [("params", np.nan), ("opt_state", np.nan)])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path, state, part, value):
    folder = saved(tmp_path / "c", state, {5: 1.0})
    bad, _ = state(10)
    broken = jax.tree.map(lambda x: x * value if x.dtype == np.float32 else x, getattr(bad, part))
    checkpoints = Checkpoints(folder)
    with pytest.raises(ValueError, match=f"step 10 is not saved: {part}/.* is not finite"):
        checkpoints.save(bad.replace(**{part: broken}), 0.1)
    checkpoints.close()
    assert {path.name for path in folder.iterdir()} == {"5"}


def test_a_network_that_is_not_finite_is_not_read(tmp_path, state, monkeypatch):
    bad, target = state(10)
    bad = bad.replace(params=jax.tree.map(lambda x: x * np.float32(np.inf), bad.params))
    with monkeypatch.context() as patch:
        patch.setattr(checksums, "check_finite", lambda state: None)
        checkpoints = Checkpoints(tmp_path / "c")
        checkpoints.save(bad)
        checkpoints.close()
    with pytest.raises(ValueError, match=r"params/\S+ is not finite \(\d+ of \d+ numbers\)"):
        checkpoints.restore(10, target)
    checkpoints.close()


def test_errors_that_orbax_leaves_behind_are_not_printed(tmp_path, caplog):
    """Arrays that fail together: the first is raised, the others are asyncio's to log."""
    Checkpoints(tmp_path / "run", 1)

    async def fails():
        raise ValueError("NOT_FOUND")

    async def both():
        tasks = [asyncio.ensure_future(fails()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ValueError):
            await tasks[0]

    asyncio.run(both())
    gc.collect()
    assert not caplog.records
