import argparse
import ctypes
import os
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from handjax.engine import cli, runtime


def test_implicit_transfers_raise():
    x = jnp.ones(3)
    with runtime.no_implicit_transfers():
        y = jax.device_put(np.ones(3, np.float32))
        np.testing.assert_array_equal(jax.device_get(x + y), 2)
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            x + np.ones(3, np.float32)
    np.testing.assert_array_equal(x + np.ones(3, np.float32), 2)


@pytest.mark.parametrize(
    "given",
    [["--coordinator", "h:1"], ["--num_processes", "2"], ["--process_id", "0", "--distributed"]],
)
def test_distributed_flags_belong_together(given):
    parser = cli.Parser()
    cli.add_distributed(parser)
    with pytest.raises(ValueError, match="give all three, or --distributed"):
        runtime.start_distributed(parser.parse_args(given))


def test_one_process_is_the_default():
    runtime.start_distributed(
        argparse.Namespace(coordinator=None, num_processes=None, process_id=None, distributed=False)
    )


FAULTS = """
import resource, sys
from handjax.engine.runtime import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
import jax, jax.numpy as jnp
more = jax.jit(lambda x: x + 1)  # allocates 64 MB per call; glibc keeps up to 32 by itself
x = jnp.ones((4096, 4096))
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    more(x).block_until_ready()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(sorted(faults() for _ in range(15))[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
@pytest.mark.skipif(
    os.path.exists("/dev/nvidiactl"), reason="with an NVIDIA GPU memory is not kept"
)
def test_kept_memory_causes_no_page_faults(repo):
    def fewest(how):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how],
            cwd=repo,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return int(done.stdout or done.stderr)

    # Of 16,384 pages of 4 KB, or 32 large ones. On a busy machine a result may be freed late, in
    # memory that the next call cannot have.
    assert any(fewest("keep") < fewest("plain") / 10 for _ in range(3))


@pytest.fixture
def user_cache(tmp_path, monkeypatch):
    """The user's cache folder, and JAX as it was before any cache was in use."""
    names = ("jax_compilation_cache_dir", "jax_compilation_cache_max_size")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "handjax" / "xla"
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_cache_has_a_place_and_a_size(user_cache):
    runtime.use_compile_cache()
    assert runtime.compile_cache() == user_cache and user_cache.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(user_cache)
    assert jax.config.jax_compilation_cache_max_size == runtime.CACHE_BYTES


def test_a_cache_of_the_users_own_is_left_alone(user_cache, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    runtime.use_compile_cache()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    assert not user_cache.exists()


def test_entries_whose_writer_was_killed_are_dropped(user_cache):
    user_cache.mkdir(parents=True)
    for name in ("whole-cache", "whole-atime", "torn-cache", "evicted-atime"):
        (user_cache / name).write_bytes(bytes(8))
    runtime.use_compile_cache()
    left = {path.name for path in user_cache.iterdir()} - {".lockfile"}
    assert left == {"whole-cache", "whole-atime", "evicted-atime"}


def test_without_a_place_for_the_cache_runs_compile_anew(user_cache, capsys):
    user_cache.parent.write_text("a file")
    runtime.use_compile_cache()
    assert jax.config.jax_compilation_cache_dir is None
    (line,) = capsys.readouterr().out.splitlines()
    assert "no compile cache" in line and str(user_cache.parent) in line


COMPILES = """
import os, sys, warnings
warnings.simplefilter("error")
import jax, jax.numpy as jnp
from handjax.engine import runtime
runtime.use_compile_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
for n in range(int(sys.argv[1])):
    value = jax.jit(lambda x: x * n + 1)(jnp.ones(100))
    assert float(value[0]) == n + 1
print("done")
"""


@pytest.mark.slow
def test_several_processes_share_the_cache(user_cache, repo):
    """Four at once, one of them killed on the way; then one that only reads."""
    env = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(repo)}

    def start(count: int) -> subprocess.Popen:
        command = [sys.executable, "-c", COMPILES, str(count)]
        return subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    running = [start(20) for _ in range(3)]
    killed = start(10_000)
    for process in running:
        out, err = process.communicate(timeout=120)
        assert out == "done\n", err
    killed.kill()
    killed.communicate()
    entries = {path.name for path in user_cache.glob("*-cache")}
    assert len(entries) > 20
    last = start(20)
    out, err = last.communicate(timeout=120)
    assert out == "done\n", err
    assert {path.name for path in user_cache.glob("*-cache")} <= entries


def test_a_long_compilation_is_mentioned_once(capsys, monkeypatch):
    monkeypatch.setattr(runtime, "MOMENT_SECONDS", 0.0)
    said = threading.Event()
    monkeypatch.setattr(runtime.tqdm, "write", lambda text, file: said.set() or texts.append(text))
    texts = []
    runtime.tell_compiling()
    runtime.tell_compiling()
    jax.monitoring.record_scalar("/of/another/kind", 0)  # as orbax does

    def answer(x):
        for n in range(50):
            x = jnp.sin(x * n)
        return x

    jax.jit(answer)(jnp.ones(3)).block_until_ready()
    assert said.wait(5)
    assert len([text for text in texts if "compiling answer" in text]) == 1
