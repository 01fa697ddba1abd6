"""What is a hand, and of which side: by logits and by how well the joints are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from handjax.prediction.hand_search import UNSURE, presence, side_odds, trust


def looks(*of):
    """Looks of these logits, with these deviations of all joints, mm."""
    logits, mm = jnp.asarray(of, jnp.float32).T
    return logits, jnp.tile(mm[:, None], (1, 21))


def test_joints_that_are_known_are_those_of_a_hand():
    known, doubted, unknown = presence(*looks((-3, 5), (-3, 10), (-3, 30)))
    assert known > 0.9 and doubted < 0.1 and unknown < 1e-3


def test_a_sure_look_needs_joints_that_are_not_all_over_the_place():
    steady, loose = presence(*looks((8, 10), (8, 30)))
    assert steady > 0.9 > UNSURE > 0.1 > loose


@pytest.mark.parametrize("logit", (-3.0, 0.5, 5.0))
def test_presence_falls_with_the_deviation_and_rises_with_the_logit(logit):
    by_mm = presence(*looks(*((logit, mm) for mm in (3, 6, 8, 15, 25))))
    assert (np.diff(by_mm) < 0).all() and (by_mm >= 0).all() and (by_mm <= 1).all()
    lower, higher = presence(*looks((logit, 9.0), (logit + 1, 9.0)))
    assert lower < higher


def test_a_side_is_told_by_the_deviations_where_logits_disagree():
    assert side_odds(*looks((-2, 5), (4, 11))).argmax() == 0
    # Of joints that are known alike the logit decides.
    assert side_odds(*looks((-2, 8), (4, 8))).argmax() == 1


def test_a_place_is_the_one_whose_joints_are_known_though_another_looks_surer():
    assert trust(*looks((0.5, 5), (9, 11))).argmax() == 0
    assert trust(*looks((0.5, 9), (9, 11))).argmax() == 1
