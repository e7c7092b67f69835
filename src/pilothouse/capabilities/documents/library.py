"""The library: finding a document by name and version, first among those that come with the installation.

Provided documents belong to `Amazon`, as clients expect of these names, exist in every account and region, and have one
version. Their texts are our own. A document of another account is found by its ARN, if its owner shares it.
"""

from collections.abc import Mapping
from functools import cache

import msgspec

from pilothouse.capabilities.documents.model import ON_NODES, Document, InvalidDocument, InvalidDocumentVersion
from pilothouse.capabilities.documents.naming import Named, is_provided, named
from pilothouse.capabilities.documents.provided import PROVIDED, text_of
from pilothouse.capabilities.documents.share_store import ShareStore
from pilothouse.capabilities.documents.store import DocumentStore, Place
from pilothouse.storage import Transaction

PROVIDED_OWNER = "Amazon"
_PROVIDED_AT = 1_764_547_200_000
"""2025-12-01: a date must be shown, and it must not change from one server to the next."""
_POLICIES = frozenset({"AWS-GatherSoftwareInventory"})


@cache
def provided() -> Mapping[str, Document]:
    """The provided documents by name, in the order of their names."""
    found: dict[str, Document] = {}
    for name in sorted(PROVIDED):
        text = text_of(name)
        content = msgspec.json.decode(text)
        found[name] = Document(
            name=name,
            owner=PROVIDED_OWNER,
            kind=_kind(name, content),
            version="1",
            latest_version="1",
            default_version="1",
            format="JSON",
            text=text,
            content=content,
            created_at=_PROVIDED_AT,
        )
    return found


def _kind(name: str, content: Mapping[str, object]) -> str:
    if "sessionType" in content:
        return "Session"
    if content.get("schemaVersion") == "0.3":
        return "Automation"
    return "Policy" if name in _POLICIES else "Command"


async def find(
    tx: Transaction,
    account_id: str,
    region: str,
    name: str,
    version: str | None = None,
    version_name: str | None = None,
) -> Document:
    """The document in the version (the default one if None). Raises InvalidDocument, InvalidDocumentVersion."""
    asked = named(name, account_id, region)
    if asked is None:
        raise InvalidDocument
    if is_provided(asked.name):
        return _version_of_provided(provided()[asked.name], version, version_name)
    store = DocumentStore(tx, asked.account_id, region)
    place = await store.place(asked.name)
    if place is None:
        if asked.name in PROVIDED and not asked.foreign:
            return _version_of_provided(provided()[asked.name], version, version_name)
        raise InvalidDocument
    shared = await _shared(tx, asked, region, account_id) if asked.foreign else "$ALL"
    number = await _number(store, asked.name, place, version, version_name, shared)
    found = await store.version(asked.name, number)
    if found is None or (shared, number) not in {
        ("$ALL", number), ("$DEFAULT", place.default), ("$LATEST", place.latest)
    }:  # fmt: skip
        raise InvalidDocumentVersion
    return found


async def kind_of(tx: Transaction, account_id: str, region: str, name: str) -> str | None:
    """The type of the document that is named; None if there is none, or if its owner does not share it."""
    asked = named(name, account_id, region)
    if asked is None:
        return None
    if is_provided(asked.name):
        return provided()[asked.name].kind
    shares = ShareStore(tx, asked.account_id, region)
    if asked.foreign and await shares.shared_version(asked.name, account_id) is None:
        return None
    place = await DocumentStore(tx, asked.account_id, region).place(asked.name)
    return None if place is None else place.kind


async def of_kind(tx: Transaction, account_id: str, region: str, kind: str, most: int) -> list[Document]:
    """The account's own documents of a type, each in its default version, by name."""
    names = await DocumentStore(tx, account_id, region).named_of_kind(kind, most)
    return [await find(tx, account_id, region, name) for name in names]


async def shares_all(tx: Transaction, account_id: str, region: str, name: str) -> bool:
    """Whether every version of another account's document is shared with this one."""
    asked = named(name, account_id, region)
    if asked is None or not asked.foreign:
        return False
    return await ShareStore(tx, asked.account_id, region).shared_version(asked.name, account_id) == "$ALL"


async def _shared(tx: Transaction, asked: Named, region: str, guest: str) -> str:
    """Which versions of another account's document the guest may have. Raises InvalidDocument for none."""
    shared = await ShareStore(tx, asked.account_id, region).shared_version(asked.name, guest)
    if shared is None:
        raise InvalidDocument
    return shared


def _version_of_provided(document: Document, version: str | None, version_name: str | None) -> Document:
    if version not in (None, "$DEFAULT", "$LATEST", document.version) or version_name is not None:
        raise InvalidDocumentVersion
    return document


async def _number(
    store: DocumentStore, name: str, place: Place, version: str | None, version_name: str | None, shared: str
) -> int:
    by_name = None
    if version_name is not None:
        by_name = await store.number_named(name, version_name)
        if by_name is None:
            raise InvalidDocumentVersion
    if version is None:
        return by_name or (place.latest if shared == "$LATEST" else place.default)
    number = number_of(version, place)
    if by_name not in (None, number):
        raise InvalidDocumentVersion
    return number


def number_of(version: str, place: Place) -> int:
    """The number that a version's selector means. Raises InvalidDocumentVersion."""
    if version == "$DEFAULT":
        return place.default
    if version == "$LATEST":
        return place.latest
    if not (version.isascii() and version.isdigit()) or len(version) > 9:
        raise InvalidDocumentVersion
    return int(version)


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
    if document.kind not in ON_NODES:
        raise InvalidDocument(f"The document {document.name} is of type {document.kind}; a command needs type Command.")
    if hash_ is not None and (hash_type == "Sha1" or hash_.lower() != document.hash):
        raise InvalidDocument(f"The content of the document {document.name} does not have the given hash.")
    return document
