"""GetLogEvents: one stream, page by page in both directions. FilterLogEvents: a group, what fits a pattern.

A page's token names a gap between two places, so that reading on from the end of a stream finds what comes later.
"""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.logs.groups import bad_token
from pilothouse.capabilities.logs.model import (
    AFTER_ALL,
    LAST,
    MINUTE_MS,
    OVERHEAD,
    PAGE_BYTES,
    PAGE_EVENTS,
    Group,
    Kept,
    Place,
    no_stream,
)
from pilothouse.capabilities.logs.naming import found_group, found_stream, identifier, of_group, of_stream
from pilothouse.capabilities.logs.patterns import compiled
from pilothouse.capabilities.logs.scanning import Scan
from pilothouse.capabilities.logs.sealing import cipher_of
from pilothouse.capabilities.logs.store import LogStore, Reach
from pilothouse.errors import InvalidParameterException
from pilothouse.storage.pages import InvalidPageToken

_FORWARD: Final = "f/"
_BACKWARD: Final = "b/"
_PASSED_BYTES: Final = 4 << 20
"""What one answer of FilterLogEvents looks at; the next page goes on."""
_NEWEST_FIRST_SINCE: Final = 1_704_067_200_000


@operation("logs", "GetLogEvents", resources=of_stream)
async def get_log_events(call: Call, request: Shape) -> Shape:
    """Events of one stream: the newest ones, or those from the head on, or those next to a token."""
    token = request.get("nextToken")
    async with call.reading() as tx:
        group = await found_group(call, tx, identifier(request))
        stream = await found_stream(call, tx, group, request["logStreamName"])
    start = _start(call, group, request)
    end = min(request.get("endTime", LAST), LAST)
    query = ["GetLogEvents", call.account_id, call.region, group.group_id, stream.stream_id]
    backward = not request.get("startFromHead", False)
    gap = AFTER_ALL if backward else Place(start)
    if token is not None:
        backward = token.startswith(_BACKWARD)
        gap = _gap(call, query, token)
    cipher = await cipher_of(call.house, group)
    scan = Scan(call.house, Reach.of_stream(stream.stream_id, start, end), cipher, backward=backward)
    page = await _page(scan, gap, request.get("limit", PAGE_EVENTS))
    if backward:
        page.reverse()
    if page:
        before, after = page[0].place, _after(page[-1].place)
    else:
        before = after = gap if token is not None else Place(start)
    return {
        "events": [
            {"timestamp": each.place.at, "message": each.message, "ingestionTime": each.place.ingested_at}
            for each in page
        ],
        "nextForwardToken": _FORWARD + call.house.pages.token(query, list(after)),
        "nextBackwardToken": _BACKWARD + call.house.pages.token(query, list(before)),
    }


def _start(call: Call, group: Group, request: Shape) -> int:
    """Of what is read: not before what the group still keeps."""
    said: int = request.get("startTime", 0)
    return max(min(said, LAST - MINUTE_MS), group.kept_from(call.clock.millis()))


async def _page(scan: Scan, gap: Place, most: int) -> list[Kept]:
    page: list[Kept] = []
    size = 0
    async with aclosing(scan.events(gap)) as events:
        async for event in events:
            size += len(event.message.encode()) + OVERHEAD
            if size > PAGE_BYTES and page:
                break
            page.append(event)
            if len(page) >= most:
                break
    return page


def _after(place: Place) -> Place:
    return place._replace(number=place.number + 1)


def _gap(call: Call, query: Sequence[Any], token: str) -> Place:
    if token[:2] not in (_FORWARD, _BACKWARD):
        raise bad_token()
    try:
        at, ingested_at, put, number = call.house.pages.position(query, token[2:])
    except (InvalidPageToken, ValueError) as error:
        raise bad_token() from error
    return Place(at, ingested_at, put, number)


@operation("logs", "FilterLogEvents", resources=of_group)
async def filter_log_events(call: Call, request: Shape) -> Shape:
    """Events of a group, or of some of its streams, that fit a pattern, by time."""
    names, prefix = request.get("logStreamNames"), request.get("logStreamNamePrefix")
    if names is not None and prefix is not None:
        raise InvalidParameterException("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
    backward = not request.get("startFromHead", True)
    if backward and request.get("startTime", 0) < _NEWEST_FIRST_SINCE:
        raise InvalidParameterException(
            "Setting startFromHead to false is supported only when startTime is on or after 2024-01-01."
        )
    pattern = request.get("filterPattern", "")
    fits = compiled(pattern)
    async with call.reading() as tx:
        group = await found_group(call, tx, identifier(request))
    query = ["FilterLogEvents", call.account_id, call.region, group.group_id, names, prefix, pattern,
             request.get("startTime"), request.get("endTime")]  # fmt: skip
    gap = None
    if "nextToken" in request:
        gap = _gap(call, query, request["nextToken"])
        backward = request["nextToken"].startswith(_BACKWARD)
    reach = await _reach(call, group, request)
    scan = Scan(call.house, reach, await cipher_of(call.house, group), backward=backward)
    if gap is None:
        gap = AFTER_ALL if backward else Place(reach.start)
    page, behind = await _fitting_page(scan, gap, fits, request.get("limit", PAGE_EVENTS), backward=backward)
    async with call.reading() as tx:
        named = await LogStore(tx, call.account_id, call.region).names(list({each.stream_id for each in page}))
    answer: Shape = {
        "events": [
            {
                "logStreamName": named[each.stream_id],
                "timestamp": each.place.at,
                "message": each.message,
                "ingestionTime": each.place.ingested_at,
                "eventId": each.place.event_id(),
            }
            for each in page
            if each.stream_id in named  # a stream that was removed is no longer there, though its events may be
        ],
        "searchedLogStreams": [],
    }
    if behind is not None:
        answer["nextToken"] = (_BACKWARD if backward else _FORWARD) + call.house.pages.token(query, list(behind))
    return answer


async def _reach(call: Call, group: Group, request: Shape) -> Reach:
    start = _start(call, group, request)
    end = min(request.get("endTime", LAST), LAST - 1) + 1  # the millisecond is in it
    names = request.get("logStreamNames")
    if names is None:
        prefix = request.get("logStreamNamePrefix")
        if prefix is None:
            return Reach.of_group(group.group_id, start, end)
        return Reach.of_prefix(group.group_id, prefix, start, end)
    async with call.reading() as tx:
        found = await LogStore(tx, call.account_id, call.region).streams_named(group.group_id, names)
    if len(found) < len(set(names)):
        raise no_stream()
    if len(found) == 1:
        return Reach.of_stream(found[0].stream_id, start, end)
    return Reach.of_streams(group.group_id, [each.stream_id for each in found], start, end)


async def _fitting_page(
    scan: Scan, gap: Place, fits: Any, most: int, *, backward: bool
) -> tuple[list[Kept], Place | None]:
    """The events that fit, and the gap behind them; None where there is nothing behind."""
    page: list[Kept] = []
    size = passed = 0
    async with aclosing(scan.events(gap)) as events:
        async for event in events:
            if len(page) >= most or passed > _PASSED_BYTES:
                return page, event.place if not backward else _after(event.place)
            passed += len(event.message) + OVERHEAD
            if not fits(event.message):
                continue
            size += len(event.message.encode()) + OVERHEAD
            if size > PAGE_BYTES and page:
                return page, event.place if not backward else _after(event.place)
            page.append(event)
    return page, None
