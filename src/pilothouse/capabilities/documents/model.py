"""What a document is, and what can be told from its content: steps, platforms, how long it may run.

Knows nothing of where documents are kept. Times are epoch milliseconds.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pilothouse.errors import ApiError

EXECUTION_SECONDS = 3600
"""How long a step may run when its document does not say, or says it in a way agents do not understand."""
EXECUTION_SHORTEST, EXECUTION_LONGEST = 5, 172_800

MOST_BYTES = 64 * 1024
"""Of a document's text."""

PLATFORMS = ("Windows", "Linux", "MacOS")

ON_NODES = frozenset({"Command", "Policy"})
"""Types whose steps agents run."""
_EVERYWHERE = frozenset({"Automation", "Automation.ChangeTemplate", "Session"})

_PLATFORMS_OF_PLUGIN: Mapping[str, tuple[str, ...]] = {
    "aws:runShellScript": ("Linux", "MacOS"),
    "aws:runPowerShellScript": ("Windows", "Linux", "MacOS"),
    "aws:domainJoin": ("Windows", "Linux"),
    "aws:applications": ("Windows",),
    "aws:psModule": ("Windows",),
    "aws:cloudWatch": ("Windows",),
    "aws:updateAgent": ("Windows",),
}
"""Plugins that do not run everywhere."""


class InvalidDocument(ApiError):
    """The document does not exist, or is of a type that cannot be used here."""

    def __init__(self, message: str = "The specified document does not exist.") -> None:
        super().__init__(message)


class InvalidDocumentType(ApiError):
    """The document is of another type than what is asked needs."""


class InvalidDocumentVersion(ApiError):
    """The document has no such version."""

    def __init__(self, message: str = "The document version is not valid or does not exist.") -> None:
        super().__init__(message)


class InvalidDocumentContent(ApiError):
    """The content is not what a document of its type must be; the text says where and why."""


class InvalidDocumentSchemaVersion(ApiError):
    """Documents of the type do not have this schema version."""

    def __init__(self, message: str = "The version of the document schema is not supported.") -> None:
        super().__init__(message)


class InvalidDocumentOperation(ApiError):
    """The document is in a state, or of a kind, that this cannot be done with."""


class DocumentAlreadyExists(ApiError):
    """The account has a document of that name."""

    def __init__(self, message: str = "The specified document already exists.") -> None:
        super().__init__(message)


class DuplicateDocumentContent(ApiError):
    """A version has this content already."""

    def __init__(
        self,
        message: str = (
            "The content of the association document matches another document. "
            "Change the content of the document and try again."
        ),
    ) -> None:
        super().__init__(message)


class DuplicateDocumentVersionName(ApiError):
    """Another version has that name."""

    def __init__(self, message: str = "The specified version name is a duplicate.") -> None:
        super().__init__(message)


class DocumentLimitExceeded(ApiError):
    """The account has as many documents as it may have."""


class DocumentVersionLimitExceeded(ApiError):
    """The document has as many versions as it may have."""


class DocumentPermissionLimit(ApiError):
    """The document cannot be shared with these accounts together."""


class InvalidPermissionType(ApiError):
    """A permission that there is not."""


class MaxDocumentSizeExceeded(ApiError):
    """The content is too large."""

    def __init__(self, message: str = "The size limit of a document is 64 KB.") -> None:
        super().__init__(message)


class InvalidParameters(ApiError):
    """The parameters do not fit the document."""


class InvalidFilterKey(ApiError):
    """A filter that the list does not know."""


class InvalidNextToken(ApiError):
    """The page token is not of this list."""


@dataclass(frozen=True, slots=True)
class Step:
    """One plugin that a node runs. `name` is what its results are reported under."""

    name: str
    action: str
    platform: str | None
    """The only platform it runs on, by its precondition; None if it has none."""
    timeouts: tuple[Any, ...]
    """`timeoutSeconds` of each part as written, None where absent."""
    folders: tuple[str, ...]
    """Where the agent puts the output of each of its parts below command and node in a bucket."""

    @property
    def folder(self) -> str:
        """That of the first part; all but plugins of schema 1.2 have one only."""
        return self.folders[0]


@dataclass(frozen=True, kw_only=True)
class Document:
    """One version of a document, with its content parsed."""

    name: str
    owner: str
    kind: str
    """DocumentType: Command, Session, Automation …"""
    version: str
    latest_version: str
    default_version: str
    format: str
    text: str
    """The content as it is stored; its hash is the document's."""
    content: Any
    """None for types whose content is only text here."""
    created_at: int
    account_id: str = ""
    """Empty for those that come with the installation."""
    version_name: str | None = None
    display_name: str | None = None
    default_version_name: str | None = None
    target_type: str | None = None
    requires: Sequence[Mapping[str, Any]] = ()
    author: str | None = None
    review_status: str | None = None

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def called(self, account_id: str, asked: str) -> str:
        """What the account calls it: as it asked, by the ARN, for another account's document."""
        return self.name if self.account_id in ("", account_id) else asked

    @property
    def members(self) -> Mapping[str, Any]:
        """The content's own; none where it is no object."""
        return self.content if isinstance(self.content, Mapping) else {}

    @property
    def schema_version(self) -> str:
        return str(self.members.get("schemaVersion") or "")

    @property
    def description(self) -> str:
        found = self.members.get("description")
        return found if isinstance(found, str) else ""

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Parameter name to its definition."""
        found = self.members.get("parameters")
        return found if self.kind in ON_NODES | _EVERYWHERE and isinstance(found, Mapping) else {}

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The plugins in document order; none for types that are not run by agents."""
        return tuple(_steps_of(self.members)) if self.kind in ON_NODES else ()

    @cached_property
    def platform_types(self) -> tuple[str, ...]:
        """The platforms on which at least one step runs; all for what does not run as steps on nodes."""
        if self.kind in _EVERYWHERE:
            return PLATFORMS
        fitting: set[str] = set()
        for step in self.steps:
            able = _PLATFORMS_OF_PLUGIN.get(step.action, PLATFORMS)
            fitting.update(able if step.platform is None else {step.platform} & {*able})
        return tuple(platform for platform in PLATFORMS if platform in fitting)

    def runs_on(self, platform: str | None) -> bool:
        """Whether a node of this platform can run it; a platform that is not known yet may."""
        return not platform or platform.lower() in {each.lower() for each in self.platform_types}

    def execution_seconds(self, values: Mapping[str, Sequence[str]]) -> int:
        """The longest that all steps together may run on one node, with these parameter values."""
        everywhere = 0
        by_platform: dict[str, int] = {}
        for step in self.steps:
            seconds = sum(self._seconds(timeout, values) for timeout in step.timeouts)
            if step.platform is None:
                everywhere += seconds
            else:
                by_platform[step.platform] = by_platform.get(step.platform, 0) + seconds
        return everywhere + max(by_platform.values(), default=0)

    def _seconds(self, timeout: Any, values: Mapping[str, Sequence[str]]) -> int:
        written = str(timeout).strip()
        if written.startswith("{{") and written.endswith("}}"):
            name = written[2:-2].strip()
            given = values.get(name)
            written = given[0] if given else str(self.parameters.get(name, {}).get("default", ""))
        try:
            seconds = int(float(written))
        except (ValueError, OverflowError):
            return EXECUTION_SECONDS
        return seconds if EXECUTION_SHORTEST <= seconds <= EXECUTION_LONGEST else EXECUTION_SECONDS


def _steps_of(content: Mapping[str, Any]) -> Iterable[Step]:
    for action, plugin in (content.get("runtimeConfig") or {}).items():
        parts = plugin.get("properties") or {}
        parts = parts if isinstance(parts, list) else [parts]
        ids = [str(part.get("id") or f"{number}.{action}") for number, part in enumerate(parts)] or [f"0.{action}"]
        folders = tuple(f"{_plain(action)}/{_plain(each)}" for each in ids)
        timeouts = tuple(part.get("timeoutSeconds") for part in parts) or (None,)
        yield Step(action, action, None, timeouts, folders)
    for step in content.get("mainSteps") or ():
        action, name = str(step["action"]), str(step["name"])
        timeouts = ((step.get("inputs") or {}).get("timeoutSeconds"),)
        yield Step(
            name, action, _only_platform(step.get("precondition")), timeouts, (f"{_plain(action)}/{_plain(name)}",)
        )


def _only_platform(precondition: Any) -> str | None:
    """The platform that a `StringEquals` precondition asks for, written either way round."""
    operands = precondition.get("StringEquals") if isinstance(precondition, Mapping) else None
    if not isinstance(operands, list) or len(operands) != 2:
        return None
    one, other = (str(operand).strip() for operand in operands)
    if other.lower() == "platformtype":
        one, other = other, one
    if one.lower() != "platformtype":
        return None
    return next((platform for platform in PLATFORMS if platform.lower() == other.lower()), None)


def _plain(name: str) -> str:
    return name.replace(":", "")
