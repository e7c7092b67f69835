"""What will happen, of this capability and of all that have schedules."""

import asyncio
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.associations.listing import position
from pilothouse.capabilities.associations.model import Association
from pilothouse.capabilities.associations.store import AssociationStore
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.scheduling.coming import Coming, first_of
from pilothouse.storage import Transaction

_KIND: Final = "association"
_DAY_MS: Final = 24 * 3_600_000
_DAYS: Final = 30
_MOST_DAYS: Final = 366
_PAGE: Final = 500


async def associations_coming(
    tx: Transaction, account_id: str, region: str, after: int, until: int, most: int
) -> list[Coming]:  # fmt: skip
    """Times at which associations are due. Those that are paused have none."""
    found = await AssociationStore(tx).scheduled(account_id, region)
    return await asyncio.to_thread(_first, found, after, until, most)  # others are served meanwhile


def _first(associations: list[Association], after: int, until: int, most: int) -> list[Coming]:
    tables = []
    for association in associations:
        table = association.timetable
        if table is not None and association.paused_at is None:
            tables.append((table, _what(association)))
    return first_of(tables, after, until, most)


def _what(association: Association) -> Coming:
    terms = association.terms
    return Coming(
        at=0,
        kind=_KIND,
        id=association.association_id,
        name=terms.association_name or "",
        about=f"{terms.document} by {terms.schedule}",
        minutes=(terms.duration or 0) * 60,
    )


@operation("pilothouse", "ListComingRuns")
async def list_coming_runs(call: Call, request: Shape) -> Shape:
    """What the schedules of the account and region hold for the next days, by time."""
    days = request.get("Days") or _DAYS
    if days > _MOST_DAYS:
        raise ValidationException(f"Days is at most {_MOST_DAYS}.")
    start = call.clock.millis() if request.get("After") is None else to_millis(request["After"])
    until = start + days * _DAY_MS
    limit = request.get("MaxResults") or _PAGE
    query: list[Any] = ["ListComingRuns", call.account_id, call.region, request.get("After"), days]
    moment, until, shown = position(call, query, request) or (start + 1, until, 0)
    found: list[Coming] = []
    async with call.reading() as tx:
        for find in call.house.coming:
            found += await find(tx, call.account_id, call.region, moment - 1, until, shown + limit + 1)
    ahead = sorted(found)[shown:]
    page = ahead[:limit]
    token = None
    if ahead[limit:]:
        last = page[-1].at
        there = sum(each.at == last for each in page) + (shown if last == moment else 0)
        token = call.house.pages.token(query, [last, until, there])
    return {"Runs": [_to_wire(each) for each in page], "NextToken": token}


def _to_wire(coming: Coming) -> Shape:
    return {
        "At": from_millis(coming.at),
        "Kind": coming.kind,
        "Id": coming.id,
        "Name": coming.name or None,
        "About": coming.about or None,
        "Minutes": coming.minutes or None,
    }
