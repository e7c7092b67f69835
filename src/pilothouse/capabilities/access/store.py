"""SQL of accounts and access keys."""

import json
from collections.abc import Mapping
from pathlib import Path

from pilothouse.call import House
from pilothouse.capabilities import audit
from pilothouse.capabilities.access.model import (
    ROLE_ID,
    AccountExists,
    AccountKey,
    KeyUse,
    NoSuchAccount,
    root_arn,
    seal_context,
)
from pilothouse.crypto.kept import KeptUnderAnother, keep, kept
from pilothouse.crypto.master_key import MasterKey
from pilothouse.crypto.sealed import Sealed
from pilothouse.storage import Row, Transaction

_ROOT_FILE = "root.sealed"

SEALED = Sealed(
    table="access_key",
    keys=("access_key_id",),
    reads=("account_id",),
    column="secret_sealed",
    context=lambda row: seal_context(row["account_id"], row["access_key_id"]),
)


class AccessStore:
    """Accounts and keys in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def key(self, access_key_id: str) -> Row | None:
        return await self._tx.row(
            "select account_id, principal_arn, principal_id, secret_sealed, status from access_key"
            " where access_key_id = :access_key_id",
            access_key_id=access_key_id,
        )

    async def use(self, access_key_id: str) -> KeyUse | None:
        """The last use that was written; None: none was."""
        row = await self._tx.row(
            "select used_at, used_service, used_region from access_key"
            " where access_key_id = :access_key_id and used_at > 0",
            access_key_id=access_key_id,
        )
        if row is None:
            return None
        return KeyUse(at=row["used_at"], service=row["used_service"], region=row["used_region"])

    async def keep_uses(self, uses: Mapping[str, KeyUse]) -> None:
        """Store the uses of keys, and of roles by their ids, unless a later one is there."""
        for access_key_id, use in sorted(uses.items()):
            if access_key_id.startswith(ROLE_ID):
                await self._tx.execute(
                    "update iam_role set used_at = :at, used_region = :region"
                    " where role_id = :role_id and used_at < :at",
                    role_id=access_key_id,
                    at=use.at,
                    region=use.region,
                )
                continue
            await self._tx.execute(
                "update access_key set used_at = :at, used_service = :service, used_region = :region"
                " where access_key_id = :access_key_id and used_at < :at",
                access_key_id=access_key_id,
                at=use.at,
                service=use.service,
                region=use.region,
            )

    async def first_account(self) -> str | None:
        """The account made first: the one of `pilothouse env`."""
        found: str | None = await self._tx.value(
            "select account_id from account order by created_at, account_id limit 1"
        )
        return found

    async def account(self, asked: str) -> str | None:
        """The id of the account of that id or name."""
        found: str | None = await self._tx.value(
            "select account_id from account where account_id = :asked or name = :asked"
            " order by case when account_id = :asked then 0 else 1 end limit 1",
            asked=asked,
        )
        return found

    async def remove_root_keys(self, account_id: str) -> None:
        await self._tx.execute(
            "delete from access_key where account_id = :account_id and principal_id = :account_id",
            account_id=account_id,
        )

    async def add_account(self, account_id: str, name: str, now: int) -> bool:
        return bool(
            await self._tx.execute(
                "insert into account (account_id, name, created_at) values (:account_id, :name, :now)"
                " on conflict do nothing",
                account_id=account_id,
                name=name,
                now=now,
            )
        )

    async def add_root_key(self, house: House, account_id: str) -> AccountKey:
        made = AccountKey(account_id=account_id, access_key_id=house.ids.access_key_id(), secret=house.ids.secret_key())
        await self._tx.execute(
            "insert into access_key"
            " (access_key_id, account_id, principal_arn, principal_id, secret_sealed, status, created_at)"
            " values (:access_key_id, :account_id, :arn, :account_id, :sealed, 'Active', :now)",
            access_key_id=made.access_key_id,
            account_id=account_id,
            arn=root_arn(account_id),
            sealed=house.vault.seal(made.secret.encode(), seal_context(account_id, made.access_key_id)),
            now=house.clock.millis(),
        )
        return made


async def create_account(house: House, name: str, *, operator: str = "") -> AccountKey:
    """A new account with a root key, shown this once; recorded if an operator makes it. Raises AccountExists."""
    if operator:
        await audit.key_of(house)
    async with house.database.transaction() as tx:
        store = AccessStore(tx)
        account_id = house.ids.account_id()
        if not await store.add_account(account_id, name, house.clock.millis()):
            raise AccountExists(f"an account named {name!r} exists already")
        made = await store.add_root_key(house, account_id)
        if operator:
            said = {"accountName": name, "accessKeyId": made.access_key_id}
            await audit.operator_acted(house, tx, operator, account_id, "CreateAccount", said)
    return made


async def rotate_root(house: House, master: MasterKey, data: Path, asked: str, *, operator: str) -> AccountKey:
    """A new root key in the place of all that the account has; `asked` is its id or name, empty for the first account.

    The key of the first account is kept for `pilothouse env`. Raises NoSuchAccount, MasterKeyUnusable.
    """
    await audit.key_of(house)
    async with house.database.transaction() as tx:
        store = AccessStore(tx)
        first = await store.first_account()
        account_id = await store.account(asked) if asked else first
        if account_id is None:
            raise NoSuchAccount(f"there is no account {asked!r}")
        await store.remove_root_keys(account_id)
        made = await store.add_root_key(house, account_id)
        said = {"accessKeyId": made.access_key_id}
        await audit.operator_acted(house, tx, operator, account_id, "RotateRoot", said)
    if account_id == first:  # if this is cut off, the next start finds the kept key gone and makes another
        await _keep_root(made, master, data)
    return made


async def first_account(tx: Transaction) -> str:
    """The account whose trail holds what concerns the whole installation."""
    found = await AccessStore(tx).first_account()
    return found or ""


async def _keep_root(made: AccountKey, master: MasterKey, data: Path) -> None:
    text = json.dumps({"AccountId": made.account_id, "AccessKeyId": made.access_key_id, "SecretAccessKey": made.secret})
    await keep(data / _ROOT_FILE, text.encode(), master)


async def ensure_root(house: House, master: MasterKey, data: Path) -> AccountKey:
    """The first account and its root key; both are made at first start, the key is kept sealed in `root.sealed`.

    When that file is lost, a new key is made; the old one goes on to work until it is disabled.
    """
    known = await read_root(master, data)
    async with house.database.transaction() as tx:
        await tx.lock("first-account")
        store = AccessStore(tx)
        if known is not None and await store.key(known.access_key_id) is not None:
            return known
        account_id = await store.first_account()
        if account_id is None:
            account_id = house.ids.account_id()
            await store.add_account(account_id, "main", house.clock.millis())
        made = await store.add_root_key(house, account_id)
    await _keep_root(made, master, data)
    return made


async def read_root(master: MasterKey, data: Path) -> AccountKey | None:
    """The root key kept in the data directory, or None where there is none of this master key.

    Raises MasterKeyUnusable if the master key is kept elsewhere and does not answer.
    """
    try:
        found = json.loads(await kept(data / _ROOT_FILE, master))
    except (FileNotFoundError, KeptUnderAnother):
        return None
    return AccountKey(
        account_id=found["AccountId"], access_key_id=found["AccessKeyId"], secret=found["SecretAccessKey"]
    )
