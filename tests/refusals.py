"""How bad input is refused, for the tests beside this file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bilevelmorph.errors import InputError


def refusal(function: Callable[..., Any], *arguments: Any) -> str:
    """The one-line message with which a call is refused."""
    with pytest.raises(InputError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message
