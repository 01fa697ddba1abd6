"""Hands that are followed from frame to frame keep their numbers and sides, are lost, and found."""

import jax
import numpy as np
import pytest

import handjax
from handjax.fitting.hand_build import SeenBuild
from handjax.prediction import hand_following
from handjax.prediction.hand_depth import HandDepthPredictor
from handjax.prediction.hand_search import HandFound, Networks
from handjax.synthetic import hand_sequence

RATE = 15.0


# ---------------------------------------------------------------- the rules, without networks


def hand_at(x, presence=0.9, side=1.0):
    joints = np.random.default_rng(0).normal(0, 30, (21, 3)) + [x, 0, 500]
    return HandFound(
        joints.astype(np.float32),
        np.full(21, 5, np.float32),
        np.float32(presence),
        np.float32(side),
        joints.mean(0).astype(np.float32),
    )


class Scene:
    """Hands at places, instead of what networks see: those of `there`, and what a search finds."""

    def __init__(self, monkeypatch):
        self.there: list[HandFound] = []
        self.searches = self.looks = 0
        self.predictor = HandDepthPredictor("scene", Networks({}, None))
        monkeypatch.setattr(self.predictor, "found_in", self.search)
        monkeypatch.setattr(hand_following, "_follow", self.look)

    def search(self, depth, k, side, presence):
        self.searches += 1
        self.asked = side
        return [one for one in self.there if one.presence >= presence]

    def look(self, networks, depth, k, joints, sides):
        self.looks += 1
        self.sides = sides.tolist()
        expected = joints.mean(0)
        near = [h for h in self.there if np.linalg.norm(h.joints.mean(0) - expected) < 100]
        one = near[0] if near else hand_at(expected[0], 0.01)
        presences = np.where(sides == one.side, 1, 0.1) * one.presence
        presences = presences.astype(np.float32)
        count = len(sides)
        found = HandFound(
            np.stack([one.joints] * count),
            np.stack([one.std] * count),
            presences,
            np.asarray(sides, np.float32),
            np.stack([one.center] * count),
        )
        return found, np.log(presences / (1 - presences))


@pytest.fixture
def scene(monkeypatch):
    return Scene(monkeypatch)


DEPTH, K = np.full((24, 32), 500.0, np.float32), np.float32([[30, 0, 16], [0, 30, 12], [0, 0, 1]])


def test_a_hand_is_searched_once_and_then_followed(scene):
    follow = scene.predictor.follower(hands=1)
    for x in range(0, 300, 30):
        scene.there = [hand_at(x)]
        (found,) = follow.next_hands(DEPTH, K)
        np.testing.assert_array_equal(found.joints, scene.there[0].joints)
        assert follow.ids == [0]
    assert scene.searches == 1 and scene.looks == 9


def test_a_second_hand_is_found_by_the_next_search_and_one_too_many_is_not(scene):
    follow = scene.predictor.follower(search_every=4)
    scene.there = [hand_at(0)]
    follow.next_hands(DEPTH, K)
    scene.there = [hand_at(0), hand_at(300, 0.8, -1.0), hand_at(600, 0.7)]
    seen = [len(follow.next_hands(DEPTH, K)) for _ in range(8)]
    assert seen == [1, 1, 1, 2, 2, 2, 2, 2] and follow.ids == [0, 1] and scene.searches == 2


def test_a_hidden_hand_is_waited_for_and_then_given_up(scene):
    follow = scene.predictor.follower()
    scene.there = [hand_at(0)]
    follow.next_hands(DEPTH, K)
    scene.there = []
    assert [follow.next_hands(DEPTH, K) for _ in range(5)] == [[]] * 5 and follow.ids == []
    scene.there = [hand_at(20)]
    assert len(follow.next_hands(DEPTH, K)) == 1 and follow.ids == [0]
    scene.there = []
    for _ in range(12):
        follow.next_hands(DEPTH, K)
    scene.there = [hand_at(20)]
    assert len(follow.next_hands(DEPTH, K)) == 1 and follow.ids == [1]


def test_one_frame_of_the_other_side_changes_nothing_and_many_do(scene):
    follow = scene.predictor.follower()
    sides = []
    for side in [1, 1, 1, 1, -1, 1, 1, *[-1] * 12]:
        scene.there = [hand_at(0, 0.9, side)]
        (found,) = follow.next_hands(DEPTH, K)
        sides.append(int(found.side))
    assert sides[:7] == [1] * 7 and sides[-1] == -1
    assert sides == sorted(sides, reverse=True)  # it changes once


def test_a_given_side_is_the_only_one_looked_at(scene):
    scene.there = [hand_at(0, 0.9, -1.0)]
    follow = scene.predictor.follower(side="left")
    for _ in range(3):
        (found,) = follow.next_hands(DEPTH, K)
        assert found.side == -1
    assert scene.asked == "left" and scene.sides == [-1.0]


def test_a_hand_that_becomes_unsure_is_searched_for(scene):
    follow = scene.predictor.follower(hands=1)
    scene.there = [hand_at(0)]
    follow.next_hands(DEPTH, K)
    scene.there = [hand_at(0, 0.3), hand_at(400, 0.9)]  # it was something else all the time
    (found,) = follow.next_hands(DEPTH, K)
    assert scene.searches == 2 and found.presence == np.float32(0.9) and follow.ids == [1]
    follow = scene.predictor.follower(hands=2)
    scene.there = [hand_at(0)]
    follow.next_hands(DEPTH, K)
    scene.there = [hand_at(0, 0.3), hand_at(400, 0.9)]
    assert len(follow.next_hands(DEPTH, K)) == 2


def test_a_hand_that_comes_back_is_none_too_many(scene):
    follow = scene.predictor.follower(hands=1)
    hidden, other = hand_at(0), hand_at(400, 0.8)
    scene.there = [hidden]
    follow.next_hands(DEPTH, K)
    scene.there = [other]
    assert len(follow.next_hands(DEPTH, K)) == 1 and follow.ids == [1]
    scene.there = [hidden, other]
    assert len(follow.next_hands(DEPTH, K)) == 1 and follow.ids == [0]


def test_what_stays_unsure_is_given_up(scene):
    follow = scene.predictor.follower()
    scene.there = [hand_at(0)]
    follow.next_hands(DEPTH, K)
    scene.there = [hand_at(0, 0.3)]
    seen = [len(follow.next_hands(DEPTH, K)) for _ in range(95)]
    assert seen == [1] * 90 + [0] * 5


def test_two_that_meet_are_one(scene):
    follow = scene.predictor.follower()
    scene.there = [hand_at(0), hand_at(150, 0.8)]
    assert len(follow.next_hands(DEPTH, K)) == 2
    scene.there = [hand_at(75)]
    assert len(follow.next_hands(DEPTH, K)) == 1


def test_a_followed_hand_keeps_its_size(scene, monkeypatch):
    """What the fit knows of its build goes on from frame to frame, of a hand of the same side."""
    given = []

    def fitted(found, depth, k, last=None, build=SeenBuild()):  # noqa: B008
        given.append((build.frames, last is not None))
        return found, build._replace(frames=build.frames + 1)

    monkeypatch.setattr(scene.predictor, "fit_steps", 12)
    monkeypatch.setattr(scene.predictor, "fitted", fitted)
    follow = scene.predictor.follower(hands=1)
    scene.there = [hand_at(0)]
    for _ in range(4):
        follow.next_hands(DEPTH, K)
    assert given == [(0, True), (1, True), (2, True)]  # the first frame is searched
    scene.there = [hand_at(0, side=-1.0)]
    for _ in range(12):
        follow.next_hands(DEPTH, K)
    assert (0, False) in given[3:] and given[-1][0] > 0  # once the votes are for the other side


def test_frames_without_depth_have_no_hands_and_are_not_searched(scene):
    follow = scene.predictor.follower(K)
    none = follow(np.zeros((24, 32), np.float32))
    assert len(none) == 0 and none.xyz.shape == (0, 21, 3) and scene.searches == 0


def test_wrong_arguments_are_one_line(scene):
    for wrong in ({"hands": 0}, {"search_every": 0}):
        with pytest.raises(ValueError, match="expected 1 or more"):
            scene.predictor.follower(**wrong)
    with pytest.raises(ValueError, match="presence=2.0: expected 0 to 1"):
        scene.predictor.follower(presence=2.0)
    with pytest.raises(ValueError, match="expected auto or right or left"):
        scene.predictor.follower(side="both")
    with pytest.raises(ValueError, match="camera: none for this frame"):
        scene.predictor.follower()(DEPTH)
    with pytest.raises(ValueError, match="expected one image"):
        scene.predictor.follower(K)(DEPTH[None])


# ---------------------------------------------------------------- the networks, on a sequence


@pytest.fixture(scope="module")
def rows():
    """A second and a half, and the time around the right hand's leaving."""
    draw = jax.jit(lambda at: hand_sequence.frame(jax.random.key(1), at, sensor=None))
    start, leaves = 0.0, hand_sequence.AWAY[0] - 0.2
    times = np.arange(0, 1.5, 1 / RATE), np.arange(0, 2.9, 1 / RATE)
    return [
        [jax.device_get(draw(np.float32(begin + at))) for at in part]
        for begin, part in zip((start, leaves), times, strict=True)
    ]


def errors_of(found, joints):
    """Of each true hand: the mean error of the nearest that was found, mm, and which it is."""
    off = np.linalg.norm(found.xyz[None] - joints[:, None], axis=-1).mean(-1)
    return off.min(1, initial=np.inf), off.argmin(1) if len(found) else np.zeros(2, int)


@pytest.mark.slow
@pytest.mark.optimized
def test_both_hands_are_followed(rows):
    follow = handjax.load("hand-depth").follower(rows[0][0]["k"], search_every=5)
    errors, ids = [], []
    for row in rows[0]:
        found = follow(row["depth"])
        off, which = errors_of(found, row["joints_xyz"])
        errors.append(off)
        if np.isfinite(off).all():
            ids.append([follow.ids[i] for i in which])
            assert found.presence.shape == (len(found),)
    errors = np.array(errors[5:])
    assert (errors < 40).mean() > 0.8, errors
    assert len({tuple(one) for one in ids[5:]}) == 1  # each keeps its number


@pytest.mark.slow
@pytest.mark.optimized
def test_a_hand_that_leaves_is_not_claimed_and_is_found_again(rows):
    follow = handjax.load("hand-depth").follower(rows[1][0]["k"], search_every=3)
    there, claimed, back = [], 0, []
    for row in rows[1]:
        off, _ = errors_of(follow(row["depth"]), row["joints_xyz"])
        there.append(bool(row["visible"][0].sum() >= 5))
        claimed += not row["visible"][0].any() and off[0] < 60
        back.append(off[0])
    assert not all(there) and there[-1] and not claimed
    assert min(back[-5:]) < 40
