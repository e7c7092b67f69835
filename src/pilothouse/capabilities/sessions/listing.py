"""DescribeSessions: those that go on, or those that have ended, newest first."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.sessions.model import Session, Status
from pilothouse.capabilities.sessions.store import listed
from pilothouse.errors import ApiError, ValidationException
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 50
_STATUSES: Final = frozenset(each.value for each in Status)
_COLUMNS: Final = {
    "Target": "target",
    "Owner": "owner_arn",
    "Status": "status",
    "SessionId": "session_id",
    "AccessType": "access_type",
}


class InvalidFilterKey(ApiError):
    """A filter that the list does not know."""


class InvalidNextToken(ApiError):
    """The page token is not of this list."""


@operation("ssm", "DescribeSessions")
async def describe_sessions(call: Call, request: Shape) -> Shape:
    """The account's sessions in the region. Every filter must fit."""
    state = request["State"]
    filters = [(each["key"], each["value"]) for each in request.get("Filters") or ()]
    equal, after, before = _conditions(filters)
    query = ["DescribeSessions", call.account_id, call.region, state, sorted(map(list, filters))]
    limit = request.get("MaxResults") or _PAGE
    async with call.reading() as tx:
        found = await listed(
            tx, call.account_id, call.region, closed=state == "History", equal=equal, after=after, before=before,
            position=_position(call, query, request), limit=limit + 1,
        )  # fmt: skip
    page = found[:limit]
    token = None
    if len(found) > limit:
        token = call.house.pages.token(query, [page[-1].started_at, page[-1].session_id])
    return {"Sessions": [to_wire(each) for each in page], "NextToken": token}


def _conditions(filters: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], int | None, int | None]:
    equal: list[tuple[str, str]] = []
    after: int | None = None
    before: int | None = None
    for key, value in filters:
        if key == "InvokedAfter":
            moment = _moment(key, value)
            after = moment if after is None else max(after, moment)
        elif key == "InvokedBefore":
            moment = _moment(key, value)
            before = moment if before is None else min(before, moment)
        elif key not in _COLUMNS:
            raise InvalidFilterKey(f"The filter key {key} cannot be used here.")
        else:
            if key == "Status" and value not in _STATUSES:
                raise ValidationException(f"The Status filter takes one of: {', '.join(sorted(_STATUSES))}.")
            equal.append((_COLUMNS[key], value))
    return equal, after, before


def _moment(key: str, value: str) -> int:
    try:
        moment = datetime.fromisoformat(value)
        return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise ValidationException(f"The filter {key} takes a time such as 2026-07-07T00:00:00Z.") from error


def _position(call: Call, query: Sequence[Any], request: Shape) -> tuple[int, str] | None:
    token = request.get("NextToken")
    if not token:
        return None
    try:
        started_at, session_id = call.house.pages.position(list(query), token)
    except (InvalidPageToken, ValueError) as error:
        raise InvalidNextToken("The specified token is not valid.") from error
    return started_at, session_id


def to_wire(session: Session) -> Shape:
    """As DescribeSessions has it."""
    urls = {"S3OutputUrl": session.s3_url or None, "CloudWatchOutputUrl": session.log_url or None}
    output = {name: value for name, value in urls.items() if value}
    return {
        "SessionId": session.session_id,
        "Target": session.target,
        "Status": session.status.value,
        "StartDate": from_millis(session.started_at),
        "EndDate": None if session.ended_at is None else from_millis(session.ended_at),
        "DocumentName": session.document_name,
        "Owner": session.owner_arn,
        "Reason": session.reason,
        "Details": session.details or None,
        "OutputUrl": output or None,
        "MaxSessionDuration": None if session.most_minutes is None else str(session.most_minutes),
        "AccessType": session.access_type,
    }
