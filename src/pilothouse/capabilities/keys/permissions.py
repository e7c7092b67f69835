"""May a principal use a key: its key policy, and beside it the grants. `check` is the one place that decides.

An explicit deny of the key policy holds for everybody. The default policy lets the account of the key; another
account's principals need the key policy or a grant.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from weakref import WeakKeyDictionary

from pilothouse.capabilities.keys.granting import Grant
from pilothouse.capabilities.keys.model import Key
from pilothouse.capabilities.keys.store import GrantStore
from pilothouse.crypto.vault import Vault
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.policy import Ask, MalformedPolicy, Verdict, parse
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction
from pilothouse.storage.remembered import Remembered

_REMEMBERED: Final = 4096
_MANAGED_USES: Final = frozenset({"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"})
"""What services do for users with the keys behind `alias/aws/...`, as the default policy of those keys lets them."""
_decisions: Final[WeakKeyDictionary[Vault, Remembered[tuple[object, ...], bool]]] = WeakKeyDictionary()
"""Of each vault's house what was allowed, while nothing changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What somebody wants to do with a key."""

    by: Principal
    action: str
    """`kms:Name`"""
    context: Mapping[str, str] = field(default_factory=dict)
    """The encryption context."""
    via: str | None = None
    """The service that asks for the principal, such as `ssm.eu-west-1.amazonaws.com`."""
    alias: str | None = None
    """The alias by which the key was named."""


def is_open(key: Key, account_id: str, action: str) -> bool:
    """Whether the default policy, which lets every principal of the account be, is all that there is to ask."""
    return not key.policy and account_id == key.account_id and (key.manager == "CUSTOMER" or action in _MANAGED_USES)


async def check(vault: Vault, tx: Transaction, key: Key, use: Use) -> None:
    """Return if the key's policy or a grant lets the use be. Raises AccessDeniedException."""
    if is_open(key, use.by.account_id, use.action):
        return
    known = _decisions.get(vault)
    if known is None:
        known = _decisions[vault] = Remembered(_REMEMBERED)
    stamp = await tx.stamp()
    place = (use.by.arn, key.arn, use.action, use.via, use.alias, tuple(sorted(use.context.items())))
    if known.get(stamp, place):
        return
    verdict = policy_verdict(key, use)
    if verdict is Verdict.DENY:
        raise AccessDeniedException(_refused(key, use, "with an explicit deny in a resource-based policy"))
    if verdict is Verdict.NEUTRAL and not await _granted(tx, key, use):
        raise AccessDeniedException(
            _refused(key, use, f"because no resource-based policy allows the {use.action} action")
        )
    known.put(stamp, place, True)


def policy_verdict(key: Key, use: Use, policy: str | None = None) -> Verdict:
    """What the key's policy, or another one in its place, says of the use."""
    default = default_policy(key.account_id, managed=key.manager == "AWS")
    try:
        compiled = parse(policy or key.policy or default, kind="resource")
    except MalformedPolicy:  # only a server with --dev takes such texts
        compiled = parse(default, kind="resource")
    return compiled.verdict(_ask(key, use))


@lru_cache(maxsize=64)
def default_policy(account_id: str, *, managed: bool = False) -> str:
    """The policy of keys that were made without one, and that of the keys behind `alias/aws/...`."""
    principal = {"AWS": f"arn:aws:iam::{account_id}:root"}
    if managed:
        uses = ["Encrypt", "Decrypt", "ReEncrypt*", "GenerateDataKey*", "CreateGrant", "DescribeKey"]
        views = ["Describe*", "Get*", "List*", "RevokeGrant"]
        document = {
            "Version": "2012-10-17",
            "Id": "auto-1",
            "Statement": [
                {
                    "Sid": "Allow use of the key by all principals in the account",
                    "Effect": "Allow",
                    "Principal": {"AWS": "*"},
                    "Action": [f"kms:{name}" for name in uses],
                    "Resource": "*",
                    "Condition": {"StringEquals": {"kms:CallerAccount": account_id}},
                },
                {
                    "Sid": "Allow direct access to key metadata to the account",
                    "Effect": "Allow",
                    "Principal": principal,
                    "Action": [f"kms:{name}" for name in views],
                    "Resource": "*",
                },
            ],
        }
    else:
        document = {
            "Version": "2012-10-17",
            "Id": "key-default-1",
            "Statement": [
                {
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Allow",
                    "Principal": principal,
                    "Action": "kms:*",
                    "Resource": "*",
                }
            ],
        }
    return json.dumps(document, indent=2).replace('": ', '" : ')


def _ask(key: Key, use: Use) -> Ask:
    context: dict[str, str | tuple[str, ...]] = {
        "kms:CallerAccount": use.by.account_id,
        "kms:KeySpec": key.key_spec,
        "kms:KeyUsage": key.key_usage.value,
        "kms:KeyOrigin": key.origin.value,
        "kms:MultiRegion": "true" if key.multi_region else "false",
        "aws:ResourceAccount": key.account_id,
        "aws:RequestedRegion": key.region,
    }
    if use.via:
        context["kms:ViaService"] = use.via
    if use.alias:
        context["kms:RequestAlias"] = use.alias
    if use.context:
        context["kms:EncryptionContextKeys"] = tuple(use.context)
        context |= {f"kms:EncryptionContext:{name}": value for name, value in use.context.items()}
    return Ask(
        principal_arn=use.by.arn,
        principal_account=use.by.account_id,
        principal_kind=use.by.kind,
        action=use.action,
        resource=key.arn,
        context=context,
    )


async def _granted(tx: Transaction, key: Key, use: Use) -> bool:
    grants = await GrantStore(tx, key.account_id, key.region).of(key.key_id)
    return any(_lets(grant, use) for grant in grants)


def _lets(grant: Grant, use: Use) -> bool:
    return (
        is_principal(grant.grantee, use.by)
        and use.action.removeprefix("kms:") in grant.operations
        and grant.fits(use.action.removeprefix("kms:"), use.context)
    )


def is_principal(arn: str, who: Principal) -> bool:
    """Whether the ARN of a grant means the principal: its own, its role's, or its account's."""
    if arn == who.arn or arn == f"arn:aws:iam::{who.account_id}:root":
        return True
    kind, _, rest = who.arn.partition(":assumed-role/")
    return bool(rest) and arn == f"{kind.replace(':sts:', ':iam:')}:role/{rest.rpartition('/')[0]}"


def _refused(key: Key, use: Use, why: str) -> str:
    return f"User: {use.by.arn} is not authorized to perform: {use.action} on resource: {key.arn} {why}"
