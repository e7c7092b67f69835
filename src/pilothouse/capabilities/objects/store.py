"""SQL of bucket, bucket_object, object_piece, object_upload and object_garbage.

Bucket names are of the whole installation, so buckets are found by name alone; all else hangs on a bucket's name.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.capabilities.objects.model import INBOX, MOST_PARTS, Bucket, Checksum, Object, Piece, Rule, Upload
from pilothouse.storage import Row, Transaction

_LOCKS: Final = 16
"""Locks of one bucket, so that writers of different keys seldom wait for each other."""
_OBJECT: Final = "key, version, size, etag, parts, modified_at, headers, metadata, tags, checksum"
_UPLOAD: Final = "key, upload_id, initiated_at, initiator, headers, metadata, tags, algorithm, checksum_type"
_PIECE: Final = "version, number, size, md5, checksums, modified_at, blob_id, sealed_key, sealed_content"

_rules = msgspec.json.Decoder(list[Rule]).decode
_texts = msgspec.json.Decoder(dict[str, str]).decode


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class BucketStore:
    """Buckets, seen from one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def lock(self, name: str) -> None:
        """Nobody writes to the bucket, makes or removes it, until the transaction ends."""
        for number in range(_LOCKS):
            await self._tx.lock("bucket", name, str(number))

    async def lock_keys(self, name: str, keys: Iterable[str]) -> None:
        """Nobody writes to the keys, or removes the bucket, until the transaction ends."""
        for number in sorted({zlib.crc32(key.encode()) % _LOCKS for key in keys}):  # in one order, so that none waits
            await self._tx.lock("bucket", name, str(number))  # for somebody who waits for him

    async def find(self, name: str) -> Bucket | None:
        """The bucket of that name."""
        row = await self._tx.row(
            "select name, account_id, region, created_at, policy, tags, lifecycle from bucket where name = :name",
            name=name,
        )
        return None if row is None else _bucket(row)

    async def of_account(
        self, account_id: str, *, after: str, prefix: str, end: str | None, region: str | None, count: int
    ) -> list[Bucket]:
        """The account's buckets by name."""
        rows = await self._tx.rows(
            f"""select name, account_id, region, created_at, policy, tags, lifecycle from bucket
               where account_id = :account_id and name > :after and name >= :prefix and name not like :inbox
                 {"and name < :end" if end else ""} {"and region = :region" if region else ""}
               order by name limit :count""",  # noqa: S608 - pieces of our own
            account_id=account_id, after=after, prefix=prefix, count=count, inbox=f"{INBOX}%",
            **({"end": end} if end else {}), **({"region": region} if region else {}),
        )  # fmt: skip
        return [_bucket(row) for row in rows]

    async def with_rules(self, after: str, count: int) -> list[Bucket]:
        """Buckets that have lifecycle rules."""
        rows = await self._tx.rows(
            """select name, account_id, region, created_at, policy, tags, lifecycle from bucket
               where name > :after and lifecycle <> '[]' order by name limit :count""",
            after=after, count=count,
        )  # fmt: skip
        return [_bucket(row) for row in rows]

    async def add(self, bucket: Bucket) -> None:
        """Make it. Raises Conflict where the name is taken."""
        await self._tx.execute(
            """insert into bucket (name, account_id, region, created_at, policy, tags, lifecycle)
               values (:name, :account_id, :region, :created_at, :policy, :tags, :lifecycle)""",
            name=bucket.name, account_id=bucket.account_id, region=bucket.region, created_at=bucket.created_at,
            policy=bucket.policy, tags=_json(bucket.tags), lifecycle=_json(list(bucket.lifecycle)),
        )  # fmt: skip

    async def set_policy(self, name: str, policy: str) -> None:
        await self._tx.execute("update bucket set policy = :policy where name = :name", name=name, policy=policy)

    async def set_tags(self, name: str, tags: Mapping[str, str]) -> None:
        await self._tx.execute("update bucket set tags = :tags where name = :name", name=name, tags=_json(tags))

    async def set_rules(self, name: str, rules: Sequence[Rule]) -> None:
        await self._tx.execute(
            "update bucket set lifecycle = :rules where name = :name", name=name, rules=_json(list(rules))
        )

    async def is_empty(self, name: str) -> bool:
        return not await self._tx.value("select 1 from bucket_object where bucket = :name limit 1", name=name)

    async def remove(self, name: str) -> None:
        await self._tx.execute("delete from bucket where name = :name", name=name)


class ObjectStore:
    """The objects and uploads of one bucket, seen from one transaction."""

    def __init__(self, tx: Transaction, bucket: Bucket) -> None:
        self._tx = tx
        self._bucket = bucket.name
        self._scope = {"account_id": bucket.account_id, "region": bucket.region}

    async def find(self, key: str) -> Object | None:
        row = await self._tx.row(
            f"select {_OBJECT} from bucket_object where bucket = :bucket and key = :key",  # noqa: S608 - our own columns
            bucket=self._bucket, key=key,
        )  # fmt: skip
        return None if row is None else _object(row)

    async def page(self, start: str, inclusive: bool, end: str | None, count: int) -> list[Object]:
        """Objects from a key on, by key."""
        rows = await self._tx.rows(
            f"""select {_OBJECT} from bucket_object
               where bucket = :bucket and key {">=" if inclusive else ">"} :start {"and key < :end" if end else ""}
               order by key limit :count""",  # noqa: S608 - pieces of our own
            bucket=self._bucket, start=start, count=count, **({"end": end} if end else {}),
        )  # fmt: skip
        return [_object(row) for row in rows]

    async def older(self, before: int, after: tuple[int, str], count: int) -> list[Object]:
        """Objects that were put before a moment, by age."""
        rows = await self._tx.rows(
            f"""select {_OBJECT} from bucket_object
               where bucket = :bucket and modified_at < :before
                 and (modified_at > :at or (modified_at = :at and key > :key))
               order by modified_at, key limit :count""",  # noqa: S608 - our own columns
            bucket=self._bucket, before=before, at=after[0], key=after[1], count=count,
        )  # fmt: skip
        return [_object(row) for row in rows]

    async def put(self, found: Object) -> None:
        """Put it in the place of the one that has its key."""
        self._tx.later(
            """insert into bucket_object (bucket, key, account_id, region, version, size, etag, parts, modified_at,
                 headers, metadata, tags, checksum)
               values (:bucket, :key, :account_id, :region, :version, :size, :etag, :parts, :modified_at,
                 :headers, :metadata, :tags, :checksum)
               on conflict (bucket, key) do update set
                 version = excluded.version, size = excluded.size, etag = excluded.etag, parts = excluded.parts,
                 modified_at = excluded.modified_at, headers = excluded.headers, metadata = excluded.metadata,
                 tags = excluded.tags, checksum = excluded.checksum""",
            bucket=self._bucket, **self._scope, key=found.key, version=found.version, size=found.size,
            etag=found.etag, parts=found.parts, modified_at=found.modified_at, headers=_json(found.headers),
            metadata=_json(found.metadata), tags=_json(found.tags), checksum=_json(found.checksum or ()),
        )  # fmt: skip

    async def set_tags(self, key: str, tags: Mapping[str, str]) -> None:
        await self._tx.execute(
            "update bucket_object set tags = :tags where bucket = :bucket and key = :key",
            bucket=self._bucket, key=key, tags=_json(tags),
        )  # fmt: skip

    async def remove(self, key: str) -> None:
        """Take the row away; its pieces are removed by their version."""
        await self._tx.execute(
            "delete from bucket_object where bucket = :bucket and key = :key", bucket=self._bucket, key=key
        )

    async def add_upload(self, upload: Upload) -> None:
        await self._tx.execute(
            """insert into object_upload (bucket, key, upload_id, account_id, region, initiated_at, initiator,
                 headers, metadata, tags, algorithm, checksum_type)
               values (:bucket, :key, :upload_id, :account_id, :region, :initiated_at, :initiator,
                 :headers, :metadata, :tags, :algorithm, :checksum_type)""",
            bucket=self._bucket, **self._scope, key=upload.key, upload_id=upload.upload_id,
            initiated_at=upload.initiated_at, initiator=upload.initiator, headers=_json(upload.headers),
            metadata=_json(upload.metadata), tags=_json(upload.tags), algorithm=upload.algorithm,
            checksum_type=upload.kind,
        )  # fmt: skip

    async def upload(self, key: str, upload_id: str) -> Upload | None:
        row = await self._tx.row(
            f"""select {_UPLOAD} from object_upload
               where bucket = :bucket and key = :key and upload_id = :upload_id""",  # noqa: S608 - our own columns
            bucket=self._bucket, key=key, upload_id=upload_id,
        )  # fmt: skip
        return None if row is None else _upload(row)

    async def uploads(
        self, start: str, inclusive: bool, end: str | None, count: int, after_id: str = ""
    ) -> list[Upload]:
        """Uploads from a key on, by key and id; of the first key only those beyond an id, if one is given."""
        first = "key = :start and upload_id > :after_id or key > :start"
        beyond = f"({first})" if after_id else f"key {'>=' if inclusive else '>'} :start"
        rows = await self._tx.rows(
            f"""select {_UPLOAD} from object_upload
               where bucket = :bucket and {beyond} {"and key < :end" if end else ""}
               order by key, upload_id limit :count""",  # noqa: S608 - pieces of our own
            bucket=self._bucket, start=start, count=count, **({"after_id": after_id} if after_id else {}),
            **({"end": end} if end else {}),
        )  # fmt: skip
        return [_upload(row) for row in rows]

    async def uploads_before(self, moment: int, count: int) -> list[Upload]:
        """Uploads that were begun before a moment."""
        rows = await self._tx.rows(
            f"""select {_UPLOAD} from object_upload where bucket = :bucket and initiated_at < :moment
               order by key, upload_id limit :count""",  # noqa: S608 - our own columns
            bucket=self._bucket, moment=moment, count=count,
        )  # fmt: skip
        return [_upload(row) for row in rows]

    async def remove_upload(self, key: str, upload_id: str) -> None:
        await self._tx.execute(
            "delete from object_upload where bucket = :bucket and key = :key and upload_id = :upload_id",
            bucket=self._bucket, key=key, upload_id=upload_id,
        )  # fmt: skip

    async def add_pieces(self, place: str, pieces: Sequence[Piece], at: int) -> None:
        """Keep pieces of a content; one with a number that is there already takes its place."""
        for piece in pieces:
            self._tx.later(
                """insert into object_piece (version, number, account_id, region, place, size, md5, checksums,
                     modified_at, blob_id, sealed_key, sealed_content)
                   values (:version, :number, :account_id, :region, :place, :size, :md5, :checksums,
                     :at, :blob, :sealed_key, :sealed_content)""",
                **self._scope, version=piece.version, number=piece.number, place=place, size=piece.size,
                md5=piece.md5, checksums=_json(piece.checksums), at=at, blob=piece.blob,
                sealed_key=piece.sealed_key, sealed_content=piece.sealed_content,
            )  # fmt: skip

    async def remove_pieces(self, version: str, due_at: int, *, numbers: Sequence[int] | None = None) -> None:
        """Remove a content's pieces, or some of them; their blobs go when readers cannot be at them any more."""
        which = "" if numbers is None else " and number in (:numbers)"
        values: dict[str, Any] = {"version": version} if numbers is None else {"version": version, "numbers": numbers}
        await self._tx.execute(
            f"""insert into object_garbage (blob_id, account_id, region, due_at)
               select blob_id, account_id, region, :due_at from object_piece
               where version = :version and blob_id is not null{which}""",  # noqa: S608 - pieces of our own
            **values, due_at=due_at,
        )  # fmt: skip
        await self._tx.execute(
            f"delete from object_piece where version = :version{which}",  # noqa: S608 - pieces of our own
            **values,
        )


class PieceStore:
    """Pieces of contents by version, and what is left of those that went."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def pieces(self, version: str, *, after: int = 0, count: int = MOST_PARTS) -> list[Piece]:
        """A content's pieces in order. Small ones hold their content: of one content that is the last part at most."""
        rows = await self._tx.rows(
            f"""select {_PIECE} from object_piece where version = :version and number > :after
               order by number limit :count""",  # noqa: S608 - our own columns
            version=version, after=after, count=count,
        )  # fmt: skip
        return [_piece(row) for row in rows]

    async def garbage(self, now: int, count: int) -> list[str]:
        """Blobs that are to be removed by now."""
        rows = await self._tx.rows(
            "select blob_id from object_garbage where due_at <= :now order by due_at limit :count", now=now, count=count
        )
        return [row["blob_id"] for row in rows]

    async def forget(self, blobs: Sequence[str]) -> None:
        """They are removed."""
        await self._tx.execute("delete from object_garbage where blob_id in (:blobs)", blobs=blobs)

    async def named(self, blobs: Sequence[str]) -> set[str]:
        """Those of the blobs that a row names."""
        rows = await self._tx.rows(
            """select blob_id from object_piece where blob_id in (:blobs)
               union all select blob_id from object_garbage where blob_id in (:blobs)""",
            blobs=blobs,
        )
        return {row["blob_id"] for row in rows}


def _bucket(row: Row) -> Bucket:
    return Bucket(
        name=row["name"],
        account_id=row["account_id"],
        region=row["region"],
        created_at=row["created_at"],
        policy=row["policy"],
        tags=_texts(row["tags"]),
        lifecycle=_rules(row["lifecycle"]),
    )


def _object(row: Row) -> Object:
    checksum = msgspec.json.decode(row["checksum"])
    return Object(
        key=row["key"],
        version=row["version"],
        size=row["size"],
        etag=row["etag"],
        modified_at=row["modified_at"],
        headers=_texts(row["headers"]),
        metadata=_texts(row["metadata"]),
        tags=_texts(row["tags"]),
        checksum=Checksum(*checksum) if checksum else None,
        parts=row["parts"],
    )


def _upload(row: Row) -> Upload:
    return Upload(
        upload_id=row["upload_id"],
        key=row["key"],
        initiated_at=row["initiated_at"],
        initiator=row["initiator"],
        headers=_texts(row["headers"]),
        metadata=_texts(row["metadata"]),
        tags=_texts(row["tags"]),
        algorithm=row["algorithm"],
        kind=row["checksum_type"],
    )


def _piece(row: Row) -> Piece:
    content = row["sealed_content"]
    return Piece(
        version=row["version"],
        number=row["number"],
        size=row["size"],
        md5=row["md5"],
        checksums=_texts(row["checksums"]),
        modified_at=row["modified_at"],
        blob=row["blob_id"],
        sealed_key=None if row["sealed_key"] is None else bytes(row["sealed_key"]),
        sealed_content=None if content is None else bytes(content),
    )
