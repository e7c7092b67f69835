"""LookupEvents: who did what, by CloudTrail's API."""

from typing import Final

import msgspec

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.audit import store
from pilothouse.capabilities.audit.model import (
    InvalidEventCategoryException,
    InvalidLookupAttributesException,
    InvalidMaxResultsException,
    InvalidNextTokenException,
    InvalidTimeRangeException,
    Record,
    canonical,
)
from pilothouse.capabilities.audit.recording import RESOURCE_TYPES
from pilothouse.capabilities.audit.sealing import trail_of
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 50
_MOST_ASKED: Final = 1 << 31
_COLUMNS: Final = {
    "EventName": "event_name",
    "EventSource": "event_source",
    "ReadOnly": "read_only",
    "ResourceType": "name",
    "Username": "username",
    "AccessKeyId": "access_key_id",
    "ResourceName": "name",
}
_LAST: Final = 1 << 62
_BEHIND_ALL: Final = "~"
"""Greater than any event id."""


@operation("cloudtrail", "LookupEvents", relaxed={"MaxResults": _MOST_ASKED})
async def lookup_events(call: Call, request: Shape) -> Shape:
    """Records of the account in the region, newest first, by at most one attribute, as CloudTrail wants it.

    Raises InvalidLookupAttributesException, InvalidTimeRangeException, InvalidNextTokenException,
    InvalidEventCategoryException, InvalidMaxResultsException.
    """
    if call.beyond is not None:
        raise InvalidMaxResultsException(f"The value of MaxResults must be between 1 and {_PAGE}.")
    key, value = _attribute(request)
    span = _span(request)
    if "EventCategory" in request:
        if request["EventCategory"] != "insight":
            raise InvalidEventCategoryException("The event category is not valid.")
        return {"Events": []}  # none are made here
    most = request.get("MaxResults", _PAGE)
    query = ["LookupEvents", call.account_id, call.region, key, value, *span]
    position = _position(call, query, request)
    await trail_of(call.house).take_up()  # what this server wrote down is to be seen
    async with call.reading() as tx:
        if key == "EventId":
            records = await store.one(tx, call.account_id, call.region, value)
            return {"Events": [_told(each) for each in records if span[0] <= each.at < span[1]]}
        column = _COLUMNS.get(key, "")
        found = await store.found(
            tx, call.account_id, call.region, column, _wanted(key, value), span, position, most + 1
        )
    shown = found[:most]
    answer: Shape = {"Events": [_told(each) for each in shown]}
    if len(found) > most:
        answer["NextToken"] = call.house.pages.token(query, [shown[-1].at, shown[-1].event_id])
    return answer


def _wanted(key: str, value: str) -> str | int:
    """What stands in the column of the attribute."""
    if key == "ResourceName":
        return canonical(value)
    if key == "ResourceType":
        return f"/{value}"
    return int(value == "true") if key == "ReadOnly" else value


def _attribute(request: Shape) -> tuple[str, str]:
    given = request.get("LookupAttributes") or []
    if not given:
        return "", ""
    if len(given) > 1:
        raise InvalidLookupAttributesException("You can specify only one lookup attribute.")
    key, value = given[0]["AttributeKey"], given[0]["AttributeValue"]
    if key == "ReadOnly" and value not in ("true", "false"):
        raise InvalidLookupAttributesException("The value of the lookup attribute ReadOnly is true or false.")
    if key == "ResourceType" and value not in RESOURCE_TYPES and not value.startswith("AWS::"):
        raise InvalidLookupAttributesException("The value of the lookup attribute ResourceType is not a resource type.")
    return key, value


def _span(request: Shape) -> tuple[int, int]:
    start = to_millis(request["StartTime"]) if "StartTime" in request else 0
    end = to_millis(request["EndTime"]) + 1000 if "EndTime" in request else _LAST  # the second is in it
    if start >= end:
        raise InvalidTimeRangeException("The start time must be before the end time.")
    return start, end


def _position(call: Call, query: list[object], request: Shape) -> tuple[int, str]:
    if "NextToken" not in request:
        return _LAST, _BEHIND_ALL
    try:
        at, event_id = call.house.pages.position(query, request["NextToken"])
    except InvalidPageToken as error:
        raise InvalidNextTokenException("The next token is not valid for this lookup.") from error
    return at, event_id


def _told(record: Record) -> Shape:
    """The record as LookupEvents gives it."""
    event = msgspec.json.decode(record.body)
    return {
        "EventId": record.event_id,
        "EventName": record.event_name,
        "ReadOnly": "true" if record.read_only else "false",
        "AccessKeyId": record.access_key_id,
        "EventTime": from_millis(record.at // 1000 * 1000),
        "EventSource": record.event_source,
        "Username": record.username,
        "Resources": [
            {"ResourceType": each["type"], "ResourceName": each["ARN"]} for each in event.get("resources") or ()
        ],
        "CloudTrailEvent": record.body,
    }
