"""Pages of the kms service: Limit, Marker, NextMarker, Truncated."""

from pilothouse.call import Call, Shape
from pilothouse.capabilities.keys.errors import InvalidMarkerException
from pilothouse.storage.pages import InvalidPageToken


def position(call: Call, query: str, request: Shape) -> str:
    """The key after which a list goes on. Raises InvalidMarkerException."""
    marker = request.get("Marker")
    if marker is None:
        return ""
    try:
        (after,) = call.house.pages.position([call.account_id, call.region, query], marker)
    except (InvalidPageToken, ValueError) as error:
        raise InvalidMarkerException("The marker is not valid.") from error
    return str(after)


def at_most(most: int, limit: int) -> int:
    """How many a page holds where the service gives fewer than its model lets be asked for."""
    return min(most, limit)


def page(call: Call, query: str, answer: Shape, last: str | None) -> Shape:
    """An answer of a list; `last` is the last key of a page that others follow."""
    if last is None:
        return answer | {"Truncated": False}
    marker = call.house.pages.token([call.account_id, call.region, query], [last])
    return answer | {"Truncated": True, "NextMarker": marker}
