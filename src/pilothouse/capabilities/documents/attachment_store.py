"""SQL of document_attachment: the files of a version, sealed, in the order in which they were given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pilothouse.crypto.sealed import Sealed
from pilothouse.storage import Transaction


def seal_context(row: Mapping[str, Any]) -> str:
    """What the content of a file is bound to: its place and its hash."""
    place = "/".join(str(row[name]) for name in ("account_id", "region", "name", "number", "attachment", "hash"))
    return f"document attachment {place}"


SEALED: Final = (
    Sealed(
        table="document_attachment",
        keys=("account_id", "region", "name", "number", "attachment"),
        column="sealed",
        reads=("hash",),
        context=seal_context,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of a version."""

    name: str
    size: int
    hash: str
    """SHA-256, hexadecimal."""
    sealed: bytes = field(default=b"", repr=False)


class AttachmentStore:
    """The files of one account's documents in a region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def of(self, name: str, number: int) -> list[Attachment]:
        """The files of a version, without their contents."""
        rows = await self._tx.rows(
            """select attachment, size, hash from document_attachment
               where account_id = :account_id and region = :region and name = :name and number = :number
               order by position""",
            **self._scope, name=name, number=number,
        )  # fmt: skip
        return [Attachment(name=row["attachment"], size=row["size"], hash=row["hash"]) for row in rows]

    async def one(self, name: str, number: int, attachment: str) -> Attachment | None:
        """A file with its content, still sealed."""
        row = await self._tx.row(
            """select attachment, size, hash, sealed from document_attachment
               where account_id = :account_id and region = :region and name = :name and number = :number
                 and attachment = :attachment""",
            **self._scope, name=name, number=number, attachment=attachment,
        )  # fmt: skip
        if row is None:
            return None
        return Attachment(name=row["attachment"], size=row["size"], hash=row["hash"], sealed=row["sealed"])

    async def add(self, name: str, number: int, files: Sequence[Attachment]) -> None:
        """The files of a new version."""
        await self._tx.many(
            """insert into document_attachment
                 (account_id, region, name, number, attachment, position, size, hash, sealed)
               values (:account_id, :region, :name, :number, :attachment, :position, :size, :hash, :sealed)""",
            [
                {**self._scope, "name": name, "number": number, "attachment": each.name, "position": position,
                 "size": each.size, "hash": each.hash, "sealed": each.sealed}
                for position, each in enumerate(files)
            ],
        )  # fmt: skip
