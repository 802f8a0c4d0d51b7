"""What a call is refused with."""

import pytest


def message(call, error=ValueError):
    """The text of the error, which must be one line with no other traceback above it."""
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert "[Errno" not in text
    assert ".tmp" not in text
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return text
