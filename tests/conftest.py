"""Strict by default: eight CPU devices, no silent broadcasting, and the real samples found in one place."""

import os

# Before jax is imported anywhere: tests see eight devices.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from pathlib import Path  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parent.parent
# Under tests/: what is compiled here in seconds runs for milliseconds, and is compared within a tolerance.
QUICKLY_COMPILED = (
    "data",
    "e2e",
    "engine",
    "figures",
    "models",
    "multiprocess",
    "pose",
    "targets",
    "tasks",
)
QUICKLY_COMPILED += (
    "kernels/test_conv.py",
    "test_bench.py",
    "test_configs.py",
    "test_predict.py",
    "test_sources.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Switches the compiler's optimizations off where they cost more than they gain: the same arithmetic, compiled in a third of
    the time. Before fixtures of any scope, so that what these compile is compiled likewise; each test sets it anew, for itself and
    for the processes that it starts. Not without our kernels: then what takes the time is in what is compiled."""
    kernels = os.environ.get("HANDJAX_OPS") != "off"
    quickly = kernels and any(
        item.path.is_relative_to(ROOT / "tests" / place) for place in QUICKLY_COMPILED
    )
    jax.config.update("jax_disable_most_optimizations", quickly)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(quickly).lower()
    if not kernels and item.path.is_relative_to(ROOT / "tests" / "kernels"):
        pytest.skip("HANDJAX_OPS=off leaves out the kernels that this is about")


@pytest.fixture(scope="session")
def repo() -> Path:
    """Root of the checkout, where configs/ lies."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real samples: $HANDJAX_REAL_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("HANDJAX_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real samples at {folder}; point HANDJAX_REAL_DATA at them")
    return folder
