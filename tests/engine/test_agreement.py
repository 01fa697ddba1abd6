"""What processes agree on; real ones are in tests/multiprocess."""

import json

import pytest

from handjax.engine import agreement
from handjax.engine import config as configs


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"jax": "2", "keep": "3"}, r"process 1 has another jax \(2\) than process 0 \(1\)"),
        ({"jax": "1"}, r"another keep \(None\) than process 0 \(3\)"),
        ({"jax": "1", "keep": "3", "more": "x"}, r"another more \(x\) than process 0 \(None\)"),
    ],
)
def test_the_first_difference_is_named(monkeypatch, other, words):
    own = {"jax": "1", "keep": "3"}
    monkeypatch.setattr(agreement, "gather", lambda text: [text, json.dumps(other)])
    with pytest.raises(ValueError, match=words):
        agreement.compare(own)
    monkeypatch.setattr(agreement, "gather", lambda text: [text, text])
    agreement.compare(own)


def test_paths_may_differ_between_machines():
    plain = agreement.facts(configs.load("v2v:h5"), samples=8)
    assert plain["samples"] == "8" and "config.data.path" not in plain
    assert agreement.facts(configs.load("v2v:h5", ["config.data.path=x"]), samples=8) == plain
    assert agreement.facts(configs.load("v2v:h5", ["config.seed=7"]), samples=8) != plain
