"""Attachments: files that a version of a document brings along, such as the archives of a package.

They are fetched once, when the version is made, before its transaction begins, and kept sealed. Nodes fetch them by a
link that GetDocument gives them: signed, for one file, for an hour; no other proof is asked for.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlsplit

from pilothouse.call import Call, House, Shape
from pilothouse.capabilities import objects
from pilothouse.capabilities.documents import naming
from pilothouse.capabilities.documents.attachment_store import Attachment, AttachmentStore, seal_context
from pilothouse.capabilities.documents.library import find
from pilothouse.capabilities.documents.model import (
    Document,
    InvalidDocument,
    InvalidDocumentContent,
    InvalidDocumentVersion,
)
from pilothouse.errors import ValidationException
from pilothouse.identity.authorise import ask_each
from pilothouse.runtime.outbound import OutboundFailed
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

PREFIX: Final = "/ph/v1/attachments/"
MOST_BYTES: Final = 20 << 20
"""Of one file."""
MOST_BYTES_TOGETHER: Final = 50 << 20
_SECONDS: Final = 60.0
_LINK_MS: Final = 3_600_000
_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{3,128}")
_QUERY: Final = ["document attachment"]


@dataclass(frozen=True, slots=True)
class File:
    """A file that was fetched."""

    name: str
    content: bytes = field(repr=False)


async def fetched(call: Call, content: Any, sources: Sequence[Shape]) -> list[File]:
    """The files of a new version. Raises ValidationException, and InvalidDocumentContent for a wrong checksum."""
    found: list[File] = []
    for source in sources:
        kind, values = source.get("Key"), source.get("Values") or []
        if kind is None or len(values) != 1:
            raise ValidationException("An attachment needs a Key and one value.")
        if kind == "AttachmentReference":
            found.append(await _referred(call, values[0], source.get("Name")))
        elif kind == "SourceUrl":
            for name in _names(content, source.get("Name")):
                found.append(File(_good(name), await _fetched(call, f"{values[0].rstrip('/')}/{quote(name)}")))
        else:
            name = source.get("Name") or _split(values[0]).path.rpartition("/")[2]
            found.append(File(_good(name), await _fetched(call, values[0])))
        if sum(len(each.content) for each in found) > MOST_BYTES_TOGETHER:
            raise ValidationException(f"The attachments together may have at most {MOST_BYTES_TOGETHER >> 20} MB.")
    _check(content, found)
    return found


def _good(name: str) -> str:
    """The name, if a file may have it. Raises ValidationException."""
    if not _NAME.fullmatch(name):
        raise ValidationException(f"The name of an attachment has 3 to 128 letters, digits, _, . and -: {name[:128]}")
    return name


def _names(content: Any, name: str | None) -> list[str]:
    """The files to fetch from a folder: those of the manifest, or the one that is named."""
    files = content.get("files") if isinstance(content, Mapping) else None
    if isinstance(files, Mapping) and files:
        return list(files)
    if name is None:
        raise ValidationException("An attachment of Key SourceUrl needs a Name, or a manifest that names the files.")
    return [name]


async def _fetched(call: Call, url: str) -> bytes:
    """The one place where attachments come in. Raises ValidationException, AccessDeniedException."""
    if url.startswith("s3://"):
        return await _of_bucket(call, url)
    if not url.startswith(("https://", "http://")):
        raise ValidationException("The source of an attachment must be an s3://, https:// or http:// URL.")
    host = _split(url).hostname
    try:
        answer = await call.house.outbound.send("GET", url, seconds=_SECONDS, most=MOST_BYTES)
    except OutboundFailed as error:
        raise ValidationException(f"The attachment cannot be fetched: {error}.") from error
    if answer.status != 200:
        raise ValidationException(f"The attachment cannot be fetched: {host} answered {answer.status}.")
    return answer.body


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise ValidationException("The source of an attachment is no URL.") from error


async def _of_bucket(call: Call, url: str) -> bytes:
    """An object of this installation that the caller may get."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    async with call.reading() as tx:
        try:
            found = await objects.got(call, tx, bucket, key)
        except (objects.NoSuchBucket, objects.NoSuchKey) as error:
            raise ValidationException(f"The attachment cannot be fetched: there is no {url[:300]} here.") from error
        if found.size > MOST_BYTES:
            raise ValidationException(f"An attachment may have at most {MOST_BYTES >> 20} MB.")
    return b"".join([piece async for piece in found.pieces])


async def _referred(call: Call, value: str, name: str | None) -> File:
    """A file of another document: `NAME/VERSION/FILE`, or an ARN before the version. Raises ValidationException,
    AccessDeniedException."""
    found = None
    if value.count("/") >= 2:
        document, version, file = value.rsplit("/", 2)
        async with call.reading() as tx:
            await ask_each(call, tx, "ssm:GetDocument", [naming.arn_of(document, call.account_id, call.region)])
            place = (call.account_id, call.region)
            found = await _of_document(call.house, tx, place, document, version, file)
    if found is None:
        raise ValidationException("An AttachmentReference is NAME/VERSION/FILE of a document that has this attachment.")
    return File(_good(name or found.name), found.content)


async def _of_document(
    house: House, tx: Transaction, place: tuple[str, str], document: str, version: str, file: str
) -> File | None:
    account_id, region = place
    try:
        of = await find(tx, account_id, region, document, version)
    except (InvalidDocument, InvalidDocumentVersion):
        return None
    found = await AttachmentStore(tx, of.account_id, region).one(of.name, int(of.version), file)
    if found is None:
        return None
    context = _context(of.account_id, region, of.name, int(of.version), found.name, found.hash)
    return File(found.name, await house.vault.opened(found.sealed, context))


async def attached(
    house: House, tx: Transaction, account_id: str, region: str, document: str, version: str, file: str
) -> bytes | None:
    """The file of a document's version that whoever runs it may use; None if there is none (any more)."""
    found = await _of_document(house, tx, (account_id, region), document, version, file)
    return None if found is None else found.content


def _context(account_id: str, region: str, name: str, number: int, attachment: str, hash_: str) -> str:
    return seal_context({
        "account_id": account_id, "region": region, "name": name, "number": number, "attachment": attachment,
        "hash": hash_,
    })  # fmt: skip


def _check(content: Any, files: Sequence[File]) -> None:
    names = [each.name for each in files]
    for name in names:
        if not _NAME.fullmatch(name) or names.count(name) > 1:
            raise ValidationException(
                "Each attachment needs a name of its own, of 3 to 128 letters, digits, _, . and -."
            )
    listed = content.get("files") if isinstance(content, Mapping) else None
    for each in files:
        told = listed.get(each.name) if isinstance(listed, Mapping) else None
        sums = told.get("checksums") if isinstance(told, Mapping) else None
        wanted = sums.get("sha256") if isinstance(sums, Mapping) else None
        if isinstance(wanted, str) and wanted.lower() != hashlib.sha256(each.content).hexdigest():
            raise InvalidDocumentContent(f"files.{each.name}.checksums.sha256: the attachment has another checksum.")


async def keep(call: Call, tx: Transaction, name: str, number: int, files: Sequence[File]) -> None:
    """Store the files of a new version, sealed."""
    made = []
    for each in files:
        hash_ = hashlib.sha256(each.content).hexdigest()
        context = _context(call.account_id, call.region, name, number, each.name, hash_)
        sealed = call.house.vault.seal(each.content, context)
        made.append(Attachment(name=each.name, size=len(each.content), hash=hash_, sealed=sealed))
    await AttachmentStore(tx, call.account_id, call.region).add(name, number, made)


async def carry_on(call: Call, tx: Transaction, name: str, number: int, to: int) -> None:
    """A new version has the files of an older one."""
    store = AttachmentStore(tx, call.account_id, call.region)
    files = []
    for each in await store.of(name, number):
        found = await store.one(name, number, each.name)
        if found is not None:
            context = _context(call.account_id, call.region, name, number, found.name, found.hash)
            files.append(File(found.name, await call.house.vault.opened(found.sealed, context)))
    await keep(call, tx, name, to, files)


async def shown(call: Call, tx: Transaction, document: Document) -> list[Shape]:
    """`AttachmentsContent`: each file with the link to it."""
    if document.account_id == "":
        return []
    store = AttachmentStore(tx, document.account_id, call.region)
    return [
        {
            "Name": each.name, "Size": each.size, "Hash": each.hash, "HashType": "Sha256",
            "Url": _link(call, document, each.name),
        }
        for each in await store.of(document.name, int(document.version))
    ]  # fmt: skip


def _link(call: Call, document: Document, attachment: str) -> str:
    until = call.clock.millis() + _LINK_MS
    place: list[str | int] = [
        document.account_id, call.region, document.name, int(document.version), attachment, until
    ]  # fmt: skip
    scheme, host = "https" if call.secure else "http", call.headers.get("host", "")
    return f"{scheme}://{host}{PREFIX}{call.house.pages.token(_QUERY, place)}/{attachment}"


async def linked(house: House, path: str) -> bytes | None:
    """The file that a link leads to, `path` being what follows the prefix; None for none, or one that is over."""
    token, _, name = path.partition("/")
    try:
        account_id, region, document, number, attachment, until = house.pages.position(_QUERY, token)
    except InvalidPageToken:
        return None
    if until < house.clock.millis() or name != attachment:
        return None
    async with house.database.reading() as tx:
        found = await AttachmentStore(tx, account_id, region).one(document, number, attachment)
    if found is None:
        return None
    context = _context(account_id, region, document, number, attachment, found.hash)
    return await house.vault.opened(found.sealed, context)
