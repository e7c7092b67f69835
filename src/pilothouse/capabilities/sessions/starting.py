"""StartSession: from a request to a session, and what its node is told."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pilothouse.call import Call, Shape
from pilothouse.capabilities import documents
from pilothouse.capabilities.documents import Document
from pilothouse.capabilities.sessions.delivering import wanted
from pilothouse.capabilities.sessions.model import (
    CONNECT_AGENT_MS,
    CONNECT_CLIENT_MS,
    IDLE_MINUTES,
    Session,
    Status,
    filled,
    minutes,
    new_session_id,
)
from pilothouse.capabilities.sessions.policy import Recording
from pilothouse.gateway.session_keeper import DATA_CHANNEL_PATH
from pilothouse.identity.principals import Principal

PREFERENCES: Final = "SSM-SessionManagerRunShell"
_RUN_AS_TAG: Final = "SSMSessionRunAs"
_IDLE_MOST, _LONGEST = 60, 1440
_HOST: Final = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}")
_UNRECORDED: Final = ("Port", "Pilothouse_File")
"""What goes through is no text: bytes are counted, files and destinations stand in the record of StartSession."""
_LOGGING: Final = re.compile(r"(?:s3|cloudWatch)[A-Z]")
"""Inputs by which an agent would upload the log itself."""


def owner_name(principal: Principal) -> str:
    """What the ids of a caller's sessions begin with: a user's name, the name of a session of a role."""
    if principal.kind == "root":
        return "root"
    return principal.name or principal.arn.rpartition("/")[2]


def made_id(call: Call) -> str:
    """A new session's id."""
    return new_session_id(owner_name(call.principal), call.ids.random_bytes(9).hex()[:17])


def stream_url(call: Call, session_id: str) -> str:
    """Where the client opens the channel."""
    return f"{websocket_base(call)}{DATA_CHANNEL_PATH}{session_id}?role=publish_subscribe"


def websocket_base(call: Call) -> str:
    """How the server is reached: as the client asked it, or as the settings say."""
    fixed = call.house.settings.sessions.url
    if fixed:
        return "ws" + fixed.removeprefix("http").rstrip("/")
    host = call.headers.get("host", "")
    if not _HOST.fullmatch(host):
        host = next(iter(call.house.settings.names), "127.0.0.1")
    return f"{'wss' if call.secure else 'ws'}://{host}"


def new_session(
    call: Call, request: Shape, session_id: str, document: Document, recording: Recording
) -> Session:  # fmt: skip
    """The session, with nobody at it yet."""
    now = call.clock.millis()
    given = documents.to_node(document, request.get("Parameters") or {})
    inputs = _inputs(document, given)
    kind = str(document.members.get("sessionType"))
    most = minutes(inputs.get("maxSessionDuration", ""), _LONGEST)
    ends = [] if most is None else [now + most * 60_000]
    ends += [call.principal.access_ends_at] if call.principal.access_request else []
    idle = minutes(inputs.get("idleSessionTimeout", ""), _IDLE_MOST) or IDLE_MINUTES
    properties = document.members.get("properties") or {}
    encrypted = bool(inputs.get("kmsKeyId")) and kind != "Port"
    is_recorded = kind not in _UNRECORDED and not encrypted
    return Session(
        session_id=session_id,
        account_id=call.account_id,
        region=call.region,
        node_id=request["Target"],
        target=request["Target"],
        document_name=document.called(call.account_id, request.get("DocumentName") or PREFERENCES),
        kind=kind,
        content=_content(call, session_id, document, given),
        owner_arn=call.principal.arn,
        owner_id=call.principal.user_id,
        owner_key=call.principal.access_key_id,
        reason=request.get("Reason"),
        access_type="JustInTime" if call.principal.access_request else "Standard",
        access_request=call.principal.access_request,
        status=Status.CONNECTING,
        started_at=now,
        active_at=now,
        idle_ms=idle * 60_000,
        most_minutes=most,
        ends_at=min(ends, default=None),
        agent_due=now + CONNECT_AGENT_MS,
        client_due=now + CONNECT_CLIENT_MS,
        pausable=not (kind == "NonInteractiveCommands" and _separates(properties)),
        may_be_raw=kind == "Port" and "type" in properties,
        taping=recording.taping if is_recorded else "no",
        input_taped=recording.input_taped and is_recorded,
        masks=recording.masks if is_recorded else "",
        delivery=wanted(inputs, call.principal.tags.get(_RUN_AS_TAG, ""))
        if is_recorded and not call.house.settings.sessions.agents_upload
        else "",
    )


def is_encrypted(document: Document, parameters: Mapping[str, Any]) -> bool:
    """Whether client and agent will encrypt what they say to each other."""
    if document.members.get("sessionType") == "Port":
        return False
    return bool(_inputs(document, documents.to_node(document, parameters)).get("kmsKeyId"))


def key_of(session: Session) -> str:
    """The KMS key under which client and agent are to encrypt what they say; empty where they do not."""
    if session.kind == "Port":
        return ""
    told = msgspec.json.decode(session.content)
    content = told["DocumentContent"]
    inputs, parameters = content.get("inputs") or {}, content.get("parameters") or {}
    return filled(inputs.get("kmsKeyId"), told["Parameters"], parameters)


def _inputs(document: Document, given: Mapping[str, Any]) -> dict[str, str]:
    found = document.members.get("inputs") or {}
    return {
        name: filled(value, given, document.parameters) for name, value in found.items() if not isinstance(value, dict)
    }


def _separates(properties: Mapping[str, Any]) -> bool:
    shells = [part for part in properties.values() if isinstance(part, Mapping)]
    return any(str(part.get("separateOutputStream", "false")).lower() not in ("", "false", "0") for part in shells)


def _content(call: Call, session_id: str, document: Document, given: Mapping[str, Any]) -> str:
    """The JSON text that the node gets. Agents without a way to buckets and logs are not asked to use them."""
    content = documents.for_node(document)
    inputs = content.get("inputs")
    if isinstance(inputs, Mapping) and not call.house.settings.sessions.agents_upload:
        content["inputs"] = {name: value for name, value in inputs.items() if not _LOGGING.match(name)}
    return msgspec.json.encode({
        "DocumentName": document.name,
        "DocumentContent": content,
        "SessionId": session_id,
        "Parameters": given,
        "RunAsUser": call.principal.tags.get(_RUN_AS_TAG, ""),
        "SessionOwner": call.principal.arn,
    }).decode()  # fmt: skip
