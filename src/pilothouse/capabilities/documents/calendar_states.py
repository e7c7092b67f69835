"""Whether change calendars are open: GetCalendarState, and the event when one opens or closes."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from pilothouse.call import Call, House, Shape, operation
from pilothouse.capabilities.documents import naming
from pilothouse.capabilities.documents.calendars import (
    Calendar,
    UnsupportedCalendarException,
    is_open,
    next_change,
    read,
)
from pilothouse.capabilities.documents.library import find
from pilothouse.capabilities.documents.model import InvalidDocument, InvalidDocumentType
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.scheduling import due
from pilothouse.scheduling.firing import Due
from pilothouse.storage import Transaction

CHANGE: Final = "document.calendar"
"""Kind of what is due: a calendar opens or closes."""
_KIND: Final = "ChangeCalendar"
_YEAR_MS: Final = 365 * 24 * 3_600_000
_YEARS: Final = range(1970, 9000)


async def calendar(tx: Transaction, account_id: str, region: str, name: str) -> Calendar:
    """The calendar of that name or ARN. Raises InvalidDocument, also for what is none."""
    try:
        return await _calendar(tx, account_id, region, name)
    except (InvalidDocumentType, UnsupportedCalendarException) as error:
        raise InvalidDocument(error.message) from error


async def _calendar(tx: Transaction, account_id: str, region: str, name: str) -> Calendar:
    """The same. Raises InvalidDocument, InvalidDocumentType, UnsupportedCalendarException."""
    document = await find(tx, account_id, region, name)
    if document.kind != _KIND:
        raise InvalidDocumentType(
            f"The document {name} is of type {document.kind}; a calendar is of type ChangeCalendar."
        )
    return read(document.text)


def _named(call: Call, request: Shape) -> list[str]:
    return [naming.arn_of(name, call.account_id, call.region) for name in request["CalendarNames"]]


@operation("ssm", "GetCalendarState", resources=_named)
async def get_calendar_state(call: Call, request: Shape) -> Shape:
    """OPEN if all calendars are, at a time or now, and when that changes next, if it does within a year."""
    at = call.clock.millis() if request.get("AtTime") is None else _moment(request["AtTime"])
    async with call.reading() as tx:
        names = dict.fromkeys(request["CalendarNames"])
        found = [await _calendar(tx, call.account_id, call.region, name) for name in names]
    following = await asyncio.to_thread(next_change, found, at)
    return {
        "State": _state(found, at),
        "AtTime": _text(at),
        "NextTransitionTime": None if following is None else _text(following),
    }


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValidationException("AtTime must be a time in ISO 8601 such as 2026-03-10T12:00:00Z.") from error
    if moment.year not in _YEARS:
        raise ValidationException(f"AtTime must be in a year from {_YEARS[0]} to {_YEARS[-1]}.")
    return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _state(calendars: list[Calendar], at: int) -> str:
    return "OPEN" if is_open(calendars, at) else "CLOSED"


def _text(at: int) -> str:
    return f"{from_millis(at).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


async def watch(call: Call, tx: Transaction, name: str, kind: str) -> None:
    """A document was made, changed or removed: if it is a calendar, be called when it opens or closes next."""
    if kind != _KIND:
        return
    at, where = None, {"account_id": call.account_id, "region": call.region}
    try:
        found = await _calendar(tx, call.account_id, call.region, name)
    except (InvalidDocument, UnsupportedCalendarException):
        pass
    else:
        now = call.clock.millis()
        at = await asyncio.to_thread(found.next_change, now) or now + _YEAR_MS
    await due.put(call.house, tx, CHANGE, f"{call.account_id}/{call.region}/{name}", at, **where)


async def calendar_changes(house: House, tx: Transaction, now: Due) -> int | None:
    """Tell of it, unless it only was too far ahead to be seen."""
    name = now.key.split("/", 2)[2]
    try:
        found = await _calendar(tx, now.account_id, now.region, name)
    except (InvalidDocument, InvalidDocumentType, UnsupportedCalendarException):
        return None
    at = house.clock.millis()
    following = await asyncio.to_thread(found.next_change, at)
    if found.is_open(at) is not found.is_open(now.at - 1):
        detail = {"state": _state([found], at), "atTime": _text(at)}
        if following is not None:
            detail["nextTransitionTime"] = _text(following)
        await house.tell(
            tx, "event",
            account_id=now.account_id, region=now.region, source="aws.ssm", detail_type="Calendar State Change",
            resources=[naming.arn_of(name, now.account_id, now.region)], detail=detail,
        )  # fmt: skip
    return following or at + _YEAR_MS
