"""Sessions: their states, what may follow on what, their ids, and when something must have happened.

Times are epoch milliseconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from pilothouse.errors import ApiError

CONNECT_AGENT_MS: Final = 30_000
"""For the node to open the channel once it was told, and to come back when it lost it."""
AGENT_AWAY_MS: Final = 5 * 60_000
"""For a node to come back that has lost its control channel as well."""
CONNECT_CLIENT_MS: Final = 60_000
COMPLETE_MS: Final = 30_000
TOKEN_MS: Final = 5 * 60_000
IDLE_MINUTES: Final = 20
USE_TOLD_MS: Final = 2_000
HISTORY_MS: Final = 30 * 86_400_000
FORGOTTEN_BY_NODE_MS: Final = 48 * 3_600_000
"""After this long no node says any more that a session of it has ended."""

_NAME_MOST: Final = 78
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_PLACEHOLDER: Final = re.compile(r"\{\{\s*([a-zA-Z0-9]+)\s*\}\}")

IDLE: Final = "Your session timed out due to inactivity."
TOO_LONG: Final = "Your session has reached the longest time that it may last."
NO_CLIENT: Final = "No client connected to the session in time."
NO_AGENT: Final = "The node did not open the session in time. Check that its agent runs and may open data channels."
AGENT_GONE: Final = "The node has lost the session and did not come back to it."
OWNER_GONE: Final = "The credentials with which the session was started hold no more."
ACCESS_ENDED: Final = "The access to the node that you asked for was revoked."
NODE_GONE: Final = "The node was deregistered."


class TargetNotConnected(ApiError):
    """The node cannot be reached for a session now."""


class DoesNotExistException(ApiError):
    """There is no such session."""

    def __init__(self, message: str = "The specified session does not exist.") -> None:
        super().__init__(message)


class Status(Enum):
    """As clients know them."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"
    FAILED = "Failed"


_ENDS: Final = frozenset({Status.TERMINATING, Status.TERMINATED, Status.FAILED})
MOVES: Final[Mapping[Status, frozenset[Status]]] = {
    Status.CONNECTING: frozenset({Status.CONNECTED}) | _ENDS,
    Status.CONNECTED: frozenset({Status.DISCONNECTED}) | _ENDS,
    Status.DISCONNECTED: frozenset({Status.CONNECTED}) | _ENDS,
    Status.TERMINATING: frozenset({Status.TERMINATED, Status.FAILED}),
}
"""A status without a row is final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session on one node."""

    session_id: str
    account_id: str
    region: str
    node_id: str
    target: str
    document_name: str
    kind: str
    """Of the document: Standard_Stream, InteractiveCommands, NonInteractiveCommands, Port."""
    content: str
    """What the node is told to do."""
    owner_arn: str
    owner_id: str
    owner_key: str
    reason: str | None
    access_type: str
    access_request: str = ""
    """By whose access it was started."""
    status: Status
    details: str = ""
    end_reason: str = ""
    """What its client is told at the end."""
    ending_by: str = ""
    """`agent` where it said so itself, else `server`."""
    s3_url: str = ""
    log_url: str = ""
    started_at: int
    ended_at: int | None = None
    completed: bool = False
    idle_ms: int
    most_minutes: int | None = None
    ends_at: int | None = None
    told_on: str | None = None
    end_told_on: str | None = None
    client_connection: str | None = None
    client_process: str | None = None
    client_seen: bool = False
    agent_connection: str | None = None
    agent_process: str | None = None
    agent_seen: bool = False
    agent_left_at: int | None = None
    client_due: int | None = None
    agent_due: int | None = None
    complete_due: int | None = None
    active_at: int
    pausable: bool = True
    may_be_raw: bool = False
    settled: bool = False
    taping: str = "no"
    input_taped: bool = False
    masks: str = ""
    """Names of parameters and secrets whose values its recording does not show, as JSON."""
    next_output: int = 0
    next_input: int = 0
    tape_bytes: int = 0
    """Of the lines of its recording."""
    tape_sha256: str | None = None
    """Of the whole recording, once it is packed."""
    delivery: str = ""
    """Where its transcript is still to be delivered, as JSON."""
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def is_closed(self) -> bool:
        """Whether its status is final."""
        return self.status not in MOVES

    @property
    def is_ending(self) -> bool:
        return self.status is Status.TERMINATING or self.is_closed

    @property
    def arn(self) -> str:
        return f"arn:aws:ssm:{self.region}:{self.account_id}:session/{self.session_id}"

    @property
    def names(self) -> list[str]:
        """Its ARN, and that under the owner's id in place of the name: policies of users name it either way."""
        return names(self.account_id, self.region, self.session_id, self.owner_id)

    @property
    def idle_at(self) -> int:
        """When it has been idle for too long. What goes through is told each second, so it waits a little longer."""
        return self.active_at + self.idle_ms + USE_TOLD_MS

    @property
    def due_at(self) -> int | None:
        """When somebody must look at it; None: never."""
        if self.is_closed:
            return None
        if self.status is Status.TERMINATING:
            return self.complete_due
        moments = [self.client_due, self.agent_due, self.ends_at, self.idle_at]
        return min(each for each in moments if each is not None)

    def moved(self, to: Status, at: int, **changes: Any) -> "Session":
        """With another status. Raises ValueError for a move that there is not."""
        if to is not self.status and to not in MOVES.get(self.status, frozenset()):
            raise ValueError(f"a session that is {self.status.value} does not become {to.value}")
        if to not in MOVES:
            changes = {"ended_at": at, "client_due": None, "agent_due": None, "complete_due": None, **changes}
        return replace(self, status=to, **changes)

    def joined(self, at: int) -> "Session":
        """Connected, if both ends are there and it is not ending."""
        both = self.client_connection is not None and self.agent_connection is not None
        return self.moved(Status.CONNECTED, at) if both and not self.is_ending else self


def names(account_id: str, region: str, session_id: str, owner_id: str) -> list[str]:
    """See `Session.names`."""
    place = f"arn:aws:ssm:{region}:{account_id}:session/"
    return [place + session_id, f"{place}{owner_id}-{session_id.rpartition('-')[2]}"]


def new_session_id(owner: str, digits: str) -> str:
    """`alice-0123456789abcdef0`: it becomes part of paths on nodes, so other characters than these are replaced."""
    return f"{_UNSAFE.sub('_', owner)[:_NAME_MOST]}-{digits}"


def filled(value: Any, given: Mapping[str, Any], definitions: Mapping[str, Mapping[str, Any]]) -> str:
    """An input of a document as text, with the values of its parameters."""

    def named(match: re.Match[str]) -> str:
        found = given.get(match[1], definitions.get(match[1], {}).get("default"))
        return match[0] if found is None else str(found)

    if value is None:
        return ""
    return _PLACEHOLDER.sub(named, str(value)).strip()


def minutes(text: str, most: int) -> int | None:
    """A number of minutes; None for what is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= most else None
