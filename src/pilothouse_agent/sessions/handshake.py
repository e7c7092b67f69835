"""The handshake of a session: what the agent asks, what the client answers (session-protocol 4.4)."""

import json
import re
from dataclasses import dataclass
from typing import Any

SPOKEN_VERSION = "3.3.0.0"
"""The release of the official agent that this one behaves like in sessions: clients decide by the number."""

PLAIN_CHUNK = 1_024
"""What clients get in one message that say nothing of it."""
LARGEST_CHUNK = 122_880
TUNNEL_CHUNK = 31_744
"""What the official plugin gets: it writes payloads of any size into its tunnels. Clients that give themselves out for
it may be made with libraries that take messages of 32 KiB at most."""
INPUT_WINDOW = 1_048_576
"""Bytes that a client of our own may have under way."""

PORT = "Port"
_PLUGIN = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){3}")
_MOST_DIGITS = 10
_MUX_SINCE = (1, 1, 70)
_NO_KEEP_ALIVE_AFTER = (1, 2, 331, 0)
_SEPARATE_AFTER = (1, 2, 295, 0)


class HandshakeFailed(Exception):
    """The session cannot begin; the text is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What the other end is and can do."""

    version: str = ""
    chunk: int = PLAIN_CHUNK
    takes_exec: bool = False
    takes_files: bool = False
    tty: bool = False
    term: str = "xterm-256color"
    columns: int = 80
    rows: int = 24

    @property
    def multiplexes(self) -> bool:
        return later(self.version, _MUX_SINCE) >= 0

    @property
    def wants_keep_alive(self) -> bool:
        return later(self.version, _NO_KEEP_ALIVE_AFTER) <= 0

    @property
    def note(self) -> str:
        """What a client is told that cannot tell the two output streams apart."""
        if later(self.version, _SEPARATE_AFTER) > 0:
            return ""
        return "This session-manager-plugin cannot tell standard error from standard output; a newer one can.\r\n"


def later(version: str, other: tuple[int, ...]) -> int:
    """Above 0 if the version is later than the other. As the official agent compares: what is no number as text, so
    clients that name themselves count as late."""
    parts = version.split(".")
    for part, number in zip(parts, other, strict=False):
        if part.isascii() and part.isdigit() and len(part) < _MOST_DIGITS:
            difference = int(part) - number
        else:
            difference = (part > str(number)) - (part < str(number))
        if difference:
            return difference
    return len(parts) - len(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the agent wants of the client."""

    session_type: str
    properties: dict[str, Any] | None
    extension: str  # exec, file or nothing
    key_id: str = ""
    challenge: str = ""

    def encode(self) -> bytes:
        action = {"SessionType": self.session_type, "Properties": self.properties}
        actions: list[dict[str, Any]] = [{"ActionType": "SessionType", "ActionParameters": action}]
        if self.key_id:
            wanted = {"KMSKeyId": self.key_id, "Challenge": self.challenge}
            actions.append({"ActionType": "KMSEncryption", "ActionParameters": wanted})
        extensions: dict[str, int] = {"chunk": LARGEST_CHUNK, "window": INPUT_WINDOW}
        if self.extension:
            extensions[self.extension] = 1
        request = {"AgentVersion": SPOKEN_VERSION, "RequestedClientActions": actions, "Extensions": extensions}
        return json.dumps(request, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the client answered."""

    client: Client
    wrapped_key: str = ""  # base64
    challenge_acknowledged: bool = False


def read_answer(payload: bytes, question: Question) -> Answer:
    """Raises HandshakeFailed if the client cannot do what was asked."""
    members = _object(payload)
    results: dict[str, dict[str, Any]] = {}
    done = members.get("ProcessedClientActions")
    for each in done if isinstance(done, list) else ():
        if isinstance(each, dict):
            results[str(each.get("ActionType"))] = each
    wanted = ["SessionType", *(["KMSEncryption"] if question.key_id else [])]
    for name in wanted:
        result = results.get(name)
        if result is None:
            raise HandshakeFailed(f"The client did not answer the request for {name}.")
        if result.get("ActionStatus") != 1:
            reason = str(result.get("Error") or "it does not support it")[:500]
            raise HandshakeFailed(f"The client failed at {name}: {reason}")
    key: Any = results.get("KMSEncryption", {}).get("ActionResult") or {}
    if question.key_id and (not isinstance(key, dict) or not isinstance(key.get("KMSCipherTextKey"), str)):
        raise HandshakeFailed("The client did not send a data key.")
    return Answer(
        client=_client(members, question),
        wrapped_key=key.get("KMSCipherTextKey", ""),
        challenge_acknowledged=key.get("ChallengeAcknowledgement") is True,
    )


def _client(members: dict[str, Any], question: Question) -> Client:
    extensions = members.get("Extensions")
    if not isinstance(extensions, dict):
        extensions = {}
    version = str(members.get("ClientVersion") or "")
    usual = TUNNEL_CHUNK if question.session_type == PORT and _is_plugin(version) else PLAIN_CHUNK
    columns, rows = (_within(extensions.get(name), 1, 65_535, first) for name, first in (("cols", 80), ("rows", 24)))
    takes_exec = question.extension == "exec" and extensions.get("exec") == 1
    term = extensions.get("term")
    good_term = isinstance(term, str) and term.isascii() and term.replace("-", "").replace("+", "").isalnum()
    return Client(
        version=version,
        chunk=min(_within(extensions.get("chunk"), PLAIN_CHUNK, 1 << 20, usual), LARGEST_CHUNK),
        takes_exec=takes_exec,
        takes_files=question.extension == "file" and extensions.get("file") == 1,
        tty=takes_exec and extensions.get("tty") is True,
        term=term[:64] if isinstance(term, str) and good_term else "xterm-256color",
        columns=columns,
        rows=rows,
    )


def _is_plugin(version: str) -> bool:
    """Four numbers, as no other client has them."""
    return _PLUGIN.fullmatch(version) is not None and later(version, _MUX_SINCE) >= 0


def _within(value: object, least: int, most: int, usual: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most else usual


def complete(nanoseconds: int, note: str) -> bytes:
    """The message that ends the handshake."""
    return json.dumps({"HandshakeTimeToComplete": nanoseconds, "CustomerMessage": note}).encode()


def challenge(text: str) -> bytes:
    return json.dumps({"Challenge": text}).encode()


def read_challenge(payload: bytes) -> str:
    """Raises HandshakeFailed."""
    text = _object(payload).get("Challenge")
    if not isinstance(text, str):
        raise HandshakeFailed("The client did not answer the encryption challenge.")
    return text


def _object(payload: bytes) -> dict[str, Any]:
    try:
        members = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise HandshakeFailed("The client's answer to the handshake is not JSON.") from error
    if not isinstance(members, dict):
        raise HandshakeFailed("The client's answer to the handshake is no JSON object.")
    return members
