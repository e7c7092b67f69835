"""Transcripts of ended sessions on their way to the bucket and the log group that the session's document names.

They are delivered by the server, from the recording, to buckets and groups that are there.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from pilothouse.call import House, job
from pilothouse.capabilities import logs, objects
from pilothouse.capabilities.sessions.keeper import log_url, s3_url
from pilothouse.capabilities.sessions.model import Session
from pilothouse.capabilities.sessions.screens import Screen, Shown
from pilothouse.capabilities.sessions.store import SessionStore
from pilothouse.capabilities.sessions.streaming import send
from pilothouse.capabilities.sessions.tapes import StreamStore, TapeStore, lines_of

_SSM_USER: Final = "ssm-user"
_BATCH: Final = 20
_EVENTS: Final = 5000


def is_streamed(delivery: str) -> bool:
    """Whether a transcript goes to its log group while the session goes on."""
    to = json.loads(delivery) if delivery else {}
    return bool(to.get("group")) and bool(to["streamed"])


def wanted(inputs: Mapping[str, str], run_as: str) -> str:
    """Where a document wants transcripts, as a session keeps it. `run_as`: the user of the caller's own tag."""
    own = run_as or inputs.get("runAsDefaultUser", "")
    found = {
        "bucket": inputs.get("s3BucketName", ""),
        "prefix": inputs.get("s3KeyPrefix", ""),
        "group": inputs.get("cloudWatchLogGroupName", ""),
        "streamed": inputs.get("cloudWatchStreamingEnabled", "").lower() == "true",
        "runAs": own if own and inputs.get("runAsEnabled", "").lower() in ("true", "1", "t") else _SSM_USER,
    }
    return json.dumps(found) if found["bucket"] or found["group"] else ""


@job("sessions.deliver", every=timedelta(seconds=10))
async def deliver(house: House) -> None:
    """Deliver what is whole."""
    async with house.database.reading() as tx:
        waiting = await SessionStore(tx).to_deliver(_BATCH)
    for session in waiting:
        to: dict[str, Any] = json.loads(session.delivery)
        done = replace(session, delivery="")
        if to["bucket"]:
            done = await _to_bucket(house, done, to["bucket"], to["prefix"])
        if to["group"]:
            done = await _to_group(house, done, to)
        async with house.database.transaction() as tx:
            store = SessionStore(tx)
            await StreamStore(tx, house.vault).end(session.session_id)
            now = await store.held(session.session_id)
            if now is not None:
                where = replace(now, s3_url=done.s3_url, log_url=done.log_url)
                await store.save(replace(where, delivery="", details=done.details))


async def _to_bucket(house: House, session: Session, bucket: str, prefix: str) -> Session:
    key = f"{prefix.strip('/')}/{session.session_id}.log".lstrip("/")
    try:
        kept = await objects.keep(
            house, session.account_id, bucket, key, _text(house, session), content_type="text/plain"
        )  # fmt: skip
        async with house.database.transaction() as tx:
            await objects.place(tx, kept)
    except objects.NoSuchBucket:
        return _noted(session, f"There is no bucket {bucket} for its transcript.")
    return replace(session, s3_url=s3_url(session, bucket, key))


async def _to_group(house: House, session: Session, to: dict[str, Any]) -> Session:
    group = to["group"]
    async with house.database.reading() as tx:
        if not await logs.has_group(tx, session.account_id, session.region, group):
            return _noted(session, f"There is no log group {group} for its transcript.")
    if to["streamed"]:
        await send(house, session, to, last=True)
        return replace(session, log_url=log_url(session, group, session.session_id))
    batch: list[logs.Event] = []
    number = 0
    async for event in _events(house, session):
        batch.append(event)
        if len(batch) == _EVENTS:
            await _append(house, session, group, batch, number)
            batch, number = [], number + 1
    await _append(house, session, group, batch, number)
    return replace(session, log_url=log_url(session, group, session.session_id))


async def _append(house: House, session: Session, group: str, batch: list[logs.Event], number: int) -> None:
    once = f"transcript:{session.session_id}:{number}"
    where = session.account_id, session.region, group, session.session_id
    await logs.append(house, *where, batch, once=once)


def _noted(session: Session, what: str) -> Session:
    return replace(session, details=f"{session.details} {what}".strip()[:1024])


async def _lines(house: House, session: Session) -> AsyncIterator[Shown]:
    """What was shown, line by line."""
    screen = Screen()
    async with house.database.reading() as tx:
        async for lines in lines_of(TapeStore(tx, house.vault), session.session_id, session.tape_bytes):
            for shown in screen.shown(lines):
                yield shown
    for shown in screen.rest():
        yield shown


async def _text(house: House, session: Session) -> AsyncIterator[bytes]:
    async for shown in _lines(house, session):
        yield shown.text.encode() + b"\n"


async def _events(house: House, session: Session) -> AsyncIterator[logs.Event]:
    """A line is an event."""
    async for shown in _lines(house, session):
        yield logs.Event(session.started_at + int(shown.at * 1000), shown.text or " ")
