"""Making and changing documents: CreateDocument, UpdateDocument, UpdateDocumentDefaultVersion, DeleteDocument.

The content is parsed and checked before the transaction begins.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.documents import attachments, calendar_states, naming, shapes
from pilothouse.capabilities.documents.attachments import File
from pilothouse.capabilities.documents.checking import checked
from pilothouse.capabilities.documents.library import number_of
from pilothouse.capabilities.documents.model import (
    Document,
    DocumentAlreadyExists,
    DocumentLimitExceeded,
    DocumentVersionLimitExceeded,
    DuplicateDocumentContent,
    DuplicateDocumentVersionName,
    InvalidDocument,
    InvalidDocumentOperation,
    InvalidDocumentVersion,
)
from pilothouse.capabilities.documents.operations import TAGGED_AS, around_of, of_type, resource
from pilothouse.capabilities.documents.share_store import ShareStore
from pilothouse.capabilities.documents.store import DocumentStore, NewVersion, Place
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction

MOST_DOCUMENTS: Final = 10_000
"""In one account and region."""
MOST_VERSIONS: Final = 1_000
"""Of one document."""
DEFAULT_KIND: Final = "Command"
_LOOKED_AT: Final = frozenset({"Automation"})
"""Types of which those who run them know more than is known here."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A content that was found good."""

    kind: str
    format: str
    text: str
    content: Any
    files: Sequence[File]


async def _draft(call: Call, request: Shape) -> Draft:
    """What CreateDocument is to make. Raises the operation's errors about the name and the content."""
    if naming.is_reserved(request["Name"]):
        raise ValidationException(
            f"Invalid document name {request['Name']}: names that begin with aws, amazon or amzn are reserved."
        )
    kind = request.get("DocumentType") or DEFAULT_KIND
    return await _made(call, request, kind)


async def _made(call: Call, request: Shape, kind: str) -> Draft:
    format_ = request.get("DocumentFormat") or "JSON"
    content = await asyncio.to_thread(checked, kind, format_, request["Content"])  # others are served meanwhile
    if kind in _LOOKED_AT:
        async with call.reading() as tx:
            await call.house.tell(tx, "document.checking", kind=kind, content=content, text=request["Content"])
    files = await attachments.fetched(call, content, request.get("Attachments") or [])
    return Draft(kind, format_, request["Content"], content, files)


async def _redraft(call: Call, request: Shape) -> Draft | None:
    """What UpdateDocument is to make of the document, of the type that it has; None if there is none."""
    async with call.reading() as tx:
        place = await DocumentStore(tx, call.account_id, call.region).place(request["Name"])
    if place is None:
        return None
    return await _made(call, request, place.kind)


def _type_condition(call: Call, request: Shape) -> Mapping[str, str]:
    return {"ssm:DocumentType": request.get("DocumentType") or DEFAULT_KIND}


@operation("ssm", "CreateDocument", writes=True, resources=resource, prepare=_draft, conditions=_type_condition)
async def create_document(call: Call, request: Shape) -> Shape:
    """A new document with its first version, which is the default one."""
    name, draft = request["Name"], call.prepared
    added = tags.by_key(request.get("Tags") or [])
    async with call.transaction() as tx:
        store = DocumentStore(tx, call.account_id, call.region)
        await store.lock(name)
        if await store.place(name) is not None:
            raise DocumentAlreadyExists
        if await store.count() >= MOST_DOCUMENTS:
            raise DocumentLimitExceeded(f"There are {MOST_DOCUMENTS} documents in this region already.")
        await store.add(name, draft.kind, _version(call, request, draft, 1, None))
        await attachments.keep(call, tx, name, 1, draft.files)
        await tags.put(tx, call.account_id, call.region, TAGGED_AS, name, added)
        await calendar_states.watch(call, tx, name, draft.kind)
        made = await _stored(store, name, 1)
        around = await around_of(call, tx, made, status="Creating")
    return {"DocumentDescription": shapes.description(made, around)}


@operation("ssm", "UpdateDocument", writes=True, resources=resource, prepare=_redraft, conditions=of_type)
async def update_document(call: Call, request: Shape) -> Shape:
    """A new version on top of the newest one; which is the default one does not change."""
    name, draft = request["Name"], call.prepared
    async with call.transaction() as tx:
        store = DocumentStore(tx, call.account_id, call.region)
        place = await _locked(store, name)
        if draft is None or draft.kind != place.kind:  # it was made, or made anew, at this moment
            raise InvalidDocument
        if number_of(request.get("DocumentVersion") or "$DEFAULT", place) != place.latest:
            raise InvalidDocumentVersion
        base = await _stored(store, name, place.latest)
        version = _version(call, request, draft, place.last + 1, base)
        await _check_new(store, name, version)
        await store.add_version(name, version)
        if draft.files:
            await attachments.keep(call, tx, name, version.number, draft.files)
        else:
            await attachments.carry_on(call, tx, name, place.latest, version.number)
        await _tell_changed(call, tx, name, place.kind)
        made = await _stored(store, name, version.number)
        around = await around_of(call, tx, made, status="Updating")
    return {"DocumentDescription": shapes.description(made, around)}


async def _check_new(store: DocumentStore, name: str, version: NewVersion) -> None:
    """Raises for a version that says or is called the same as another, or is one too many."""
    if await store.number_with(name, version.hash) is not None:
        raise DuplicateDocumentContent
    if version.version_name and await store.number_named(name, version.version_name) is not None:
        raise DuplicateDocumentVersionName
    if await store.versions_count(name) >= MOST_VERSIONS:
        raise DocumentVersionLimitExceeded(f"The document {name} has {MOST_VERSIONS} versions already.")


@operation("ssm", "UpdateDocumentDefaultVersion", writes=True, resources=resource, conditions=of_type)
async def update_document_default_version(call: Call, request: Shape) -> Shape:
    """Give out this version where none is asked for."""
    name = request["Name"]
    async with call.transaction() as tx:
        store = DocumentStore(tx, call.account_id, call.region)
        place = await _locked(store, name)
        number = number_of(request["DocumentVersion"], place)
        chosen = await store.version(name, number)
        if chosen is None:
            raise InvalidDocumentVersion
        await store.make_default(name, number)
        await _tell_changed(call, tx, name, place.kind)
    return {
        "Description": {
            "Name": name, "DefaultVersion": str(number), "DefaultVersionName": chosen.version_name
        }
    }  # fmt: skip


@operation("ssm", "DeleteDocument", writes=True, resources=resource, conditions=of_type)
async def delete_document(call: Call, request: Shape) -> Shape:
    """A version, or the document with all that hangs on it."""
    name = request["Name"]
    async with call.transaction() as tx:
        store = DocumentStore(tx, call.account_id, call.region)
        place = await _locked(store, name)
        number = await _chosen(store, request, place)
        if number is not None and await store.versions_count(name) > 1:
            if number == place.default:
                raise InvalidDocumentOperation("Default version of the document can't be deleted.")
            await store.delete_version(name, number)
            return {}
        if await ShareStore(tx, call.account_id, call.region).guests(name, count=1):
            raise InvalidDocumentOperation("Must unshare document first before delete")
        await _remove(call, tx, store, name, place.kind)
    return {}


async def _tell_changed(call: Call, tx: Transaction, name: str, kind: str) -> None:
    """Those who run it from time to time may now get another content."""
    await calendar_states.watch(call, tx, name, kind)
    await call.house.tell(tx, "document.changed", account_id=call.account_id, region=call.region, name=name)


async def _remove(call: Call, tx: Transaction, store: DocumentStore, name: str, kind: str) -> None:
    """The document with its versions and tags; who still uses it may refuse."""
    await call.house.tell(tx, "document.deleting", account_id=call.account_id, region=call.region, name=name)
    await store.delete(name)
    await calendar_states.watch(call, tx, name, kind)
    await tags.remove_all(tx, call.account_id, call.region, TAGGED_AS, name)


async def _chosen(store: DocumentStore, request: Shape, place: Place) -> int | None:
    """The version that is to be deleted, None for all. Raises InvalidDocumentVersion."""
    name, version, version_name = request["Name"], request.get("DocumentVersion"), request.get("VersionName")
    if version is None and version_name is None:
        return None
    number = number_of(version, place) if version is not None else None
    if version_name is not None:
        found = await store.number_named(name, version_name)
        if found is None or number not in (None, found):
            raise InvalidDocumentVersion
        number = found
    if number is None or await store.version(name, number) is None:
        raise InvalidDocumentVersion
    return number


async def _locked(store: DocumentStore, name: str) -> Place:
    """The account's own document, which nobody else changes now. Raises InvalidDocument."""
    await store.lock(name)
    place = await store.place(name)
    if place is None:
        raise InvalidDocument
    return place


async def _stored(store: DocumentStore, name: str, number: int) -> Document:
    found = await store.version(name, number)
    if found is None:
        raise InvalidDocumentVersion
    return found


def _version(call: Call, request: Shape, draft: Draft, number: int, base: Document | None) -> NewVersion:
    """What is stored of a draft; what the request leaves open is as in the version that it is based on."""
    shown = Document(
        name=request["Name"], owner=call.account_id, kind=draft.kind, version="1", latest_version="1",
        default_version="1", format=draft.format, text=draft.text, content=draft.content, created_at=0,
    )  # fmt: skip
    return NewVersion(
        number=number,
        version_name=request.get("VersionName"),
        display_name=request.get("DisplayName"),
        format=draft.format,
        body=draft.text,
        content=None if draft.format == "JSON" else draft.content,
        hash=hashlib.sha256(draft.text.encode()).hexdigest(),
        schema_version=shown.schema_version,
        description=shown.description,
        platforms=shown.platform_types,
        target_type=request.get("TargetType") or (base.target_type if base is not None else None),
        requires=request.get("Requires") or (list(base.requires) if base is not None else []),
        author=call.principal.arn,
        created_at=call.clock.millis(),
        review_status="NOT_REVIEWED",
    )
