"""SQL of access_request and access_decision."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from pilothouse.capabilities.access_requests.model import AccessRequest, Approver, Decision, Status
from pilothouse.storage import Row, Transaction

_FIELDS: Final = tuple(each.name for each in fields(AccessRequest))
_INSERT: Final = (
    f"insert into access_request ({', '.join(_FIELDS)}) values ({', '.join(f':{name}' for name in _FIELDS)})"  # noqa: S608
)
_UNTIL_NOW: Final = "(status in ('Pending', 'Approved') and (ends_at is null or ends_at > :now))"


class AccessRequestStore:
    """Requests in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, request: AccessRequest) -> None:
        values: dict[str, Any] = {name: getattr(request, name) for name in _FIELDS}
        levels = [[{"type": each.kind, "name": each.name} for each in level] for level in request.levels]
        values |= {"status": request.status.value, "levels": json.dumps(levels)}
        await self._tx.execute(_INSERT, **values)

    async def lock(self, request_id: str) -> None:
        await self._tx.lock("access-request", request_id)

    async def find(self, account_id: str, region: str, request_id: str) -> AccessRequest | None:
        """The request, if it is the account's in the region."""
        row = await self._tx.row(
            "select * from access_request where request_id = :id and account_id = :account_id and region = :region",
            id=request_id, account_id=account_id, region=region,
        )  # fmt: skip
        return None if row is None else _request(row)

    async def move(self, request: AccessRequest, was: Status) -> bool:
        """Write its new status; whether it still had the old one."""
        return bool(
            await self._tx.execute(
                "update access_request set status = :status, changed_at = :at, ends_at = :ends"
                " where request_id = :id and status = :was",
                status=request.status.value, at=request.changed_at, ends=request.ends_at, id=request.request_id,
                was=was.value,
            )
        )  # fmt: skip

    async def pending(self, account_id: str, region: str, requester_id: str, now: int) -> int:
        """How many of somebody's requests wait."""
        found: int = await self._tx.value(
            "select count(*) from access_request where account_id = :account_id and region = :region"
            " and requester_id = :requester and status = 'Pending' and ends_at > :now",
            account_id=account_id, region=region, requester=requester_id, now=now,
        )  # fmt: skip
        return found

    async def listed(
        self, account_id: str, region: str, *, open_at: int | None, position: tuple[int, str] | None, limit: int
    ) -> list[AccessRequest]:
        """Newest first, from behind the position on. `open_at`: only those that wait or hold then."""
        where, values = "account_id = :account_id and region = :region", dict[str, Any]()
        if open_at is not None:
            where, values = f"{where} and {_UNTIL_NOW}", {"now": open_at}
        if position is not None:
            where += " and (created_at < :at or (created_at = :at and request_id < :id))"
            values |= {"at": position[0], "id": position[1]}
        rows = await self._tx.rows(
            f"select * from access_request where {where} order by created_at desc, request_id desc limit :limit",  # noqa: S608
            account_id=account_id, region=region, limit=limit, **values,
        )  # fmt: skip
        return [_request(row) for row in rows]

    async def over(self, now: int, limit: int) -> list[AccessRequest]:
        """Those whose time has run out, and of which nobody knows it yet."""
        rows = await self._tx.rows(
            "select * from access_request where status in ('Pending', 'Approved') and ends_at <= :now"
            " order by ends_at limit :limit",
            now=now, limit=limit,
        )  # fmt: skip
        return [_request(row) for row in rows]

    async def of_node(self, account_id: str, region: str, node_id: str) -> list[AccessRequest]:
        """Those that wait or hold."""
        rows = await self._tx.rows(
            "select * from access_request where account_id = :account_id and region = :region and node_id = :node"
            " and status in ('Pending', 'Approved')",
            account_id=account_id, region=region, node=node_id,
        )  # fmt: skip
        return [_request(row) for row in rows]

    async def decide(self, request_id: str, number: int, decision: Decision) -> None:
        await self._tx.execute(
            "insert into access_decision (request_id, number, decision, level, by_arn, by_id, comment, at)"
            " values (:request_id, :number, :decision, :level, :by_arn, :by_id, :comment, :at)",
            request_id=request_id, number=number, **asdict(decision),
        )  # fmt: skip

    async def decisions(self, request_ids: Sequence[str]) -> dict[str, list[Decision]]:
        """What was said, in its order."""
        found: dict[str, list[Decision]] = {each: [] for each in request_ids}
        if not request_ids:
            return found
        rows = await self._tx.rows(
            "select * from access_decision where request_id in (:ids) order by request_id, number",
            ids=list(request_ids),
        )
        for row in rows:
            values = {each.name: row[each.name] for each in fields(Decision)}
            found[row["request_id"]].append(Decision(**values))
        return found

    async def forget(self, before: int, limit: int) -> None:
        """Remove those that ended before."""
        rows = await self._tx.rows(
            "select request_id from access_request where status not in ('Pending', 'Approved')"
            " and changed_at < :before limit :limit",
            before=before, limit=limit,
        )  # fmt: skip
        old = [row["request_id"] for row in rows]
        if old:
            for table in ("access_decision", "access_request"):
                await self._tx.execute(f"delete from {table} where request_id in (:old)", old=old)  # noqa: S608


def _request(row: Row) -> AccessRequest:
    values = {name: row[name] for name in _FIELDS}
    levels = tuple(
        tuple(Approver(kind=each["type"], name=each["name"]) for each in level) for level in json.loads(row["levels"])
    )
    return AccessRequest(**(values | {"status": Status(row["status"]), "levels": levels}))
