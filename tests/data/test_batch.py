import numpy as np
import pytest

from handjax.data.batch import BATCH, batch_table, check_batch, pack_voxels, unpack_voxels

SIZES = {
    "b": 2,
    "j": 5,
    "h": 6,
    "w": 7,
    "d": 8,
    "e": 8,
    "f/8": 1,
    "v": 3,
    "n": 4,
    "s": 9,
    "m": 2,
    "p": 3,
}


def full_batch() -> dict:
    batch = {}
    for name, key in BATCH.items():
        shape = [int(d) if d.isdigit() else SIZES[d] for d in key.dims.split()]
        batch[name] = np.zeros(shape, key.dtype)
    return batch


def test_every_key_of_the_contract_passes():
    check_batch(full_batch())
    check_batch(full_batch() | {"id": ["a.png", "b.png"]})
    check_batch({"mask": np.ones(3, bool)})


@pytest.mark.parametrize(
    "change, words",
    [
        ({"joints": np.zeros((2, 5, 3), np.float32)}, "'joints' is not in the contract"),
        ({"depth": np.zeros((2, 6, 7))}, "'depth' is float64"),
        ({"image": np.zeros((2, 6, 7), np.uint8)}, "'image' is uint8"),
        ({"joints_xyz": np.zeros((2, 5, 2), np.float32)}, "3 of .* is 3 by the contract"),
        ({"joints_uv": np.zeros((2, 4, 2), np.float32)}, "j of .* is 5 by 'joints_xyz'"),
        ({"image": np.zeros((2, 7, 6, 3), np.uint8)}, "h of .* is 6 by 'depth'"),
        ({"mask": np.ones(3, bool)}, "b of .* is 2"),
        ({"id": [1, 2]}, "'id' is list"),
    ],
)
def test_broken_batch_is_reported(change, words):
    with pytest.raises(ValueError, match=words):
        check_batch(full_batch() | change)


def test_batch_without_mask_is_rejected():
    with pytest.raises(ValueError, match="no 'mask'"):
        check_batch({"index": np.zeros(2, np.int32)})


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_packing_is_little_endian_along_last_axis(lead):
    voxels = np.random.default_rng(0).random((*lead, 4, 5, 16)) < 0.3
    packed = pack_voxels(voxels)
    assert packed.dtype == np.uint8 and packed.shape == (*lead, 4, 5, 2)
    assert (unpack_voxels(packed) == voxels).all()
    bit = (packed[..., 11 // 8] >> (11 % 8)) & 1
    assert (bit == voxels[..., 11]).all()


def test_packing_needs_whole_bytes():
    with pytest.raises(ValueError, match="is 12 voxels"):
        pack_voxels(np.zeros((4, 4, 12), bool))


def test_table_in_the_docs(repo):
    text = (repo / "docs/architecture.md").read_text()
    table = text.split("<!-- generated: batch -->\n")[1].split("<!-- end -->")[0]
    assert table == batch_table(), "paste handjax.data.batch.batch_table() into the docs"
