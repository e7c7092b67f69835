"""The second sink: where records go besides the database, so that whoever owns the database does not own the trail.

Records are delivered in the order of the chain, each at least once, by one process at a time. A call that must be
recorded is refused while the sink does not take records: it was reached within the last second, or it is asked now.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from pilothouse.call import House
from pilothouse.capabilities.audit import store
from pilothouse.capabilities.audit.model import Record
from pilothouse.errors import ServiceUnavailable
from pilothouse.runtime.appending import FileLines, LinesRefused, SyslogLines
from pilothouse.runtime.outbound import OutboundFailed
from pilothouse.runtime.waiting import wait
from pilothouse.storage import StorageUnavailable

log = structlog.get_logger()

SEALED = "audit.sealed"
"""Records were linked and can be delivered."""
FRESH_SECONDS = 1.0
"""So long a sink that took something is taken to be well."""
ASK_SECONDS = 1.5
"""So long it may take over an answer."""
AGAIN_SECONDS = 0.5
"""So long after a failure calls are refused without asking."""
_HOLD_MS = 10_000
_BATCH = 200
_SWEEP_SECONDS = 2.0
_FACILITY_NOTICE = 13 * 8 + 5
"""`log audit`, `notice` (RFC 5424)."""


class SinkFailed(Exception):
    """The sink did not take the records; the text says why."""


class Sink(Protocol):
    """Somewhere that records go."""

    async def send(self, records: Sequence[Record]) -> None:
        """Take the records durably, or with none show that it could. Raises SinkFailed."""

    async def close(self) -> None:
        """Let go of connections."""


class _File:
    def __init__(self, path: Path) -> None:
        self._lines = FileLines(path)

    async def send(self, records: Sequence[Record]) -> None:
        try:
            await self._lines.write([line_of(each) for each in records])
        except LinesRefused as error:
            raise SinkFailed(str(error)) from error

    async def close(self) -> None:
        await self._lines.close()


class _Syslog:
    def __init__(self, url: str) -> None:
        self._lines = SyslogLines(url)

    async def send(self, records: Sequence[Record]) -> None:
        try:
            await self._lines.write([_message(each) for each in records])
        except LinesRefused as error:
            raise SinkFailed(str(error)) from error

    async def close(self) -> None:
        await self._lines.close()


class _Webhook:
    def __init__(self, house: House, url: str, token_file: str) -> None:
        self._house, self._url = house, url
        self._token_file = token_file

    async def send(self, records: Sequence[Record]) -> None:
        headers = {"content-type": "application/json", "user-agent": "pilothouse"}
        if self._token_file:
            headers["authorization"] = f"Bearer {_token(Path(self._token_file))}"
        body = b'{"Records":[' + b",".join(line_of(each) for each in records) + b"]}"
        try:
            answer = await self._house.outbound.send("POST", self._url, headers=headers, body=body, seconds=ASK_SECONDS)
        except OutboundFailed as error:
            raise SinkFailed(str(error)) from error
        if not 200 <= answer.status < 300:
            raise SinkFailed(f"the receiver answered {answer.status}")

    async def close(self) -> None:
        """The house owns the client."""


class Delivery:
    """Keeps one sink up with the chain, and knows whether it is well."""

    def __init__(self, house: House, key: bytes, sink: Sink) -> None:
        self._house, self._key, self._sink = house, key, sink
        self._name = sha256(house.settings.audit.sink.encode()).hexdigest()[:32]
        self._turn = asyncio.Lock()
        self._well = 0
        self._failed = 0
        self._why = ""

    async def ready(self) -> None:
        """Raises ServiceUnavailable if the sink takes no records, within ASK_SECONDS."""
        if self._is_within(self._well, FRESH_SECONDS):
            return
        if not self._why or not self._is_within(self._failed, AGAIN_SECONDS):
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    async with self._turn:
                        if not self._is_within(self._well, FRESH_SECONDS):
                            await self._deliver()
            except TimeoutError:
                self._ill("it did not answer in time")
            except (SinkFailed, StorageUnavailable) as error:
                self._ill(str(error))
            else:
                return
        raise ServiceUnavailable("The call cannot be recorded in the audit sink now. The request can be retried.")

    async def run(self) -> None:
        """Deliver for ever."""
        house = self._house
        try:
            with house.bus.waiting(SEALED) as woken:
                while True:
                    await wait(house.clock, woken.event, _SWEEP_SECONDS)
                    woken.take()
                    try:
                        async with asyncio.timeout(2 * ASK_SECONDS), self._turn:
                            await self._deliver(probe=False)
                    except TimeoutError:
                        self._ill("it did not answer in time")
                    except (SinkFailed, StorageUnavailable, store.ChainBroken) as error:
                        self._ill(str(error))
        finally:
            await self._sink.close()

    async def _deliver(self, *, probe: bool = True) -> None:
        """All that the sink lacks, if this process may. With `probe` it must also show that it is well."""
        house = self._house
        while True:
            now = house.clock.millis()
            async with house.database.reading() as tx:
                done = await store.delivered(tx, self._name)
                last = (await store.chain(tx, self._key)).last_seq
            if done is not None and done >= last:
                break
            async with house.database.transaction() as tx:
                held = await store.hold(tx, self._name, last, house.process_id, now, now + _HOLD_MS)
            if done is None or not held:
                break
            async with house.database.reading() as tx:
                records = await store.linked(tx, done, _BATCH)
            if not records:
                break
            await self._sink.send(records)
            self._good()
            async with house.database.transaction() as tx:
                await store.put_delivered(tx, self._name, house.process_id, records[-1].seq or 0)
        if probe:
            await self._sink.send(())
            self._good()

    def _good(self) -> None:
        self._well = self._house.clock.millis()
        if self._why:
            log.info("audit.sink_well_again")
        self._why = ""

    def _ill(self, why: str) -> None:
        if not self._why:
            log.error("audit.sink_failed", error=why)
        self._why = why
        self._well = 0
        self._failed = self._house.clock.millis()

    def _is_within(self, moment: int, seconds: float) -> bool:
        """Whether the moment was less than so many seconds ago; not where the clock was set back."""
        return 0 <= self._house.clock.millis() - moment < seconds * 1000


def sink_of(house: House) -> Sink | None:
    """The sink that the settings name. Raises ValueError for one that is none."""
    text = house.settings.audit.sink
    if not text:
        return None
    if text.startswith("file:"):
        return _File(Path(text.removeprefix("file:")))
    if text.startswith("syslog"):
        return _Syslog(text)
    if text.startswith(("https://", "http://")):
        return _Webhook(house, text, house.settings.audit.sink_token_file)
    raise ValueError(f"{text}: an audit sink is file:/path, syslog:///dev/log, syslog+tcp://host:port or https://...")


def _token(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SinkFailed(f"{file} cannot be read") from error


def line_of(record: Record) -> bytes:
    """The record as one line of JSON: the event, with its place and link in the chain beside it."""
    place = {"seq": record.seq, "mac": record.mac.hex(), "link": (record.link or b"").hex()}
    return record.body[:-1].encode() + b',"pilothouse":' + msgspec.json.encode(place) + b"}"


def _message(record: Record) -> bytes:
    time = datetime.fromtimestamp(record.at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"<{_FACILITY_NOTICE}>1 {time} - pilothouse - audit - ".encode() + line_of(record)
