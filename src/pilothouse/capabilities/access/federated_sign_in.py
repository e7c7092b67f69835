"""Sign-in with an identity provider: OpenID Connect's code flow with PKCE, for a session of a role.

Nothing is stored between the two halves. What the second half must know is sealed and kept by the program that began;
a code that another program began, or that was sent to somebody, is of no use without it.
"""

import base64
import binascii
import hashlib
import hmac
import re
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.access.attempts import begin_attempt
from pilothouse.capabilities.access.identity_tokens import Identity, identity_of, read_header, verified
from pilothouse.capabilities.access.issuer_keys import Endpoints, endpoints_of, given_in, keys_of
from pilothouse.capabilities.access.login_model import SignInProvider, SignInRefusedException, client_secret_context
from pilothouse.capabilities.access.login_store import SignInProviderStore
from pilothouse.capabilities.access.model import (
    IDPCommunicationErrorException,
    InvalidIdentityTokenException,
    InvalidInputException,
    OidcProvider,
    Role,
)
from pilothouse.capabilities.access.oidc_store import OidcStore
from pilothouse.capabilities.access.sessions import REGION_OF_UNSIGNED, Narrowing, begin, role_by_arn
from pilothouse.capabilities.access.sign_in import account_of
from pilothouse.capabilities.access.web_identity import check_trust, session_of
from pilothouse.crypto.vault import SealBroken
from pilothouse.errors import AccessDeniedException
from pilothouse.storage import Transaction

_CONTEXT: Final = "sign-in/pending"
_MINUTES_MS: Final = 10 * 60_000
_NONE: Final = "There is no such account, or no such provider in it."
_BEGIN_AGAIN: Final = "This sign-in is not one that was begun here, or it took too long. Begin again."
_NOT_LET: Final = "The identity provider knows you, but no role of this account lets you in. Ask its administrators."
_UNNAMED: Final = re.compile(r"[^\w+=,.@-]+", re.ASCII)


class _Pending(msgspec.Struct, array_like=True):
    account_id: str
    provider: str
    redirect_uri: str
    state: str
    nonce: str
    verifier: str
    expires_at: int


@operation("pilothouse", "ListSignInOptions", callers=Caller.ACCOUNT | Caller.ANYONE, free=True)
async def list_sign_in_options(call: Call, request: Shape) -> Shape:
    """The providers to choose from; of an account that is not there, none."""
    async with call.reading() as tx:
        providers = await SignInProviderStore(tx, await account_of(tx, request.get("Account", ""))).all()
    return {"Providers": [{"Name": each.name} for each in providers]}


@operation("pilothouse", "BeginFederatedSignIn", callers=Caller.ACCOUNT | Caller.ANYONE, free=True)
async def begin_federated_sign_in(call: Call, request: Shape) -> Shape:
    """Where to send the person, and what to keep for CompleteFederatedSignIn: Pending stays with the program.

    Raises SignInRefusedException, InvalidInputException, TooManyAttemptsException, and what the provider is to blame
    for.
    """
    attempt = await begin_attempt(call.house, "", call.source_ip)
    async with call.reading() as tx:
        account_id = await account_of(tx, request.get("Account", ""))
        chosen, provider = await _chosen(tx, account_id, request["Provider"])
    redirect = request["RedirectUri"]
    if redirect not in chosen.redirect_uris and not _is_loopback(redirect):
        raise InvalidInputException(f"{redirect} is none of the provider's RedirectUris.")
    endpoints = await endpoints_of(call.house.outbound, f"https://{provider.url}")
    pending = _Pending(
        account_id=account_id,
        provider=chosen.name,
        redirect_uri=redirect,
        state=_chance(call),
        nonce=_chance(call),
        verifier=_chance(call),
        expires_at=call.clock.millis() + _MINUTES_MS,
    )
    query = {
        "response_type": "code",
        "client_id": chosen.client_id,
        "redirect_uri": redirect,
        "scope": " ".join(chosen.scopes),
        "state": pending.state,
        "nonce": pending.nonce,
        "code_challenge": _plain(hashlib.sha256(pending.verifier.encode()).digest()),
        "code_challenge_method": "S256",
    }
    join = "&" if urlsplit(endpoints.authorization).query else "?"
    await attempt.good()
    sealed = call.house.vault.seal(msgspec.msgpack.encode(pending), _CONTEXT)
    return {
        "AuthorizationUrl": f"{endpoints.authorization}{join}{urlencode(query, quote_via=quote)}",
        "State": pending.state,
        "Pending": base64.b64encode(sealed).decode(),
    }


@operation("pilothouse", "CompleteFederatedSignIn", callers=Caller.ACCOUNT | Caller.ANYONE, free=True, audited=True)
async def complete_federated_sign_in(call: Call, request: Shape) -> Shape:
    """Credentials of a session of the role asked for, or of the first that lets the person in.

    Raises SignInRefusedException, TooManyAttemptsException, and what the provider or its token is to blame for.
    """
    attempt = await begin_attempt(call.house, "", call.source_ip)
    pending = await _opened(call, request)
    async with call.reading() as tx:
        chosen, provider = await _chosen(tx, pending.account_id, pending.provider)
    identity, claims = await _identity(call, chosen, provider, pending, request["Code"])
    call.account_id, call.region = pending.account_id, REGION_OF_UNSIGNED
    name = _session_name(identity, claims)
    roles = await _roles(call, chosen, provider, identity, name)
    asked = request.get("RoleArn", roles[0].arn if roles else "")
    role = next((each for each in roles if each.arn == asked), None)
    if role is None:
        raise SignInRefusedException(_NOT_LET)
    narrowing = Narrowing(policy="", arns=())
    wanted = {"RoleSessionName": name, **{key: request[key] for key in ("DurationSeconds",) if key in request}}
    begun = begin(call, wanted, role, session_of(role, provider, identity, narrowing), narrowing)
    await attempt.good()
    return {
        "Credentials": begun["Credentials"],
        "Arn": begun["AssumedRoleUser"]["Arn"],
        "AccountId": role.account_id,
        "RoleArn": role.arn,
        "RoleArns": [each.arn for each in roles],
        "Subject": identity.subject,
    }


async def _chosen(tx: Transaction, account_id: str, name: str) -> tuple[SignInProvider, OidcProvider]:
    """Raises SignInRefusedException."""
    chosen = await SignInProviderStore(tx, account_id).find(name)
    provider = None if chosen is None else await OidcStore(tx, account_id).find(chosen.provider_url)
    if chosen is None or provider is None:
        raise SignInRefusedException(_NONE)
    return chosen, provider


def _is_loopback(uri: str) -> bool:
    """A program on the person's own machine, at a port that it found (RFC 8252)."""
    try:
        parts = urlsplit(uri)
        return (
            parts.scheme == "http"
            and parts.hostname in ("127.0.0.1", "::1")
            and parts.port is not None
            and not parts.fragment
            and parts.username is None
        )
    except ValueError:
        return False


def _chance(call: Call) -> str:
    return _plain(call.ids.random_bytes(32))


def _plain(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


async def _opened(call: Call, request: Shape) -> _Pending:
    """Raises SignInRefusedException."""
    try:
        sealed = base64.b64decode(request["Pending"], validate=True)
        pending = msgspec.msgpack.decode(await call.house.vault.opened(sealed, _CONTEXT), type=_Pending)
    except (binascii.Error, ValueError, SealBroken, msgspec.DecodeError) as error:
        raise SignInRefusedException(_BEGIN_AGAIN) from error
    if not hmac.compare_digest(pending.state.encode(), request["State"].encode()):
        raise SignInRefusedException(_BEGIN_AGAIN)
    if pending.expires_at <= call.clock.millis():
        raise SignInRefusedException(_BEGIN_AGAIN)
    return pending


async def _identity(
    call: Call, chosen: SignInProvider, provider: OidcProvider, pending: _Pending, code: str
) -> tuple[Identity, dict[str, Any]]:
    """Who the person is, by the provider's word. Raises what the provider or its token is to blame for."""
    issuer = f"https://{provider.url}"
    endpoints = await endpoints_of(call.house.outbound, issuer)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": pending.redirect_uri,
        "code_verifier": pending.verifier,
    }
    headers = await _proof(call, chosen, endpoints, form)
    token = (await given_in(call.house.outbound, endpoints.token, form, headers)).get("id_token")
    if not isinstance(token, str):
        raise IDPCommunicationErrorException("The identity provider answered without an ID token.")
    header = read_header(token)
    if header.issuer != issuer:
        raise InvalidIdentityTokenException("The token is of another issuer.")
    claims = verified(token, header, await keys_of(call.house, issuer, header.key_id))
    identity = identity_of(claims, provider, call.clock.millis())
    nonce = claims.get("nonce")
    if identity.audience != chosen.client_id or not isinstance(nonce, str):
        raise InvalidIdentityTokenException("The token was not made for this sign-in.")
    if not hmac.compare_digest(nonce.encode(), pending.nonce.encode()):
        raise InvalidIdentityTokenException("The token was not made for this sign-in.")
    return identity, claims


async def _proof(call: Call, chosen: SignInProvider, endpoints: Endpoints, form: dict[str, str]) -> dict[str, str]:
    """Say in the form or in the headers which client it is that asks."""
    if chosen.secret_sealed is None:
        form["client_id"] = chosen.client_id
        return {}
    context = client_secret_context(chosen.account_id, chosen.name)
    secret = (await call.house.vault.opened(chosen.secret_sealed, context)).decode()
    if "client_secret_basic" not in endpoints.methods and "client_secret_post" in endpoints.methods:
        form |= {"client_id": chosen.client_id, "client_secret": secret}
        return {}
    pair = f"{quote(chosen.client_id, safe='')}:{quote(secret, safe='')}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _session_name(identity: Identity, claims: dict[str, Any]) -> str:
    """A name that people know, for the trail and for lists of sessions."""
    said = identity.email or claims.get("preferred_username") or identity.subject
    return _UNNAMED.sub("-", said if isinstance(said, str) else identity.subject)[:64].ljust(2, "-")


async def _roles(
    call: Call, chosen: SignInProvider, provider: OidcProvider, identity: Identity, name: str
) -> list[Role]:
    """Those of the provider's roles whose trust policies let the person in."""
    found = []
    async with call.reading() as tx:
        for arn in chosen.role_arns:
            role = await role_by_arn(tx, arn)
            if role is None or role.account_id != chosen.account_id:
                continue
            try:
                check_trust(call, name, role, provider, identity)
            except AccessDeniedException:
                continue
            found.append(role)
    return found
