"""Changes of a session that everybody goes by: they are told as events, and wake who must know.

Whoever calls these holds the session's lock.
"""

from datetime import UTC, datetime
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.sessions.model import COMPLETE_MS, Session, Status
from pilothouse.capabilities.sessions.store import SessionStore
from pilothouse.gateway.session_keeper import CHANGED, NODE
from pilothouse.storage import Transaction

DETAIL_TYPE: Final = "SSM Session State-change"


async def save(house: House, tx: Transaction, before: Session | None, now: Session) -> Session:
    """Write the session as it is now, and tell of its status if that is another one."""
    store = SessionStore(tx)
    if before is None:
        await store.add(now)
    else:
        await store.save(now)
    if before is None or before.status is not now.status:
        await _tell(house, tx, now)
    return now


async def terminate(
    house: House, tx: Transaction, session: Session, reason: str, *, to: Status = Status.TERMINATING, by: str = "server"
) -> Session:
    """End a session: its ends are told, and no token opens it any more.

    Terminating goes on until the node has said that it is over; the other states are final at once.
    """
    if session.is_closed or (session.status is Status.TERMINATING and to is Status.TERMINATING):
        return session
    now = house.clock.millis()
    if to is Status.TERMINATING and session.told_on is None:
        to = Status.TERMINATED  # no node knows of it
    ended = session.moved(
        to, now, end_reason=reason or session.end_reason, ending_by=by,
        details=reason or session.details,
        completed=session.completed or session.told_on is None,
        **({"complete_due": now + COMPLETE_MS} if to is Status.TERMINATING else {}),
    )  # fmt: skip
    await SessionStore(tx).drop_tokens(session.session_id)
    await save(house, tx, session, ended)
    wake(house, tx, ended)
    return ended


def wake(house: House, tx: Transaction, session: Session) -> None:
    """Let those look at it who hold its ends, or its node's control channel."""

    def tell() -> None:
        house.bus.wake(NODE, session.node_id)
        house.bus.wake(CHANGED, session.session_id)

    tx.after_commit(tell)


async def _tell(house: House, tx: Transaction, session: Session) -> None:
    detail: dict[str, Any] = {
        "session-id": session.session_id,
        "status": session.status.value,
        "target": session.target,
        "owner": session.owner_arn,
        "document-name": session.document_name,
        "access-type": session.access_type,
        "start-date": _moment(session.started_at),
    }
    if session.reason:
        detail["reason"] = session.reason
    if session.ended_at is not None:
        detail["end-date"] = _moment(session.ended_at)
    if session.is_closed and (why := session.end_reason or session.details):
        detail["details"] = why[:1024]
    await house.tell(
        tx, "event",
        account_id=session.account_id, region=session.region, source="aws.ssm", detail_type=DETAIL_TYPE,
        resources=[session.arn, node_arn(session.account_id, session.region, session.node_id)], detail=detail,
    )  # fmt: skip


def node_arn(account_id: str, region: str, node_id: str) -> str:
    """As policies name a node."""
    if node_id.startswith("i-"):
        return f"arn:aws:ec2:{region}:{account_id}:instance/{node_id}"
    return f"arn:aws:ssm:{region}:{account_id}:managed-instance/{node_id}"


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
