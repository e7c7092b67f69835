"""Documents: what nodes are told to run, by name and version.

Owns the tables document, document_version, document_share, document_attachment and document_review, the provided
documents (their content is our own) and the rules for documents and their parameters. Whoever runs a document asks
`for_run` for it (`find`, where it is not of type Command or Policy), checks the values with `check_values`, and sends
`to_node`'s form of them with the content as `for_node` gives it. Tags hang on a document's name.
`document.changed` tells of a new version or default version, `document.deleting` of the end of a document, which who
hears it may refuse (facts: account_id, region, name).
`document.checking` asks whoever runs documents of the kind whether the content of one is right, before there is one;
who hears it may raise InvalidDocumentContent (facts: kind, content, text).
"""

from pilothouse.call import Capability
from pilothouse.capabilities import tags
from pilothouse.capabilities.documents import (
    attachments,
    calendar_states,
    listing,
    operations,
    reviews,
    sharing,
    writing,
)
from pilothouse.capabilities.documents.attachment_store import SEALED
from pilothouse.capabilities.documents.attachments import attached
from pilothouse.capabilities.documents.calendar_states import CHANGE, calendar, calendar_changes
from pilothouse.capabilities.documents.calendars import Calendar
from pilothouse.capabilities.documents.library import find, for_run, kind_of, of_kind
from pilothouse.capabilities.documents.lines import line_of
from pilothouse.capabilities.documents.model import (
    Document,
    InvalidDocument,
    InvalidDocumentContent,
    InvalidDocumentVersion,
    InvalidParameters,
    MaxDocumentSizeExceeded,
    Step,
)
from pilothouse.capabilities.documents.naming import arn_of
from pilothouse.capabilities.documents.node_form import for_node
from pilothouse.capabilities.documents.operations import TAGGED_AS
from pilothouse.capabilities.documents.store import DocumentStore
from pilothouse.capabilities.documents.values import check_values, references, to_node
from pilothouse.storage import Transaction

__all__ = [
    "CAPABILITY",
    "Calendar",
    "Document",
    "InvalidDocument",
    "InvalidDocumentContent",
    "InvalidDocumentVersion",
    "InvalidParameters",
    "MaxDocumentSizeExceeded",
    "Step",
    "arn_of",
    "attached",
    "calendar",
    "check_values",
    "find",
    "for_node",
    "for_run",
    "kind_of",
    "line_of",
    "of_kind",
    "references",
    "to_node",
]


async def _find(tx: Transaction, account_id: str, region: str, resource_id: str) -> str | None:
    """The document that tags hang on."""
    found = await DocumentStore(tx, account_id, region).place(resource_id)
    return None if found is None else resource_id


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """Of the document that an ARN ends with."""
    return await tags.of(tx, account_id, region, TAGGED_AS, rest) if account_id else {}


CAPABILITY = Capability.of(
    "documents",
    operations,
    writing,
    listing,
    sharing,
    reviews,
    calendar_states,
    taggable={TAGGED_AS: _find},
    tags_of={"document": _tags},
    groupable={"AWS::SSM::Document": tags.Tagged(TAGGED_AS, "ssm", "document/", _find)},
    due={CHANGE: calendar_changes},
    sealed=SEALED,
    files={attachments.PREFIX: attachments.linked},
)
