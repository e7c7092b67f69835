"""What the server orders: the payload of interactive_shell, checked and filled in (session-protocol 5 and 7.1)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse_agent.documents import substitution
from pilothouse_agent.documents.plan import Fetch, InvalidDocument, check_patterns, defaults
from pilothouse_agent.documents.substitution import UnresolvedReference
from pilothouse_agent.times import now_ms

STANDARD, INTERACTIVE, NON_INTERACTIVE, PORT = (
    "Standard_Stream",
    "InteractiveCommands",
    "NonInteractiveCommands",
    "Port",
)
FILE = "Pilothouse_File"
TYPES = frozenset({STANDARD, INTERACTIVE, NON_INTERACTIVE, PORT, FILE})

_SESSION_ID = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,96}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One session, as it is stored."""

    session_id: str
    session_type: str
    document: str
    owner: str
    run_as: str
    inputs: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    accepted_at: int = 0

    def text(self, name: str) -> str:
        """An input that is a text."""
        value = self.inputs.get(name)
        return value if isinstance(value, str) else ""

    def switch(self, name: str, usual: bool = False) -> bool:
        """An input that is true or false, also as a text."""
        return is_true(self.inputs.get(name), usual)

    @property
    def run_as_enabled(self) -> bool:
        return self.switch("runAsEnabled")

    @property
    def elevated(self) -> bool:
        return is_true(self.of_platform.get("runAsElevated"))

    @property
    def key_id(self) -> str:
        """Port sessions are never encrypted."""
        return "" if self.session_type == PORT else self.text("kmsKeyId").strip()

    @property
    def of_platform(self) -> Mapping[str, Any]:
        """Properties of commands stand below the platform."""
        if self.session_type == FILE:
            return self.properties
        found = self.properties.get("linux")
        return found if isinstance(found, dict) else {}

    @property
    def shell_profile(self) -> str:
        profile = self.inputs.get("shellProfile")
        found = profile.get("linux") if isinstance(profile, dict) else None
        return found if isinstance(found, str) else ""


def is_true(value: object, usual: bool = False) -> bool:
    if isinstance(value, str) and value.strip():
        return value.strip().lower() == "true"
    return value if isinstance(value, bool) else usual


def session_id_of(members: Mapping[str, Any]) -> str | None:
    """The session that a message of the control channel is about; member names in lower case. None: none of ours."""
    found = members.get("sessionid") or members.get("taskid")
    if not found and isinstance(members.get("content"), str):
        content = _content(members["content"])
        found = content.get("SessionId")
    return found if isinstance(found, str) and _SESSION_ID.match(found) else None


def _content(text: object) -> dict[str, Any]:
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


async def read(session_id: str, text: object, fetch: Fetch) -> Order:
    """The order. Raises InvalidDocument."""
    content = _content(text)
    if content.get("SessionId") != session_id:
        raise InvalidDocument("the order of the session cannot be read")
    document = content.get("DocumentContent")
    if not isinstance(document, dict) or document.get("schemaVersion") not in ("1.0", 1.0):
        raise InvalidDocument("the session document is not of schema 1.0")
    session_type = document.get("sessionType")
    if not isinstance(session_type, str) or session_type not in TYPES:
        raise InvalidDocument(f"this agent has no sessions of type {str(session_type)[:64]}")
    definitions = _object(document.get("parameters"), "parameters")
    values = {name: _value(definitions.get(name), value) for name, value in _parameters(content, definitions).items()}
    raw = [_object(document.get(name), name) for name in ("inputs", "properties")]
    names = [*substitution.references(raw), *substitution.references(values)]
    stored = await fetch(list(dict.fromkeys(names))) if names else {}
    try:
        values = {name: substitution.fill(value, {}, stored) for name, value in values.items()}
        check_patterns(definitions, values)
        inputs, properties = (substitution.fill(each, values, stored) for each in raw)
    except UnresolvedReference as error:
        raise InvalidDocument(str(error)) from error
    assert isinstance(inputs, dict)
    assert isinstance(properties, dict)
    run_as = content.get("RunAsUser") or inputs.get("runAsDefaultUser") or ""
    return Order(
        session_id=session_id,
        session_type=session_type,
        document=str(content.get("DocumentName") or ""),
        owner=str(content.get("SessionOwner") or ""),
        run_as=run_as.strip() if isinstance(run_as, str) else "",
        inputs=inputs,
        properties=properties,
        accepted_at=now_ms(),
    )


def _object(value: object, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidDocument(f"{name} of the session document is not an object")
    return value


def _parameters(content: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    given = _object(content.get("Parameters"), "Parameters")
    known = {name: value for name, value in given.items() if substitution.VALID_NAME.match(name)}
    return {**defaults(definitions), **known}


def _value(definition: object, value: Any) -> Any:
    """A text also where the sender made it a list of one."""
    kind = definition.get("type") if isinstance(definition, dict) else None
    if kind in (None, "String") and isinstance(value, list) and len(value) == 1:
        return value[0]
    return value
