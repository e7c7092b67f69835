"""Nodes, server processes and accesses that go: what that means for their sessions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.sessions import states
from pilothouse.capabilities.sessions.keeper import gone
from pilothouse.capabilities.sessions.model import ACCESS_ENDED, NODE_GONE, Status
from pilothouse.capabilities.sessions.store import SessionStore
from pilothouse.capabilities.sessions.telling import CLOSED, tell_channel
from pilothouse.storage import Transaction

_PROCESS_GONE: Final = "the server process ended"


async def node_deregistered(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The node's sessions end at once; nobody is there who could say so."""
    store = SessionStore(tx)
    for known in await store.on_node(facts["node_id"]):
        session = await store.held(known.session_id)
        if session is None:
            continue
        ended = await states.terminate(house, tx, session, NODE_GONE, to=Status.TERMINATED)
        await store.save(replace(ended, completed=True))


async def process_ended(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The connections that the process held are gone."""
    store, process_id = SessionStore(tx), facts["process_id"]
    for session_id in await store.on_process(process_id):
        session = await store.held(session_id)
        if session is not None and session.client_process == process_id:
            await gone(house, tx, session, "client", None)
            await tell_channel(house, tx, session, CLOSED, "client", None, _PROCESS_GONE, 0)
            session = await store.find(session_id)
        if session is not None and session.agent_process == process_id:
            await gone(house, tx, session, "agent", None)
            await tell_channel(house, tx, session, CLOSED, "agent", None, _PROCESS_GONE, 0)


async def access_ended(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The sessions that were started by an access end with it."""
    store = SessionStore(tx)
    for session_id in await store.of_access(facts["account_id"], facts["request_id"]):
        session = await store.held(session_id)
        if session is not None:
            await states.terminate(house, tx, session, ACCESS_ENDED)
