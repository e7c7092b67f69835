"""Pages of the lists."""

from collections.abc import Sequence
from typing import Any

from pilothouse.call import Call, Shape
from pilothouse.capabilities.inventory.model import InvalidNextToken
from pilothouse.storage.pages import InvalidPageToken


def position(call: Call, query: Sequence[Any], request: Shape) -> list[Any] | None:
    """After what the page starts; None for the first. Raises InvalidNextToken."""
    token = request.get("NextToken")
    if not token:
        return None
    try:
        return call.house.pages.position(query, token)
    except InvalidPageToken as error:
        raise InvalidNextToken("The specified token is not valid.") from error
