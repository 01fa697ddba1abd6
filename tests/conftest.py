"""Strict by default: eight CPU devices, no silent broadcasting, no silent dtype promotion."""

import os

# Before jax is imported anywhere: tests see eight devices.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from pathlib import Path  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

ROOT = Path(__file__).resolve().parent.parent


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
