"""Accounts and access keys."""

from dataclasses import dataclass, field


class AccountExists(Exception):
    """An account of that name is there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKey:
    """An account with a root access key of it."""

    account_id: str
    access_key_id: str
    secret: str = field(repr=False)


def root_arn(account_id: str) -> str:
    """The ARN of an account's root principal."""
    return f"arn:aws:iam::{account_id}:root"


def seal_context(account_id: str, access_key_id: str) -> str:
    """What the sealed secret of a key is bound to."""
    return f"access-key/{account_id}/{access_key_id}"
