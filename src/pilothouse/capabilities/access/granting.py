"""Credentials of access requests: whose they are, and that they allow what was granted and nothing else."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from pilothouse.call import House
from pilothouse.capabilities.access.standing import still_there
from pilothouse.capabilities.access.users import UserStore
from pilothouse.errors import UnrecognizedClientException
from pilothouse.identity.credentials import Credential
from pilothouse.identity.permissions import Permissions, Source
from pilothouse.identity.session_tokens import ACCESS
from pilothouse.storage import Transaction

Granted = Callable[[Transaction, str, str, str, int], Awaitable[str | None]]
"""(transaction, account id, region, request id, now) to the policy of the credentials, None if they give no access."""


async def of_access(house: House, found: Credential, granted: Granted) -> Credential:
    """The credential with what it allows now: after a revocation nothing.

    Raises UnrecognizedClientException where who asked for the access is nobody any more.
    """
    given = found.principal
    region, request_id, ends_at = found.parent.removeprefix(ACCESS).split(":")
    async with house.database.reading() as tx:
        policy = await granted(tx, given.account_id, region, request_id, house.clock.millis())
        name = given.name
        if not await still_there(tx, given.account_id, given.user_id, ""):
            raise UnrecognizedClientException
        if given.kind == "user":
            user = await UserStore(tx, given.account_id).by_id(given.user_id)
            name = "" if user is None else user.name
    sources = [] if policy is None else [Source(kind="inline", name=request_id, document=policy)]
    principal = replace(
        given,
        kind="session" if given.kind == "root" else given.kind,
        name=name,
        permissions=Permissions.of(sources),
        guarded=(),
        access_request=request_id,
        access_ends_at=int(ends_at),
    )
    return replace(found, principal=principal)
