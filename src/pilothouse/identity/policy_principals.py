"""The Principal and NotPrincipal elements: whom a statement of a resource's policy is about."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pilothouse.identity.policy_patterns import SYNTAX, MalformedPolicy

_KINDS: Final = frozenset({"AWS", "Service", "Federated", "CanonicalUser"})
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_ROOT: Final = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}):root")
_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:(?:iam::[0-9]{12}:(?:user|role)/[^*?]+|sts::[0-9]{12}:(?:assumed-role/[^*?/]+/[^*?/]+|"
    r"federated-user/[^*?]+))"
)
_ID: Final = re.compile(r"A(?:IDA|ROA|GPA)[A-Z0-9]{10,60}")
"""What the name of a deleted user or role turns into; it is nobody any more."""
_SESSION: Final = re.compile(r"arn:(aws[a-z-]*):sts::([0-9]{12}):assumed-role/([^/]+)/.*", re.DOTALL)
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::([0-9]{12}):role/(?:.*/)?([^/]+)")


@lru_cache(maxsize=4096)
def role_of(session_arn: str) -> tuple[str, str] | None:
    """(account, role name) of an assumed role's session."""
    found = _SESSION.fullmatch(session_arn)
    return (found[2], found[3]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principals:
    """Who is meant."""

    everybody: bool = False
    accounts: frozenset[str] = frozenset()
    """Everybody whom one of these accounts lets."""
    arns: frozenset[str] = frozenset()
    roles: frozenset[tuple[str, str]] = frozenset()
    """(account, name) of the roles among the ARNs: they stand for each of their sessions."""
    services: frozenset[str] = frozenset()
    federated: frozenset[str] = frozenset()

    def names(self, kind: str, arn: str, role_arn: str) -> bool:
        """Whether somebody is meant other than by way of the account."""
        if self.everybody:
            return True
        if kind == "service":
            return arn in self.services
        if kind == "federated":
            return arn in self.federated
        if kind == "anonymous":
            return False
        if arn in self.arns:
            return True
        if not self.roles:
            return False
        if role_arn:
            return role_arn in self.arns
        return role_of(arn) in self.roles

    def includes(self, kind: str, arn: str, account: str, role_arn: str) -> bool:
        """Whether somebody is meant, by name or by account."""
        if account in self.accounts and kind not in ("service", "anonymous", "federated"):
            return True
        return self.names(kind, arn, role_arn)


def compile_principals(element: object) -> Principals:
    """Read the value of Principal or NotPrincipal. Raises MalformedPolicy."""
    if element == "*":
        return Principals(everybody=True)
    if not isinstance(element, dict) or not element:
        raise MalformedPolicy(SYNTAX, 'Principal must be "*" or an object such as {"AWS": "123456789012"}')
    found: dict[str, list[str]] = {}
    for kind, values in element.items():
        if kind not in _KINDS:
            raise MalformedPolicy(SYNTAX, f"unknown kind of principal {kind}")
        listed = values if isinstance(values, list) else [values]
        if not listed or not all(type(value) is str and value for value in listed):
            raise MalformedPolicy(SYNTAX, f"Principal {kind} must be a text or a list of texts")
        found[kind] = listed
    aws = [value for value in found.get("AWS", ()) if value != "*"]
    for value in aws:
        if not (_ACCOUNT.fullmatch(value) or _ROOT.fullmatch(value) or _ARN.fullmatch(value) or _ID.fullmatch(value)):
            raise MalformedPolicy("Invalid principal in policy.", f"AWS: {value}")
    roots = [(value, match[1]) for value in aws if (match := _ROOT.fullmatch(value))]
    services = frozenset(found.get("Service", ()))
    return Principals(
        everybody="*" in found.get("AWS", ()),
        accounts=frozenset([account for _, account in roots] + [each for each in aws if _ACCOUNT.fullmatch(each)]),
        arns=frozenset(aws),
        roles=frozenset((match[1], match[2]) for value in aws if (match := _ROLE.fullmatch(value))),
        services=services,
        federated=frozenset(found.get("Federated", ())),
    )
