"""Parts of the command that need no network; entire runs are in tests/e2e."""

import pytest

from handjax import train


def test_flags_are_required():
    with pytest.raises(ValueError, match="--config, --workdir"):
        train.main([])
