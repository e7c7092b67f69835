"""Background work of sessions: what did not come about in time, and history."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from pilothouse.call import House, job
from pilothouse.capabilities import access
from pilothouse.capabilities.sessions import states
from pilothouse.capabilities.sessions.model import (
    AGENT_AWAY_MS,
    AGENT_GONE,
    CONNECT_AGENT_MS,
    FORGOTTEN_BY_NODE_MS,
    HISTORY_MS,
    IDLE,
    NO_AGENT,
    NO_CLIENT,
    OWNER_GONE,
    TOO_LONG,
    Session,
    Status,
)
from pilothouse.capabilities.sessions.store import SessionStore
from pilothouse.gateway import presence
from pilothouse.storage import Transaction

_BATCH: Final = 200


@job("sessions.timers", every=timedelta(seconds=1))
async def timers(house: House) -> None:
    """End what has been waited for in vain."""
    async with house.database.reading() as tx:
        due = await SessionStore(tx).due(house.clock.millis(), _BATCH)
    for session_id in due:
        async with house.database.transaction() as tx:
            session = await SessionStore(tx).held(session_id)
            if session is not None:
                await _look(house, tx, session)


async def _look(house: House, tx: Transaction, session: Session) -> None:
    now = house.clock.millis()
    if session.status is Status.TERMINATING:
        if session.complete_due is not None and session.complete_due <= now:
            await states.save(house, tx, session, session.moved(Status.TERMINATED, now))
            states.wake(house, tx, session)
    elif session.ends_at is not None and session.ends_at <= now:
        await states.terminate(house, tx, session, TOO_LONG)
    elif session.agent_due is not None and session.agent_due <= now:
        await _agent_is_late(house, tx, session, now)
    elif session.client_due is not None and session.client_due <= now:
        await states.terminate(house, tx, session, IDLE if session.client_seen else NO_CLIENT)
    elif session.idle_at <= now:
        await states.terminate(house, tx, session, IDLE)
    else:
        await SessionStore(tx).postpone(session.session_id, session.due_at or now)


async def _agent_is_late(house: House, tx: Transaction, session: Session, now: int) -> None:
    if not session.agent_seen:
        await states.terminate(house, tx, session, NO_AGENT, to=Status.FAILED)
        return
    away_for = now - (session.agent_left_at or now)
    if away_for < AGENT_AWAY_MS and not await presence.is_connected(tx, session.node_id, now):
        later = replace(session, agent_due=min(now + CONNECT_AGENT_MS, now - away_for + AGENT_AWAY_MS))
        await SessionStore(tx).save(later)
        return
    await states.terminate(house, tx, session, AGENT_GONE, to=Status.FAILED)


@job("sessions.owners", every=timedelta(seconds=30))
async def owners(house: House) -> None:
    """End the sessions of those who are nobody any more, or whose key was taken away."""
    if house.settings.dev:
        return  # keys are made up there
    async with house.database.reading() as tx:
        gone = [
            (row["account_id"], row["owner_id"], row["owner_key"])
            for row in await SessionStore(tx).owners()
            if not await access.still_there(tx, row["account_id"], row["owner_id"], row["owner_key"])
        ]
    for owner in gone:
        async with house.database.transaction() as tx:
            store = SessionStore(tx)
            for session_id in await store.of_owner(*owner):
                session = await store.held(session_id)
                if session is not None:
                    await states.terminate(house, tx, session, OWNER_GONE)


@job("sessions.forget", every=timedelta(minutes=10))
async def forget(house: House) -> None:
    """Remove ended sessions after the time that history is kept, and tokens that nobody used."""
    now = house.clock.millis()
    async with house.database.reading() as tx:
        old = await SessionStore(tx).ended_before(now - HISTORY_MS, _BATCH)
    async with house.database.transaction() as tx:
        store = SessionStore(tx)
        await store.forget_tokens(now)
        await store.complete_old(now - FORGOTTEN_BY_NODE_MS)
        if old:
            await store.remove(old)
