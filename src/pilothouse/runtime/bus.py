"""Wake-up bus: says that something changed, never what. No fact lives only here.

Listeners are in this process. A *link* brings wake-ups to the other processes of the installation, gathered into
parcels; what it loses, the slow sweeps of those who wait find. Mail goes with them: bytes for one process, in order,
which may get lost as well, and which their sender seals if they are not for everybody's eyes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import msgspec
import structlog

log = structlog.get_logger()

Listener = Callable[[str], None]
Receiver = Callable[[str, bytes], None]
"""(the process that sent it, what it is)."""

_GATHER_SECONDS: Final = 0.002
"""How long wake-ups wait for others to travel with: a command to thousands of nodes wakes each of them."""
_PARCEL: Final = 6000
"""Characters of keys in a parcel. PostgreSQL's NOTIFY carries less than 8000 bytes."""
_WAITING: Final = 100_000
"""Wake-ups that wait for a link at most; sweeps find what the others would have told."""
MAIL_MOST: Final = 4096
"""Bytes of one piece of mail."""
_MAIL_WAITING: Final = 16 << 20
"""Bytes of mail that wait for a link at most."""


class LinkDown(Exception):
    """The link has no connection now."""


class Link(Protocol):
    """The way to the other processes. It connects by itself, and again, and may lose parcels."""

    async def run(self, received: Callable[[bytes], None]) -> None:
        """Hold the connection until cancelled; `received` gets the parcels of all processes, this one too."""

    async def send(self, parcel: bytes) -> None:
        """Raises LinkDown."""


class _Mail(msgspec.Struct, array_like=True):
    to: str
    box: str
    data: bytes


class _Parcel(msgspec.Struct, omit_defaults=True):
    sender: str
    keys: dict[str, list[str]]
    """By topic."""
    mail: list[_Mail] = msgspec.field(default_factory=list)


class Woken:
    """The keys of the wake-ups since the last look; `event` is set while there are some."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._keys: set[str] = set()

    def add(self, key: str) -> None:
        """A wake-up of the key."""
        self._keys.add(key)
        self.event.set()

    def take(self) -> set[str]:
        """The keys; from here on anew. Take before the look, or what comes during it is missed."""
        keys, self._keys = self._keys, set()
        self.event.clear()
        return keys


class Bus:
    """Wake-ups by topic and key. Listeners return at once (they set an event or queue the key)."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self._leaving: dict[tuple[str, str], None] = {}
        self._some_leave: asyncio.Event | None = None
        self._boxes: dict[str, Receiver] = {}
        self._mail: list[_Mail] = []
        self._mail_bytes = 0

    def receive(self, box: str, receiver: Receiver) -> None:
        """Call `receiver` with each piece of mail for the box. It returns at once."""
        self._boxes[box] = receiver

    def post(self, to: str, box: str, data: bytes) -> bool:
        """Send up to MAIL_MOST bytes to one process; False where it is lost at once."""
        if self._some_leave is None or self._mail_bytes + len(data) > _MAIL_WAITING:
            return False
        self._mail.append(_Mail(to, box, data))
        self._mail_bytes += len(data)
        self._some_leave.set()
        return True

    def listen(self, topic: str, listener: Listener) -> None:
        """Call `listener(key)` on each wake-up of the topic."""
        self._listeners[topic].append(listener)

    @contextmanager
    def waiting(self, topic: str, key: str | None = None) -> Iterator[Woken]:
        """Gather the wake-ups of the topic, or of one key of it, while the block lasts."""
        woken = Woken()

        def listener(each: str) -> None:
            if key is None or each == key:
                woken.add(each)

        self._listeners[topic].append(listener)
        try:
            yield woken
        finally:
            self._listeners[topic].remove(listener)

    def is_heard(self, topic: str) -> bool:
        """Whether anybody listens to the topic in this process."""
        return bool(self._listeners[topic])

    def wake(self, topic: str, key: str) -> None:
        """Tell the listeners of the topic, in every process, that `key` is worth a look.

        Use `tx.after_commit` to call it.
        """
        self.wake_here(topic, key)
        if self._some_leave is not None and len(self._leaving) < _WAITING:
            self._leaving[topic, key] = None
            self._some_leave.set()

    def wake_all(self, topic: str, keys: Iterable[str]) -> None:
        """Tell the listeners of many keys."""
        for key in keys:
            self.wake(topic, key)

    def wake_here(self, topic: str, key: str) -> None:
        """Tell the listeners in this process alone."""
        for listener in tuple(self._listeners[topic]):
            listener(key)

    async def keep_linked(self, link: Link, process_id: str) -> None:
        """Exchange wake-ups with the other processes until cancelled."""

        def received(text: bytes) -> None:
            try:
                parcel = msgspec.json.decode(text, type=_Parcel)
            except msgspec.MsgspecError as error:
                log.warning("bus.parcel_not_understood", error=str(error))
                return
            if parcel.sender != process_id:
                for mail in parcel.mail:
                    if mail.to == process_id and mail.box in self._boxes:
                        self._boxes[mail.box](parcel.sender, mail.data)
                for topic, keys in parcel.keys.items():
                    for key in keys:
                        self.wake_here(topic, key)

        self._some_leave = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(link.run(received), name="bus link")
                both.create_task(self._send(link, process_id, self._some_leave), name="bus parcels")
        finally:
            self._some_leave = None
            self._leaving.clear()
            self._mail.clear()
            self._mail_bytes = 0

    async def _send(self, link: Link, process_id: str, some: asyncio.Event) -> None:
        while True:
            await some.wait()
            if not self._mail:
                await asyncio.sleep(_GATHER_SECONDS)
            some.clear()
            leaving, self._leaving = self._leaving, {}
            mail, self._mail, self._mail_bytes = self._mail, [], 0
            try:
                for pieces in _bags(mail):
                    await link.send(msgspec.json.encode(_Parcel(process_id, {}, pieces)))
                for keys in _parcels(leaving):
                    await link.send(msgspec.json.encode(_Parcel(process_id, keys)))
            except LinkDown as error:
                log.debug("bus.not_told", wakes=len(leaving), mail=len(mail), error=str(error))


def _bags(mail: list[_Mail]) -> Iterator[list[_Mail]]:
    pieces: list[_Mail] = []
    size = 0
    for each in mail:
        length = len(each.data) * 4 // 3 + len(each.to) + len(each.box) + 16
        if pieces and size + length > _PARCEL:
            yield pieces
            pieces, size = [], 0
        pieces.append(each)
        size += length
    if pieces:
        yield pieces


def _parcels(leaving: dict[tuple[str, str], None]) -> Iterator[dict[str, list[str]]]:
    keys: dict[str, list[str]] = {}
    size = 0
    for topic, key in leaving:
        size += len(msgspec.json.encode(key)) + (0 if topic in keys else len(topic) + 6)
        if size > _PARCEL and keys:
            yield keys
            keys, size = {}, len(key) + len(topic)
        keys.setdefault(topic, []).append(key)
    if keys:
        yield keys
