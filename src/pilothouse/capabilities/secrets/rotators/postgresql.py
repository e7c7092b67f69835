"""PostgreSQL: one user whose password changes, or two that take turns.

The server gets a SCRAM verifier, never a password, so none stands in its logs. Identifiers and texts are quoted by the
server's own format().
"""

import asyncio
import hashlib
import hmac
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import asyncpg

from pilothouse.call import House
from pilothouse.capabilities.secrets.rotators.credentials import (
    SECONDS,
    Credential,
    address_of,
    context_of,
    not_reached,
)
from pilothouse.capabilities.secrets.rotators.database import DatabaseUser, OneUser, Refused, TwoUsers, logged_in
from pilothouse.capabilities.secrets.rotators.rotator import Done, StepFailed, Work

ENGINES: Final = {"postgres": 5432, "postgresql": 5432, "aurora-postgresql": 5432}
_ROUNDS: Final = 4096
_LOGIN_REFUSED: Final = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)


@asynccontextmanager
async def login(house: House, who: Credential) -> AsyncIterator[Any]:
    """A connection as the user. Raises StepFailed, Refused."""
    address = await address_of(house, who)
    secure: Any = {True: context_of(house) if who.tls else None, None: "prefer", False: False}[who.tls]
    try:
        connection = await asyncpg.connect(
            host=who.host if who.tls else address,  # a certificate is verified by the name
            port=who.port,
            user=who.username,
            password=who.password,
            database=who.dbname or "postgres",
            ssl=secure,
            passfile=os.devnull,
            timeout=SECONDS,
            command_timeout=SECONDS,
            statement_cache_size=0,
            server_settings={"application_name": "pilothouse rotation"},
        )
    except _LOGIN_REFUSED as error:
        raise Refused(f"the server refused the login of {who.username}") from error
    except asyncpg.InvalidCatalogNameError as error:
        raise StepFailed(f"there is no database {who.dbname}", final=True) from error
    except asyncpg.PostgresError as error:
        raise StepFailed(f"{who.host} does not let anybody in now: {type(error).__name__}") from error
    except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
        raise not_reached(who, error, type(error).__name__) from error
    try:
        yield connection
    except asyncpg.InsufficientPrivilegeError as error:
        raise StepFailed(f"{who.username} lacks the permission for this on the server", final=True) from error
    except asyncpg.PostgresError as error:
        raise StepFailed(f"the server refused what was asked of it: {type(error).__name__}") from error
    except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
        raise StepFailed(f"the connection to {who.host} broke: {type(error).__name__}") from error
    finally:
        connection.terminate()


def verifier(password: str, salt: bytes) -> str:
    """What a server keeps of a password (RFC 5802, RFC 7677)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    told = [b64encode(each).decode() for each in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ROUNDS}:{told[0]}${told[1]}:{told[2]}"


async def run(connection: Any, form: str, *names: str) -> None:
    """Give the server a statement, which its own format() fills with quoted names (%I) and texts (%L)."""
    marks = ", ".join(f"${at}::text" for at in range(2, len(names) + 2))
    statement = await connection.fetchval(f"select format($1::text, {marks})", form, *names)
    await connection.execute(statement)


class _Postgresql(DatabaseUser):
    engines = ENGINES

    def login(self, house: House, who: Credential) -> AbstractAsyncContextManager[Any]:
        return login(house, who)


class SingleUser(_Postgresql, OneUser):
    """The user changes its own password. From then until the labels have moved, the current value does not log in."""

    reversible = False

    async def change(self, work: Work, pending: Credential, old: Credential) -> Done:
        async with login(work.house, old) as connection:
            await work.quiet()
            await self._change(work.house, connection, pending, old)
        return Done(f"{pending.username} changed its password on {pending.host}", tried=logged_in(pending))

    async def _change(self, house: House, connection: Any, pending: Credential, old: Credential) -> None:
        """Where the new password does not log in after all, the old one is put back over the same connection."""
        form = "alter role %I password %L"
        new, before = (verifier(each.password, house.ids.random_bytes(16)) for each in (pending, old))
        await run(connection, form, pending.username, new)
        try:
            works = await self.can_log_in(house, pending)
        except (StepFailed, asyncio.CancelledError):
            await run(connection, form, old.username, before)
            raise
        if not works:
            await run(connection, form, old.username, before)
            raise StepFailed(f"the server refused the login of {pending.username} with a new password; it was put back")


class Alternating(_Postgresql, TwoUsers):
    """Two roles; the one that is made is a member of the first, and acts as it."""

    longest_name = 63

    async def give_other(self, house: House, master: Credential, current: Credential, pending: Credential) -> bool:
        known = verifier(pending.password, house.ids.random_bytes(16))
        async with login(house, master) as connection, connection.transaction():
            if await connection.fetchval("select true from pg_roles where rolname = $1", pending.username):
                await run(connection, "alter role %I login password %L", pending.username, known)
                return False
            await run(connection, "create role %I login password %L", pending.username, known)
            await run(connection, "grant %I to %I", current.username, pending.username)
            await run(connection, "alter role %I set role %I", pending.username, current.username)
        return True
