"""Names of documents: what a request means by one, and the ARN that policies know it by.

Names of provided documents are the same in every account, and their ARNs name none. The preferences of sessions are
provided too, and an account may put its own in their place: they are always its own to policies.
"""

import re
from dataclasses import dataclass
from typing import Final

from pilothouse.capabilities.documents.provided import PROVIDED

REPLACEABLE: Final = frozenset({"SSM-SessionManagerRunShell"})
_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:ssm:(?P<region>[a-z0-9-]*):(?P<account>(?:[0-9]{12})?):document/(?P<name>[a-zA-Z0-9_.-]{3,128})"
)
_RESERVED: Final = re.compile(r"aws|amazon|amzn", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Named:
    """A document that a request names."""

    account_id: str
    name: str
    foreign: bool
    """It is, or may be, another account's."""


def named(text: str, account_id: str, region: str) -> Named | None:
    """What a name or an ARN means to the account; None if it can mean nothing here."""
    match = _ARN.fullmatch(text)
    if match is None:
        return None if ":" in text or "/" in text else Named(account_id, text, foreign=False)
    owner = match["account"] or account_id
    if match["region"] not in ("", region):
        return None
    provided = is_provided(match["name"])
    return Named(account_id if provided else owner, match["name"], foreign=owner != account_id and not provided)


def plain_name(text: str) -> str:
    """The name in an ARN, or the name itself."""
    match = _ARN.fullmatch(text)
    return match["name"] if match else text


def is_provided(name: str) -> bool:
    """Whether it belongs to the installation, and to no account."""
    return name in PROVIDED and name not in REPLACEABLE


def is_reserved(name: str) -> bool:
    """Whether accounts may not give the name."""
    return _RESERVED.match(name) is not None or is_provided(name)


def arn(account_id: str, region: str, name: str) -> str:
    """As policies name it."""
    return f"arn:aws:ssm:{region}:{'' if is_provided(name) else account_id}:document/{name}"


def arn_of(text: str, account_id: str, region: str) -> str:
    """The ARN of what a request names."""
    found = named(text, account_id, region)
    return text if found is None else arn(found.account_id, region, found.name)
