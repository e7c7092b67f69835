"""Finds the credential of an access key: long-lived keys in the table, temporary ones in their own token."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from pilothouse.call import House
from pilothouse.capabilities.access.granting import Granted, of_access
from pilothouse.capabilities.access.held import held_by
from pilothouse.capabilities.access.login_store import LoginStore
from pilothouse.capabilities.access.model import root_arn, seal_context
from pilothouse.capabilities.access.node_roles import NodeRights
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.sessions import session_policies
from pilothouse.capabilities.access.store import AccessStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.errors import UnrecognizedClientException
from pilothouse.identity.authorise import guarded
from pilothouse.identity.credentials import Credential, Session
from pilothouse.identity.permissions import Permissions
from pilothouse.identity.principals import Principal
from pilothouse.identity.session_tokens import ACCESS, LOGIN, credential_of, meet
from pilothouse.storage import Transaction
from pilothouse.storage.remembered import Remembered

_DEV_KEY = re.compile(r"[0-9]{12}")
_DEV_SECRET = "test"  # noqa: S105 - the published secret of --dev, which serves loopback only
_DEV_HABITS = {
    "test": ("000000000000", "test"),
    "testing": ("123456789012", "testing"),
    "FOOBARKEY": ("123456789012", "FOOBARSECRET"),
}
"""Made-up access keys that tests for emulators commonly have, with their accounts there and their secrets."""

_REMEMBERED = 10_000
"""Opened keys kept in memory; each is used only while the row, read after each commit, still holds the same bytes."""


class AccessCredentials:
    """The installation's answer to `identity.credentials.Credentials`.

    `node_rights(node_id)` raises AccessDeniedException for a node that is deregistered. `granted` gives the policy of
    an access request's credentials, None where it gives no access (any more).
    """

    def __init__(self, house: House, node_rights: Callable[[str], Awaitable[NodeRights]], granted: Granted) -> None:
        self._house = house
        self._node_rights = node_rights
        self._granted = granted
        self._known: dict[str, tuple[bytes, str]] = {}
        self._active: Remembered[str, Credential] = Remembered(_REMEMBERED)

    async def find(self, access_key_id: str, session_token: str | None) -> Credential:
        if access_key_id in _DEV_HABITS and (made_up := self._made_up(access_key_id)) is not None:
            return made_up  # whatever they made up as a token
        if access_key_id.startswith("ASIA"):
            if session_token is not None:
                await meet(self._house.vault, session_token)
            found = credential_of(self._house.vault, access_key_id, session_token, self._house.clock.millis())
            if found.principal.node_id is not None:
                return _of_node(found, await self._node_rights(found.principal.node_id))
            if found.session is not None:
                return await self._of_role(found, found.session)
            if found.parent.startswith(ACCESS):
                return await of_access(self._house, found, self._granted)
            if found.parent.startswith(LOGIN):
                return await self._of_login(found)
            return await self._of_key(found) if found.parent else found
        if session_token is not None:
            raise UnrecognizedClientException
        made_up = self._made_up(access_key_id)
        if made_up is not None:
            return made_up
        async with self._house.database.reading() as tx:
            stamp = await tx.stamp()
            active = self._active.get(stamp, access_key_id)
            if active is not None:
                return active
            row = await AccessStore(tx).key(access_key_id)
            if row is None or row["status"] != "Active":
                raise UnrecognizedClientException
            principal = await _principal(self._house, tx, access_key_id, row["account_id"], row["principal_id"])
        secret = await self._opened(access_key_id, row["account_id"], bytes(row["secret_sealed"]))
        found = Credential(principal=principal, secret=secret)
        self._active.put(stamp, access_key_id, found)
        return found

    def _made_up(self, access_key_id: str) -> Credential | None:
        """A key that only --dev takes."""
        if not self._house.settings.dev:
            return None
        if access_key_id in _DEV_HABITS:
            account_id, secret = _DEV_HABITS[access_key_id]
            return Credential(principal=_root(account_id, access_key_id), secret=secret)
        if _DEV_KEY.fullmatch(access_key_id):
            return Credential(principal=_root(access_key_id, access_key_id), secret=_DEV_SECRET)
        return None

    async def _of_key(self, found: Credential) -> Credential:
        """The user or root as they are now. Raises UnrecognizedClientException if the key no longer holds."""
        given = found.principal
        if self._made_up(found.parent) is not None:
            return found
        async with self._house.database.reading() as tx:
            stamp = await tx.stamp()
            active = self._active.get(stamp, given.access_key_id)
            if active is not None:
                return active
            row = await AccessStore(tx).key(found.parent)
            if row is None or row["status"] != "Active" or row["principal_id"] != given.user_id:
                raise UnrecognizedClientException
            key_id, account_id = given.access_key_id, row["account_id"]
            principal = await _principal(self._house, tx, key_id, account_id, row["principal_id"])
        complete = replace(
            found,
            principal=replace(principal, temporary=True, issued_at=given.issued_at, mfa_at=given.mfa_at),
        )
        self._active.put(stamp, given.access_key_id, complete)
        return complete

    async def _of_login(self, found: Credential) -> Credential:
        """The user as they are now. Raises UnrecognizedClientException if what was signed in has ended."""
        given = found.principal
        async with self._house.database.reading() as tx:
            stamp = await tx.stamp()
            active = self._active.get(stamp, given.access_key_id)
            if active is not None:
                return active
            profile = await LoginStore(tx, given.account_id).find(given.user_id)
            if profile is None or LOGIN + profile.session_key != found.parent:
                raise UnrecognizedClientException
            principal = await _principal(self._house, tx, given.access_key_id, given.account_id, given.user_id)
        complete = replace(found, principal=replace(principal, issued_at=given.issued_at, mfa_at=given.mfa_at))
        self._active.put(stamp, given.access_key_id, complete)
        return complete

    async def _of_role(self, found: Credential, session: Session) -> Credential:
        """The session with what its role allows now. Raises UnrecognizedClientException if the role is gone."""
        async with self._house.database.reading() as tx:
            stamp = await tx.stamp()
            active = self._active.get(stamp, found.principal.access_key_id)
            if active is not None:
                return active
            store = RoleStore(tx, found.principal.account_id)
            role = await store.by_id(session.role_id)
            if role is None:
                raise UnrecognizedClientException
            held = await held_by(tx, role) + await session_policies(tx, role.account_id, session)
            principal = replace(
                found.principal,
                role_arn=role.arn,
                permissions=Permissions.of(held),
                guarded=await guarded(self._house, tx, role.account_id),
                tags={**await store.tags(role), **session.tags},
            )
        complete = replace(found, principal=principal)
        self._active.put(stamp, principal.access_key_id, complete)
        return complete

    async def _opened(self, access_key_id: str, account_id: str, sealed: bytes) -> str:
        """The secret of a row just read; one opened before is known again by its sealed bytes."""
        known = self._known.get(access_key_id)
        if known is not None and known[0] == sealed:
            return known[1]
        secret = (await self._house.vault.opened(sealed, seal_context(account_id, access_key_id))).decode()
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[access_key_id] = sealed, secret
        return secret


def _of_node(found: Credential, rights: NodeRights) -> Credential:
    """The node with what its role allows now."""
    node_id = found.principal.node_id
    principal = replace(
        found.principal,
        user_id=f"{rights.role_id}:{node_id}" if rights.role_id else found.principal.user_id,
        role_arn=rights.role_arn,
        permissions=rights.permissions,
        guarded=rights.guarded,
        tags=rights.tags,
    )
    return replace(found, principal=principal)


async def _principal(
    house: House, tx: Transaction, access_key_id: str, account_id: str, owner_id: str
) -> Principal:  # fmt: skip
    """Whose key it is, with what its policies allow. Raises UnrecognizedClientException if there is nobody."""
    if owner_id == account_id:
        return _root(account_id, access_key_id)
    store = UserStore(tx, account_id)
    user = await store.by_id(owner_id)
    if user is None:
        raise UnrecognizedClientException
    return Principal(
        kind="user",
        account_id=account_id,
        arn=user.arn,
        user_id=user.user_id,
        access_key_id=access_key_id,
        name=user.name,
        permissions=Permissions.of(await held_by(tx, user)),
        guarded=await guarded(house, tx, account_id),
        tags=await store.tags(user),
    )


def _root(account_id: str, access_key_id: str) -> Principal:
    return Principal(
        kind="root",
        account_id=account_id,
        arn=root_arn(account_id),
        user_id=account_id,
        access_key_id=access_key_id,
    )
