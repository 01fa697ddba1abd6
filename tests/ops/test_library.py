"""The loader of the compiled kernels: which libraries it refuses, and what it says."""

import ctypes

import pytest

from handjax.ops import library


class Library:
    """A CUDA library that says these versions of its driver and its runtime."""

    def __init__(self, driver: int, runtime: int, error: int = 0):
        self.versions, self.error = (driver, runtime), error

    def handjax_cuda_versions(self, driver, runtime) -> int:
        for pointer, version in zip((driver, runtime), self.versions, strict=True):
            pointer._obj.value = version
        return self.error


@pytest.mark.parametrize(
    "versions", [(0, 13000), (12080, 12090), (13000, 13000), (13010, 13050), (13000, 12090)]
)
def test_a_driver_that_can_run_the_kernels(versions, tmp_path):
    library._check_driver(tmp_path / "lib.so", Library(*versions))


@pytest.mark.parametrize("driver", [11040, 12080, 12090])
def test_a_driver_of_an_older_cuda_is_refused(driver, tmp_path):
    with pytest.raises(RuntimeError, match="was built by CUDA 13.0 and the driver is") as caught:
        library._check_driver(tmp_path / "lib.so", Library(driver, 13000))
    assert f"CUDA {driver // 1000}.{driver % 1000 // 10}: update the driver" in str(caught.value)


def test_a_driver_that_fails_and_an_old_library_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match="error 999"):
        library._check_driver(tmp_path / "lib.so", Library(0, 0, 999))
    with pytest.raises(RuntimeError, match="older than the sources"):
        library._check_driver(tmp_path / "lib.so", object())


def test_a_missing_library_names_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "_FOLDER", tmp_path)
    for platform, compiler in (("cpu", "a C[+][+] compiler"), ("cuda", "nvcc")):
        with pytest.raises(RuntimeError, match=f"not in {tmp_path}: .* where there is {compiler}"):
            library._register(platform)


def test_the_built_library_knows_its_versions():
    file = library._FOLDER / "libhandjax_cuda.so"
    if not file.is_file():
        pytest.skip("the CUDA kernel was not built: no nvcc where handjax was installed")
    driver, runtime = ctypes.c_int(-1), ctypes.c_int(-1)
    versions = ctypes.CDLL(str(file)).handjax_cuda_versions
    assert versions(ctypes.byref(driver), ctypes.byref(runtime)) == 0
    assert driver.value >= 0 and runtime.value >= 12000
