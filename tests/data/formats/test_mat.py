import io
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
from etils import epath

from handjax.data.formats.mat import arrays, bounded, variables
from handjax.data.sets.stb import raw as stb


def mat(compressed=True, **variables):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [True, False])
def test_small_variables_pass(compressed):
    data = mat(compressed, a=np.arange(300.0), b="text")
    assert bounded(data, 3000).getvalue() == data
    np.testing.assert_array_equal(scipy.io.loadmat(bounded(data, 3000))["a"][0], np.arange(300))


def test_each_variable_is_counted():
    data = mat(a=np.zeros(10), b=np.zeros(300), c=np.zeros(10))
    with pytest.raises(ValueError, match="unpacks to more than 2400 bytes"):
        bounded(data, 2400)  # 300 numbers and their header
    assert bounded(data, 2500)


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 400, mat(a=np.zeros(300))[:200]])
def test_other_files_are_left_to_scipy(data):
    try:
        assert bounded(data, 10_000).getvalue() == data
    except zlib.error:
        assert data.startswith(b"MATLAB")


def test_bomb_among_the_labels_gives_one_line(tmp_path):
    """A variable whose name claims to be 4 GB of zeros, in 80 kB."""
    header = mat(handPara=np.zeros((3, 21, 1)))[:128]

    def element(kind, data):
        return np.array([kind, len(data)], "<u4").tobytes() + data + bytes(-len(data) % 8)

    deflate = zlib.compressobj(9)
    size = 1 << 32
    start = np.array([14, size - 1], "<u4").tobytes() + element(
        6, np.array([6, 0], "<u4").tobytes()
    )
    start += (
        element(5, np.array([3, 21, 1], "<i4").tobytes())
        + np.array([1, size - 64], "<u4").tobytes()
    )
    packed = (
        deflate.compress(start)
        + b"".join(deflate.compress(bytes(1 << 20)) for _ in range(80))
        + deflate.flush()
    )
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/B1Counting_BB.mat").write_bytes(
        header + np.array([15, len(packed)], "<u4").tobytes() + packed
    )
    with pytest.raises(
        ValueError,
        match="B1Counting_BB.mat: one of its variables unpacks to more than 50401024 bytes",
    ) as caught:
        list(stb.samples(epath.Path(tmp_path), "test"))
    assert "\n" not in str(caught.value)


def mat73(path, **variables):
    """A file of version 7.3, as MATLAB lays it out."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            file.create_dataset(name, data=value.T).attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path.read_bytes()


def test_version_7_3_is_read_as_version_5(tmp_path):
    hands = np.random.default_rng(0).uniform(-100, 900, (3, 21, 5))
    new, old = mat73(tmp_path / "a.mat", handPara=hands, b=np.zeros((2, 3))), mat(handPara=hands)
    limit = hands.nbytes + 100
    assert variables(new, limit) == {"handPara": ((3, 21, 5), "double"), "b": ((2, 3), "double")}
    assert variables(new, limit)["handPara"] == variables(old, limit)["handPara"]
    for data in (new, old):
        np.testing.assert_array_equal(arrays(data, ["handPara"], limit)["handPara"], hands)
        with pytest.raises(ValueError, match="unpacks to more than 90 bytes"):
            arrays(data, ["handPara"], 90)
        with pytest.raises(KeyError):
            arrays(data, ["absent"], limit)
    np.testing.assert_array_equal(
        stb._hands(epath.Path(tmp_path / "a.mat")), hands.transpose(2, 1, 0)
    )


def test_version_7_3_that_is_damaged_gives_one_line(tmp_path):
    data = mat73(tmp_path / "a.mat", handPara=np.zeros((3, 21, 5)))
    with h5py.File(tmp_path / "text.mat", "w") as file:
        file["handPara"] = "text"
    (tmp_path / "cut.mat").write_bytes(data[:900])
    for name in ("cut", "text"):
        with pytest.raises(ValueError, match=f"{name}.mat: .*expected a MATLAB file") as caught:
            stb._hands(epath.Path(tmp_path / f"{name}.mat"))
        assert "\n" not in str(caught.value)
