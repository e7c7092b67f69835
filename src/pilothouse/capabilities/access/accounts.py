"""IAM's view of an account as a whole: its alias, its rules for passwords, and what is in it."""

import json
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.access.account_store import AccountStore
from pilothouse.capabilities.access.instance_profiles import PROFILE
from pilothouse.capabilities.access.login_store import MfaStore
from pilothouse.capabilities.access.model import EntityAlreadyExistsException, NoSuchEntityException
from pilothouse.capabilities.access.oidc_store import OidcStore
from pilothouse.capabilities.access.owners import GROUP, ROLE, USER
from pilothouse.capabilities.access.pages import position
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.errors import ValidationException

_QUOTAS: Final = {
    "AccessKeysPerUserQuota": 2,
    "AssumeRolePolicySizeQuota": 2048,
    "AttachedPoliciesPerGroupQuota": 10,
    "AttachedPoliciesPerRoleQuota": 10,
    "AttachedPoliciesPerUserQuota": 10,
    "GroupPolicySizeQuota": 5120,
    "GroupsPerUserQuota": 10,
    "PoliciesQuota": 1500,
    "PolicySizeQuota": 6144,
    "PolicyVersionsInUseQuota": 10_000,
    "RolePolicySizeQuota": 10_240,
    "ServerCertificatesQuota": 20,
    "SigningCertificatesPerUserQuota": 2,
    "UserPolicySizeQuota": 2048,
    "VersionsPerPolicyQuota": 5,
}
_NONE_HERE: Final = (
    "AccountMFAEnabled",
    "AccountPasswordPresent",
    "AccountSigningCertificatesPresent",
    "ServerCertificates",
)
_RULES: Final[dict[str, Any]] = {
    "MinimumPasswordLength": 6,
    "RequireSymbols": False,
    "RequireNumbers": False,
    "RequireUppercaseCharacters": False,
    "RequireLowercaseCharacters": False,
    "AllowUsersToChangePassword": False,
}
"""What counts for a rule that an update does not name."""
_FURTHER_RULES: Final = ("MaxPasswordAge", "PasswordReusePrevention", "HardExpiry")


@operation("iam", "CreateAccountAlias", writes=True)
async def create_account_alias(call: Call, request: Shape) -> Shape:
    """An account has one alias; another takes its place."""
    async with call.transaction() as tx:
        if not await AccountStore(tx, call.account_id).set_alias(request["AccountAlias"]):
            raise EntityAlreadyExistsException(f"The account alias {request['AccountAlias']} already exists.")
    return {}


@operation("iam", "ListAccountAliases")
async def list_account_aliases(call: Call, request: Shape) -> Shape:
    """One, or none."""
    position(call, "ListAccountAliases", request)
    async with call.reading() as tx:
        alias = await AccountStore(tx, call.account_id).alias()
    return {"AccountAliases": [] if alias is None else [alias], "IsTruncated": False}


@operation("iam", "DeleteAccountAlias", writes=True)
async def delete_account_alias(call: Call, request: Shape) -> Shape:
    """Another account may have it from now on."""
    async with call.transaction() as tx:
        if not await AccountStore(tx, call.account_id).remove_alias(request["AccountAlias"]):
            raise NoSuchEntityException(f"The Account Alias {request['AccountAlias']} cannot be found.")
    return {}


@operation("iam", "UpdateAccountPasswordPolicy", writes=True)
async def update_account_password_policy(call: Call, request: Shape) -> Shape:
    """They count for passwords set from now on, and for their age at once.

    What the request does not name goes back to its default.
    """
    rules = _RULES | {name: request[name] for name in (*_RULES, *_FURTHER_RULES) if name in request}
    if rules["MinimumPasswordLength"] < _RULES["MinimumPasswordLength"]:
        raise ValidationException("The minimum length of passwords is six characters or more.")
    async with call.transaction() as tx:
        await AccountStore(tx, call.account_id).set_password_rules(json.dumps(rules))
    return {}


@operation("iam", "GetAccountPasswordPolicy")
async def get_account_password_policy(call: Call, request: Shape) -> Shape:
    """The rules that were set."""
    async with call.reading() as tx:
        kept = await AccountStore(tx, call.account_id).password_rules()
    if kept is None:
        raise _no_rules(call)
    rules = json.loads(kept)
    return {"PasswordPolicy": rules | {"ExpirePasswords": "MaxPasswordAge" in rules}}


@operation("iam", "DeleteAccountPasswordPolicy", writes=True)
async def delete_account_password_policy(call: Call, request: Shape) -> Shape:
    """There are no rules then."""
    async with call.transaction() as tx:
        if not await AccountStore(tx, call.account_id).remove_password_rules():
            raise _no_rules(call)
    return {}


@operation("iam", "GetAccountSummary")
async def get_account_summary(call: Call, request: Shape) -> Shape:
    """How many of each kind there are, and how many there may be."""
    told = dict.fromkeys(_NONE_HERE, 0) | _QUOTAS | {"GlobalEndpointTokenVersion": 2}
    async with call.reading() as tx:
        for kind in (USER, GROUP, ROLE, PROFILE):
            told[f"{kind.title}s"] = await kind.store(tx, call.account_id).count()
            told[f"{kind.title}sQuota"] = kind.most
        store = AccountStore(tx, call.account_id)
        told["Providers"] = await OidcStore(tx, call.account_id).count()
        devices = await MfaStore(tx, call.account_id).all()
        told["MFADevices"] = len(devices)
        told["MFADevicesInUse"] = sum(1 for each in devices if each.user_id)
        told["Policies"] = await PolicyStore(tx, call.account_id).count()
        told["PolicyVersionsInUse"] = await store.policy_versions()
        told["AccountAccessKeysPresent"] = int(await store.root_has_keys())
    return {"SummaryMap": told}


def _no_rules(call: Call) -> NoSuchEntityException:
    return NoSuchEntityException(f"The Password Policy with domain name {call.account_id} cannot be found.")
