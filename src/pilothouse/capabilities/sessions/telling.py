"""What the audit trail is told of the ends of sessions: when they are opened and closed, by whom."""

from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.sessions import states
from pilothouse.capabilities.sessions.model import Session
from pilothouse.capabilities.sessions.viewing import Viewer
from pilothouse.gateway.session_keeper import Role
from pilothouse.runtime.sparing import Sparing
from pilothouse.storage import Transaction

OPENED: Final = "OpenDataChannel"
CLOSED: Final = "CloseDataChannel"
_EACH, _WITHIN_MS, _TOGETHER = 20, 3_600_000, 600


def sparing(house: House) -> Sparing:
    """So many records of each end of a session in an hour, and of all in a minute."""
    return Sparing(house.clock, each=_EACH, within_ms=_WITHIN_MS, together=_TOGETHER)


async def tell_channel(
    house: House, tx: Transaction, session: Session, name: str, role: Role, viewer: Viewer | None, why: str, unsaid: int
) -> None:
    """An end was opened or closed. `unsaid`: how often that was not told since it was told last."""
    said: dict[str, Any] = {"sessionId": session.session_id, "role": role}
    said |= {"reason": why} if why else {}
    said |= {"notRecorded": unsaid} if unsaid else {}
    node = states.node_arn(session.account_id, session.region, session.node_id)
    owner = "root" if session.owner_arn.endswith(":root") else session.owner_arn.rpartition("/")[2]
    by, username, key = (session.owner_arn, session.owner_id), owner, session.owner_key
    if role == "agent":
        by, username, key = (node, session.node_id), session.node_id, ""
    elif viewer is not None:
        by, username, key = (viewer.arn, viewer.user_id), viewer.username, viewer.access_key_id
    await house.tell(
        tx, "channel.told",
        account_id=session.account_id, region=session.region, name=name, by=by, username=username, access_key_id=key,
        resources=[session.arn, node], said=said,
    )  # fmt: skip
