"""The Principal and NotPrincipal elements: whom a statement of a resource's policy is about."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from pilothouse.identity.policy_patterns import SYNTAX, MalformedPolicy

Reach = Literal["account", "several", "itself"]
"""How somebody is meant: by way of the account; as one of a role's sessions or of everybody; by the own ARN."""

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

    def includes(self, kind: str, arn: str, account: str, role_arn: str) -> bool:
        """Whether somebody is meant, by name or by account."""
        return self.reach(kind, arn, account, role_arn) is not None

    def reach(self, kind: str, arn: str, account: str, role_arn: str) -> Reach | None:
        """How somebody is meant, the closest of it; None: not at all."""
        if kind == "anonymous":
            return "several" if self.everybody else None
        if arn in (self.services if kind == "service" else self.federated if kind == "federated" else self.arns):
            return "itself"
        if self.everybody:
            return "several"
        if kind in ("service", "federated"):
            return None
        if self.roles and (role_arn in self.arns if role_arn else role_of(arn) in self.roles):
            return "several"
        return "account" if account in self.accounts else None


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
            raise MalformedPolicy(f'Invalid principal in policy: "AWS":"{value}"')
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
