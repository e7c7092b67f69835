"""Transcripts that go to a log group while their session goes on, in the cloud service's form: a second's lines in one
event, as JSON.

What is to go out is written down before it does, and named by its place in the recording, so it goes out once, whoever
does it and whenever that was killed. The end of a session sends the rest.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from pilothouse.call import House, job
from pilothouse.capabilities import logs
from pilothouse.capabilities.sessions.model import Session
from pilothouse.capabilities.sessions.screens import Screen, Shown
from pilothouse.capabilities.sessions.store import SessionStore
from pilothouse.capabilities.sessions.tapes import Streamed, StreamStore, TapeStore
from pilothouse.errors import ApiError

log = structlog.get_logger()

_BATCH: Final = 100
_MOST: Final = 2 << 20
"""Bytes of a recording in one go; no line of it is longer."""


@job("sessions.stream", every=timedelta(seconds=1))
async def stream(house: House) -> None:
    """Send what is new of sessions that go on."""
    async with house.database.reading() as tx:
        waiting = await SessionStore(tx).several(await StreamStore(tx, house.vault).waiting(_BATCH))
        there = [
            each for each in waiting
            if await logs.has_group(tx, each.account_id, each.region, msgspec.json.decode(each.delivery)["group"])
        ]  # fmt: skip
    for session in there:
        try:
            await send(house, session, msgspec.json.decode(session.delivery))
        except ApiError as error:  # the key of the group cannot be used: it is tried again
            log.warning("session.not_streamed", session_id=session.session_id, error=error.code)


async def send(house: House, session: Session, to: dict[str, Any], *, last: bool = False) -> None:
    """Send what is recorded and did not go out; `last`: the line without an end too, for nothing follows."""
    if last:
        async with house.database.transaction() as tx:
            await StreamStore(tx, house.vault).begin(session.session_id)  # a session of before this was possible
    while True:
        async with house.database.reading() as tx:
            streamed = await StreamStore(tx, house.vault).find(session.session_id)
            if streamed is None:
                return
            lines = await _next(TapeStore(tx, house.vault), session, streamed)
        place = streamed.place
        if streamed.upto == place and lines:
            async with house.database.transaction() as tx:
                await StreamStore(tx, house.vault).promise(session.session_id, place, place + len(lines))
            continue
        screen = Screen(streamed.at, streamed.held)
        if not lines:
            break
        await _put(house, session, to, screen.shown(lines), f"{place}")
        async with house.database.transaction() as tx:
            await StreamStore(tx, house.vault).went(session.session_id, place, streamed.upto, *screen.begun)
    if last:
        await _put(house, session, to, screen.rest(), "rest")


async def _next(tapes: TapeStore, session: Session, streamed: Streamed) -> bytes:
    """Whole lines of the recording: those that were promised, or all that there are."""
    if streamed.upto > streamed.place:
        return await tapes.read(session.session_id, streamed.place, streamed.upto - streamed.place)
    whole, end, _ = (await tapes.read(session.session_id, streamed.place, _MOST)).rpartition(b"\n")
    return whole + end


async def _put(house: House, session: Session, to: dict[str, Any], shown: Iterable[Shown], name: str) -> None:
    where = session.account_id, session.region, to["group"], session.session_id
    events = list(_events(session, to.get("runAs", ""), shown))
    await logs.append(house, *where, events, once=f"stream:{session.session_id}:{name}")


def _events(session: Session, run_as: str, shown: Iterable[Shown]) -> Iterator[logs.Event]:
    second, held = -1, list[str]()
    for each in shown:
        at = (session.started_at + int(each.at * 1000)) // 1000
        if held and at != second:
            yield _event(session, run_as, second, held)
            held = []
        second = at
        held.append(each.text)
    if held:
        yield _event(session, run_as, second, held)


def _event(session: Session, run_as: str, second: int, lines: list[str]) -> logs.Event:
    said = {
        "eventVersion": "1.0",
        "eventTime": datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "awsRegion": session.region,
        "target": {"id": session.node_id},
        "userIdentity": {"arn": session.owner_arn},
        "runAsUser": run_as,
        "sessionId": session.session_id,
        "sessionData": lines,
    }
    return logs.Event(second * 1000, msgspec.json.encode(said).decode())
