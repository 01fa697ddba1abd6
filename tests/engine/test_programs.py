"""Programs that were traced once are read by later processes, if they are still those."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine import programs, runtime


class Sums(NamedTuple):
    total: jax.Array
    each: tuple[jax.Array, ...]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of traced programs, of a process that keeps them."""
    monkeypatch.setattr(runtime, "traced_programs", lambda: tmp_path / "traced")
    return tmp_path / "traced"


@pytest.fixture
def traced():
    """What was traced, by name."""
    return []


@pytest.fixture
def new_process(traced):
    """new_process(**options) → a function under `kept`, as a process that just began has it."""

    def begin(factor: float = 2.0, **options):
        def sums(x, more=None, times=1):
            traced.append(times)
            y = x["a"] * factor * times
            return Sums(y.sum(), (y, y if more is None else more))

        return programs.kept(sums, static=("times",), results=(Sums,), **options)

    return begin


def test_a_later_process_does_not_trace(folder, traced, new_process):
    x = {"a": np.arange(3, dtype=np.float32)}
    first, again = new_process(), new_process()
    expected = Sums(np.float32(18), (np.array([0, 6, 12], np.float32),) * 2)
    for call in (first, first, again, again):
        found = call(x, times=3)
        assert isinstance(found, Sums)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert traced == [3] and len([*folder.iterdir()]) == 1


@pytest.mark.parametrize("change", ["shape", "type", "static", "tree", "about", "kernels"])
def test_another_program_is_traced(folder, traced, new_process, change):
    x = np.arange(3, dtype=np.float32)
    new_process()({"a": x})
    options = {"about": {"about": "3"}, "kernels": {"kernels": lambda: ("other",)}}
    arguments = {"shape": {"a": x[:2]}, "type": {"a": x.astype(np.float16)}}
    more = {"static": {"times": 2}, "tree": {"more": x}}
    call = new_process(**options.get(change, {}))
    call(arguments.get(change, {"a": x}), **more.get(change, {}))
    assert len(traced) == 2 and len([*folder.iterdir()]) == 2


def test_other_sources_have_other_programs(folder, traced, new_process, monkeypatch):
    x = {"a": jnp.ones(3)}
    new_process()(x)
    monkeypatch.setattr(programs, "_sources", lambda: "other sources")
    assert float(new_process(factor=5.0)(x).total) == 15
    assert len(traced) == 2


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:40] + b"?" + b[41:], lambda b: b""]
)
def test_a_damaged_program_is_traced_anew(folder, traced, new_process, damage):
    x = {"a": jnp.ones(3)}
    new_process()(x)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert float(new_process()(x).total) == 6
    assert len(traced) == 2 and file.read_bytes() == whole


def test_without_a_folder_it_is_the_jitted_function(traced, new_process, monkeypatch):
    monkeypatch.setattr(runtime, "traced_programs", lambda: None)
    call = new_process()
    for _ in range(2):
        assert float(call({"a": jnp.ones(3)}).total) == 6
    assert traced == [1]


def test_inside_another_program_it_is_a_part_of_it(folder, new_process):
    call = new_process()
    assert float(jax.jit(lambda a: call({"a": a}).total + 1)(jnp.ones(3))) == 7
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_costs_time_alone(
    traced, new_process, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(runtime, "traced_programs", lambda: tmp_path / "file" / "traced")
    for _ in range(2):
        assert float(new_process()({"a": jnp.ones(3)}).total) == 6
    assert len(traced) == 2


def test_the_programs_used_last_stay(folder, new_process, monkeypatch):
    monkeypatch.setattr(programs, "_MOST", 2)
    call = new_process()
    for size in (1, 2, 3):
        call({"a": jnp.ones(size)})
    assert len([*folder.iterdir()]) == 2


def test_programs_lie_below_the_compile_cache_of_handjax(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    own = tmp_path / "handjax" / "xla"
    before = jax.config.jax_compilation_cache_dir
    try:
        for given, expected in ((str(own), own / "traced"), (None, None), ("/elsewhere", None)):
            jax.config.update("jax_compilation_cache_dir", given)
            assert runtime.traced_programs() == expected
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
