"""May a principal use a key: its key policy, and beside it the grants. `check` is the one place that decides.

An explicit deny of the key policy holds for everybody. The default policy lets the account of the key; another
account's principals need the key policy or a grant, and only for what is done across accounts at all. They are refused
with the same words whether the key is there or not.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from weakref import WeakKeyDictionary

from pilothouse.capabilities import tags
from pilothouse.capabilities.keys import conditions
from pilothouse.capabilities.keys.granting import Grant
from pilothouse.capabilities.keys.model import RESOURCE_TYPE, Key
from pilothouse.capabilities.keys.store import GrantStore, KeyStore
from pilothouse.crypto.vault import Vault
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.authorise import of_principal, refusal
from pilothouse.identity.permissions import decide
from pilothouse.identity.policy import Ask, Decision, MalformedPolicy, Verdict, parse
from pilothouse.identity.policy_patterns import Value
from pilothouse.identity.policy_principals import Reach
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction
from pilothouse.storage.remembered import Remembered

_REMEMBERED: Final = 4096
_MANAGED_USES: Final = frozenset({"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"})
"""What services do for users with the keys behind `alias/aws/...`, as the default policy of those keys lets them."""
_ALWAYS_ROOTS: Final = frozenset({"kms:GetKeyPolicy", "kms:PutKeyPolicy"})
"""What no key policy takes from the root of the key's account: nobody else could mend one that locks everybody out."""
_ACROSS_ACCOUNTS: Final = frozenset(
    {
        "kms:CreateGrant",
        "kms:Decapsulate",
        "kms:Decrypt",
        "kms:DeriveSharedSecret",
        "kms:DescribeKey",
        "kms:Encapsulate",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyPair",
        "kms:GenerateDataKeyPairWithoutPlaintext",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:GenerateMac",
        "kms:GetKeyRotationStatus",
        "kms:GetPublicKey",
        "kms:ListGrants",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
        "kms:RetireGrant",
        "kms:RevokeGrant",
        "kms:Sign",
        "kms:Verify",
        "kms:VerifyMac",
    }
)
"""What the API reference lets be done with a key of another account."""
_MOST_ALIASES: Final = 1000
_GRANTS_AT_ONCE: Final = 500
_TIMES: Final = re.compile("aws:(?:currenttime|epochtime)")
"""What a policy that speaks of the time has in it; its decisions are not remembered."""
_OF_KEY: Final = "kms:resourcealiases aws:resourcetag/"
"""What is read of the key for users, whose own policies may speak of any of it."""
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
    conditions: Mapping[str, Value] = field(default_factory=dict)
    """Condition keys of the request."""
    at: int | None = None
    """When it is asked, in epoch milliseconds, for conditions on the time."""
    proposed: Grant | None = None
    """The grant that is to be made."""


def is_open(key: Key, by: Principal, action: str) -> bool:
    """Whether there is nothing to ask: the default policy lets the account be, and some things are root's always."""
    if action in _ALWAYS_ROOTS and by.kind == "root" and by.account_id == key.account_id:
        return key.manager == "CUSTOMER"
    return (
        by.permissions is None
        and by.kind != "node"
        and not key.policy
        and by.account_id == key.account_id
        and (key.manager == "CUSTOMER" or action in _MANAGED_USES)
    )


async def check(vault: Vault, tx: Transaction, key: Key, use: Use) -> None:
    """Return if the key's policy or a grant lets the use be. Raises AccessDeniedException."""
    if is_open(key, use.by, use.action):
        return
    known = _decisions.get(vault)
    if known is None:
        known = _decisions[vault] = Remembered(_REMEMBERED)
    foreign = use.by.account_id != key.account_id
    if foreign and use.action not in _ACROSS_ACCOUNTS:
        raise AccessDeniedException(refused_elsewhere(use.by, use.action))
    permissions = use.by.permissions
    speaks_of = key.policy.lower() if permissions is None else _OF_KEY
    alike = use.proposed is None and permissions is None and not _TIMES.search(speaks_of)
    stamp = await tx.stamp() if alike else None
    place = (
        use.by.arn, key.arn, use.action, use.via, use.alias,
        tuple(sorted(use.context.items())), tuple(sorted(use.conditions.items())),
    )  # fmt: skip
    if known.get(stamp, place):
        return
    of_key = await _of_key(tx, key, speaks_of)
    decision = _decision(key, use, None, of_key)
    ask = _ask(key, use, of_key)
    if _lets_in(key, use, decision, ask) or await _granted(tx, key, use, decision, ask):
        known.put(stamp, place, True)
        return
    if foreign:
        raise AccessDeniedException(refused_elsewhere(use.by, use.action))
    if decision.verdict is Verdict.DENY:
        raise AccessDeniedException(_refused(key, use, "with an explicit deny in a resource-based policy"))
    if permissions is not None and (own := permissions.verdict(ask)) is not Verdict.ALLOW:
        raise AccessDeniedException(refusal(use.by, use.action, key.arn, own, permissions.refused_by(ask)))
    raise AccessDeniedException(_refused(key, use, f"because no resource-based policy allows the {use.action} action"))


async def is_denied(tx: Transaction, key: Key, use: Use) -> bool:
    """Whether the key's policy or the principal's own deny the use in so many words."""
    of_key = await _of_key(tx, key, f"{key.policy.lower()} {_OF_KEY}")
    if _decision(key, use, None, of_key).verdict is Verdict.DENY:
        return True
    permissions = use.by.permissions
    return permissions is not None and permissions.verdict(_ask(key, use, of_key)) is Verdict.DENY


def _lets_in(key: Key, use: Use, given: Decision, ask: Ask) -> bool:
    """Whether what the key gives, by its policy or by a grant, is enough with the policies of who asks."""
    permissions = use.by.permissions
    if permissions is None:
        return given.verdict is Verdict.ALLOW and use.by.kind != "node"
    own = permissions.verdict(ask)
    if own is Verdict.DENY or given.verdict is not Verdict.ALLOW:
        return False
    elsewhere = use.by.account_id != key.account_id
    if key.manager == "AWS":  # its policy, for everybody of the account, is for what services do
        return own is Verdict.ALLOW or (use.via is not None and given.reach != "account" and not elsewhere)
    return decide(permissions, ask, given, needed=True, elsewhere=elsewhere).verdict is Verdict.ALLOW


def refused_elsewhere(by: Principal, action: str) -> str:
    """What principals of another account hear of a key that is not there, or not for them."""
    return (
        f"User: {by.arn} is not authorized to perform: {action} on this resource because the resource does not exist "
        "in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
    )


async def _of_key(tx: Transaction, key: Key, speaks_of: str) -> dict[str, Value]:
    """Condition keys that must be read, of those that the policy (lower case) speaks of."""
    found: dict[str, Value] = {}
    if "kms:resourcealiases" in speaks_of:
        aliases = await KeyStore(tx, key.account_id, key.region).aliases(key.key_id, "", _MOST_ALIASES)
        found["kms:ResourceAliases"] = tuple(each.alias for each in aliases)
    if "aws:resourcetag/" in speaks_of:
        hanging = await tags.of(tx, key.account_id, key.region, RESOURCE_TYPE, key.key_id)
        found |= {f"aws:ResourceTag/{name}": value for name, value in hanging.items()}
    return found


def policy_verdict(
    key: Key, use: Use, policy: str | None = None, *, of_key: Mapping[str, Value] | None = None
) -> Verdict:
    """What the key's policy, or another one in its place, says of the use. `of_key`: conditions that were read."""
    return _decision(key, use, policy, of_key or {}).verdict


def _decision(key: Key, use: Use, policy: str | None, of_key: Mapping[str, Value]) -> Decision:
    default = default_policy(key.account_id, managed=key.manager == "AWS")
    try:
        compiled = parse(policy or key.policy or default, kind="resource")
    except MalformedPolicy:  # only a server with --dev takes such texts
        compiled = parse(default, kind="resource")
    return compiled.decide(_ask(key, use, of_key))


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


def _ask(key: Key, use: Use, of_key: Mapping[str, Value]) -> Ask:
    context: dict[str, Value] = {
        **of_principal(use.by),
        **conditions.of_action(use.action),
        **use.conditions,
        **of_key,
        "kms:CallerAccount": use.by.account_id,
        "kms:KeySpec": key.key_spec,
        "kms:KeyUsage": key.key_usage.value,
        "kms:KeyOrigin": key.origin.value,
        "kms:MultiRegion": "true" if key.multi_region else "false",
        "aws:ResourceAccount": key.account_id,
        "aws:RequestedRegion": key.region,
    }
    if key.multi_region:
        context["kms:MultiRegionKeyType"] = "PRIMARY" if key.is_primary else "REPLICA"
    if use.at is not None:
        context["aws:CurrentTime"] = datetime.fromtimestamp(use.at / 1000, UTC).isoformat(timespec="seconds")
        context["aws:EpochTime"] = str(use.at // 1000)
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
        role_arn=use.by.role_arn,
    )


async def _granted(tx: Transaction, key: Key, use: Use, by_policy: Decision, ask: Ask) -> bool:
    """Whether a grant lets it be, which gives as much as a key policy with the grantee as its principal."""
    if by_policy.verdict is Verdict.DENY:
        return False
    store = GrantStore(tx, key.account_id, key.region)
    for grantee in names_of(use.by):
        reach: Reach = "itself" if grantee == use.by.arn else "several" if "/" in grantee else "account"
        if not _lets_in(key, use, Decision(Verdict.ALLOW, reach=reach), ask):
            continue
        after = ""
        while grants := await store.of(key.key_id, after, _GRANTS_AT_ONCE, grantee):
            if any(_lets(grant, use) for grant in grants):
                return True
            after = grants[-1].grant_id
    return False


def _lets(grant: Grant, use: Use) -> bool:
    return (
        use.action.removeprefix("kms:") in grant.operations
        and grant.fits(use.action.removeprefix("kms:"), use.context)
        and (use.proposed is None or grant.covers(use.proposed))
    )


def names_of(who: Principal) -> tuple[str, ...]:
    """By what a grant can mean the principal: its own ARN, its account, of a session its role."""
    names = [who.arn, f"arn:aws:iam::{who.account_id}:root", who.account_id]
    if who.role_arn:
        names.append(who.role_arn)
    kind, _, rest = who.arn.partition(":assumed-role/")
    if rest:
        names.append(f"{kind.replace(':sts:', ':iam:')}:role/{rest.rpartition('/')[0]}")
    return tuple(dict.fromkeys(names))


def is_principal(name: str, who: Principal) -> bool:
    """Whether the principal of a grant is this one."""
    return name in names_of(who)


def account_of(principal: str) -> str | None:
    """The account of a grant's principal; None for a service."""
    if principal.isdecimal():
        return principal
    return principal.split(":")[4] if principal.startswith("arn:") else None


def _refused(key: Key, use: Use, why: str) -> str:
    return f"User: {use.by.arn} is not authorized to perform: {use.action} on resource: {key.arn} {why}"
