"""Strict by default: eight CPU devices, no silent broadcasting, no silent dtype promotion."""

import contextlib
import os

from tests.devices import xla_flags

# Before jax is imported anywhere.
os.environ.setdefault("XLA_FLAGS", xla_flags(8))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from pathlib import Path  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

ROOT = Path(__file__).resolve().parent.parent

# With -n, a worker takes whole files, since the tests of a file share what they prepare and what
# they compile. Files that share the finished run of tests/e2e/conftest.py are taken as one.
ONE_RUN = {f"test_{name}.py" for name in ("restart", "evaluate_run", "mistakes", "old_run")}
ONE_RUN |= {"test_without_kernels.py", "test_interrupted.py"}
# Folders and files of long tests come first, so that no worker is left alone with one at the end.
LONG = ["e2e", "multiprocess", "browser", "data", "test_configs.py", "test_api.py", "test_bench.py"]
LONG += ["test_cost.py", "test_view.py", "exporter", "kernels", "prediction", "tasks"]


def pytest_collection_modifyitems(items):
    def order(item):
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return LONG.index(folder) if folder in LONG else len(LONG)

    items.sort(key=order)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getoption("dist") != "load":  # asked for by --dist
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            return "one run" if Path(path).name in ONE_RUN else path

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Compile without optimizations, in a third of the time, unless the test is marked `optimized`.

    Set per test and before any fixture, for this process and for those it starts. Without our
    kernels (HANDJAX_OPS=off) everything is optimized: the time is then spent running.
    """
    kernels = os.environ.get("HANDJAX_OPS") != "off"
    quick = kernels and item.get_closest_marker("optimized") is None
    jax.config.update("jax_disable_most_optimizations", quick)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(quick).lower()
    if not kernels and item.path.is_relative_to(ROOT / "tests" / "kernels"):
        pytest.skip("HANDJAX_OPS=off turns off the kernels under test")


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_end_with_their_file():
    """Those of a thousand tests would fill the memory."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def no_export_after_every_training():
    """It takes seconds. Trainings in processes of their own do export: tests/e2e/test_own_depth.py
    looks at what they write."""
    from handjax import train

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "export_at_end", lambda run, workdir: None)
        yield


@pytest.fixture(scope="session")
def shared_compile_cache(tmp_path_factory):
    """shared_compile_cache() → a context in which runs, in all processes that this one starts and
    in the other workers of -n, share one compile cache; the user's own is not used."""
    from handjax.engine import runtime

    base = tmp_path_factory.getbasetemp()
    folder = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compile-cache")
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"

    @contextlib.contextmanager
    def share():
        before = {name: getattr(jax.config, name) for name in names}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", folder)
            # JAX's own limit is a second, which few of the tests' programs take.
            patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
            runtime.use_compile_cache()
            try:
                yield
            finally:
                for name, value in before.items():
                    jax.config.update(name, value)

    return share


@pytest.fixture(scope="session")
def repo() -> Path:
    """Root of the checkout, where configs/ lies."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real samples: $HANDJAX_REAL_DATA."""
    given = os.environ.get("HANDJAX_REAL_DATA")
    if not given:
        pytest.skip("no real samples: HANDJAX_REAL_DATA is not set")
    folder = Path(given)
    if not folder.is_dir():
        pytest.skip(f"no real samples: HANDJAX_REAL_DATA={folder} is not a folder")
    return folder
