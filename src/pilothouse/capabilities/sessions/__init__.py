"""Sessions: a person's terminal, command or tunnel on a node, through the gateway.

Owns the tables session, session_token, session_tape, session_held and session_stream, and every status change of a
session. What is said in one goes between client and agent; the gateway joins them, and asks and tells the `Keeper`
here.
"""

from pilothouse.call import Capability, Lasting
from pilothouse.capabilities.sessions import delivering, jobs, lease, listing, operations, recordings, streaming
from pilothouse.capabilities.sessions.keeper import SEALED_VIEWER, Keeper
from pilothouse.capabilities.sessions.leaving import access_ended, node_deregistered, process_ended
from pilothouse.capabilities.sessions.model import Status
from pilothouse.capabilities.sessions.starting import key_of
from pilothouse.capabilities.sessions.store import SessionStore
from pilothouse.capabilities.sessions.tapes import SEALED, SEALED_HELD, SEALED_STREAM
from pilothouse.storage import Transaction

__all__ = ["CAPABILITY", "Keeper", "keys_of_access"]


async def keys_of_access(tx: Transaction, account_id: str, access_request: str) -> dict[str, str]:
    """The KMS keys that sessions of an access which go on are encrypted with: by session id, as they are named."""
    store = SessionStore(tx)
    begun = await store.several(await store.of_access(account_id, access_request))
    going = [each for each in begun if each.status is not Status.TERMINATING]
    return {each.session_id: key for each in going if (key := key_of(each))}


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """The tags by which policies tell sessions apart."""
    session = await SessionStore(tx).of_account(account_id, region, rest)
    if session is None:
        return {}
    return {"aws:ssmmessages:session-id": session.owner_id, "aws:ssmmessages:target-id": session.node_id}


CAPABILITY = Capability.of(
    "sessions",
    operations,
    listing,
    recordings,
    delivering,
    streaming,
    jobs,
    sealed=(SEALED, SEALED_HELD, SEALED_STREAM, SEALED_VIEWER),
    tags_of={"session": _tags},
    lasting=(Lasting(name="sessions.lease", run=lease.look),),
    listeners={"node.deregistered": node_deregistered, "process.ended": process_ended, "access.ended": access_ended},
)
