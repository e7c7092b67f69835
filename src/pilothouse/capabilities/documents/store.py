"""SQL of document and document_version: the documents that accounts made.

A version's number grows by one and is never given again. Lists are in the order of names.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pilothouse.capabilities.documents.model import Document
from pilothouse.storage import Row, Transaction

EVERYBODY: Final = "all"
"""The guest of a share that stands for every account."""
_VERSION: Final = """v.name, v.number, v.version_name, v.display_name, v.format, v.target_type, v.requires, v.author,
  v.created_at, v.review_status, v.hash, v.schema_version, v.description, v.platforms"""
_WHOLE: Final = f"{_VERSION}, v.body, v.content"
_DOCUMENT: Final = "d.account_id, d.kind, d.default_number, d.latest_number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A document with the numbers of its versions."""

    kind: str
    default: int
    latest: int
    last: int
    """The highest number that a version ever had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A version without its content."""

    name: str
    account_id: str
    kind: str
    number: int
    version_name: str | None
    display_name: str | None
    format: str
    target_type: str | None
    requires: Sequence[Any]
    author: str
    created_at: int
    review_status: str
    schema_version: str
    description: str
    platforms: Sequence[str]
    is_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """What is written of a version."""

    number: int
    version_name: str | None
    display_name: str | None
    format: str
    body: str
    content: Any
    hash: str
    schema_version: str
    description: str
    platforms: Sequence[str]
    target_type: str | None
    requires: Sequence[Any]
    author: str
    created_at: int
    review_status: str


class DocumentStore:
    """The documents of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, name: str) -> None:
        """Nobody else changes the document until the transaction ends."""
        await self._tx.lock("document", *self._scope.values(), name)

    async def place(self, name: str) -> Place | None:
        """Which versions the document has; None if there is no such document."""
        row = await self._tx.row(
            """select kind, default_number, latest_number, last_number from document
               where account_id = :account_id and region = :region and name = :name""",
            **self._scope, name=name,
        )  # fmt: skip
        if row is None:
            return None
        return Place(
            kind=row["kind"], default=row["default_number"], latest=row["latest_number"], last=row["last_number"]
        )  # fmt: skip

    async def named_of_kind(self, kind: str, count: int) -> list[str]:
        """The names of documents of a type."""
        rows = await self._tx.rows(
            """select name from document where account_id = :account_id and region = :region and kind = :kind
               order by name limit :count""",
            **self._scope, kind=kind, count=count,
        )  # fmt: skip
        return [row["name"] for row in rows]

    async def count(self) -> int:
        """How many documents there are."""
        found: int = await self._tx.value(
            "select count(*) from document where account_id = :account_id and region = :region", **self._scope
        )
        return found

    async def versions_count(self, name: str) -> int:
        """How many versions the document has."""
        found: int = await self._tx.value(
            """select count(*) from document_version
               where account_id = :account_id and region = :region and name = :name""",
            **self._scope, name=name,
        )  # fmt: skip
        return found

    async def version(self, name: str, number: int) -> Document | None:
        """One version, with its content."""
        row = await self._tx.row(
            f"""select {_WHOLE}, {_DOCUMENT}, n.version_name as default_name
                from document d
                join document_version v
                  on v.account_id = d.account_id and v.region = d.region and v.name = d.name and v.number = :number
                left join document_version n
                  on n.account_id = d.account_id and n.region = d.region and n.name = d.name
                  and n.number = d.default_number
                where d.account_id = :account_id and d.region = :region and d.name = :name""",  # noqa: S608
            **self._scope, name=name, number=number,
        )  # fmt: skip
        return None if row is None else _document(row)

    async def number_named(self, name: str, version_name: str) -> int | None:
        """The version that has the name."""
        found: int | None = await self._tx.value(
            """select number from document_version where account_id = :account_id and region = :region
                 and name = :name and version_name = :version_name""",
            **self._scope, name=name, version_name=version_name,
        )  # fmt: skip
        return found

    async def number_with(self, name: str, hash_: str) -> int | None:
        """A version that has this content."""
        found: int | None = await self._tx.value(
            """select number from document_version where account_id = :account_id and region = :region
                 and name = :name and hash = :hash""",
            **self._scope, name=name, hash=hash_,
        )  # fmt: skip
        return found

    async def versions(self, name: str, *, before: int, count: int) -> list[Listed]:
        """Versions below the number, the newest first."""
        rows = await self._tx.rows(
            f"""select {_VERSION}, {_DOCUMENT} from document d
                join document_version v on v.account_id = d.account_id and v.region = d.region and v.name = d.name
                where d.account_id = :account_id and d.region = :region and d.name = :name and v.number < :before
                order by v.number desc limit :count""",  # noqa: S608
            **self._scope, name=name, before=before, count=count,
        )  # fmt: skip
        return [_listed(row) for row in rows]

    async def defaults(self, *, after: str, count: int) -> list[Listed]:
        """The default version of each document after the name, in the order of names."""
        rows = await self._tx.rows(
            f"""select {_VERSION}, {_DOCUMENT} from document d
                join document_version v on v.account_id = d.account_id and v.region = d.region and v.name = d.name
                  and v.number = d.default_number
                where d.account_id = :account_id and d.region = :region and d.name > :after
                order by d.name limit :count""",  # noqa: S608
            **self._scope, after=after, count=count,
        )  # fmt: skip
        return [_listed(row) for row in rows]

    async def shared_by_others(self) -> list[tuple[Listed, bool]]:
        """The version of each document that others share with this account, and whether they do with everybody.

        What is said of the account itself counts before what is said of all.
        """
        rows = await self._tx.rows(
            f"""select {_VERSION}, {_DOCUMENT}, s.guest from document_share s
                join document d on d.account_id = s.account_id and d.region = s.region and d.name = s.name
                join document_version v on v.account_id = d.account_id and v.region = d.region and v.name = d.name
                  and v.number = case s.shared_version when '$LATEST' then d.latest_number else d.default_number end
                where s.region = :region and s.guest in (:guests) and s.account_id <> :account_id
                order by s.account_id, s.name, s.guest desc""",  # noqa: S608
            **self._scope, guests=[self._scope["account_id"], EVERYBODY],
        )  # fmt: skip
        found = {(row["account_id"], row["name"]): (_listed(row), row["guest"] == EVERYBODY) for row in rows}
        return list(found.values())

    async def add(self, name: str, kind: str, first: NewVersion) -> None:
        """A new document. Raises Conflict if there is one of that name."""
        await self._tx.execute(
            """insert into document
                 (account_id, region, name, kind, default_number, latest_number, last_number, created_at)
               values (:account_id, :region, :name, :kind, :number, :number, :number, :created_at)""",
            **self._scope, name=name, kind=kind, number=first.number, created_at=first.created_at,
        )  # fmt: skip
        await self._add_version(name, first)

    async def add_version(self, name: str, version: NewVersion) -> None:
        """A new version, which is then the latest."""
        await self._add_version(name, version)
        await self._tx.execute(
            """update document set latest_number = :number, last_number = :number
               where account_id = :account_id and region = :region and name = :name""",
            **self._scope, name=name, number=version.number,
        )  # fmt: skip

    async def _add_version(self, name: str, version: NewVersion) -> None:
        await self._tx.execute(
            """insert into document_version
                 (account_id, region, name, number, version_name, display_name, format, body, content, hash,
                  schema_version, description, platforms, target_type, requires, author, created_at, review_status)
               values (:account_id, :region, :name, :number, :version_name, :display_name, :format, :body, :content,
                       :hash, :schema_version, :description, :platforms, :target_type, :requires, :author, :created_at,
                       :review_status)""",
            **self._scope, name=name, number=version.number, version_name=version.version_name,
            display_name=version.display_name, format=version.format, body=version.body,
            content=None if version.content is None else _json(version.content), hash=version.hash,
            schema_version=version.schema_version, description=version.description,
            platforms=_json(version.platforms), target_type=version.target_type, requires=_json(version.requires),
            author=version.author, created_at=version.created_at, review_status=version.review_status,
        )  # fmt: skip

    async def make_default(self, name: str, number: int) -> None:
        """Give out this version where none is asked for."""
        await self._tx.execute(
            """update document set default_number = :number
               where account_id = :account_id and region = :region and name = :name""",
            **self._scope, name=name, number=number,
        )  # fmt: skip

    async def delete_version(self, name: str, number: int) -> None:
        """Remove a version that is not the default; the latest is then the highest that is left."""
        for table in ("document_version", "document_attachment", "document_review"):
            await self._tx.execute(
                f"""delete from {table}
                    where account_id = :account_id and region = :region and name = :name
                      and number = :number""",  # noqa: S608
                **self._scope, name=name, number=number,
            )  # fmt: skip
        await self._tx.execute(
            """update document set latest_number =
                 (select max(number) from document_version
                  where account_id = :account_id and region = :region and name = :name)
               where account_id = :account_id and region = :region and name = :name""",
            **self._scope, name=name,
        )  # fmt: skip

    async def delete(self, name: str) -> None:
        """Remove the document with everything that hangs on it."""
        for table in ("document_review", "document_attachment", "document_share", "document_version", "document"):
            await self._tx.execute(
                f"""delete from {table}
                    where account_id = :account_id and region = :region and name = :name""",  # noqa: S608
                **self._scope, name=name,
            )  # fmt: skip

    async def kinds(self, names: Collection[str]) -> dict[str, str]:
        """The types of several documents."""
        rows = await self._tx.rows(
            """select name, kind from document
               where account_id = :account_id and region = :region and name in (:names)""",
            **self._scope, names=list(names),
        )  # fmt: skip
        return {row["name"]: row["kind"] for row in rows}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _document(row: Row) -> Document:
    content = None
    if row["content"] is not None:
        content = msgspec.json.decode(row["content"])
    elif row["format"] == "JSON":
        content = msgspec.json.decode(row["body"])
    return Document(
        name=row["name"],
        owner=row["account_id"],
        account_id=row["account_id"],
        kind=row["kind"],
        version=str(row["number"]),
        latest_version=str(row["latest_number"]),
        default_version=str(row["default_number"]),
        default_version_name=row["default_name"],
        format=row["format"],
        text=row["body"],
        content=content,
        created_at=row["created_at"],
        version_name=row["version_name"],
        display_name=row["display_name"],
        target_type=row["target_type"],
        requires=msgspec.json.decode(row["requires"]),
        author=row["author"],
        review_status=row["review_status"],
    )


def _listed(row: Row) -> Listed:
    return Listed(
        name=row["name"],
        account_id=row["account_id"],
        kind=row["kind"],
        number=row["number"],
        version_name=row["version_name"],
        display_name=row["display_name"],
        format=row["format"],
        target_type=row["target_type"],
        requires=msgspec.json.decode(row["requires"]),
        author=row["author"],
        created_at=row["created_at"],
        review_status=row["review_status"],
        schema_version=row["schema_version"],
        description=row["description"],
        platforms=msgspec.json.decode(row["platforms"]),
        is_default=row["number"] == row["default_number"],
    )
