"""MongoDB and what speaks its protocol: one user whose password changes, or two that take turns.

A user has one password. The server named by `host` is asked, and no other that it may tell of: with a replica set that
is the primary's name, or one that leads there. Rule of the commands: the server's manual, User Management Commands.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import NotPrimaryError, OperationFailure, PyMongoError

from pilothouse.call import House
from pilothouse.capabilities.secrets.rotators.credentials import (
    SECONDS,
    Credential,
    address_of,
    context_of,
    master_of,
    not_reached,
)
from pilothouse.capabilities.secrets.rotators.database import DatabaseUser, OneUser, Refused, TwoUsers, logged_in
from pilothouse.capabilities.secrets.rotators.rotator import Done, StepFailed, Work

ENGINES: Final = {"mongo": 27017, "mongodb": 27017, "docdb": 27017}
_NOT_LET_IN: Final = frozenset({11, 18})
"""UserNotFound, AuthenticationFailed."""
_LACKING: Final = frozenset({13, 8000})
"""Unauthorized, and what a hosted service says in its place."""
_THERE_ALREADY: Final = 51003
_HANDSHAKE: Final = 3.0
"""Seconds; a server without TLS need not answer the beginning of it."""

Client = AsyncMongoClient[dict[str, Any]]


def _users_of(who: Credential) -> str:
    """The database in which the user is kept."""
    return who.dbname or "admin"


async def _uses_tls(house: House, who: Credential, address: str, plain: set[tuple[str, int]]) -> bool:
    """Whether the connection is to be one of TLS; one is tried, for the driver tells little of why it has none.

    `plain`: the servers that are known to have none. Raises StepFailed where there is no server, or its certificate is
    not to be trusted though that is demanded.
    """
    if who.tls:
        context = context_of(house)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing is proved where nothing is demanded
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls: dict[str, Any] = {"ssl": context, "server_hostname": who.host, "ssl_handshake_timeout": _HANDSHAKE}
    if who.tls is False or (who.tls is None and (address, who.port) in plain):
        tls = {}
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(address, who.port, **tls)
    except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, asyncio.IncompleteReadError) as error:
        if who.tls is None:
            plain.add((address, who.port))
            return False
        raise not_reached(who, error, type(error).__name__) from error
    except (OSError, TimeoutError) as error:
        raise not_reached(who, error, type(error).__name__) from error
    writer.transport.abort()
    return bool(tls)


@asynccontextmanager
async def _login(house: House, who: Credential, plain: set[tuple[str, int]]) -> AsyncIterator[Client]:
    """A client as the user. Raises StepFailed, Refused."""
    address = await address_of(house, who)
    options: dict[str, Any] = {"tls": await _uses_tls(house, who, address, plain)}
    if options["tls"] and not who.tls:
        options["tlsAllowInvalidCertificates"] = True
    elif options["tls"] and house.settings.outbound.ca_file:
        options["tlsCAFile"] = str(house.settings.outbound.ca_file)
    milliseconds = int(SECONDS * 1000)
    client: Client = AsyncMongoClient(
        who.host if who.tls else address, who.port, username=who.username, password=who.password,
        authSource=_users_of(who), directConnection=True, connectTimeoutMS=milliseconds, socketTimeoutMS=milliseconds,
        serverSelectionTimeoutMS=milliseconds, retryWrites=False, retryReads=False, maxPoolSize=1,
        appname="pilothouse", **options,
    )  # fmt: skip
    try:
        await client.admin.command("ping")
        yield client
    except OperationFailure as error:
        raise _told(who, error) from error
    except NotPrimaryError as error:
        raise StepFailed(f"{who.host} is not the primary of its replica set: the secret's host must be") from error
    except (PyMongoError, OSError, TimeoutError) as error:
        raise not_reached(who, error, type(error).__name__) from error
    finally:
        await client.close()


def _told(who: Credential, error: OperationFailure) -> StepFailed:
    """What is told of an answer; its own text may quote what was asked."""
    if error.code in _NOT_LET_IN:
        return Refused(f"the server refused the login of {who.username}")
    if error.code in _LACKING:
        return StepFailed(f"{who.username} lacks the permission for this on the server", final=True)
    return StepFailed(f"the server refused what was asked of it: {type(error).__name__} {error.code}")


async def _give(client: Client, pending: Credential, password: str) -> None:
    await client[_users_of(pending)].command("updateUser", pending.username, pwd=password)


class _Mongo(DatabaseUser):
    engines: Mapping[str, int] = ENGINES

    def __init__(self) -> None:
        self._plain: set[tuple[str, int]] = set()

    def login(self, house: House, who: Credential) -> AbstractAsyncContextManager[Client]:
        return _login(house, who, self._plain)


class SingleUser(_Mongo, OneUser):
    """The user's password changes, by the user of `masterarn`, or by itself, which needs `changeOwnPassword`.

    The current value does not log in from then until the labels have moved.
    """

    reversible = False

    async def change(self, work: Work, pending: Credential, old: Credential) -> Done:
        house = work.house
        if not await self.can_log_in(house, old):
            raise Refused(f"the server refused the login of {old.username}")
        who = old if work.master is None else master_of(work, old, ENGINES)
        try:
            async with self.login(house, who) as client:
                await work.quiet()
                await _give(client, pending, pending.password)
                if not await self.can_log_in(house, pending):
                    await _give(client, pending, old.password)
                    raise StepFailed(f"{pending.username} was refused with a new password; the old one was put back")
        except Refused as refused:
            raise StepFailed(str(refused)) from refused
        done = f"{who.username} changed the password of {pending.username} on {pending.host}"
        return Done(done, tried=logged_in(pending))


class Alternating(_Mongo, TwoUsers):
    """Two users in one database of users; the one that is made gets the roles of the first."""

    longest_name = 128

    async def give_other(self, house: House, master: Credential, current: Credential, pending: Credential) -> bool:
        async with self.login(house, master) as client:
            users = client[_users_of(pending)]
            if not (await users.command("usersInfo", pending.username))["users"]:
                first = (await users.command("usersInfo", current.username))["users"]
                if not first:
                    where = _users_of(pending)
                    raise StepFailed(f"{current.username} is no user of the database {where}: name it as the secret's "
                                     "dbname", final=True)  # fmt: skip
                same = {name: first[0][name] for name in ("customData", "mechanisms") if name in first[0]}
                try:
                    await users.command(
                        "createUser", pending.username, pwd=pending.password, roles=first[0]["roles"], **same
                    )
                except OperationFailure as error:
                    if error.code != _THERE_ALREADY:
                        raise
                else:
                    return True
            await _give(client, pending, pending.password)
            return False
