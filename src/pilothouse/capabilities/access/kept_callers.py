"""Callers who are not there any more: who they were is kept, and what they may do is asked again at each use.

For what goes on after a call has been answered, and does the rest as the caller. The key that signed the call is not
needed any more; the user or role is.
"""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.access.held import held_by
from pilothouse.capabilities.access.model import User, root_arn
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.identity.authorise import guarded
from pilothouse.identity.permissions import Permissions, Source
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

_ROLE_ID: Final = "AROA"


def kept_caller(who: Principal) -> dict[str, Any]:
    """What is to be kept of a caller, as a JSON value. It holds no secret."""
    found: dict[str, Any] = {
        "kind": who.kind, "account_id": who.account_id, "arn": who.arn, "user_id": who.user_id,
        "access_key_id": who.access_key_id, "name": who.name, "role_arn": who.role_arn, "tags": dict(who.tags),
        "temporary": who.temporary, "issued_at": who.issued_at, "mfa_at": who.mfa_at,
        "source_identity": who.source_identity, "transitive": sorted(who.transitive),
    }  # fmt: skip
    if who.kind == "session" and who.permissions is not None:
        known = who.user_id.startswith(_ROLE_ID)  # what a role of the service's own allows stands in no table
        found["sources"] = [
            {"kind": each.kind, "name": each.name, "document": each.document, "arn": each.arn, "owner": each.owner}
            for each in who.permissions.sources
            if each.kind == "session" or not known
        ]
    return found


async def caller_of(house: House, tx: Transaction, kept: Mapping[str, Any]) -> Principal | None:
    """The caller, with what is allowed now; None if the user or role is gone."""
    account_id = kept["account_id"]
    common = {name: kept[name] for name in ("kind", "account_id", "arn", "user_id", "access_key_id")}
    more = {name: kept[name] for name in ("temporary", "issued_at", "mfa_at", "source_identity")}
    if kept["kind"] == "root":
        return Principal(**common, **more) if kept["arn"] == root_arn(account_id) else None
    if kept["kind"] == "user":
        user = await UserStore(tx, account_id).by_id(kept["user_id"])
        if user is None:
            return None
        return await _user(
            house, tx, user, {**more, **{name: kept[name] for name in ("kind", "account_id", "access_key_id")}}
        )  # fmt: skip
    if kept["kind"] != "session":
        return None
    sources = [Source(**each) for each in kept.get("sources") or ()]
    tags: Mapping[str, str] = kept["tags"]
    if kept["user_id"].startswith(_ROLE_ID):
        roles = RoleStore(tx, account_id)
        role = await roles.by_id(kept["user_id"].partition(":")[0])
        if role is None:
            return None
        sources += await held_by(tx, role)
        tags = {**await roles.tags(role), **tags}
    return Principal(
        **common, **more, role_arn=kept["role_arn"], transitive=frozenset(kept["transitive"]), tags=tags,
        permissions=Permissions.of(sources), guarded=await guarded(house, tx, account_id),
    )  # fmt: skip


async def user_named(house: House, tx: Transaction, account_id: str, named: str) -> Principal | None:
    """A user of the account by name or ARN, written as they are, with what is allowed now; None for anybody else."""
    user = await UserStore(tx, account_id).find(named.rpartition("/")[2])
    if user is None or named not in (user.name, user.arn):
        return None
    return await _user(house, tx, user, {"kind": "user", "account_id": account_id, "access_key_id": ""})


async def _user(house: House, tx: Transaction, user: User, kept: Mapping[str, Any]) -> Principal:
    users = UserStore(tx, user.account_id)
    return Principal(
        **kept, arn=user.arn, user_id=user.user_id, name=user.name, permissions=Permissions.of(await held_by(tx, user)),
        guarded=await guarded(house, tx, user.account_id), tags=await users.tags(user),
    )  # fmt: skip


async def session_of(house: House, tx: Transaction, role_arn: str, session_name: str) -> Principal | None:
    """Whoever has taken on a role of any account, which was allowed elsewhere; None if there is no such role."""
    account_id = role_arn.split(":")[4] if role_arn.count(":") >= 5 else ""
    roles = RoleStore(tx, account_id)
    role = await roles.find(role_arn.rpartition("/")[2])
    if role is None or role.arn != role_arn:
        return None
    return Principal(
        kind="session",
        account_id=account_id,
        arn=f"arn:aws:sts::{account_id}:assumed-role/{role.name}/{session_name}",
        user_id=f"{role.role_id}:{session_name}",
        access_key_id="",
        role_arn=role.arn,
        permissions=Permissions.of(await held_by(tx, role)),
        guarded=await guarded(house, tx, account_id),
        tags=await roles.tags(role),
    )
