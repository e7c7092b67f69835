"""Tokens of identity providers: read, then verified by the provider's keys, then held to the clock and the audience."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import jwt

from pilothouse.capabilities.access.issuer_keys import Jwk
from pilothouse.capabilities.access.model import (
    IDPRejectedClaimException,
    InvalidIdentityTokenException,
    OidcProvider,
)
from pilothouse.errors import ExpiredTokenException

_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_RSA: Final = ("RS256", "RS384", "RS512")
_ALGORITHMS: Final = (*_RSA, *_CURVES)
_RSA_BYTES: Final = range(256, 1025)
_SKEW: Final = 300
"""Seconds that the provider's clock may be ahead."""
_UNCHECKED: Final = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
_TAGS: Final = "https://aws.amazon.com/tags"
_SOURCE: Final = "https://aws.amazon.com/source_identity"
_NO_KEY: Final = (
    "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity"
    " documentation for requirements"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a token says of itself before anything of it is believed."""

    issuer: str
    algorithm: str
    key_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a verified token says."""

    subject: str
    audience: str
    """For whom it was made: of several clients the one that the provider lets."""
    audiences: tuple[str, ...]
    methods: tuple[str, ...]
    """How the subject proved itself to the provider."""
    email: str = ""
    """One that the provider says it has verified."""
    groups: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    transitive: frozenset[str] = frozenset()
    source_identity: str = ""


def read_header(token: str) -> Header:
    """Raises InvalidIdentityTokenException."""
    try:
        whole = jwt.decode_complete(token, options={"verify_signature": False} | _UNCHECKED)  # type: ignore[arg-type]
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise InvalidIdentityTokenException(
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
        ) from error
    header, claims = whole["header"], whole["payload"]
    issuer, key_id = claims.get("iss"), header.get("kid")
    if not isinstance(issuer, str) or not issuer:
        raise InvalidIdentityTokenException("Missing a required claim: iss")
    if header.get("alg") not in _ALGORITHMS:
        raise InvalidIdentityTokenException(f"A token is signed with one of {', '.join(_ALGORITHMS)}.")
    return Header(issuer=issuer, algorithm=header["alg"], key_id=key_id if isinstance(key_id, str) else None)


def verified(token: str, header: Header, keys: Sequence[Jwk]) -> dict[str, Any]:
    """The claims of a token that one of the keys signed. Raises InvalidIdentityTokenException."""
    fitting = [each for each in keys if _fits(each, header)]
    if not fitting or (header.key_id is None and len(fitting) > 1):
        raise InvalidIdentityTokenException(_NO_KEY)
    try:
        key = jwt.PyJWK(dict(fitting[0]), algorithm=header.algorithm)
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=[header.algorithm], options=_UNCHECKED  # type: ignore[arg-type]
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise InvalidIdentityTokenException("The signature of the token cannot be verified.") from error
    if claims.get("iss") != header.issuer:
        raise InvalidIdentityTokenException("The token names two issuers.")
    return claims


def _fits(key: Jwk, header: Header) -> bool:
    if header.key_id is not None and key.get("kid") != header.key_id:
        return False
    if key.get("alg", header.algorithm) != header.algorithm:
        return False
    if header.algorithm in _RSA:
        modulus = key.get("n")
        return key.get("kty") == "RSA" and isinstance(modulus, str) and len(modulus) * 3 // 4 in _RSA_BYTES
    return key.get("kty") == "EC" and key.get("crv") == _CURVES[header.algorithm]


def identity_of(claims: dict[str, Any], provider: OidcProvider, now_ms: int) -> Identity:
    """Hold the claims to the clock and to the provider's clients.

    Raises ExpiredToken-, InvalidIdentityToken- and IDPRejectedClaimException.
    """
    now = now_ms / 1000
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    if expires <= now:
        raise ExpiredTokenException(
            f"Token expired: current date/time {_told(now)} must be before the expiration date/time {_told(expires)}"
        )
    if issued > now + _SKEW or ("nbf" in claims and _moment(claims, "nbf") > now + _SKEW):
        raise InvalidIdentityTokenException("The token is not valid yet.")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise InvalidIdentityTokenException("Missing a required claim: sub")
    audiences = _texts(claims, "aud")
    if not audiences:
        raise InvalidIdentityTokenException("Missing a required claim: aud")
    party = claims.get("azp")
    asked = (party,) if isinstance(party, str) and party else audiences
    let = [each for each in asked if each in provider.client_ids]
    if not let:
        raise InvalidIdentityTokenException("Incorrect token audience")
    tags, transitive = _tags(claims)
    source = claims.get(_SOURCE, "")
    if not isinstance(source, str):
        raise IDPRejectedClaimException(f"The claim {_SOURCE} is not a text.")
    return Identity(
        subject=subject,
        audience=let[0],
        audiences=audiences,
        methods=_texts(claims, "amr"),
        email=_verified_email(claims),
        groups=_texts(claims, "groups"),
        tags=tags,
        transitive=transitive,
        source_identity=source,
    )


def _verified_email(claims: dict[str, Any]) -> str:
    email = claims.get("email")
    return email if isinstance(email, str) and claims.get("email_verified") is True else ""


def _moment(claims: dict[str, Any], name: str) -> float:
    """A time claim, in seconds. Raises InvalidIdentityTokenException."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e11:
        raise InvalidIdentityTokenException(f"Missing a required claim: {name}")
    return float(value)


def _told(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _texts(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    """A claim that is a text or a list of texts; nothing where it is neither."""
    value = claims.get(name)
    listed = value if isinstance(value, list) else [value]
    return tuple(each for each in listed if isinstance(each, str) and each)


def _tags(claims: dict[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    """Session tags that the provider gives, and the keys of those that go on from the session."""
    claim = claims.get(_TAGS)
    if claim is None:
        return {}, frozenset()
    given = claim.get("principal_tags", {}) if isinstance(claim, dict) else None
    keys = claim.get("transitive_tag_keys", []) if isinstance(claim, dict) else None
    if not isinstance(given, dict) or not isinstance(keys, list):
        raise IDPRejectedClaimException(f"The claim {_TAGS} holds no tags.")
    tags = {}
    for key, values in given.items():
        value = values[0] if isinstance(values, list) and len(values) == 1 else values
        if not isinstance(value, str) or not 0 < len(key) <= 128 or len(value) > 256:
            raise IDPRejectedClaimException(f"The claim {_TAGS} holds a tag that is none.")
        tags[key] = value
    if len(tags) > 50 or len({key.lower() for key in tags}) < len(tags) or not all(each in tags for each in keys):
        raise IDPRejectedClaimException(f"The claim {_TAGS} holds too many tags, one twice, or none of a named key.")
    return tags, frozenset(keys)
