"""The keys that identity providers sign with: asked of the provider itself, and kept for a while in memory.

Who is asked follows from a provider that an account has made, never from a token alone. A provider is asked again once
its keys are old, or for a key that was not among them, and then at most once a minute, also when it does not answer.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from pilothouse.call import House
from pilothouse.capabilities.access.model import IDPCommunicationErrorException, InvalidIdentityTokenException
from pilothouse.errors import ApiError
from pilothouse.runtime.outbound import Outbound, OutboundFailed

_OLD_MS: Final = 3_600_000
_TOO_OLD_MS: Final = 24 * 3_600_000
"""Until then keys still count while the provider does not answer."""
_AGAIN_MS: Final = 60_000
_MOST_ISSUERS: Final = 1000
_MOST_KEYS: Final = 100
_MOST_BYTES: Final = 1 << 18
_SECONDS: Final = 5.0

Jwk = Mapping[str, Any]


@dataclass(slots=True)
class _Kept:
    keys: Sequence[Jwk] = ()
    fetched_at: int | None = None
    asked_at: int | None = None
    failed: ApiError | None = None
    """Why there was no good answer the last time."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def counts(self, now: int) -> bool:
        return self.fetched_at is not None and now - self.fetched_at < _TOO_OLD_MS

    def wants(self, now: int, key_id: str | None) -> bool:
        """Whether the provider is to be asked, and may be."""
        if self.asked_at is not None and now - self.asked_at < _AGAIN_MS:
            return False
        old = self.fetched_at is None or now - self.fetched_at >= _OLD_MS
        return old or not (key_id is None or any(each.get("kid") == key_id for each in self.keys))


_issuers: Final[WeakKeyDictionary[Outbound, dict[str, _Kept]]] = WeakKeyDictionary()


async def keys_of(house: House, issuer: str, key_id: str | None) -> Sequence[Jwk]:
    """The issuer's keys, with the named one among them if the provider has it.

    Raises IDPCommunicationErrorException, InvalidIdentityTokenException.
    """
    known = _issuers.setdefault(house.outbound, {})
    if issuer not in known and len(known) >= _MOST_ISSUERS:
        known.clear()
    kept = known.setdefault(issuer, _Kept())
    if kept.wants(house.clock.millis(), key_id):
        async with kept.asking:
            now = house.clock.millis()
            if kept.wants(now, key_id):
                await _ask(house.outbound, issuer, kept, now)
    if kept.failed is not None and not kept.counts(house.clock.millis()):
        raise type(kept.failed)(kept.failed.message)
    return kept.keys


async def _ask(outbound: Outbound, issuer: str, kept: _Kept, now: int) -> None:
    """While a provider does not answer, its keys of before count; one that answers otherwise has none."""
    kept.asked_at = now
    try:
        kept.keys = await _fetched(outbound, issuer)
        kept.fetched_at, kept.failed = now, None
    except IDPCommunicationErrorException as error:
        kept.failed = error
    except InvalidIdentityTokenException as error:
        kept.keys, kept.fetched_at, kept.failed = (), None, error
    except BaseException:  # such as the end of the request: the next one asks
        kept.asked_at = None
        raise


async def _fetched(outbound: Outbound, issuer: str) -> Sequence[Jwk]:
    found = (await _read(outbound, _named(issuer, await discovered(outbound, issuer), "jwks_uri"))).get("keys")
    if not isinstance(found, list):
        raise InvalidIdentityTokenException(f"The keys of {issuer} are no JSON web key set.")
    return [each for each in found[:_MOST_KEYS] if isinstance(each, dict) and each.get("use", "sig") == "sig"]


async def discovered(outbound: Outbound, issuer: str) -> dict[str, Any]:
    """What an issuer says of itself. Raises InvalidIdentityToken- and IDPCommunicationErrorException."""
    document = await _read(outbound, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if document.get("issuer") != issuer:
        raise InvalidIdentityTokenException(f"The discovery document of {issuer} names another issuer.")
    return document


def _named(issuer: str, document: Mapping[str, Any], member: str) -> str:
    where = document.get(member)
    if not isinstance(where, str) or not where.startswith("https://"):
        raise InvalidIdentityTokenException(f"The discovery document of {issuer} names no {member} under https.")
    return where


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where people are sent, and where the code that they come back with is given in."""

    authorization: str
    token: str
    methods: tuple[str, ...]
    """How a client may prove itself there."""


async def endpoints_of(outbound: Outbound, issuer: str) -> Endpoints:
    """Raises InvalidIdentityToken- and IDPCommunicationErrorException."""
    document = await discovered(outbound, issuer)
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Endpoints(
        authorization=_named(issuer, document, "authorization_endpoint"),
        token=_named(issuer, document, "token_endpoint"),
        methods=tuple(methods) if isinstance(methods, list) else (),
    )


async def given_in(outbound: Outbound, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
    """The answer of a token endpoint. Raises IDPCommunicationErrorException."""
    wanted = {"content-type": "application/x-www-form-urlencoded"}
    return await _read(outbound, url, urlencode(form).encode(), {**wanted, **headers})


async def _read(
    outbound: Outbound, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    try:
        answer = await outbound.send(
            "GET" if body is None else "POST",
            url,
            headers={"accept": "application/json", **(headers or {})},
            body=body or b"",
            seconds=_SECONDS,
            most=_MOST_BYTES,
        )
        if answer.status != 200:
            raise IDPCommunicationErrorException(f"The identity provider answered with status {answer.status}.")
        document = json.loads(answer.body)
    except OutboundFailed as error:
        raise IDPCommunicationErrorException(f"The identity provider cannot be asked: {error}") from error
    except (ValueError, RecursionError) as error:
        raise IDPCommunicationErrorException("The identity provider did not answer with JSON.") from error
    if not isinstance(document, dict):
        raise IDPCommunicationErrorException("The identity provider did not answer with a JSON object.")
    return document
