"""What the gateway asks and tells of sessions (`gateway.session_keeper`): tokens, comings and goings, ends."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog

from pilothouse.call import House
from pilothouse.capabilities.sessions import states
from pilothouse.capabilities.sessions.masked_tapes import Masker
from pilothouse.capabilities.sessions.model import CONNECT_AGENT_MS, TOKEN_MS, Session, Status
from pilothouse.capabilities.sessions.store import SessionStore
from pilothouse.capabilities.sessions.tapes import TapeStore
from pilothouse.capabilities.sessions.telling import CLOSED, OPENED, sparing, tell_channel
from pilothouse.capabilities.sessions.viewing import FindCredential, Viewer, decode, encode, may_view
from pilothouse.crypto.sealed import Sealed
from pilothouse.gateway.session_keeper import (
    CHANGED,
    TAPED,
    Admission,
    Role,
    SessionEnded,
    Standing,
    Tail,
    Tape,
    Telling,
    Terms,
    Use,
)
from pilothouse.gateway.session_messages import CHANNEL_CLOSED, INTERACTIVE_SHELL, TaskComplete, closed, shell
from pilothouse.identity.principals import Principal
from pilothouse.runtime.sparing import Sparing
from pilothouse.storage import Transaction

log = structlog.get_logger()

_DETAILS_MOST: Final = 1024
_SUCCESS: Final = frozenset({"Success", "Cancelled"})


def hashed(token: str) -> str:
    """A token as it is kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


async def new_token(house: House, tx: Transaction, session_id: str, role: Role, viewer: Viewer | None = None) -> str:
    """A token that opens the session's channel once; older ones of the role are good no more."""
    token = house.ids.random_bytes(32).hex()
    hash_ = hashed(token)
    sealed = None if viewer is None else house.vault.seal(encode(viewer), _viewer_context({"token_hash": hash_}))
    await SessionStore(tx).add_token(hash_, session_id, role, house.clock.millis() + TOKEN_MS, sealed)
    return token


def _viewer_context(row: Mapping[str, Any]) -> str:
    return f"session-viewer:{row['token_hash']}"


SEALED_VIEWER: Final = Sealed(table="session_token", keys=("token_hash",), column="viewer", context=_viewer_context)


def terms_of(session: Session) -> Terms:
    """By what rules its ends are joined."""
    taping = session.taping
    return Terms(
        session_id=session.session_id,
        account_id=session.account_id,
        region=session.region,
        node_id=session.node_id,
        began_at=session.started_at,
        pausable=session.pausable,
        taping="needed" if taping == "needed" else "wanted" if taping == "wanted" else "no",
        input_taped=session.input_taped,
        masks=session.masks,
        next_output=session.next_output,
        next_input=session.next_input,
        may_be_raw=session.may_be_raw,
        settled=session.settled,
        is_new=not session.agent_seen,
    )


class Keeper:
    """The installation's answer to `gateway.session_keeper.SessionKeeper`."""

    def __init__(self, find_credential: FindCredential) -> None:
        self._masker = Masker()
        self._find_credential = find_credential
        self._sparing: Sparing | None = None

    async def agent_token(self, house: House, node: Principal, session_id: str) -> str:
        async with house.database.transaction() as tx:
            store = SessionStore(tx)
            session = await store.held(session_id)
            if session is None or session.is_ending or not _is_of(session, node):
                raise SessionEnded
            until = house.clock.millis() + CONNECT_AGENT_MS
            if session.agent_due is not None and session.agent_due < until:
                await store.save(replace(session, agent_due=until))
            return await new_token(house, tx, session_id, "agent")

    async def admit(
        self, house: House, session_id: str, token: str, roles: Sequence[Role], node: Principal | None, process_id: str
    ) -> Admission | None:
        now = house.clock.millis()
        async with house.database.transaction() as tx:
            store = SessionStore(tx)
            session = await store.held(session_id)
            used = None if session is None else await store.use_token(hashed(token), session_id, now)
            if session is None or used is None or used[0] not in roles or session.is_closed:
                return None
            role, sealed = used
            viewer = (
                b""
                if sealed is None
                else await house.vault.opened(sealed, _viewer_context({"token_hash": hashed(token)}))
            )
            connection_id = house.ids.uuid()
            if role == "agent":
                if node is None or not _is_of(session, node):
                    return None
                came = replace(
                    session, agent_connection=connection_id, agent_process=process_id, agent_seen=True, agent_due=None,
                    agent_left_at=None,
                )  # fmt: skip
                tx.after_commit(lambda: house.bus.wake(CHANGED, session_id))  # for those who joined its ends before
            elif role in ("watch", "join"):
                came = session
            else:
                came = replace(
                    session, client_connection=connection_id, client_process=process_id, client_seen=True,
                    client_due=None,
                )  # fmt: skip
            if came is not session:
                came = await states.save(house, tx, session, came.joined(now))
            await self._tell(house, tx, session, OPENED, role, viewer)
        return Admission(
            role=role,
            viewer=viewer,
            terms=replace(terms_of(came), is_new=not session.agent_seen),
            connection_id=connection_id,
            ended=came.end_reason if came.is_ending else None,
        )

    async def terms(self, house: House, session_id: str) -> Terms | None:
        async with house.database.reading() as tx:
            session = await SessionStore(tx).find(session_id)
        return None if session is None or session.is_closed else terms_of(session)

    async def home(self, house: House, session_id: str) -> str | None:
        async with house.database.reading() as tx:
            session = await SessionStore(tx).find(session_id)
        return None if session is None else session.agent_process

    async def may_view(self, house: House, session_id: str, viewer: bytes) -> bool:
        async with house.database.reading() as tx:
            session = await SessionStore(tx).find(session_id)
        if session is None or not viewer:
            return False
        return await may_view(house, self._find_credential, decode(viewer), session)

    async def left(self, house: House, admission: Admission, why: str) -> None:
        role = admission.role
        async with house.database.transaction() as tx:
            session = await SessionStore(tx).held(admission.terms.session_id)
            if session is None:
                return
            if role in ("client", "agent"):
                await gone(house, tx, session, role, admission.connection_id)
            await self._tell(house, tx, session, CLOSED, role, admission.viewer, why)

    async def _tell(
        self, house: House, tx: Transaction, session: Session, name: str, role: Role, viewer: bytes, why: str = ""
    ) -> None:
        """Into the audit trail: not more than so often for each end of a session."""
        if self._sparing is None:
            self._sparing = sparing(house)
        unsaid = self._sparing.may_say(f"{session.session_id} {role}")
        if unsaid is not None:
            await tell_channel(house, tx, session, name, role, decode(viewer) if viewer else None, why, unsaid)

    async def ending(self, house: House, terms: Terms) -> None:
        async with house.database.transaction() as tx:
            session = await SessionStore(tx).held(terms.session_id)
            if session is not None:
                await states.terminate(house, tx, session, "", by="agent")

    async def broken(self, house: House, terms: Terms, reason: str) -> None:
        async with house.database.transaction() as tx:
            store = SessionStore(tx)
            session = await store.held(terms.session_id)
            if session is not None and session.is_ending and not session.details:
                await store.save(replace(session, details=reason))  # its ends knew it before this could be stored
            elif session is not None:
                await states.terminate(house, tx, session, reason)

    async def completed(self, house: House, node: tuple[str, str, str], ended: TaskComplete) -> None:
        async with house.database.transaction() as tx:
            store = SessionStore(tx)
            session = await store.held(ended.task_id)
            if session is None or session.completed or (session.account_id, session.region, session.node_id) != node:
                return
            output = ended.output[:_DETAILS_MOST]
            told = replace(session, completed=True, details=session.details or output)
            if ended.bucket and ended.key:
                told = replace(told, s3_url=s3_url(session, ended.bucket, ended.key))
            if ended.log_group:
                told = replace(told, log_url=log_url(session, ended.log_group, ended.log_stream))
            if told.is_closed:
                await store.save(told)
                return
            status = Status.TERMINATED if ended.status in _SUCCESS else Status.FAILED
            reason = session.end_reason or output
            over = told.moved(status, house.clock.millis(), end_reason=reason)
            await store.drop_tokens(session.session_id)
            await states.save(house, tx, session, over)
            tx.after_commit(lambda: house.bus.wake(CHANGED, session.session_id))

    async def tellings(self, house: House, node_id: str, channel_id: str, *, opened: bool) -> Sequence[Telling]:
        async with house.database.reading() as tx:
            if not await SessionStore(tx).to_tell(node_id, channel_id):
                return ()
        found = []
        async with house.database.transaction() as tx:
            store = SessionStore(tx)
            for session_id in await store.to_tell(node_id, channel_id):
                session = await store.held(session_id)
                if session is None or session.completed:
                    continue
                if session.is_ending:
                    found.append(Telling(CHANNEL_CLOSED, _closed(house, session)))
                    await store.save(replace(session, end_told_on=channel_id))
                elif not session.agent_seen:
                    found.append(Telling(INTERACTIVE_SHELL, shell(session.session_id, session.content)))
                    await store.save(replace(session, told_on=channel_id))
        return found

    async def untold(self, house: House) -> Sequence[str]:
        async with house.database.reading() as tx:
            return await SessionStore(tx).nodes_to_tell()

    async def standings(self, house: House, session_ids: Sequence[str], process_id: str) -> Mapping[str, Standing]:
        async with house.database.reading() as tx:
            found = await SessionStore(tx).several(session_ids)
        return {session.session_id: _standing(session, process_id) for session in found}

    async def settled(self, house: House, terms: Terms) -> None:
        async with house.database.transaction() as tx:
            await SessionStore(tx).settle(terms.session_id)

    async def used(self, house: House, uses: Mapping[str, Use]) -> None:
        async with house.database.transaction() as tx:
            await SessionStore(tx).count_use([
                {"id": session_id, "at": use.active_at, "sent": use.sent, "received": use.received}
                for session_id, use in sorted(uses.items())
            ])  # fmt: skip

    async def tail(self, house: House, session_id: str, start: int, most: int) -> Tail | None:
        async with house.database.reading() as tx:
            session = await SessionStore(tx).find(session_id)
            if session is None:
                return None
            most = min(most, session.tape_bytes - start)  # what is recorded meanwhile is not of this state
            lines = await TapeStore(tx, house.vault).read(session_id, start, most) if most > 0 else b""
        ended = session.end_reason if session.is_closed else None
        return Tail(lines, session.tape_bytes, session.next_output, ended)

    async def tape(self, house: House, tapes: Sequence[Tape]) -> None:
        async with house.database.transaction() as tx:
            await self._masker.add(house, tx, tapes)
        for session_id in {tape.terms.session_id for tape in tapes}:
            house.bus.wake_here(TAPED, session_id)


async def gone(house: House, tx: Transaction, session: Session, role: Role, connection_id: str | None) -> None:
    """A connection of the session has ended; None: whichever there is."""
    now = house.clock.millis()
    held = session.client_connection if role == "client" else session.agent_connection
    if held is None or connection_id not in (None, held):
        return
    if role == "client":
        left = replace(session, client_connection=None, client_process=None)
        if not session.is_ending:
            left = replace(left, client_due=now + session.idle_ms)
            if session.status is Status.CONNECTED:
                left = left.moved(Status.DISCONNECTED, now)
    else:
        left = replace(session, agent_connection=None, agent_process=None)
        if not session.is_ending:
            left = replace(left, agent_left_at=now, agent_due=now + CONNECT_AGENT_MS)
    await states.save(house, tx, session, left)


def s3_url(session: Session, bucket: str, key: str) -> str:
    """Where the transcript of a session is in a bucket."""
    return f"https://s3.{session.region}.amazonaws.com/{bucket}/{key}"


def log_url(session: Session, group: str, stream: str) -> str:
    """Where the log of a session is, as an ARN."""
    return f"arn:aws:logs:{session.region}:{session.account_id}:log-group:{group}:log-stream:{stream}"


def _is_of(session: Session, node: Principal) -> bool:
    return node.node_id == session.node_id and node.account_id == session.account_id


def _closed(house: House, session: Session) -> bytes:
    now = house.clock.millis()
    return closed(session.session_id, session.node_id, house.ids.uuid(), now, session.end_reason)


def _standing(session: Session, process_id: str) -> Standing:
    if not session.is_ending:
        return Standing("no", elsewhere=session.agent_process not in (None, process_id))
    if session.status is Status.TERMINATING and session.ending_by == "agent":
        return Standing("client", session.end_reason)
    return Standing("both", session.end_reason)
