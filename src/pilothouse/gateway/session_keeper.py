"""What the gateway needs to know and to have kept of sessions; the capability behind them answers it.

The gateway joins two connections and keeps in memory what is under way between them. Whatever must outlive it is the
keeper's: who may open a channel, how sessions stand, and what was said, if that is recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from pilothouse.call import House
from pilothouse.gateway.session_messages import TaskComplete
from pilothouse.identity.principals import Principal

Role = Literal["client", "agent", "watch", "join"]
"""The two ends, and those who look at the client's."""

DATA_CHANNEL_PATH: Final = "/v1/data-channel/"
NODE: Final = "session.node"
"""Bus topic; the key is a node that is to be told of a session."""
TERMINAL_PATH: Final = "/ph/v1/sessions/terminal"
TAPED: Final = "session.taped"
"""Bus topic, heard in the same process alone; the key is a session of which more is recorded."""
CHANGED: Final = "session.changed"
"""Bus topic; the key is a session whose ends must be looked at: it ends, or another process joins them now."""


class SessionEnded(Exception):
    """There is no such session that could go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """By what rules the two ends of a session are joined."""

    session_id: str
    account_id: str
    region: str
    node_id: str
    began_at: int = 0
    """When it was started."""
    pausable: bool = True
    """Whether its agent may be told to wait while no client is there."""
    taping: Literal["no", "wanted", "needed"] = "no"
    """Whether output is recorded before anybody sees it; `needed`: or the session ends."""
    input_taped: bool = False
    masks: str = ""
    """What its recording must not show, in words of the keeper's; empty: nothing."""
    next_output: int = 0
    """The first output that is not recorded yet, and so was seen by nobody."""
    next_input: int = 0
    may_be_raw: bool = False
    """Its client may hold data back unacknowledged for want of a local connection, if it is an old one."""
    is_new: bool = True
    """No agent was there before."""
    settled: bool = False
    """Its client was seen to acknowledge ordinary data: it takes what it gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A token was good for one connection."""

    role: Role
    terms: Terms
    connection_id: str
    viewer: bytes = field(default=b"", repr=False)
    """Who looks on, in words of the keeper's."""
    ended: str | None = None
    """The session is ending, for this reason: the client is just told so."""


class Telling(NamedTuple):
    """A message about a session, for a node's control channel."""

    message_type: str
    payload: bytes


class Standing(NamedTuple):
    """How a session stands for whoever joins its ends."""

    ends: Literal["no", "client", "both"]
    """Whom to tell that it has ended."""
    reason: str = ""
    elsewhere: bool = False
    """Another process joins its ends by now."""


@dataclass(slots=True)
class Tape:
    """What of one session is to be made durable now."""

    terms: Terms
    events: list["TapeEvent"] = field(default_factory=list)
    next_output: int = 0
    next_input: int = 0


class TapeEvent(NamedTuple):
    """Something to be recorded: `o` output, `i` input, `r` size of the terminal, `m` a mark."""

    at_ms: int
    kind: Literal["o", "i", "r", "m"]
    data: bytes

    def __repr__(self) -> str:
        return f"TapeEvent({self.at_ms}, {self.kind!r}, {len(self.data)} bytes)"


class Tail(NamedTuple):
    """Some of a recording, as lines of an asciicast, and how the session stands."""

    lines: bytes
    size: int
    """Bytes of all its lines."""
    next_output: int
    """The first output of the agent that is not among them."""
    ended: str | None
    """Why it has ended."""


class Use(NamedTuple):
    """What went through a session since it was last told."""

    active_at: int
    """When something other than upkeep did."""
    sent: int
    """Bytes from the client to the node."""
    received: int


class SessionKeeper(Protocol):
    """Every answer is durable. All raise StorageUnavailable."""

    async def agent_token(self, house: House, node: Principal, session_id: str) -> str:
        """A token by which the node's agent opens the session's channel, once. Raises SessionEnded."""

    async def admit(
        self, house: House, session_id: str, token: str, roles: Sequence[Role], node: Principal | None, process_id: str
    ) -> Admission | None:
        """Use up a token of one of the roles; None if it is not good. `node`: who signed the connection, for agents."""

    async def tail(self, house: House, session_id: str, start: int, most: int) -> "Tail | None":
        """What is recorded of the session from a place on; None if there is no such session."""

    async def terms(self, house: House, session_id: str) -> Terms | None:
        """The rules as they are now; None if there is no such session that goes on."""

    async def home(self, house: House, session_id: str) -> str | None:
        """The process that has the agent's connection; None: no process has it."""

    async def may_view(self, house: House, session_id: str, viewer: bytes) -> bool:
        """Whether who looks on still may."""

    async def left(self, house: House, admission: Admission, why: str) -> None:
        """A connection has ended."""

    async def ending(self, house: House, terms: Terms) -> None:
        """The agent says that the session ends."""

    async def completed(self, house: House, node: tuple[str, str, str], ended: TaskComplete) -> None:
        """The agent says that the session has ended. `node`: account, region and id. May repeat."""

    async def broken(self, house: House, terms: Terms, reason: str) -> None:
        """The session cannot go on: end it."""

    async def tellings(self, house: House, node_id: str, channel_id: str, *, opened: bool) -> Sequence[Telling]:
        """What the node must be told on its control channel; `opened`: that is new."""

    async def untold(self, house: House) -> Sequence[str]:
        """Nodes that `tellings` may have something for."""

    async def standings(self, house: House, session_ids: Sequence[str], process_id: str) -> Mapping[str, Standing]:
        """How these sessions stand."""

    async def settled(self, house: House, terms: Terms) -> None:
        """The client was seen to acknowledge ordinary data."""

    async def used(self, house: House, uses: Mapping[str, Use]) -> None:
        """What went through sessions, by id."""

    async def tape(self, house: House, tapes: Sequence[Tape]) -> None:
        """Record, all in one commit."""
