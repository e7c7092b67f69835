"""What all kinds of sessions share: how they end, what they are given."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pilothouse_agent.sessions.channel import DataChannel
from pilothouse_agent.sessions.handshake import Client
from pilothouse_agent.sessions.order import Order
from pilothouse_agent.sessions.users import Account
from pilothouse_agent.state import files

TERMINATE = 2
DISCONNECT = 1
CONNECT_FAILED = 3
END_OF_INPUT = 0x5048_0001
_SIGNAL = 0x5048_0100


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a session ended, as agent_task_complete says it."""

    status: str = "Success"
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that a session works with."""

    order: Order
    account: Account
    channel: DataChannel
    client: Client
    directory: Path
    record: Callable[[bytes], None]  # what goes into the transcript


class Activity(Protocol):
    """A session while it runs."""

    async def run(self) -> Ending:
        """To its own end."""

    async def end(self) -> None:
        """End what is left, whether run() came to its end or was cancelled."""


def not_now(_payload_type: int, _payload: bytes) -> bool:
    """What a session that does not run yet does with messages: they come again."""
    return False


def flag_of(payload: bytes) -> int:
    """The number of a Flag message; 0 if it is none."""
    return int(struct.unpack(">I", payload)[0]) if len(payload) == 4 else 0


def flag(number: int) -> bytes:
    return struct.pack(">I", number)


def signal_of(number: int) -> int:
    """The signal that a flag asks for; 0 if it asks for none."""
    found = number - _SIGNAL
    return found if 1 <= found <= 31 else 0


def size_of(payload: bytes) -> tuple[int, int] | None:
    """Rows and columns of a Size message."""
    try:
        members = json.loads(payload)
        rows, columns = members["rows"], members["cols"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    good = all(isinstance(each, int) and 0 < each <= 65_535 for each in (rows, columns))
    return (rows, columns) if good else None


def note_child(directory: Path, pid: int, born: str) -> None:
    """Which process is the session's: should the worker be killed, the agent ends it."""
    files.write_json(directory / "child.json", {"pid": pid, "born": born}, durable=False)
