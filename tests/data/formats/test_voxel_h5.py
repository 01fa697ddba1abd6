import copy
import io
import os
import time
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from handjax.data.batch import check_batch, unpack_voxels
from handjax.data.formats.voxel_grid import decode_grid
from handjax.data.formats.voxel_h5 import VoxelH5
from handjax.data.formats.voxel_h5_writer import crop_affine, write_voxel_h5

SIZE, JOINTS, N = 16, 4, 3
NYU_K = np.asarray([[588.03, 0, 320], [0, 587.07, 240], [0, 0, 1]], np.float32)


def archive(array, member="arr_0", method=zipfile.ZIP_DEFLATED) -> bytes:
    npy, out = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(npy, array, allow_pickle=True)
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr(f"{member}.npy", npy.getvalue())
    return out.getvalue()


def samples(n=N, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    for i in range(n):
        cube = np.asarray([200, 240, 300], np.float32)
        center = rng.uniform([-50, -50, 600], [50, 50, 800]).astype(np.float32)
        joints = (center + rng.uniform(-0.9, 0.9, (JOINTS, 3)) * cube / 2).astype(np.float32)
        yield rng.random((size, size, size)) < 0.1, joints, center, cube, f"frame_{i}.png"


@pytest.fixture
def path(tmp_path):
    """A small valid file."""
    write_voxel_h5(tmp_path / "good.h5", samples(), k=NYU_K)
    return tmp_path / "good.h5"


def put(path, key, value):
    """Replaces a key of the file: bytes go in as one opaque value, None deletes."""
    with h5py.File(path, "r+") as file:
        del file[key]
        if isinstance(value, bytes):
            value = np.asarray([np.void(value)])
        if value is not None:
            file.create_dataset(key, data=value)


def refused(path, words, kind=ValueError, **options):
    """The message is one line, names the file and contains these words."""
    with pytest.raises(kind, match=words) as caught:
        VoxelH5(path, **options)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message


# --- a real file


@pytest.fixture
def real(real_data):
    return real_data / "voxel" / "nyu_voxels_6frames.h5"


def test_real_file(real, real_data):
    source = VoxelH5(real)
    assert (len(source), source.joints, source.size, source.center_from) == (
        6,
        14,
        88,
        "com3D, y negated",
    )
    batch = source.rows(np.arange(6))
    check_batch(batch | {"id": source.names(np.arange(6))})
    assert batch["voxels"].shape == (6, 88, 88, 11) and batch["mask"].all()
    voxels = unpack_voxels(batch["voxels"])
    assert voxels[0].sum() == 2206 and (voxels.sum(-1) <= 1).all()

    with h5py.File(real) as file:
        labels, crop, com = file["labels"][:], file["gt3Dcrop"][:], file["com3D"][:]
    np.testing.assert_allclose(labels * 150 * [1, -1, 1], crop, atol=1e-4)
    np.testing.assert_allclose(batch["joints_xyz"] * [1, -1, 1], crop + com[:, None], atol=1e-3)
    names = [
        line.split("\t")[0]
        for line in (real_data / "voxel" / "joint_data_train.txt").read_text().splitlines()
    ]
    assert [os.path.basename(name) for name in source.names(np.arange(6))] == names

    # The grid is (row y, column x, depth z): joints are closer to the surface than with x and y
    # swapped.
    cells = (
        (batch["joints_xyz"] - batch["center_xyz"][:, None]) / batch["cube_mm"][:, None] + 0.5
    ) * 88
    gap = {}
    for order in ((1, 0, 2), (0, 1, 2)):
        away = [
            np.linalg.norm(np.argwhere(v)[None] - c[:, None, order], axis=-1).min(1)
            for v, c in zip(voxels, cells, strict=True)
        ]
        gap[order] = np.mean(away)
    assert gap[1, 0, 2] < 4 and gap[0, 1, 2] > 6


def test_real_file_round_trip(real, tmp_path):
    source = VoxelH5(real)
    batch = source.rows(np.arange(6))
    rows = zip(
        unpack_voxels(batch["voxels"]),
        batch["joints_xyz"],
        batch["center_xyz"],
        batch["cube_mm"],
        source.names(np.arange(6)),
        strict=True,
    )
    assert write_voxel_h5(tmp_path / "again.h5", rows, k=NYU_K) == 6
    again = VoxelH5(tmp_path / "again.h5", in_memory=True)
    for key, value in again.rows(np.arange(6)).items():
        if key == "joints_xyz":
            np.testing.assert_allclose(value, batch[key], atol=1e-3)
        else:
            np.testing.assert_array_equal(value, batch[key])
    assert (
        again.names(np.arange(6)) == source.names(np.arange(6))
        and again.center_from == source.center_from
    )
    with h5py.File(real) as a, h5py.File(tmp_path / "again.h5") as b:
        assert set(a) == set(b)
        for key in ("labels", "cube", "com3D", "gt3Dcrop", "M"):
            assert a[key].dtype == b[key].dtype
            # M is in whole pixels times a scale, so an edge off by one pixel would show as 0.4.
            np.testing.assert_allclose(a[key][:], b[key][:], atol=1e-3, err_msg=key)
        np.testing.assert_allclose(b["labels"][:] * 150 * [1, -1, 1], b["gt3Dcrop"][:], atol=1e-4)
        for i in range(6):  # as the original reads them
            blobs = [f["real_voxels"][str(i)][:].tobytes() for f in (a, b)]
            grids = [np.load(io.BytesIO(blob), allow_pickle=False)["arr_0"] for blob in blobs]
            assert grids[0].dtype == grids[1].dtype and (grids[0] == grids[1]).all()


# --- reading


def test_rows_come_in_the_requested_order(path):
    lazy, eager = VoxelH5(path), VoxelH5(path, in_memory=True)
    want = list(samples())
    for source in (lazy, eager):
        batch = source.rows(np.asarray([2, 0, 2]))
        check_batch(batch)
        assert batch["index"].tolist() == [2, 0, 2] and source.names(np.asarray([1])) == [
            "frame_1.png"
        ]
        for row, i in enumerate((2, 0, 2)):
            assert (unpack_voxels(batch["voxels"][row]) == want[i][0]).all()
            np.testing.assert_allclose(batch["joints_xyz"][row], want[i][1], atol=1e-3)
            np.testing.assert_array_equal(batch["center_xyz"][row], want[i][2])
            np.testing.assert_array_equal(batch["cube_mm"][row], want[i][3])
        assert source.rows(np.zeros(0, int))["voxels"].shape == (0, SIZE, SIZE, SIZE // 8)
        for bad in ([3], [-1]):
            with pytest.raises(IndexError, match="the file has 0 to 2"):
                source.rows(np.asarray(bad))


def test_in_memory_works_without_the_file(path):
    eager, lazy = VoxelH5(path, in_memory=True), VoxelH5(path)
    lazy.close()
    path.unlink()
    assert eager.rows(np.arange(N))["voxels"].any()
    with pytest.raises(FileNotFoundError, match="no such file"):
        lazy.rows(np.arange(N))


def test_copies_threads_and_forks_read_the_same(path):
    source = VoxelH5(path)
    want = source.rows(np.arange(N))["voxels"]
    assert (copy.deepcopy(source).rows(np.arange(N))["voxels"] == want).all()
    with ThreadPoolExecutor(4) as pool:
        for i, row in enumerate(
            pool.map(lambda i: source.rows(np.asarray([i % N]))["voxels"], range(32))
        ):
            assert (row[0] == want[i % N]).all()
    inherited = source._handle[1]
    source._handle = (source._handle[0] + 1, inherited)  # as in a forked child
    assert (source.rows(np.arange(N))["voxels"] == want).all() and source._handle[
        1
    ] is not inherited
    inherited.close()


@pytest.mark.parametrize("y_up, origin", [(True, "com3D, y negated"), (False, "com3D")])
def test_center_is_found_for_either_sign_of_y(tmp_path, y_up, origin):
    write_voxel_h5(tmp_path / "a.h5", samples(), y_up=y_up)
    source = VoxelH5(tmp_path / "a.h5")
    assert source.center_from == origin
    np.testing.assert_array_equal(source.center_xyz, [s[2] for s in samples()])


@pytest.mark.parametrize(
    "change", [("com3D", None), ("gt3Dcrop", np.zeros((N, JOINTS, 3), np.float32))]
)
def test_joints_are_relative_without_a_matching_center(path, change):
    put(path, *change)
    source = VoxelH5(path)
    assert source.center_from == "none" and not source.center_xyz.any()
    want = [s[1] - s[2] for s in samples()]
    np.testing.assert_allclose(source.rows(np.arange(N))["joints_xyz"], want, atol=1e-3)


def test_other_keys_and_no_names(path):
    with h5py.File(path, "r+") as file:
        file.move("real_voxels", "augmented")
        file.move("cube", "cubes")
        file.move("labels", "targets")
        del file["file_name"]
    source = VoxelH5(path, voxels_key="augmented", cube_key="cubes", labels_key="targets")
    assert source.rows(np.arange(N))["voxels"].any() and source.names(np.arange(2)) == ["0", "1"]


def test_uint8_and_column_major_grids_read_alike(path):
    grid = next(samples())[0]
    for array in (grid.astype(np.uint8), np.asfortranarray(grid)):
        put(path, "real_voxels/0", archive(array))
        assert (unpack_voxels(VoxelH5(path).rows(np.asarray([0]))["voxels"][0]) == grid).all()


# --- invalid files


def test_no_file_or_no_hdf5(tmp_path, path):
    refused(tmp_path / "none.h5", "no such file", FileNotFoundError)
    (tmp_path / "text.h5").write_text("hello")
    refused(tmp_path / "text.h5", "not an HDF5 file")
    (tmp_path / "short.h5").write_bytes(path.read_bytes()[:3000])
    refused(tmp_path / "short.h5", "not an HDF5 file, or cut short")
    refused(tmp_path, "not an HDF5 file")


LABELS = np.zeros((N, JOINTS, 3), np.float32)
CUBES = np.full((N, 3), 300, np.float32)


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("labels", None, "no key 'labels'; the file has M, com3D, cube, .*labels_key"),
        ("cube", None, "no key 'cube'.*cube_key"),
        ("real_voxels", None, "no key 'real_voxels'.*voxels_key"),
        ("real_voxels", np.zeros(3), "real_voxels is a dataset; expected a group"),
        ("real_voxels/1", None, r"real_voxels/1 is missing; expected 2 members"),
        (
            "real_voxels/2",
            None,
            r"labels has shape \[3, 4, 3\]; expected \[2, 4, 3\], for 2 voxel grids",
        ),
        ("labels", LABELS[:, :, :2], r"labels has shape \[3, 4, 2\]; expected \[3, 4, 3\]"),
        ("labels", LABELS[0], r"labels has shape \[4, 3\]; expected \[3, joints, 3\]"),
        ("labels", LABELS[:, :0], r"expected \[3, joints, 3\]"),
        (
            "labels",
            np.concatenate([LABELS, LABELS]),
            r"labels has shape \[6, 4, 3\]; expected \[3, 4, 3\]",
        ),
        ("labels", LABELS.astype("S3"), "expected floating point numbers"),
        ("labels", LABELS.astype(complex), "expected floating point numbers"),
        (
            "labels",
            np.where(np.arange(N)[:, None, None] == 1, np.nan, LABELS),
            "labels of row 1 has NaN or Inf",
        ),
        (
            "labels",
            np.where(np.arange(N)[:, None, None] == 2, 1e300, LABELS.astype(float)),
            "labels of row 2 has NaN or Inf",
        ),
        (
            "labels",
            LABELS + 1.034,
            r"labels of row 0 reach 1.034, outside the cube.*max_label=1.04",
        ),
        ("cube", CUBES[:, :2], r"cube has shape \[3, 2\]; expected \[3, 3\]"),
        ("cube", CUBES[:2], r"cube has shape \[2, 3\]; expected \[3, 3\]"),
        ("cube", np.full((N, 3), np.inf), "cube of row 0 has NaN or Inf"),
        ("cube", CUBES * np.asarray([[1], [0], [1]]), "cube of row 1 is .*expected edges > 0 mm"),
        ("com3D", CUBES[:2], r"com3D has shape \[2, 3\]"),
        ("com3D", CUBES * np.nan, "com3D of row 0 has NaN"),
        ("gt3Dcrop", LABELS[:, :2], r"gt3Dcrop has shape \[3, 2, 3\]"),
    ],
)
def test_bad_tables_are_rejected_at_open(path, key, value, words):
    put(path, key, value)
    refused(path, words)


def test_max_label_allows_joints_outside(path):
    put(path, "labels", np.linspace(-0.5, 1.034, LABELS.size).reshape(LABELS.shape))
    assert len(VoxelH5(path, max_label=1.04)) == N


def scaled(**factors):
    """Multiplies tables of the file."""

    def change(path):
        for key, factor in factors.items():
            with h5py.File(path) as file:
                value = file[key][:]
            put(path, key, value * np.asarray(factor, np.float32))

    return change


ONE_ROW = np.asarray([1, 1e-3, 1])[:, None]


@pytest.mark.parametrize(
    "change, words",
    [
        (scaled(cube=1e-3), "cube of row 0: 0.2 mm: in metres. .* 3 of 3 rows"),
        (scaled(cube=1e-3, com3D=1e-3, gt3Dcrop=1e-3), "cube of row 0: 0.2 mm: in metres"),
        (scaled(cube=0.1), "cube of row 0: 20 mm: in centimetres"),
        (scaled(cube=1 / 25.4), "cube of row 0: 7.8.* mm: in inches"),
        (scaled(cube=1e3), "cube of row 0: 200000 mm: in micrometres"),
        (scaled(cube=ONE_ROW), "cube of row 1: 0.2 mm.* 1 of 3 rows"),
        (scaled(com3D=1e-3), r"com3D of row 0: 0.\d+ mm from the camera: in metres"),
        (scaled(com3D=0.1), "com3D of row 0: .* from the camera: in centimetres"),
        (scaled(gt3Dcrop=1e-3), "gt3Dcrop is 1e.03 times smaller than labels"),
        (scaled(labels=0), "row 0: the joints span 0 mm: all in one place.* 3 of 3"),
        (scaled(labels=ONE_ROW[..., None]), "row 1: the joints span .* 1 of 3 rows"),
    ],
)
def test_lengths_that_no_hand_has_are_refused(path, change, words):
    change(path)
    refused(path, words)


def test_centers_of_zeros_are_unknown(path):
    scaled(com3D=0)(path)
    assert not VoxelH5(path).center_xyz.any()


def test_empty_file_is_rejected(tmp_path):
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_group("real_voxels")
        file["labels"], file["cube"] = np.zeros((0, 4, 3)), np.zeros((0, 3))
    refused(tmp_path / "empty.h5", "real_voxels is empty")


def test_table_that_claims_to_be_huge_is_not_read(path):
    with h5py.File(path, "r+") as file:
        del file["labels"]
        file.create_dataset("labels", shape=(N, 10**9, 3), dtype="f4", chunks=(1, 1024, 3))
    refused(path, "labels has shape")


GRID = np.eye(SIZE, dtype=bool)[None].repeat(SIZE, 0)


@pytest.mark.parametrize(
    "value, words",
    [
        (b"no archive at all", "is not a readable zip archive"),
        (archive(GRID)[:-30], "is not a readable zip archive"),
        (archive(GRID, "voxels"), r"has members \['voxels.npy'\]; expected arr_0.npy"),
        (archive(GRID, method=zipfile.ZIP_BZIP2), "compressed by method 12"),
        (archive(GRID, method=zipfile.ZIP_LZMA), "compressed by method 14"),
        (archive(np.asarray([{"a": 1}], object)), "holds object; expected bool or uint8"),
        (archive(GRID.astype(np.float32)), "holds float32"),
        (archive(GRID[:8]), r"has shape \[8, 16, 16\]; expected \[16, 16, 16\]"),
        (archive(GRID[:8, :8, :8]), r"has shape \[8, 8, 8\]; expected \[16, 16, 16\]"),
        (archive(GRID.astype(np.uint8) * 2), "values up to 2"),
        (archive(np.zeros_like(GRID)), "no occupied voxel"),
        (np.zeros(3), r"expected one opaque value \(shape \(1,\), type V\)"),
        (b"x" * (SIZE**3 + (1 << 16) + 1), "expected at most 69632"),
        (None, "real_voxels/1 cannot be read"),
    ],
)
def test_bad_grids_are_rejected(path, value, words):
    source = VoxelH5(path)
    source.close()
    put(path, "real_voxels/1", value)
    with pytest.raises(ValueError, match=words) as caught:
        source.rows(np.asarray([0, 1]))
    message = str(caught.value)
    assert f"{path}: real_voxels/1 " in message and "\n" not in message
    assert source.rows(np.asarray([0, 2]))["voxels"].any()  # the rest is still good
    if value is not None:
        refused(path, words, in_memory=True)


def test_damaged_grid_is_rejected():
    blob = bytearray(archive(np.random.default_rng(0).random((SIZE,) * 3) < 0.5))
    blob[200] ^= 255
    with pytest.raises(ValueError, match="is not a readable zip archive"):
        decode_grid(bytes(blob))


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_is_value_error_or_harmless(seed):
    """Flipped bytes never raise another exception and never give a grid of another shape."""
    rng = np.random.default_rng(seed)
    blob = archive(GRID)
    for _ in range(200):
        bad = np.frombuffer(blob, np.uint8).copy()
        bad[rng.integers(len(bad), size=rng.integers(1, 4))] = rng.integers(256)
        try:
            assert decode_grid(bad.tobytes(), SIZE).shape == GRID.shape
        except ValueError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "shape", ["(16, 16, 16)", "(4096, 4096, 4096)", "(-16, 16, 16)", "(16, 16)", "__import__('os')"]
)
def test_array_header_is_not_trusted(shape):
    header = f"{{'descr': '|b1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    raw = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\x01" * 100
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("arr_0.npy", raw)
    for size in (None, SIZE):
        with pytest.raises(ValueError, match="has shape|bytes of voxels|not a .npy array"):
            decode_grid(out.getvalue(), size)


def bomb(lie: int | None) -> bytes:
    """An archive of 256 MiB of zeros in 256 kB; with `lie`, both headers declare that size."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("arr_0.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|b1", "fortran_order": False, "shape": (SIZE,) * 3}
        )
        for _ in range(256):
            member.write(bytes(1 << 20))
    blob = out.getvalue()
    true = (256 * (1 << 20) + 128).to_bytes(4, "little")
    if lie is not None:
        assert blob.count(true) == 2
        blob = blob.replace(true, lie.to_bytes(4, "little"))
    return blob


@pytest.mark.slow
@pytest.mark.parametrize("lie", [None, SIZE**3 + 128, 2**20])
def test_zip_bomb_is_rejected(path, lie):
    blob = bomb(lie)
    assert len(blob) < 300_000
    for size, limit_mb in ((SIZE, 2), (88, 4), (None, 40)):
        tracemalloc.start()
        start = time.perf_counter()
        with pytest.raises(ValueError, match="zip bomb|not a readable zip archive|bytes of voxels"):
            decode_grid(blob, size)
        seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < 1 and peak < limit_mb * 2**20, (seconds, peak)
    put(path, "real_voxels/0", blob)
    refused(path, r"real_voxels/0 (is|has|unpacks)")


# --- writing


def only(folder):
    return sorted(p.name for p in folder.iterdir())


def test_existing_file_is_kept(path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="good.h5 exists"):
        write_voxel_h5(path, samples(1))
    assert path.read_bytes() == before and only(path.parent) == ["good.h5"]
    assert write_voxel_h5(path, samples(1), overwrite=True) == 1
    assert len(VoxelH5(path)) == 1


def test_interrupted_writer_changes_nothing(path):
    def breaks():
        yield next(samples())
        raise KeyboardInterrupt

    before = path.read_bytes()
    for target, overwrite in ((path.with_name("new.h5"), False), (path, True)):
        with pytest.raises(KeyboardInterrupt):
            write_voxel_h5(target, breaks(), overwrite=overwrite)
    assert only(path.parent) == ["good.h5"] and path.read_bytes() == before


def test_file_that_appears_meanwhile_is_kept(tmp_path):
    def slow():
        yield next(samples())
        (tmp_path / "a.h5").write_text("somebody else's")

    with pytest.raises(FileExistsError, match="appeared"):
        write_voxel_h5(tmp_path / "a.h5", slow())
    assert (tmp_path / "a.h5").read_text() == "somebody else's" and only(tmp_path) == ["a.h5"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({0: GRID.astype(np.float32)}, r"sample 1 \(frame_1.png\): voxels are float32"),
        ({0: GRID[:8]}, r"voxels are bool \[8, 16, 16\]"),
        ({0: GRID[:8, :8, :8]}, "as in sample 0"),
        ({0: np.zeros_like(GRID)}, "no occupied voxel"),
        ({1: np.zeros((JOINTS, 2))}, r"expected \[j, 3\]"),
        ({1: np.zeros((JOINTS + 1, 3))}, "as in sample 0"),
        ({1: np.full((JOINTS, 3), np.nan)}, "must be finite"),
        ({2: np.zeros(2)}, r"expected \[j, 3\], \[3\], \[3\]"),
        ({3: np.zeros(3)}, "cube > 0"),
    ],
)
def test_unreadable_samples_are_not_written(tmp_path, change, words):
    def rows():
        for i, sample in enumerate(samples()):
            yield tuple(change.get(j, value) if i == 1 else value for j, value in enumerate(sample))

    with pytest.raises(ValueError, match=words):
        write_voxel_h5(tmp_path / "a.h5", rows())
    assert only(tmp_path) == []


def test_no_samples_and_no_folder(tmp_path):
    with pytest.raises(ValueError, match="no samples"):
        write_voxel_h5(tmp_path / "a.h5", [])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        write_voxel_h5(tmp_path / "none" / "a.h5", samples())
    assert only(tmp_path) == []


def test_crop_affine_puts_the_cube_into_the_crop():
    center, cube = np.asarray([30, -20, 700], np.float32), np.asarray([300, 200, 300], np.float32)
    m = crop_affine(center, cube, NYU_K, 88)
    corners = center + np.asarray([[-1, -1, 0], [1, 1, 0]]) * cube / 2
    pixels = (corners @ NYU_K.T) / corners[:, 2:]
    # The longer edge fills the crop up to rounding; the shorter is centered.
    np.testing.assert_allclose((pixels @ m.T)[:, :2], [[0, 44 - 88 / 3], [88, 44 + 88 / 3]], atol=1)
