"""What nodes may do: what the role of each allows, as it is now."""

from collections.abc import Sequence

from pilothouse.call import House
from pilothouse.capabilities import access
from pilothouse.capabilities.nodes.model import role_name
from pilothouse.capabilities.nodes.registry import chunks, registered
from pilothouse.capabilities.nodes.store import NodeStore
from pilothouse.identity.authorise import may_node
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction
from pilothouse.storage.remembered import Remembered

_MANY = 500
_REMEMBERED = 1024


class Rights:
    """The rights of the nodes of one database; roles that were looked at are remembered until something changes."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._known: Remembered[tuple[str, str], access.NodeRights] = Remembered(_REMEMBERED)

    async def of(self, node_id: str) -> access.NodeRights:
        """What the role of the node gives it; raises like `registered`."""
        async with self._house.database.reading() as tx:
            node = await registered(tx, node_id)
            return await self._of_role(tx, node.account_id, node.iam_role)

    async def may_stay(self, node_ids: Sequence[str]) -> set[str]:
        """Which of the nodes are registered, with roles that let them hold a control channel."""
        found = set()
        for chunk in chunks(node_ids, _MANY):
            async with self._house.database.reading() as tx:
                for node_id, account_id, region, iam_role in await NodeStore(tx).roles_of(chunk):
                    given = await self._of_role(tx, account_id, iam_role)
                    who = _principal(node_id, account_id, region, iam_role, given)
                    if may_node(who, "ssmmessages:OpenControlChannel"):
                        found.add(node_id)
        return found

    async def _of_role(self, tx: Transaction, account_id: str, iam_role: str) -> access.NodeRights:
        stamp = await tx.stamp()
        known = self._known.get(stamp, (account_id, iam_role))
        if known is None:
            known = await access.rights_of_role(self._house, tx, account_id, iam_role)
            self._known.put(stamp, (account_id, iam_role), known)
        return known


async def make_pending_roles(house: House) -> None:
    """Make the roles that nodes and activations of an older version name, when any name was taken."""
    async with house.database.reading() as tx:
        if not await NodeStore(tx).pending_roles():
            return
    async with house.database.transaction() as tx:
        store = NodeStore(tx)
        for account_id, iam_role in await store.pending_roles():
            await access.make_node_role(house, tx, account_id, iam_role)
        await store.forget_pending_roles()


def _principal(node_id: str, account_id: str, region: str, iam_role: str, given: access.NodeRights) -> Principal:
    return Principal(
        kind="node",
        account_id=account_id,
        arn=f"arn:aws:sts::{account_id}:assumed-role/{role_name(iam_role)}/{node_id}",
        user_id=f"{given.role_id}:{node_id}",
        access_key_id="",
        node_id=node_id,
        region=region,
        role_arn=given.role_arn,
        permissions=given.permissions,
        tags=given.tags,
    )
