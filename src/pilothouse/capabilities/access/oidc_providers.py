"""OpenID Connect providers of an account: whose tokens may stand for a caller, and for whom they must be made."""

import re
from typing import Final
from urllib.parse import urlsplit

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.model import (
    EntityAlreadyExistsException,
    InvalidInputException,
    LimitExceededException,
    NoSuchEntityException,
    OidcProvider,
    oidc_arn,
)
from pilothouse.capabilities.access.oidc_store import OidcStore
from pilothouse.capabilities.access.tagged import tags_of, told_tags
from pilothouse.errors import ValidationException
from pilothouse.runtime.clock import from_millis
from pilothouse.runtime.outbound import OutboundFailed, check_url
from pilothouse.storage import Transaction

_MOST: Final = 100
_MOST_CLIENTS: Final = 100
_MOST_THUMBPRINTS: Final = 5
_THUMBPRINT: Final = re.compile(r"[0-9A-Fa-f]{40}")


def provider_resource(call: Call, request: Shape) -> list[str]:
    """What policies are asked about."""
    return [request["OpenIDConnectProviderArn"]]


def _new_provider(call: Call, request: Shape) -> list[str]:
    return [oidc_arn(call.account_id, request["Url"].removeprefix("https://"))]


@operation("iam", "CreateOpenIDConnectProvider", writes=True, resources=_new_provider)
async def create_open_id_connect_provider(call: Call, request: Shape) -> Shape:
    """Nothing is asked of the provider yet. Its certificate is verified by authorities, whatever the thumbprints."""
    url = _checked_url(call, request["Url"])
    clients = list(dict.fromkeys(request.get("ClientIDList") or []))
    _check_clients(clients)
    thumbprints = _checked_thumbprints(request.get("ThumbprintList") or [])
    given = tags_of(request.get("Tags"))
    async with call.transaction() as tx:
        store = OidcStore(tx, call.account_id)
        await store.lock()
        if await store.find(url) is not None:
            raise EntityAlreadyExistsException(f"Provider with url https://{url} already exists.")
        if await store.count() >= _MOST:
            raise LimitExceededException(f"Cannot exceed quota for OpenIdConnectProvidersPerAccount: {_MOST}")
        made = OidcProvider(
            account_id=call.account_id,
            url=url,
            client_ids=tuple(clients),
            thumbprints=tuple(thumbprints),
            created_at=call.clock.millis(),
        )
        await store.add(made, given)
    return {"OpenIDConnectProviderArn": made.arn} | told_tags(given)


@operation("iam", "GetOpenIDConnectProvider", resources=provider_resource)
async def get_open_id_connect_provider(call: Call, request: Shape) -> Shape:
    """The URL is told without its https://, as IAM does."""
    async with call.reading() as tx:
        provider = await found_provider(tx, call.account_id, request["OpenIDConnectProviderArn"])
        given = await OidcStore(tx, call.account_id).tags(provider)
    told: Shape = {
        "Url": provider.url,
        "ClientIDList": list(provider.client_ids),
        "ThumbprintList": list(provider.thumbprints),
        "CreateDate": from_millis(provider.created_at),
    }
    return told | told_tags(given)


@operation("iam", "ListOpenIDConnectProviders")
async def list_open_id_connect_providers(call: Call, request: Shape) -> Shape:
    """All of them; there are never more than a hundred."""
    async with call.reading() as tx:
        providers = await OidcStore(tx, call.account_id).all()
    return {"OpenIDConnectProviderList": [{"Arn": each.arn} for each in providers]}


@operation("iam", "DeleteOpenIDConnectProvider", writes=True, resources=provider_resource)
async def delete_open_id_connect_provider(call: Call, request: Shape) -> Shape:
    """Its tokens are refused from the next request on; sessions that were begun stay. Not to be there is no error."""
    async with call.transaction() as tx:
        store = OidcStore(tx, call.account_id)
        await store.lock()
        provider = await store.find(_url_in(call.account_id, request["OpenIDConnectProviderArn"]))
        if provider is not None:
            await store.remove(provider)
    return {}


@operation("iam", "AddClientIDToOpenIDConnectProvider", writes=True, resources=provider_resource)
async def add_client_id_to_open_id_connect_provider(call: Call, request: Shape) -> Shape:
    """Tokens for this client count too. One that is there already is no error."""
    async with call.transaction() as tx:
        provider = await locked_provider(tx, call.account_id, request["OpenIDConnectProviderArn"])
        clients = list(dict.fromkeys([*provider.client_ids, request["ClientID"]]))
        _check_clients(clients)
        await OidcStore(tx, call.account_id).change(provider, clients, provider.thumbprints)
    return {}


@operation("iam", "RemoveClientIDFromOpenIDConnectProvider", writes=True, resources=provider_resource)
async def remove_client_id_from_open_id_connect_provider(call: Call, request: Shape) -> Shape:
    """Tokens for this client are refused from the next request on. One that is not there is no error."""
    async with call.transaction() as tx:
        provider = await locked_provider(tx, call.account_id, request["OpenIDConnectProviderArn"])
        clients = [each for each in provider.client_ids if each != request["ClientID"]]
        await OidcStore(tx, call.account_id).change(provider, clients, provider.thumbprints)
    return {}


@operation("iam", "UpdateOpenIDConnectProviderThumbprint", writes=True, resources=provider_resource)
async def update_open_id_connect_provider_thumbprint(call: Call, request: Shape) -> Shape:
    """In the place of those that are there. They are kept and told."""
    thumbprints = _checked_thumbprints(request["ThumbprintList"])
    async with call.transaction() as tx:
        provider = await locked_provider(tx, call.account_id, request["OpenIDConnectProviderArn"])
        await OidcStore(tx, call.account_id).change(provider, provider.client_ids, thumbprints)
    return {}


async def found_provider(tx: Transaction, account_id: str, arn: str) -> OidcProvider:
    """The provider of that ARN. Raises NoSuchEntityException."""
    provider = await OidcStore(tx, account_id).find(_url_in(account_id, arn))
    if provider is None:
        raise NoSuchEntityException(f"OpenIDConnect Provider not found for arn {arn}")
    return provider


async def locked_provider(tx: Transaction, account_id: str, arn: str) -> OidcProvider:
    """The provider, which nobody else changes until the transaction ends. Raises NoSuchEntityException."""
    await OidcStore(tx, account_id).lock()
    return await found_provider(tx, account_id, arn)


def _url_in(account_id: str, arn: str) -> str:
    """The URL in an ARN of the account's providers; empty for other ARNs."""
    before = oidc_arn(account_id, "")
    return arn.removeprefix(before) if arn.startswith(before) else ""


def _checked_url(call: Call, url: str) -> str:
    """The URL without https://. Raises ValidationException."""
    try:
        check_url(url, call.house.outbound.allowed)
        split = urlsplit(url)
    except (OutboundFailed, ValueError) as error:
        raise ValidationException(f"Invalid Open ID Connect Provider URL: {error}") from error
    if not url.startswith("https://") or "?" in url or "#" in url or split.netloc != split.netloc.lower():
        raise ValidationException(
            "Invalid Open ID Connect Provider URL: it begins with https://, has a host in lower case, and neither"
            " query nor fragment"
        )
    return url.removeprefix("https://")


def _check_clients(clients: list[str]) -> None:
    if len(clients) > _MOST_CLIENTS:
        raise LimitExceededException(f"Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {_MOST_CLIENTS}")


def _checked_thumbprints(thumbprints: list[str]) -> list[str]:
    if len(thumbprints) > _MOST_THUMBPRINTS:
        raise InvalidInputException(f"Thumbprint list must contain at most {_MOST_THUMBPRINTS} entries.")
    if not all(_THUMBPRINT.fullmatch(each) for each in thumbprints):
        raise InvalidInputException("A thumbprint is 40 hexadecimal digits.")
    return [each.lower() for each in thumbprints]
