"""What a document of each type must be: its schema versions and form; some types only have to be well-formed.

Whatever is accepted here an agent can parse. Errors name the place, such as `mainSteps[2].inputs.runCommand`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pilothouse.capabilities.documents import approvals, automation, calendars, commands, sessions, texts
from pilothouse.capabilities.documents.lines import line_of
from pilothouse.capabilities.documents.model import (
    MOST_BYTES,
    InvalidDocumentContent,
    InvalidDocumentSchemaVersion,
    MaxDocumentSizeExceeded,
)
from pilothouse.capabilities.documents.places import at, mapping, scalar_text

_SCHEMAS: Final[Mapping[str, frozenset[str]]] = {
    "Command": frozenset({"1.2", "2.0", "2.2"}),
    "Policy": frozenset({"2.0", "2.2"}),
    "Session": frozenset({"1.0"}),
    "Automation": frozenset({"0.3"}),
    "Automation.ChangeTemplate": frozenset({"0.3"}),
    "Package": frozenset({"2.0"}),
    "ManualApprovalPolicy": frozenset({"1.0"}),
}
_CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {
    "Command": commands.check,
    "Policy": commands.check,
    "Session": sessions.check,
    "Automation": automation.check,
    "Automation.ChangeTemplate": automation.check,
    "Package": lambda content: _check_package(content),
    "ManualApprovalPolicy": approvals.check_manual,
}
_WITH_LINES: Final = frozenset({"Automation"})
"""Types whose errors name the line as well."""
_WITH_TAGS: Final = frozenset({"CloudFormation", "ConformancePackTemplate"})
"""Types whose YAML has tags of its own; only other programs read it."""


def checked(kind: str, format_: str, text: str) -> Any:
    """The content of a document's text; None where it is not looked into.

    Raises MaxDocumentSizeExceeded, InvalidDocumentContent, InvalidDocumentSchemaVersion.
    """
    if len(text.encode()) > MOST_BYTES:
        raise MaxDocumentSizeExceeded
    if format_ == "TEXT":
        _check_text(kind, text)
        return None
    if kind in ("ChangeCalendar", "AutoApprovalPolicy"):
        raise InvalidDocumentContent(f"A document of type {kind} has the format TEXT.")
    if kind in _WITH_TAGS and format_ == "YAML":
        return None
    content = texts.parse(text, format_)
    if kind not in _CHECKS:
        return content
    top = mapping("", content)
    version = scalar_text(top.get("schemaVersion"))
    if version is None:
        raise at("schemaVersion", "it must be there, as a text")
    if version not in _SCHEMAS[kind]:
        raise InvalidDocumentSchemaVersion(
            f"The version of the document schema is not supported: {version}. A document of type {kind} has one of: "
            f"{', '.join(sorted(_SCHEMAS[kind]))}."
        )
    try:
        _CHECKS[kind](top)
    except InvalidDocumentContent as error:
        if kind not in _WITH_LINES or (line := line_of(text, error.message.partition(": ")[0])) is None:
            raise
        raise InvalidDocumentContent(f"Line {line}: {error.message}") from error
    return content


def _check_text(kind: str, text: str) -> None:
    if kind in _SCHEMAS:
        raise InvalidDocumentContent(f"A document of type {kind} has the format JSON or YAML.")
    if kind == "ChangeCalendar" and not text.lstrip("\ufeff \t\r\n").upper().startswith("BEGIN:VCALENDAR"):
        raise InvalidDocumentContent("A change calendar begins with BEGIN:VCALENDAR.")
    if kind == "ChangeCalendar":
        try:
            calendars.read(text)
        except calendars.UnsupportedCalendarException as error:
            if error.unreadable:  # the rest is said whenever the calendar is asked
                raise InvalidDocumentContent(error.message) from error
    if kind == "AutoApprovalPolicy":
        approvals.check_auto(text)


def _check_package(content: Mapping[str, Any]) -> None:
    """A manifest: which file is for which platform, and the checksum of each."""
    for platform, versions in mapping("packages", content.get("packages")).items():
        for version, architectures in mapping(f"packages.{platform}", versions).items():
            for architecture, chosen in mapping(f"packages.{platform}.{version}", architectures).items():
                place = f"packages.{platform}.{version}.{architecture}"
                name = mapping(place, chosen).get("file")
                if not isinstance(name, str) or name not in mapping("files", content.get("files")):
                    raise at(f"{place}.file", "it must be the name of one of the files")
    for name, file in mapping("files", content.get("files")).items():
        sums = mapping(f"files.{name}.checksums", mapping(f"files.{name}", file).get("checksums"))
        if not isinstance(sums.get("sha256"), str):
            raise at(f"files.{name}.checksums.sha256", "it must be there, as a text")
