"""Which policies a user or a role holds now, with where each comes from: the one place that knows."""

from pilothouse.capabilities.access.bounds import kind_and_id
from pilothouse.capabilities.access.group_store import GroupStore
from pilothouse.capabilities.access.model import Group, Role, User
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.users import UserStore
from pilothouse.identity.permissions import Source
from pilothouse.storage import Transaction


async def held_by(tx: Transaction, owner: User | Role | Group) -> list[Source]:
    """The identity policies and the boundary of the owner, with those of a user's groups; nothing of sessions."""
    groups = await GroupStore(tx, owner.account_id).of(owner) if isinstance(owner, User) else []
    return [source for each in (owner, *groups) for source in await _itself(tx, each)]


async def _itself(tx: Transaction, owner: User | Role | Group) -> list[Source]:
    _, owner_id = kind_and_id(owner)
    inline = await UserStore(tx, owner.account_id).policies(owner_id)
    managed = await PolicyStore(tx, owner.account_id).held(owner_id)
    return [
        *(Source(kind="inline", name=name, document=document, owner=owner.arn) for name, document in inline),
        *(
            Source(
                kind="boundary" if each.use == "boundary" else "managed",
                name=each.name,
                document=each.document,
                arn=each.arn,
                owner=owner.arn,
            )
            for each in managed
        ),
    ]
