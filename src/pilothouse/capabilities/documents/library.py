"""The library: finding a document by name and version, first among those that come with the installation.

Provided documents belong to `Amazon`, as clients expect of these names, exist in every account and region, and have one
version. Their texts are our own.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec

from pilothouse.capabilities.documents.model import Document, InvalidDocument, InvalidDocumentVersion
from pilothouse.storage import Transaction

PROVIDED_OWNER = "Amazon"
_PROVIDED_AT = 1_764_547_200_000
"""2025-12-01: a date must be shown, and it must not change from one server to the next."""
_ARN = re.compile(r"arn:[a-z0-9-]+:ssm:[A-Za-z0-9-]*:(?:\d{12})?:document/(?P<name>[A-Za-z0-9_\-.]{3,128})")
_RUNNABLE = frozenset({"Command", "Policy"})


@cache
def provided() -> Mapping[str, Document]:
    """The provided documents by name, in the order of their names."""
    found: dict[str, Document] = {}
    folder = resources.files("pilothouse.capabilities.documents.provided")
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        name, dot, extension = entry.name.rpartition(".")
        if extension != "json" or not dot:
            continue
        text = entry.read_text("utf-8")
        found[name] = Document(
            name=name,
            owner=PROVIDED_OWNER,
            kind="Command",
            version="1",
            latest_version="1",
            default_version="1",
            format="JSON",
            text=text,
            content=msgspec.json.decode(text),
            created_at=_PROVIDED_AT,
        )
    return found


def plain_name(name_or_arn: str) -> str:
    """The name in an ARN, or the name itself."""
    match = _ARN.fullmatch(name_or_arn)
    return match["name"] if match else name_or_arn


def arn_of(name_or_arn: str, account_id: str, region: str) -> str:
    """As policies know what a request names. ARNs of provided documents name no account."""
    name = plain_name(name_or_arn)
    return f"arn:aws:ssm:{region}:{'' if name in provided() else account_id}:document/{name}"


async def find(tx: Transaction, account_id: str, region: str, name: str, version: str | None) -> Document:
    """The document in the version (`$DEFAULT` if None). Raises InvalidDocument, InvalidDocumentVersion."""
    document = provided().get(plain_name(name))
    if document is None:
        raise InvalidDocument("The specified document does not exist.")
    if version not in (None, "$DEFAULT", "$LATEST", document.version):
        raise InvalidDocumentVersion("The document version is not valid or does not exist.")
    return document


async def for_run(
    tx: Transaction,
    account_id: str,
    region: str,
    name: str,
    version: str | None = None,
    hash_: str | None = None,
    hash_type: str | None = None,
) -> Document:
    """A document that nodes can run, pinned to its hash if one is given.

    Raises InvalidDocument (unknown, of another type, or its content is not the expected one), InvalidDocumentVersion.
    """
    document = await find(tx, account_id, region, name, version)
    if document.kind not in _RUNNABLE:
        raise InvalidDocument(f"The document {document.name} is of type {document.kind}; a command needs type Command.")
    if hash_ is not None and (hash_type == "Sha1" or hash_.lower() != document.hash):
        raise InvalidDocument(f"The content of the document {document.name} does not have the given hash.")
    return document
