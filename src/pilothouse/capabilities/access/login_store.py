"""SQL of passwords, second factors, attempts to sign in, and the providers that people are sent to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pilothouse.capabilities.access.login_model import (
    LoginProfile,
    MfaDevice,
    SignInProvider,
    client_secret_context,
    former_context,
    password_context,
    seed_context,
)
from pilothouse.crypto.sealed import Sealed
from pilothouse.storage import Row, Transaction

LOGINS_SEALED: Final = (
    Sealed(
        table="iam_login_profile",
        keys=("account_id", "user_id"),
        column="password_sealed",
        context=lambda row: password_context(row["account_id"], row["user_id"]),
    ),
    Sealed(
        table="iam_former_password",
        keys=("account_id", "user_id", "number"),
        column="password_sealed",
        context=lambda row: former_context(row["account_id"], row["user_id"], row["number"]),
    ),
    Sealed(
        table="iam_mfa_device",
        keys=("account_id", "serial"),
        column="seed_sealed",
        context=lambda row: seed_context(row["account_id"], row["serial"]),
    ),
    Sealed(
        table="sign_in_provider",
        keys=("account_id", "name"),
        column="secret_sealed",
        context=lambda row: client_secret_context(row["account_id"], row["name"]),
    ),
)
_DEVICE: Final = "select serial, user_id, seed_sealed, created_at, enabled_at, drift, last_step from iam_mfa_device"
_PROVIDER: Final = (
    "select name, provider_url, client_id, secret_sealed, role_arns, redirect_uris, scopes from sign_in_provider"
    " where account_id = :account_id"
)


@dataclass(frozen=True, slots=True)
class LoginStore:
    """The passwords of one account's users, in one transaction."""

    tx: Transaction
    account_id: str

    async def lock(self, user_id: str) -> None:
        """Wait for others who change the user's password."""
        await self.tx.lock("iam login", f"{self.account_id} {user_id}")

    async def find(self, user_id: str) -> LoginProfile | None:
        row = await self.tx.row(
            "select password_sealed, session_key, reset_required, created_at, changed_at, used_at"
            " from iam_login_profile where account_id = :account_id and user_id = :user_id",
            account_id=self.account_id,
            user_id=user_id,
        )
        if row is None:
            return None
        return LoginProfile(
            account_id=self.account_id,
            user_id=user_id,
            password_sealed=bytes(row["password_sealed"]),
            session_key=row["session_key"],
            reset_required=bool(row["reset_required"]),
            created_at=row["created_at"],
            changed_at=row["changed_at"],
            used_at=row["used_at"],
        )

    async def put(self, profile: LoginProfile) -> None:
        """Make it, or put it in the place of the one that is there."""
        await self.tx.execute(
            "insert into iam_login_profile"
            " (account_id, user_id, password_sealed, session_key, reset_required, created_at, changed_at, used_at)"
            " values (:account_id, :user_id, :sealed, :session_key, :reset, :created_at, :changed_at, :used_at)"
            " on conflict (account_id, user_id) do update set password_sealed = excluded.password_sealed,"
            " session_key = excluded.session_key, reset_required = excluded.reset_required,"
            " changed_at = excluded.changed_at",
            account_id=self.account_id,
            user_id=profile.user_id,
            sealed=profile.password_sealed,
            session_key=profile.session_key,
            reset=int(profile.reset_required),
            created_at=profile.created_at,
            changed_at=profile.changed_at,
            used_at=profile.used_at,
        )

    async def use(self, user_id: str, now: int) -> None:
        await self.tx.execute(
            "update iam_login_profile set used_at = :now where account_id = :account_id and user_id = :user_id",
            account_id=self.account_id,
            user_id=user_id,
            now=now,
        )

    async def end_sessions(self, user_id: str, session_key: str) -> None:
        await self.tx.execute(
            "update iam_login_profile set session_key = :session_key"
            " where account_id = :account_id and user_id = :user_id",
            account_id=self.account_id,
            user_id=user_id,
            session_key=session_key,
        )

    async def remove(self, user_id: str) -> bool:
        found = await self.tx.execute(
            "delete from iam_login_profile where account_id = :account_id and user_id = :user_id",
            account_id=self.account_id,
            user_id=user_id,
        )
        await self.tx.execute(
            "delete from iam_former_password where account_id = :account_id and user_id = :user_id",
            account_id=self.account_id,
            user_id=user_id,
        )
        return bool(found)

    async def former(self, user_id: str) -> Mapping[int, bytes]:
        """The sealed hashes of the passwords that were, by number, the latest first."""
        rows = await self.tx.rows(
            "select number, password_sealed from iam_former_password"
            " where account_id = :account_id and user_id = :user_id order by number desc",
            account_id=self.account_id,
            user_id=user_id,
        )
        return {row["number"]: bytes(row["password_sealed"]) for row in rows}

    async def add_former(self, user_id: str, number: int, sealed: bytes, most: int) -> None:
        """Keep one more, and of all the latest ones."""
        await self.tx.execute(
            "insert into iam_former_password (account_id, user_id, number, password_sealed)"
            " values (:account_id, :user_id, :number, :sealed)",
            account_id=self.account_id,
            user_id=user_id,
            number=number,
            sealed=sealed,
        )
        await self.tx.execute(
            "delete from iam_former_password where account_id = :account_id and user_id = :user_id"
            " and number <= :number",
            account_id=self.account_id,
            user_id=user_id,
            number=number - most,
        )


@dataclass(frozen=True, slots=True)
class MfaStore:
    """The virtual devices of one account, in one transaction."""

    tx: Transaction
    account_id: str

    async def lock(self) -> None:
        """Wait for others who change the account's devices."""
        await self.tx.lock("iam mfa devices", self.account_id)

    async def find(self, serial: str) -> MfaDevice | None:
        row = await self.tx.row(
            _DEVICE + " where account_id = :account_id and serial = :serial", account_id=self.account_id, serial=serial
        )
        return None if row is None else self._device(row)

    async def of_user(self, user_id: str) -> list[MfaDevice]:
        rows = await self.tx.rows(
            _DEVICE + " where account_id = :account_id and user_id = :user_id order by serial",
            account_id=self.account_id,
            user_id=user_id,
        )
        return [self._device(row) for row in rows]

    async def all(self) -> list[MfaDevice]:
        """By serial number."""
        rows = await self.tx.rows(
            _DEVICE + " where account_id = :account_id order by serial", account_id=self.account_id
        )
        return [self._device(row) for row in rows]

    def _device(self, row: Row) -> MfaDevice:
        return MfaDevice(
            account_id=self.account_id,
            serial=row["serial"],
            user_id=row["user_id"],
            seed_sealed=bytes(row["seed_sealed"]),
            created_at=row["created_at"],
            enabled_at=row["enabled_at"],
            drift=row["drift"],
            last_step=row["last_step"],
        )

    async def add(self, device: MfaDevice) -> None:
        await self.tx.execute(
            "insert into iam_mfa_device"
            " (account_id, serial, user_id, seed_sealed, created_at, enabled_at, drift, last_step)"
            " values (:account_id, :serial, :user_id, :seed, :created_at, :enabled_at, :drift, :last_step)",
            account_id=self.account_id,
            serial=device.serial,
            user_id=device.user_id,
            seed=device.seed_sealed,
            created_at=device.created_at,
            enabled_at=device.enabled_at,
            drift=device.drift,
            last_step=device.last_step,
        )

    async def give(self, serial: str, user_id: str, enabled_at: int) -> None:
        """To a user, or with an empty id to nobody."""
        await self.tx.execute(
            "update iam_mfa_device set user_id = :user_id, enabled_at = :enabled_at"
            " where account_id = :account_id and serial = :serial",
            account_id=self.account_id,
            serial=serial,
            user_id=user_id,
            enabled_at=enabled_at,
        )

    async def remove(self, serial: str) -> None:
        await self.tx.execute(
            "delete from iam_mfa_device where account_id = :account_id and serial = :serial",
            account_id=self.account_id,
            serial=serial,
        )

    async def use(self, serial: str, step: int, drift: int) -> bool:
        """Let the code of a step count; False if it or a later one has counted already."""
        return bool(
            await self.tx.execute(
                "update iam_mfa_device set last_step = :step, drift = :drift"
                " where account_id = :account_id and serial = :serial and last_step < :step",
                account_id=self.account_id,
                serial=serial,
                step=step,
                drift=drift,
            )
        )


@dataclass(frozen=True, slots=True)
class AttemptStore:
    """What is counted of attempts, in one transaction."""

    tx: Transaction

    async def counted(self, name: str) -> tuple[int, int, int]:
        """(failures, time of the last attempt, time of the last good one), and nobody else counts meanwhile."""
        await self.tx.lock("sign-in attempt", name)
        row = await self.tx.row("select failures, last_at, good_at from sign_in_attempt where name = :name", name=name)
        return (0, 0, 0) if row is None else (row["failures"], row["last_at"], row["good_at"])

    async def count(self, name: str, failures: int, last_at: int, good_at: int) -> None:
        await self.tx.execute(
            "insert into sign_in_attempt (name, failures, last_at, good_at)"
            " values (:name, :failures, :last_at, :good_at)"
            " on conflict (name) do update set failures = excluded.failures, last_at = excluded.last_at,"
            " good_at = excluded.good_at",
            name=name,
            failures=failures,
            last_at=last_at,
            good_at=good_at,
        )

    async def forget(self, before: int, good_before: int, most: int) -> None:
        """Some of those whose last attempt, and whose last good one, are past."""
        await self.tx.execute(
            "delete from sign_in_attempt where name in (select name from sign_in_attempt"
            " where last_at < :before and good_at < :good_before order by last_at limit :most)",
            before=before,
            good_before=good_before,
            most=most,
        )


@dataclass(frozen=True, slots=True)
class SignInProviderStore:
    """The providers that people of one account are sent to, in one transaction."""

    tx: Transaction
    account_id: str

    async def lock(self) -> None:
        """Wait for others who change the account's providers."""
        await self.tx.lock("sign-in providers", self.account_id)

    async def find(self, name: str) -> SignInProvider | None:
        row = await self.tx.row(_PROVIDER + " and name = :name", account_id=self.account_id, name=name)
        return None if row is None else self._provider(row)

    async def all(self) -> list[SignInProvider]:
        """By name."""
        rows = await self.tx.rows(_PROVIDER + " order by name", account_id=self.account_id)
        return [self._provider(row) for row in rows]

    def _provider(self, row: Row) -> SignInProvider:
        secret = row["secret_sealed"]
        return SignInProvider(
            account_id=self.account_id,
            name=row["name"],
            provider_url=row["provider_url"],
            client_id=row["client_id"],
            secret_sealed=None if secret is None else bytes(secret),
            role_arns=tuple(json.loads(row["role_arns"])),
            redirect_uris=tuple(json.loads(row["redirect_uris"])),
            scopes=tuple(json.loads(row["scopes"])),
        )

    async def put(self, provider: SignInProvider) -> None:
        await self.remove(provider.name)
        await self.tx.execute(
            "insert into sign_in_provider"
            " (account_id, name, provider_url, client_id, secret_sealed, role_arns, redirect_uris, scopes)"
            " values (:account_id, :name, :url, :client_id, :secret, :role_arns, :redirect_uris, :scopes)",
            account_id=self.account_id,
            name=provider.name,
            url=provider.provider_url,
            client_id=provider.client_id,
            secret=provider.secret_sealed,
            role_arns=json.dumps(provider.role_arns),
            redirect_uris=json.dumps(provider.redirect_uris),
            scopes=json.dumps(provider.scopes),
        )

    async def remove(self, name: str) -> bool:
        return bool(
            await self.tx.execute(
                "delete from sign_in_provider where account_id = :account_id and name = :name",
                account_id=self.account_id,
                name=name,
            )
        )
