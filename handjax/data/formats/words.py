"""Numbers in text files. Python's `float` reads more than people write: 1_0 as ten, and the digits
of other scripts."""

LARGEST = 1e6  # px or mm: a kilometre; what is farther is no joint, and would drown all others


def to_number(word: str) -> float:
    """ValueError, without the file's name, for a word that is no finite number up to LARGEST."""
    if not word.isascii() or "_" in word:
        raise ValueError(f"{_shown(word)} is not a number")
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"{_shown(word)} is not a number") from None
    if not abs(value) < LARGEST:  # NaN is not less
        raise ValueError(f"{_shown(word)} is not a position: has NaN or Inf, or is beyond a km")
    return value


def _shown(word: str) -> str:
    text = ascii(word)
    return text if len(text) <= 30 else f"{text[:27]}..."
