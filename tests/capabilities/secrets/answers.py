"""What tests of secrets share: the exact refusal, and an answer without its envelope."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

MARKED = "You can't perform this operation on the secret because it was marked for deletion."


@contextmanager
def refused(code: str, message: str | None = None) -> Iterator[None]:
    """The block is answered by this error; None: with any text."""
    with pytest.raises(ClientError) as caught:
        yield
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"] if message is not None else None) == (code, message), error


def bare(answer: Any) -> Any:
    """The members of an answer alone."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}
