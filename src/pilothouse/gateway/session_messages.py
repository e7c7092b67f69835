"""What is said on data channels, and about sessions on control channels: message types and their payloads."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from pilothouse.gateway.frames import Frame, encode
from pilothouse.gateway.payloads import write

INPUT: Final = "input_stream_data"
OUTPUT: Final = "output_stream_data"
ACKNOWLEDGE: Final = "acknowledge"
SESSION_STATE: Final = "agent_session_state"
CHANNEL_CLOSED: Final = "channel_closed"
PAUSE: Final = "pause_publication"
START: Final = "start_publication"
INTERACTIVE_SHELL: Final = "interactive_shell"

DATA, SIZE, HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE = 1, 3, 5, 6, 7
FLAG, STDERR, EXIT_CODE = 10, 11, 12
"""Payload types of stream messages."""
_NO_OPERATION: Final = bytes([1, 3, 0, 0, 0, 0, 0, 0])
"""A frame by which multiplexed connections keep alive; nobody does anything with it."""
_ENDS: Final = 3
"""Flags of messages that belong to no stream."""


class OpenDataChannel(msgspec.Struct):
    """The text that opens a data channel, of a client or of an agent."""

    token: str = msgspec.field(name="TokenValue")
    client_version: str = msgspec.field(name="ClientVersion", default="")
    acknowledges_again: bool = msgspec.field(name="AcknowledgesAgain", default=False)
    """A client that acknowledges whatever comes again, and each message no sooner than it made use of it."""

    def __repr__(self) -> str:
        return "OpenDataChannel(…)"


class Acknowledge(msgspec.Struct):
    """acknowledge: a stream message has arrived."""

    message_type: str = msgspec.field(name="AcknowledgedMessageType")
    message_id: str = msgspec.field(name="AcknowledgedMessageId")
    sequence: int = msgspec.field(name="AcknowledgedMessageSequenceNumber")
    sequential: bool = msgspec.field(name="IsSequentialMessage", default=True)


class SessionState(msgspec.Struct):
    """agent_session_state: `Connected` or `Terminating`."""

    state: str = msgspec.field(name="SessionState")


class TaskComplete(msgspec.Struct):
    """agent_task_complete: a session on the node has ended."""

    task_id: str = msgspec.field(name="TaskId")
    topic: str = msgspec.field(name="Topic", default="")
    status: str = msgspec.field(name="FinalTaskStatus", default="")
    output: str = msgspec.field(name="Output", default="")
    bucket: str = msgspec.field(name="S3Bucket", default="")
    key: str = msgspec.field(name="S3UrlSuffix", default="")
    log_group: str = msgspec.field(name="CwlGroup", default="")
    log_stream: str = msgspec.field(name="CwlStream", default="")


class HandshakeResponse(msgspec.Struct):
    """What a client says of itself."""

    client_version: str = msgspec.field(name="ClientVersion", default="")


class Action(msgspec.Struct):
    """Something that an agent wants of a client."""

    kind: str = msgspec.field(name="ActionType")


class HandshakeRequest(msgspec.Struct):
    """What an agent says of itself, and wants."""

    agent_version: str = msgspec.field(name="AgentVersion", default="")
    actions: list[Action] = msgspec.field(name="RequestedClientActions", default_factory=list)


class HandshakeComplete(msgspec.Struct):
    """The end of the handshake."""

    message: str = msgspec.field(name="CustomerMessage", default="")


class ChannelClosed(msgspec.Struct):
    """channel_closed, as far as clients look at it."""

    output: str = msgspec.field(name="Output", default="")


class Size(msgspec.Struct):
    """Of the client's terminal."""

    columns: int = msgspec.field(name="cols")
    rows: int


class _Closed(msgspec.Struct):
    message_id: str = msgspec.field(name="MessageId")
    created: str = msgspec.field(name="CreatedDate")
    destination: str = msgspec.field(name="DestinationId")
    session_id: str = msgspec.field(name="SessionId")
    message_type: str = msgspec.field(name="MessageType")
    schema: int = msgspec.field(name="SchemaVersion")
    output: str = msgspec.field(name="Output")


class _Shell(msgspec.Struct):
    content: str = msgspec.field(name="Content")
    task_id: str = msgspec.field(name="TaskId")
    topic: str = msgspec.field(name="Topic")
    schema: int = msgspec.field(name="SchemaVersion")


class _Session(msgspec.Struct):
    session_id: str = msgspec.field(name="SessionId")


read_open = msgspec.json.Decoder(OpenDataChannel).decode
read_acknowledge = msgspec.json.Decoder(Acknowledge).decode
read_state = msgspec.json.Decoder(SessionState).decode
read_task_complete = msgspec.json.Decoder(TaskComplete).decode
read_response = msgspec.json.Decoder(HandshakeResponse).decode
read_request = msgspec.json.Decoder(HandshakeRequest).decode
read_complete = msgspec.json.Decoder(HandshakeComplete).decode
read_closed = msgspec.json.Decoder(ChannelClosed).decode
read_size = msgspec.json.Decoder(Size).decode


def closed(session_id: str, node_id: str, message_id: str, now_ms: int, output: str) -> bytes:
    """The payload of channel_closed; clients show the output."""
    created = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return write(_Closed(message_id, created, node_id, session_id, CHANNEL_CLOSED, 1, output))


def shell(session_id: str, content: str) -> bytes:
    """The payload of interactive_shell."""
    return write(_Shell(content, session_id, "aws.ssm.interactiveShell", 1))


def about(session_id: str) -> bytes:
    """The payload of messages that say nothing but which session they mean."""
    return write(_Session(session_id))


def apart(message_type: str, message_id: str, now_ms: int, payload: bytes) -> bytes:
    """The frame of a message that belongs to no stream."""
    return encode(Frame(message_type, message_id, now_ms, payload, flags=_ENDS))


def acknowledging(message_type: str, acknowledged_id: str, sequence: int, message_id: str, now_ms: int) -> bytes:
    """The frame of an acknowledgement."""
    return apart(ACKNOWLEDGE, message_id, now_ms, write(Acknowledge(message_type, acknowledged_id, sequence)))


def is_activity(payload_type: int, payload: bytes) -> bool:
    """Whether a new stream message is more than the upkeep of a connection."""
    if payload_type not in (DATA, STDERR, FLAG):
        return False
    if payload[:8] != _NO_OPERATION[: len(payload)]:  # as with nearly all: what is large is not looked through
        return True
    return payload.replace(_NO_OPERATION, b"") != b""


_MULTIPLEXING: Final = (1, 1, 70)
"""From this version on clients forward local ports over one connection that is always there."""


def multiplexes(payload: bytes) -> bool:
    """Whether a client that says this of itself forwards ports over one connection."""
    parts = read_response(payload).client_version.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
        return False
    return tuple(map(int, parts[:3])) >= _MULTIPLEXING
