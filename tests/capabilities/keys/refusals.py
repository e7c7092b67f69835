"""What a client hears when it is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError


def refused(ask: Callable[..., Any], **members: Any) -> tuple[str, str]:
    """Code and message of the error that the call must end with."""
    with pytest.raises(ClientError) as raised:
        ask(**members)
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]
