"""SQL of secret, secret_version, secret_stage and secret_tag."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pilothouse.capabilities.secrets.model import Secret, Version
from pilothouse.storage import Row, Transaction

_ABOUT: Final = """name, suffix, description, key_ref, created_at, changed_at, accessed_on, purge_at, ever_tagged,
  versions_made"""
_VERSION: Final = "version_id, number, is_binary, sealed, key_ref, created_at, accessed_on"
_OWN: Final = "account_id = :account_id and region = :region and name = :name"


class SecretStore:
    """The secrets of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self, name: str) -> None:
        """Nobody else changes the secret until the transaction ends."""
        await self._tx.lock("secret", *self._scope.values(), name)

    async def secret(self, name: str) -> Secret | None:
        """A secret, also one that is marked for deletion."""
        row = await self._tx.row(f"select {_ABOUT} from secret where {_OWN}", **self._scope, name=name)  # noqa: S608
        return None if row is None else Secret(**{**row, "ever_tagged": bool(row["ever_tagged"])})

    async def add(self, secret: Secret) -> None:
        """A new secret without values."""
        await self._tx.execute(
            f"""insert into secret (account_id, region, {_ABOUT})
               values (:account_id, :region, :name, :suffix, :description, :key_ref, :created_at, :changed_at,
                       :accessed_on, :purge_at, :ever_tagged, :versions_made)""",  # noqa: S608
            **self._scope, **_columns(secret),
        )  # fmt: skip

    async def save(self, secret: Secret) -> None:
        """Keep what changed of a secret."""
        await self._tx.execute(
            f"""update secret set description = :description, key_ref = :key_ref, changed_at = :changed_at,
                 purge_at = :purge_at, ever_tagged = :ever_tagged, versions_made = :versions_made
               where {_OWN}""",  # noqa: S608
            **self._scope,
            **{
                name: value
                for name, value in _columns(secret).items()
                if name not in ("suffix", "created_at", "accessed_on")
            },
        )

    async def remove(self, name: str) -> None:
        """Remove a secret with all that hangs on it."""
        for table in ("secret_tag", "secret_stage", "secret_version", "secret"):
            await self._tx.execute(f"delete from {table} where {_OWN}", **self._scope, name=name)  # noqa: S608

    async def version(self, name: str, version_id: str) -> Version | None:
        """One version."""
        row = await self._tx.row(
            f"select {_VERSION} from secret_version where {_OWN} and version_id = :version_id",  # noqa: S608
            **self._scope, name=name, version_id=version_id,
        )  # fmt: skip
        return None if row is None else _version(row)

    async def versions(self, name: str, *, after: int = 0, count: int) -> list[Version]:
        """Versions in the order they were made."""
        rows = await self._tx.rows(
            f"""select {_VERSION} from secret_version where {_OWN} and number > :after
               order by number limit :count""",  # noqa: S608
            **self._scope, name=name, after=after, count=count,
        )  # fmt: skip
        return [_version(row) for row in rows]

    async def add_version(self, name: str, version: Version) -> None:
        """A new version."""
        await self._tx.execute(
            f"""insert into secret_version (account_id, region, name, {_VERSION})
               values (:account_id, :region, :name, :version_id, :number, :is_binary, :sealed, :key_ref, :created_at,
                       :accessed_on)""",  # noqa: S608
            **self._scope, name=name, version_id=version.version_id, number=version.number,
            is_binary=int(version.is_binary), sealed=version.sealed, key_ref=version.key_ref,
            created_at=version.created_at, accessed_on=version.accessed_on,
        )  # fmt: skip

    async def reseal(self, name: str, version_id: str, sealed: bytes, key_ref: str | None) -> None:
        """The same value under another key."""
        await self._tx.execute(
            f"""update secret_version set sealed = :sealed, key_ref = :key_ref
               where {_OWN} and version_id = :version_id""",  # noqa: S608
            **self._scope, name=name, version_id=version_id, sealed=sealed, key_ref=key_ref,
        )  # fmt: skip

    async def forget_unlabelled(self, name: str, *, keep: int, before: int) -> None:
        """Remove the oldest versions without labels made before a moment, down to `keep` of them."""
        rows = await self._tx.rows(
            f"""select version_id, created_at from secret_version where {_OWN}
                 and version_id not in (select version_id from secret_stage where {_OWN})
               order by number desc""",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        old = [row["version_id"] for row in rows[keep:] if row["created_at"] < before]
        if old:
            await self._tx.execute(
                f"delete from secret_version where {_OWN} and version_id in (:old)",  # noqa: S608
                **self._scope, name=name, old=old,
            )  # fmt: skip

    async def stages(self, name: str) -> dict[str, str]:
        """Labels and the versions they sit on, in the order they were put on."""
        rows = await self._tx.rows(
            f"select stage, version_id from secret_stage where {_OWN} order by position",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        return {row["stage"]: row["version_id"] for row in rows}

    async def set_stages(self, name: str, stages: Mapping[str, str]) -> None:
        """Put the labels where they belong now."""
        await self._tx.execute(f"delete from secret_stage where {_OWN}", **self._scope, name=name)  # noqa: S608
        await self._tx.many(
            """insert into secret_stage (account_id, region, name, stage, version_id, position)
               values (:account_id, :region, :name, :stage, :version_id, :position)""",
            [
                {**self._scope, "name": name, "stage": stage, "version_id": version_id, "position": position}
                for position, (stage, version_id) in enumerate(stages.items())
            ],
        )

    async def mark_read(self, name: str, version_id: str, day: int) -> None:
        """Remember that the version was read on a day (its first moment)."""
        await self._tx.execute(
            f"""update secret set accessed_on = :day
               where {_OWN} and (accessed_on is null or accessed_on < :day)""",  # noqa: S608
            **self._scope, name=name, day=day,
        )  # fmt: skip
        await self._tx.execute(
            f"update secret_version set accessed_on = :day where {_OWN} and version_id = :version_id",  # noqa: S608
            **self._scope, name=name, version_id=version_id, day=day,
        )  # fmt: skip

    async def tags(self, name: str) -> dict[str, str]:
        """Tags in the order they were added."""
        rows = await self._tx.rows(
            f"select tag_key, tag_value from secret_tag where {_OWN} order by position",  # noqa: S608
            **self._scope, name=name,
        )  # fmt: skip
        return {row["tag_key"]: row["tag_value"] for row in rows}

    async def set_tags(self, name: str, tags: Mapping[str, str]) -> None:
        """The tags of a secret, in this order."""
        await self._tx.execute(f"delete from secret_tag where {_OWN}", **self._scope, name=name)  # noqa: S608
        await self._tx.many(
            """insert into secret_tag (account_id, region, name, tag_key, tag_value, position)
               values (:account_id, :region, :name, :tag_key, :tag_value, :position)""",
            [
                {**self._scope, "name": name, "tag_key": key, "tag_value": value, "position": position}
                for position, (key, value) in enumerate(tags.items())
            ],
        )


async def due_for_purge(tx: Transaction, now: int, count: int) -> Iterable[Row]:
    """Secrets of any account whose recovery window is over."""
    return await tx.rows(
        """select account_id, region, name from secret where purge_at is not null and purge_at <= :now
           order by purge_at limit :count""",
        now=now, count=count,
    )  # fmt: skip


def _columns(secret: Secret) -> dict[str, Any]:
    return {
        "name": secret.name,
        "suffix": secret.suffix,
        "description": secret.description,
        "key_ref": secret.key_ref,
        "created_at": secret.created_at,
        "changed_at": secret.changed_at,
        "accessed_on": secret.accessed_on,
        "purge_at": secret.purge_at,
        "ever_tagged": int(secret.ever_tagged),
        "versions_made": secret.versions_made,
    }


def _version(row: Row) -> Version:
    return Version(**{**row, "is_binary": bool(row["is_binary"])})
