"""Loads the compiled kernels, checks them against the running jaxlib, registers them with XLA."""

import contextlib
import contextvars
import ctypes
import functools
import os
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

_OPS = {
    "cpu": (
        "handjax_rasterize",
        "handjax_conv",
        "handjax_conv_input",
        "handjax_conv_kernel",
        "handjax_conv_affine",
        "handjax_conv_input_affine",
        "handjax_sums",
        "handjax_stored",
    ),
    "cuda": ("handjax_rasterize",),
}
_FOLDER = Path(__file__).parent
_BUILT_FOR = {"cpu": "cpu", "cuda": "CUDA"}  # our name → XLA's


_PLAIN = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def reference_implementations() -> Iterator[None]:
    """Within the block, what is traced has no kernel in it, for programs that run elsewhere.
    Functions that were jitted and traced before keep theirs: trace them without `jit`."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def platforms() -> tuple[str, ...]:
    """Those of "cpu" and "cuda" whose kernels are available; elsewhere plain JAX runs.

    HANDJAX_OPS=off disables all kernels; any other value than on or off is a ValueError. Kernels
    that are missing for the default backend cause one warning.
    """
    return () if _PLAIN.get() else _available()


def registered() -> tuple[str, ...]:
    """The names of the kernels that XLA knows, which this call makes known."""
    return tuple(name for platform in platforms() for name in _OPS[platform])


@functools.cache
def _available() -> tuple[str, ...]:
    switch = os.environ.get("HANDJAX_OPS", "on")
    if switch not in ("on", "off"):
        raise ValueError(f"HANDJAX_OPS={switch}: expected on or off")
    if switch == "off":
        return ()
    missing = {}
    for platform in _BUILT_FOR:
        try:
            _register(platform)
        except (OSError, RuntimeError) as reason:
            missing[platform] = reason
    needed = "cuda" if jax.default_backend() == "gpu" else "cpu"
    if needed in missing:
        warnings.warn(
            f"no compiled kernels for {needed}: {missing[needed]}. The same functions run in plain "
            "JAX, many times slower; HANDJAX_OPS=off hides this line",
            RuntimeWarning,
            stacklevel=2,
        )
    return tuple(platform for platform in _BUILT_FOR if platform not in missing)


def _register(platform: str) -> None:
    file = _FOLDER / f"libhandjax_{platform}.so"
    if not file.is_file():
        compiler = {"cpu": "a C++ compiler", "cuda": "nvcc"}[platform]
        raise RuntimeError(
            f"{file.name} is not in {_FOLDER}: it was not built; install handjax again where "
            f"there is {compiler}"
        )
    library = ctypes.CDLL(str(file))
    library.handjax_jaxlib.restype = ctypes.c_char_p
    built, running = library.handjax_jaxlib().decode(), metadata.version("jaxlib")
    if _version(built) > _version(running):
        # XLA rejects libraries with newer headers than its own, and then its whole backend fails.
        raise RuntimeError(
            f"{file} was built for jaxlib {built} or newer, and {running} is installed; install "
            "handjax again"
        )
    if platform == "cuda":
        _check_driver(file, library)
    for op in _OPS[platform]:
        if not hasattr(library, op):
            raise RuntimeError(f"{file} is older than the sources; install handjax again")
        jax.ffi.register_ffi_target(
            op, jax.ffi.pycapsule(getattr(library, op)), platform=_BUILT_FOR[platform]
        )


def _check_driver(file: Path, library: Any) -> None:
    """RuntimeError if the driver is of an older CUDA than the library. It would load all the same,
    and its first launch would fail. Without a driver the kernels can still be lowered."""
    if not hasattr(library, "handjax_cuda_versions"):
        raise RuntimeError(f"{file} is older than the sources; install handjax again")
    driver, runtime = ctypes.c_int(), ctypes.c_int()
    error = library.handjax_cuda_versions(ctypes.byref(driver), ctypes.byref(runtime))
    if error:
        raise RuntimeError(f"{file}: the CUDA driver does not say its version (error {error})")
    # A driver runs what any release of its own CUDA generation has built.
    if 0 < driver.value // 1000 < runtime.value // 1000:
        raise RuntimeError(
            f"{file} was built by CUDA {_cuda(runtime.value)} and the driver is one of CUDA "
            f"{_cuda(driver.value)}: update the driver, or install handjax again with nvcc of "
            f"CUDA {driver.value // 1000}"
        )


def _cuda(version: int) -> str:
    """12080 → 12.8"""
    return f"{version // 1000}.{version % 1000 // 10}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
