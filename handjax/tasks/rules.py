"""Rules for config values that several tasks share; see `engine.config.check`."""

from collections.abc import Iterable
from typing import Any

from handjax.engine.config import Rule


def one_of(values: Iterable[Any]) -> Rule:
    """One of these values."""
    allowed = tuple(values)
    return Rule(lambda value: value in allowed, " or ".join(map(str, allowed)))


def above(limit: int, expected: str = "") -> Rule:
    """More than `limit`."""
    return Rule(lambda value: value > limit, expected or f"more than {limit}")


def at_least(limit: int, expected: str) -> Rule:
    """`limit` or more."""
    return Rule(lambda value: value >= limit, expected)


DTYPE = one_of(("float32", "bfloat16"))
PROBABILITY = Rule(lambda value: 0 <= value <= 1, "a probability")
FRACTION = Rule(lambda value: 0 <= value < 1, "0 to 1")
MIP_LEVELS = Rule(lambda value: 0 <= value <= 8, "0 to 8")
PIXEL_MEAN = Rule(lambda value: len(value) == 3, "three values, 0 to 255")
PIXEL_STD = Rule(lambda value: len(value) == 3 and min(value) > 0, "three values above 0")
