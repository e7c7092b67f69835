"""Reading recordings: a page of an asciicast, and where a text stands in which of them."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from pilothouse.call import Call, House, Shape, job, operation
from pilothouse.capabilities.sessions.masked_tapes import finish
from pilothouse.capabilities.sessions.model import DoesNotExistException, Session
from pilothouse.capabilities.sessions.screens import Screen, Shown
from pilothouse.capabilities.sessions.store import SessionStore, listed
from pilothouse.capabilities.sessions.tapes import TapeStore, lines_of
from pilothouse.errors import AccessDeniedException, ApiError, ValidationException
from pilothouse.identity.authorise import ask_any
from pilothouse.runtime.clock import from_millis, to_millis
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

READ: Final = "pilothouse:GetSessionRecording"
_PAGE: Final = 256 << 10
_SEARCHED: Final = 32 << 20
"""Bytes of recordings that one call looks through; where more are left, it gives a token."""
_SESSIONS: Final = 100
_MATCHES: Final = 50
_LINE_MOST: Final = 300


class InvalidNextTokenException(ApiError):
    """The page token is not of this search."""


def header(session: Session) -> bytes:
    """The first line of its asciicast. Sizes of the terminal follow as events."""
    return msgspec.json.encode({
        "version": 2, "width": 80, "height": 24, "timestamp": session.started_at // 1000,
        "title": f"{session.session_id} on {session.node_id}",
    }) + b"\n"  # fmt: skip


def _resources(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:session/{request['SessionId']}"]


@operation("pilothouse", "GetSessionRecording", resources=_resources, asks_itself=True, audited=True)
async def get_session_recording(call: Call, request: Shape) -> Shape:
    """Some of the lines of a session's asciicast, from an offset on; its first line stands apart.

    More may come while the session goes on. The SHA-256 is that of the whole file, once it is known to be whole.
    """
    offset, most = request.get("Offset") or 0, request.get("MaxBytes") or _PAGE
    async with call.reading() as tx:
        session = await SessionStore(tx).of_account(call.account_id, call.region, request["SessionId"])
        await ask_any(call, tx, READ, _resources(call, request) if session is None else session.names)
        if session is None:
            raise DoesNotExistException
        data = await TapeStore(tx, call.house.vault).read(session.session_id, offset, most)
    end = offset + len(data)
    return {
        "Recorded": session.taping != "no",
        "Header": header(session).decode().rstrip("\n"),
        "Data": data,
        "NextOffset": end,
        "Size": session.tape_bytes,
        "Complete": session.is_closed and end >= session.tape_bytes,
        "Sha256": session.tape_sha256 or None,
        "BytesSent": session.bytes_sent,
        "BytesReceived": session.bytes_received,
    }


@operation("pilothouse", "SearchSessionRecordings", asks_itself=True, audited=True)
async def search_session_recordings(call: Call, request: Shape) -> Shape:
    """Lines of output that hold a text, in the recordings that the caller may read, newest sessions first."""
    text = request["Text"]
    wanted = [("target", request.get("Target")), ("owner_arn", request.get("Owner"))]
    equal = [(column, value) for column, value in wanted if value]
    bounds = [None if request.get(name) is None else to_millis(request[name]) for name in ("After", "Before")]
    query = ["SearchSessionRecordings", call.account_id, call.region, text, equal, bounds]
    position, matches, searched = _position(call, query, request), list[Shape](), 0
    limit = request.get("MaxResults") or _MATCHES
    async with call.reading() as tx:
        found = await listed(
            tx, call.account_id, call.region, closed=None, equal=equal, after=bounds[0], before=bounds[1],
            position=position, limit=_SESSIONS,
        )  # fmt: skip
        for session in found:
            if searched >= _SEARCHED or len(matches) >= limit:
                break
            position = session.started_at, session.session_id
            if session.tape_bytes and await _may_read(call, tx, session):
                searched += session.tape_bytes
                matches += await _matches(call.house, tx, session, text, limit - len(matches))
        else:
            position = position if len(found) == _SESSIONS else None
    token = None if position is None else call.house.pages.token(query, list(position))
    return {"Matches": matches, "NextToken": token}


def _position(call: Call, query: Sequence[Any], request: Shape) -> tuple[int, str] | None:
    token = request.get("NextToken")
    if not token:
        return None
    try:
        started_at, session_id = call.house.pages.position(list(query), token)
    except (InvalidPageToken, ValueError) as error:
        raise InvalidNextTokenException("The specified token is not valid.") from error
    return started_at, session_id


async def _may_read(call: Call, tx: Transaction, session: Session) -> bool:
    try:
        await ask_any(call, tx, READ, session.names)
    except AccessDeniedException:
        return False
    return True


async def _matches(house: House, tx: Transaction, session: Session, text: str, most: int) -> list[Shape]:
    """The first lines of the session's output that hold the text."""
    if "\n" in text:
        raise ValidationException("The text that is looked for stands in one line.")
    wanted, screen, found = text.casefold(), Screen(), list[Shape]()
    async for lines in lines_of(TapeStore(tx, house.vault), session.session_id, session.tape_bytes):
        found += [_match(session, shown) for shown in screen.shown(lines) if wanted in shown.text.casefold()]
        if len(found) >= most:
            return found[:most]
    return [*found, *(_match(session, shown) for shown in screen.rest() if wanted in shown.text.casefold())][:most]


def _match(session: Session, shown: Shown) -> Shape:
    return {
        "SessionId": session.session_id,
        "Target": session.target,
        "Owner": session.owner_arn,
        "StartDate": from_millis(session.started_at),
        "Seconds": shown.at,
        "Line": shown.text[:_LINE_MOST],
    }


@job("sessions.pack_recordings", every=timedelta(seconds=20))
async def pack(house: House) -> None:
    """Pack the recordings of ended sessions into large pieces, and say the hash of each file."""
    async with house.database.reading() as tx:
        waiting = await SessionStore(tx).to_pack(limit=20)
    for session in waiting:
        if session.masks:
            async with house.database.transaction() as tx:
                if await finish(house, tx, session):
                    session = await SessionStore(tx).find(session.session_id) or session
        digest, place = hashlib.sha256(header(session)), 0
        while place < session.tape_bytes:
            async with house.database.transaction() as tx:
                tapes = TapeStore(tx, house.vault)
                beyond = await tapes.pack(session.session_id, place)
                data = await tapes.read(session.session_id, place, beyond - place)
            if not data:
                break  # it was removed meanwhile
            digest.update(data)
            place = beyond
        async with house.database.transaction() as tx:
            await SessionStore(tx).packed(session.session_id, digest.hexdigest())
