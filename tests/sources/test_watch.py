"""Labels that no hand can have, as batches are read."""

import numpy as np
import pytest

from handjax.data import plausible
from handjax.pose.skeleton import SKELETONS
from handjax.sources.watch import Watch

HAND = SKELETONS["hand21"]
ROWS = 32


def hands(rng=None):
    """Rows of open hands in px, and in mm."""
    rng = np.random.default_rng(0) if rng is None else rng
    finger, part = np.divmod(np.arange(20), 4)
    flat = np.stack([18.0 * finger - 36, -70.0 - 28 * part], -1)
    one = np.concatenate([np.zeros((1, 2)), flat])
    xyz = np.concatenate([one, np.zeros((21, 1))], -1)[None] + rng.uniform(-3, 3, (ROWS, 21, 3))
    return (xyz[..., :2] / 2 + [150, 160]).astype(np.float32), xyz.astype(np.float32)


def source(**changed):
    uv, xyz = hands()
    batch = {"joints_uv": uv, "joints_xyz": xyz, "visible": np.ones((ROWS, 21), bool)} | changed
    return lambda numbers: {
        **{key: value[numbers] for key, value in batch.items()},
        "mask": np.ones(len(numbers), bool),
        "index": numbers.astype(np.int32),
    }


def watch(rows, train=True):
    return Watch(rows, HAND, "a/set", ROWS, train)


def test_true_hands_pass_unchanged():
    batch = watch(source())(np.arange(ROWS))
    assert batch["mask"].all() and batch["joints_uv"].shape == (ROWS, 21, 2)


def few_wrong():
    uv, _ = hands()
    uv[[3, 20]] /= 320
    return source(joints_uv=uv)


def test_single_wrong_rows_are_masked_in_training_alone():
    for train, wrong in ((True, [3, 20]), (False, [])):
        mask = watch(few_wrong(), train)(np.arange(ROWS))["mask"]
        assert np.flatnonzero(~mask).tolist() == wrong


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"joints_uv": hands()[0] / 320}, "fractions of the picture"),
        ({"joints_uv": hands()[0] * 0 + 50}, "within 2 px"),
        ({"joints_xyz": hands()[1] / 1000}, "in metres"),
        ({"joints_xyz": hands()[1] / 10}, "in centimetres"),
        ({"joints_xyz": hands()[1] * 1000}, "in micrometres"),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_a_set_of_wrong_rows_is_refused(changed, words, train):
    with pytest.raises(ValueError, match=f"^a/set: 32 of 32 frames read so far: .*{words}"):
        watch(source(**changed), train)(np.arange(ROWS))
    rows = watch(source(**changed), train)
    for first in (0, 8):  # the first few rows do not condemn a set
        if first == 8:
            with pytest.raises(ValueError, match="16 of 16"):
                rows(np.arange(8, 16))
        else:
            rows(np.arange(8))


def test_px_of_a_smaller_copy_are_not_a_point():
    """A hand of 40 px that the batch shows at 1 px: its own px count."""
    uv, _ = hands()
    small = np.tile(np.float32([[100, 0, 0], [0, 100, 0]]), (ROWS, 1, 1))
    batch = watch(source(joints_uv=uv / 100, source_from_image=small))(np.arange(ROWS))
    assert batch["mask"].all()


def test_every_fault_has_a_text():
    assert all(plausible.FAULTS[unit] for unit in ("metres", "inches", "centimetres"))
    assert not plausible.joints_are_wrong("box_replaced") and plausible.joints_are_wrong("origin")
