"""Temporary credentials: the session token carries the credential itself, sealed, so that nothing is stored per token.

A token is only worth what its principal still is: whether the node, the role or the key that it was made by is still
there is asked on each use.
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from pilothouse.call import House
from pilothouse.crypto.vault import SealBroken, Vault
from pilothouse.errors import ExpiredTokenException, UnrecognizedClientException
from pilothouse.identity.credentials import Credential, Session
from pilothouse.identity.principals import Principal

_CONTEXT = "identity/session-token"
ACCESS: Final = "access:"
"""How the parent of credentials begins that come from an access request; its region, its id and its end follow."""
LOGIN: Final = "login:"
"""How the parent of credentials begins that come from a sign-in; the session key follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporaryCredentials:
    """What the holder gets: 20-character key id, 40-character secret, opaque token (well below 8 KiB)."""

    access_key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)


class _Sealed(msgspec.Struct, array_like=True):
    access_key_id: str
    secret: str
    expires_at: int
    kind: str
    account_id: str
    arn: str
    user_id: str
    node_id: str | None
    region: str | None
    role_id: str = ""
    policy: str = ""
    tags: dict[str, str] = {}
    issued_at: int = 0
    parent: str = ""
    policy_arns: list[str] = []
    transitive: list[str] = []
    source_identity: str = ""
    provider: str = ""
    mfa_at: int = 0


_KINDS: Final[dict[str, Literal["node", "session", "user", "root"]]] = {
    "node": "node",
    "session": "session",
    "user": "user",
    "root": "root",
}


def mint_for_node(
    house: House, *, account_id: str, region: str, arn: str, user_id: str, node_id: str, expires_at: int
) -> TemporaryCredentials:
    """Credentials of a node's role session, valid until `expires_at` (epoch milliseconds)."""
    return _minted(
        house,
        _Sealed(
            access_key_id=house.ids.access_key_id("ASIA"),
            secret=house.ids.secret_key(),
            expires_at=expires_at,
            kind="node",
            account_id=account_id,
            arn=arn,
            user_id=user_id,
            node_id=node_id,
            region=region,
        ),
    )


def mint_for_role(
    house: House, *, account_id: str, arn: str, user_id: str, session: Session, expires_at: int
) -> TemporaryCredentials:
    """Credentials of a role's session, valid until `expires_at` (epoch milliseconds)."""
    return _minted(
        house,
        _Sealed(
            access_key_id=house.ids.access_key_id("ASIA"),
            secret=house.ids.secret_key(),
            expires_at=expires_at,
            kind="session",
            account_id=account_id,
            arn=arn,
            user_id=user_id,
            node_id=None,
            region=None,
            role_id=session.role_id,
            policy=session.policy,
            tags=dict(session.tags),
            issued_at=house.clock.millis(),
            policy_arns=list(session.policy_arns),
            transitive=sorted(session.transitive),
            source_identity=session.source_identity,
            provider=session.provider,
            mfa_at=session.mfa_at,
        ),
    )


def mint_for_key(house: House, principal: Principal, *, expires_at: int) -> TemporaryCredentials:
    """Credentials of the user or root, who signed with a key, valid until `expires_at` and no longer than the key."""
    return _of_principal(house, principal, principal.access_key_id, principal.mfa_at, expires_at)


def mint_for_login(
    house: House, principal: Principal, session_key: str, *, mfa_at: int, expires_at: int
) -> TemporaryCredentials:
    """Credentials of a user who signed in, valid until `expires_at` and no longer than the session key."""
    return _of_principal(house, principal, LOGIN + session_key, mfa_at, expires_at)


def mint_for_access(
    house: House, principal: Principal, region: str, request_id: str, *, ends_at: int, expires_at: int
) -> TemporaryCredentials:
    """Credentials of who asked for access to a node, valid until `expires_at` and no longer than the access."""
    return _of_principal(house, principal, f"{ACCESS}{region}:{request_id}:{ends_at}", principal.mfa_at, expires_at)


def _of_principal(
    house: House, principal: Principal, parent: str, mfa_at: int, expires_at: int
) -> TemporaryCredentials:
    return _minted(
        house,
        _Sealed(
            access_key_id=house.ids.access_key_id("ASIA"),
            secret=house.ids.secret_key(),
            expires_at=expires_at,
            kind=principal.kind,
            account_id=principal.account_id,
            arn=principal.arn,
            user_id=principal.user_id,
            node_id=None,
            region=None,
            tags=dict(principal.tags),
            issued_at=house.clock.millis(),
            parent=parent,
            source_identity=principal.source_identity,
            mfa_at=mfa_at,
        ),
    )


def _minted(house: House, sealed: _Sealed) -> TemporaryCredentials:
    token = house.vault.seal(msgspec.msgpack.encode(sealed), _CONTEXT)
    return TemporaryCredentials(
        access_key_id=sealed.access_key_id, secret=sealed.secret, token=base64.b64encode(token).decode()
    )


async def meet(vault: Vault, token: str) -> None:
    """Have the vault ask for the root key that the token was sealed under, if it is newer than those it holds."""
    try:
        await vault.meet(base64.b64decode(token[:8], validate=True))
    except (binascii.Error, ValueError):
        return  # `credential_of` refuses it


def credential_of(vault: Vault, access_key_id: str, token: str | None, now_ms: int) -> Credential:
    """The credential in a token. Raises UnrecognizedClientException, ExpiredTokenException."""
    if token is None:
        raise UnrecognizedClientException
    try:
        sealed = msgspec.msgpack.decode(vault.open(base64.b64decode(token, validate=True), _CONTEXT), type=_Sealed)
    except (binascii.Error, ValueError, SealBroken, msgspec.DecodeError) as error:
        raise UnrecognizedClientException from error
    if sealed.access_key_id != access_key_id or sealed.kind not in _KINDS:
        raise UnrecognizedClientException
    if sealed.expires_at <= now_ms:
        raise ExpiredTokenException
    principal = Principal(
        kind=_KINDS[sealed.kind],
        account_id=sealed.account_id,
        arn=sealed.arn,
        user_id=sealed.user_id,
        access_key_id=access_key_id,
        node_id=sealed.node_id,
        region=sealed.region,
        temporary=bool(sealed.parent) and not sealed.parent.startswith((LOGIN, ACCESS)),
        issued_at=sealed.issued_at,
        source_identity=sealed.source_identity,
        transitive=frozenset(sealed.transitive),
        provider=sealed.provider,
        mfa_at=sealed.mfa_at,
    )
    return Credential(principal=principal, secret=sealed.secret, session=_session(sealed), parent=sealed.parent)


def _session(sealed: _Sealed) -> Session | None:
    if not sealed.role_id:
        return None
    return Session(
        role_id=sealed.role_id,
        policy=sealed.policy,
        policy_arns=sealed.policy_arns,
        tags=sealed.tags,
        transitive=frozenset(sealed.transitive),
        source_identity=sealed.source_identity,
        provider=sealed.provider,
        mfa_at=sealed.mfa_at,
    )
