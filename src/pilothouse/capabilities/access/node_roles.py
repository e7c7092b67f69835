"""Roles of managed nodes: what a node may do is what its role allows, and a role must let Systems Manager take it on.

A role that an activation names and that is not there at all is made on the spot, with what a node needs
(docs/decisions/0013-a-role-for-nodes-is-made.md).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from pilothouse.call import Call, House
from pilothouse.capabilities.access.held import held_by
from pilothouse.capabilities.access.model import ROLE_ID, Role, role_arn
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.errors import ValidationException
from pilothouse.identity.authorise import ask_each, guarded
from pilothouse.identity.credentials import Session
from pilothouse.identity.permissions import Permissions
from pilothouse.identity.policy import Ask, Verdict, parse
from pilothouse.identity.session_tokens import TemporaryCredentials, mint_for_role
from pilothouse.storage import Transaction

SERVICE: Final = "ssm.amazonaws.com"
CORE: Final = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
_TRUST: Final = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": SERVICE}, "Action": "sts:AssumeRole"}],
    }
)
_HOUR: Final = 3600


@dataclass(frozen=True, slots=True)
class NodeRights:
    """What the role of a node gives it now."""

    role_arn: str = ""
    role_id: str = ""
    """Empty where there is no such role (any more): then nothing is allowed."""
    permissions: Permissions = field(default_factory=Permissions)
    tags: Mapping[str, str] = field(default_factory=dict)
    guarded: Collection[str] | None = ()
    """As of every `Principal`."""


async def rights_of_role(house: House, tx: Transaction, account_id: str, iam_role: str) -> NodeRights:
    """What a node with this role may do. One whose trust policy no longer names Systems Manager gives nothing."""
    store = RoleStore(tx, account_id)
    role = await store.find(_name(iam_role))
    if role is None or not _trusts(role):
        return NodeRights()
    held, on_resources = await held_by(tx, role), await guarded(house, tx, account_id)
    return NodeRights(role.arn, role.role_id, Permissions.of(held), await store.tags(role), on_resources)


async def service_session(
    house: House, tx: Transaction, account_id: str, role_arn: str, name: str, seconds: int
) -> TemporaryCredentials | None:
    """Credentials of a session that Systems Manager begins of the role; None where it may not, or there is no role."""
    role = await RoleStore(tx, account_id).find(_name(role_arn))
    if role is None or role.arn != role_arn or not _trusts(role):
        return None
    return mint_for_role(
        house, account_id=account_id, arn=f"arn:aws:sts::{account_id}:assumed-role/{role.name}/{name}",
        user_id=f"{role.role_id}:{name}", session=Session(role_id=role.role_id),
        expires_at=house.clock.millis() + seconds * 1000,
    )  # fmt: skip


async def arn_of_role(tx: Transaction, account_id: str, iam_role: str) -> str:
    """Of a role by its name, or the ARN that it would have."""
    role = await RoleStore(tx, account_id).find(_name(iam_role))
    return role.arn if role is not None else role_arn(account_id, _path(iam_role), _name(iam_role))


async def pass_to_nodes(call: Call, tx: Transaction, iam_role: str) -> str:
    """The ARN of the role, once the caller may give it to nodes and it is one for nodes; make it if there is none.

    Raises AccessDeniedException, ValidationException.
    """
    name = _name(iam_role)
    store = RoleStore(tx, call.account_id)
    role = await store.find(name)
    arn = await arn_of_role(tx, call.account_id, iam_role)
    await ask_each(call, tx, "iam:PassRole", [arn], {"iam:PassedToService": SERVICE})
    if role is None:
        await ask_each(call, tx, "iam:CreateRole", [arn])
        await ask_each(call, tx, "iam:AttachRolePolicy", [arn], {"iam:PolicyARN": CORE})
        await make_node_role(call.house, tx, call.account_id, iam_role)
    elif not _trusts(role):
        raise ValidationException(f"Nonexistent role or missing ssm service principal in trust policy: {arn}")
    return arn


async def make_node_role(house: House, tx: Transaction, account_id: str, iam_role: str) -> None:
    """A role with what a managed node needs, unless there is one of the name."""
    store = RoleStore(tx, account_id)
    name = _name(iam_role)
    await store.lock(name)
    if await store.find(name) is not None:
        return
    role = Role(
        account_id=account_id,
        name=name,
        path=_path(iam_role),
        role_id=house.ids.unique_id(ROLE_ID),
        description="Made for managed nodes.",
        trust=_TRUST,
        max_session=_HOUR,
        created_at=house.clock.millis(),
    )
    await store.add(role, {})
    policies = PolicyStore(tx, account_id)
    core = await policies.find(CORE)
    assert core is not None
    await policies.attach(core, "role", role.role_id, "attached")


def _name(iam_role: str) -> str:
    return iam_role.rpartition("/")[2]


def _path(iam_role: str) -> str:
    path = iam_role.strip("/").rpartition("/")[0]
    return f"/{path}/" if path else "/"


def _trusts(role: Role) -> bool:
    ask = Ask(
        principal_arn=SERVICE,
        principal_account="",
        principal_kind="service",
        action="sts:AssumeRole",
        resource=role.arn,
    )
    return parse(role.trust, kind="trust").verdict(ask) is Verdict.ALLOW
