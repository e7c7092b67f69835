"""A user of Redis' access control lists. A user has as many passwords as are put on it: the current one stays good.

The server gets hashes, never a password.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from pilothouse.call import House
from pilothouse.capabilities.secrets.rotators.credentials import (
    SECONDS,
    Credential,
    address_of,
    credential,
    master_of,
    not_reached,
)
from pilothouse.capabilities.secrets.rotators.database import DatabaseUser, Refused
from pilothouse.capabilities.secrets.rotators.rotator import Done, StepFailed, Work

ENGINES: Final = {"redis": 6379, "valkey": 6379}


@asynccontextmanager
async def _login(house: House, who: Credential) -> AsyncIterator[Any]:
    """A connection as the user. Raises StepFailed, Refused."""
    address = await address_of(house, who)
    secure: dict[str, Any] = {}
    if who.tls:
        secure = {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
        if house.settings.outbound.ca_file:
            secure["ssl_ca_certs"] = house.settings.outbound.ca_file
    client = redis.asyncio.Redis(
        host=who.host if who.tls else address, port=who.port, username=who.username, password=who.password,
        socket_connect_timeout=SECONDS, socket_timeout=SECONDS, single_connection_client=True,
        retry=Retry(NoBackoff(), 0),  # the step is tried again as a whole
        **secure,
    )  # fmt: skip
    try:
        try:
            await client.ping()
        except NoPermissionError:
            pass  # it is in, and may not ask this
        except (AuthenticationError, ResponseError) as error:
            raise Refused(f"the server refused the login of {who.username}") from error
        yield client
    except NoPermissionError as error:
        raise StepFailed(f"{who.username} lacks the permission for this on the server", final=True) from error
    except (RedisError, OSError, TimeoutError) as error:
        raise not_reached(who, error, type(error).__name__) from error
    finally:
        await client.aclose()


class AclUser(DatabaseUser):
    """The user gets a second password; the one before the current goes. `masterarn` names who may change users."""

    engines = ENGINES

    def login(self, house: House, who: Credential) -> AbstractAsyncContextManager[Any]:
        return _login(house, who)

    async def give(self, work: Work, pending: Credential) -> Done:
        current = credential(work.current, ENGINES)
        who = current if work.master is None else master_of(work, current, ENGINES)
        done = f"{who.username} gave {pending.username} a second password on {pending.host}"
        async with _login(work.house, who) as client:
            passwords = [f"#{_hashed(each.password)}" for each in (current, pending)]
            await client.execute_command("ACL", "SETUSER", pending.username, "resetpass", *passwords)
            try:
                await client.execute_command("ACL", "SAVE")
            except ResponseError:  # it has no file of users, or this one may not write it
                return Done(f"{done}, in memory only")
        return Done(done)


def _hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
