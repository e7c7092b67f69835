"""Identity providers that people of an account can sign in with, as its administrators set them."""

from typing import Final
from urllib.parse import urlsplit

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.login_model import SignInProvider, client_secret_context
from pilothouse.capabilities.access.login_store import SignInProviderStore
from pilothouse.capabilities.access.model import (
    InvalidInputException,
    LimitExceededException,
    NoSuchEntityException,
    oidc_arn,
)
from pilothouse.capabilities.access.oidc_providers import found_provider

_MOST: Final = 20
_SCOPES: Final = ("openid", "email", "profile")


@operation("pilothouse", "PutSignInProvider", writes=True)
async def put_sign_in_provider(call: Call, request: Shape) -> Shape:
    """Make one, or put it in the place of the one of that name. Nothing is asked of the provider yet.

    Raises NoSuchEntity- (no such OpenID Connect provider), InvalidInput- and LimitExceededException.
    """
    name, secret = request["Name"], request.get("ClientSecret")
    for uri in request.get("RedirectUris") or ():
        _check_redirect(uri)
    async with call.transaction() as tx:
        store = SignInProviderStore(tx, call.account_id)
        await store.lock()
        provider = await found_provider(tx, call.account_id, request["OpenIDConnectProviderArn"])
        if request["ClientId"] not in provider.client_ids:
            raise InvalidInputException(
                f"{request['ClientId']} is none of the client ids of {provider.arn}; add it there first."
            )
        if await store.find(name) is None and len(await store.all()) >= _MOST:
            raise LimitExceededException(f"Cannot exceed quota for SignInProvidersPerAccount: {_MOST}")
        context = client_secret_context(call.account_id, name)
        made = SignInProvider(
            account_id=call.account_id,
            name=name,
            provider_url=provider.url,
            client_id=request["ClientId"],
            secret_sealed=None if secret is None else call.house.vault.seal(secret.encode(), context),
            role_arns=tuple(dict.fromkeys(request["RoleArns"])),
            redirect_uris=tuple(dict.fromkeys(request.get("RedirectUris") or ())),
            scopes=tuple(dict.fromkeys(["openid", *(request.get("Scopes") or _SCOPES)])),
        )
        await store.put(made)
    return {}


def _check_redirect(uri: str) -> None:
    """Raises InvalidInputException."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError as error:
        raise InvalidInputException(f"{uri} is no URL.") from error
    if parts.scheme != "https" or not host or parts.fragment or parts.username is not None:
        raise InvalidInputException(
            f"{uri} must be an https:// URL without a fragment; programs on http://127.0.0.1 need not be named."
        )


@operation("pilothouse", "ListSignInProviders")
async def list_sign_in_providers(call: Call, request: Shape) -> Shape:
    """By name, without their secrets; an account has twenty at most."""
    async with call.reading() as tx:
        providers = await SignInProviderStore(tx, call.account_id).all()
    told = [
        {
            "Name": each.name,
            "OpenIDConnectProviderArn": oidc_arn(call.account_id, each.provider_url),
            "ClientId": each.client_id,
            "HasClientSecret": each.secret_sealed is not None,
            "RoleArns": list(each.role_arns),
            "RedirectUris": list(each.redirect_uris),
            "Scopes": list(each.scopes),
        }
        for each in providers
    ]
    return {"Providers": told}


@operation("pilothouse", "DeleteSignInProvider", writes=True)
async def delete_sign_in_provider(call: Call, request: Shape) -> Shape:
    """Nobody signs in with it any more; sessions that were begun go on to their end."""
    async with call.transaction() as tx:
        if not await SignInProviderStore(tx, call.account_id).remove(request["Name"]):
            raise NoSuchEntityException(f"There is no sign-in provider {request['Name']}.")
    return {}
