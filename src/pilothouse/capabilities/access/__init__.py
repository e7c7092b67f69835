"""Access: accounts and their keys; IAM's users, groups, roles and policies, STS, and the sign-in of people.

Owns the tables account, access_key, iam_user, iam_group, iam_role, iam_policy, sign_in_attempt, sign_in_provider
and what hangs on them. An account's root
key may do everything in that account and nothing elsewhere; users and sessions of roles what their policies allow.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.access import (
    account_details,
    accounts,
    assume_role,
    attachments,
    attempts,
    bounds,
    federated_sign_in,
    groups,
    iam,
    inline,
    instance_profiles,
    key_uses,
    logins,
    managed,
    mfa_devices,
    oidc_providers,
    roles,
    sign_in,
    sign_in_providers,
    simulate,
    sts,
    tagging,
    web_identity,
)
from pilothouse.capabilities.access.acting import linked_role, service_actor
from pilothouse.capabilities.access.credentials import AccessCredentials
from pilothouse.capabilities.access.kept_callers import caller_of, kept_caller, session_of, user_named
from pilothouse.capabilities.access.key_uses import KeyUses
from pilothouse.capabilities.access.login_store import LOGINS_SEALED
from pilothouse.capabilities.access.model import AccountExists, AccountKey, NoSuchAccount
from pilothouse.capabilities.access.node_roles import (
    NodeRights,
    arn_of_role,
    make_node_role,
    pass_to_nodes,
    rights_of_role,
    service_session,
)
from pilothouse.capabilities.access.resource_tags import TAGS_OF
from pilothouse.capabilities.access.standing import groups_of, still_there
from pilothouse.capabilities.access.store import (
    SEALED,
    AccessStore,
    create_account,
    ensure_root,
    first_account,
    read_root,
    rotate_root,
)

_OPERATIONS = (
    account_details,
    accounts,
    assume_role,
    attachments,
    attempts,
    bounds,
    federated_sign_in,
    groups,
    iam,
    inline,
    instance_profiles,
    key_uses,
    logins,
    managed,
    mfa_devices,
    oidc_providers,
    roles,
    sign_in,
    sign_in_providers,
    simulate,
    sts,
    tagging,
    web_identity,
)
CAPABILITY = Capability.of("access", *_OPERATIONS, sealed=(SEALED, *LOGINS_SEALED), tags_of=TAGS_OF)

__all__ = [
    "CAPABILITY",
    "AccessCredentials",
    "AccessStore",
    "AccountExists",
    "AccountKey",
    "KeyUses",
    "NoSuchAccount",
    "NodeRights",
    "arn_of_role",
    "caller_of",
    "create_account",
    "ensure_root",
    "first_account",
    "groups_of",
    "kept_caller",
    "linked_role",
    "make_node_role",
    "pass_to_nodes",
    "read_root",
    "rights_of_role",
    "rotate_root",
    "service_actor",
    "service_session",
    "session_of",
    "still_there",
    "user_named",
]
