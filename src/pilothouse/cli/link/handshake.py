"""The handshake of a session, the client's end: what the agent asks, and what we answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PLAIN_CHUNK: Final = 1_024
"""What agents of the official kind get in one message."""
CHUNK: Final = 122_880
"""Bytes of the largest payload. With all that is around it, it stays below what the server's memory allocator gives
back to the system at once, which costs more than to fill it."""
_VERSION: Final = "1.2.804.0"
"""The release of session-manager-plugin that this client behaves like: agents decide by the number."""
_SUCCESS, _FAILED, _UNSUPPORTED = 1, 2, 3


class HandshakeFailed(Exception):
    """The agent's request cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What the other end is, can do, and wants."""

    version: str = ""
    session_type: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)
    key_id: str = ""
    challenge: str = ""

    @property
    def chunk(self) -> int:
        """Bytes of the largest payload it takes."""
        said = self.extensions.get("chunk")
        return min(CHUNK, said) if isinstance(said, int) and said >= PLAIN_CHUNK else PLAIN_CHUNK

    @property
    def window(self) -> int | None:
        """Bytes that may be under way to it; None: it did not say."""
        said = self.extensions.get("window")
        return said if isinstance(said, int) and said >= CHUNK else None

    def takes(self, extension: str) -> bool:
        """Whether it has version 1 of an extension."""
        return self.extensions.get(extension) == 1


def read_request(payload: bytes) -> Agent:
    """Raises HandshakeFailed."""
    try:
        said = json.loads(payload)
        actions = {each["ActionType"]: each.get("ActionParameters") or {} for each in said["RequestedClientActions"]}
        kind, key = actions.get("SessionType", {}), actions.get("KMSEncryption", {})
        extensions = said.get("Extensions")
        return Agent(
            version=str(said.get("AgentVersion") or ""),
            session_type=str(kind.get("SessionType") or ""),
            properties=kind.get("Properties") or {},
            extensions=extensions if isinstance(extensions, dict) else {},
            key_id=str(key.get("KMSKeyId") or ""),
            challenge=str(key.get("Challenge") or ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HandshakeFailed("the node's handshake cannot be read") from error


def answer(agent: Agent, offer: Mapping[str, Any], wrapped_key: str | None, trouble: str) -> bytes:
    """`offer`: what we take of its extensions; `wrapped_key`: the data key; `trouble`: why there is none."""
    done: list[dict[str, Any]] = [_action("SessionType", _SUCCESS, None, "")]
    if agent.key_id:
        found: dict[str, Any] | None = None
        if wrapped_key is not None:
            found = {"KMSCipherTextKey": wrapped_key, "KMSCipherTextHash": None}
            found |= {"ChallengeAcknowledgement": True} if agent.challenge else {}
        done.append(_action("KMSEncryption", _SUCCESS if found else _FAILED, found, trouble))
    said: dict[str, Any] = {"ClientVersion": _VERSION, "ProcessedClientActions": done, "Errors": None}
    if agent.extensions:
        said["Extensions"] = {"chunk": CHUNK, **offer}
    return json.dumps(said, separators=(",", ":")).encode()


def _action(kind: str, status: int, result: Any, error: str) -> dict[str, Any]:
    return {"ActionType": kind, "ActionStatus": status, "ActionResult": result, "Error": error}


def read_complete(payload: bytes) -> str:
    """What the agent wants the user to read. Raises HandshakeFailed."""
    try:
        return str(json.loads(payload).get("CustomerMessage") or "")
    except (ValueError, AttributeError, RecursionError) as error:
        raise HandshakeFailed("the node's handshake cannot be read") from error
