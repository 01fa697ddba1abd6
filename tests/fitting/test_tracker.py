"""The hands that the tracker continues with after a selection."""

import numpy as np

from handjax.fitting import tracker
from handjax.fitting.hand_state import HandParameters


def test_diversified_hands_include_the_given_ones():
    given = HandParameters(
        *(
            np.random.default_rng(0).normal(size=(6, *s))
            for s in ((3, 3), (3,), (3,), (20,), (), (5,), (2,), (2,))
        )
    )
    diverse = tracker._diversify(given, 1)
    for own, found in zip(given, diverse, strict=True):
        assert len(found) == tracker.HANDS
        np.testing.assert_array_equal(found[::4], own)
    np.testing.assert_array_equal(diverse.angles[1::4], 0)
    np.testing.assert_array_equal(diverse.translation[3::4], given.translation)
    assert len(np.unique(diverse.angles, axis=0)) == 6 + 1 + 12
