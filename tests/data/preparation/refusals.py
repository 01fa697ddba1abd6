"""What `handjax prepare` refuses."""

import pytest

from handjax.prepare import main


def refused(argv, *words):
    """The one line with which the command refuses `argv`; it has all `words`."""
    with pytest.raises((ValueError, OSError)) as mistake:
        main(argv)
    text = str(mistake.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text
    return text
