"""Messages of a session that are under way: what their receiver has not acknowledged, and what waits to be recorded."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from pilothouse.gateway.frames import Frame

MOST_FRAMES: Final = 10_000
MOST_BYTES: Final = 4 << 20
"""Kept in each direction; what comes beyond is dropped: its sender has it, or was not held up (`pairing.CROWDED`)."""
REMEMBERED: Final = 20_000
"""Numbers of messages lately acknowledged."""


@dataclass(slots=True)
class Kept:
    """A message that its receiver has not acknowledged."""

    raw: bytes
    frame: Frame
    epoch: int = 0
    """The connection of the receiver that it was last sent on; 0: none."""
    sent_at: int = 0
    """When it was last sent to the agent, epoch milliseconds."""


@dataclass(slots=True)
class Direction:
    """Messages of one direction."""

    unacknowledged: OrderedDict[int, Kept] = field(default_factory=OrderedDict)
    bytes: int = 0
    done: OrderedDict[int, None] = field(default_factory=OrderedDict)
    """Those lately acknowledged."""
    waiting: dict[int, Kept] = field(default_factory=dict)
    """Those that wait to be recorded, or for one before them."""
    next: int = 0
    """The first that is not on its way to be recorded."""
    highest: int = -1

    def has_room(self, size: int) -> bool:
        count = len(self.unacknowledged) + len(self.waiting)
        return count < MOST_FRAMES and self.bytes + size <= MOST_BYTES

    def wait(self, sequence: int, kept: Kept) -> None:
        self.bytes += len(kept.raw)
        self.waiting[sequence] = kept

    def keep(self, sequence: int, kept: Kept) -> None:
        for older in (self.waiting.pop(sequence, None), self.unacknowledged.get(sequence)):
            self.bytes -= len(older.raw) if older is not None else 0
        self.bytes += len(kept.raw)
        self.unacknowledged[sequence] = kept

    def acknowledged(self, sequence: int) -> Kept | None:
        """It has arrived; the message, if that was not known."""
        found = self.unacknowledged.pop(sequence, None)
        if found is not None:
            self.bytes -= len(found.raw)
        self.done[sequence] = None
        if len(self.done) > REMEMBERED:
            self.done.popitem(last=False)
        return found

    def late(self, before: int, most: int, most_bytes: int) -> Iterator[Kept]:
        """The first that are not acknowledged and were sent last before a time: so many, about so many bytes."""
        for sequence in sorted(self.unacknowledged)[:most]:
            kept = self.unacknowledged[sequence]
            if kept.sent_at <= before:
                yield kept
                most_bytes -= len(kept.raw)
            if most_bytes <= 0:
                return
