"""Who is registered: finding nodes with their names, refusing the agents of gone ones, checking a node's signature."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from pilothouse.call import House
from pilothouse.capabilities import tags
from pilothouse.capabilities.nodes.model import RESOURCE_TYPE, Node
from pilothouse.capabilities.nodes.store import NodeStore
from pilothouse.errors import AccessDeniedException, InvalidSignatureException, UnrecognizedClientException
from pilothouse.gateway import node_signature
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction

_MANY = 500
_CONTACT_EVERY_MS = 60_000
"""A contact that only says that the node lives is written at most this often."""


async def find(tx: Transaction, account_id: str, region: str, node_id: str) -> Node | None:
    """The node, or None if the account has no such node in the region."""
    node = await NodeStore(tx).find(account_id, region, node_id)
    return None if node is None else (await with_names(tx, [node]))[0]


async def taggable(tx: Transaction, account_id: str, region: str, resource_id: str) -> str | None:
    """The id that tags hang on, None if there is no such node."""
    return resource_id if await NodeStore(tx).find(account_id, region, resource_id) else None


async def tags_of(tx: Transaction, account_id: str, region: str, node_id: str) -> dict[str, str]:
    """The tags of a node, for conditions of policies."""
    return await tags.of(tx, account_id, region, RESOURCE_TYPE, node_id)


async def registered(tx: Transaction, node_id: str) -> Node:
    """The node of an agent that says so. Raises AccessDeniedException for a deregistered one (its agent then sleeps for
    half an hour), UnrecognizedClientException for an id that never was one."""
    node = await NodeStore(tx).by_id(node_id)
    if node is None:
        raise await _not_registered(tx, node_id)
    return node


async def public_key(house: House, node_id: str) -> bytes:
    """DER SubjectPublicKeyInfo of the node's key; raises like `registered`."""
    async with house.database.reading() as tx:
        found = await NodeStore(tx).public_key(node_id)
        if found is None:
            raise await _not_registered(tx, node_id)
    return bytes(found)


async def signed_by(house: House, node_id: str, string_to_sign: bytes, signature: bytes) -> Principal:
    """The principal of a request that the node's own key signed.

    Raises InvalidSignatureException, and like `registered`.
    """
    async with house.database.reading() as tx:
        store = NodeStore(tx)
        key = await store.public_key(node_id)
        node = await store.by_id(node_id)
        if key is None or node is None:
            raise await _not_registered(tx, node_id)
    if not node_signature.verify(bytes(key), string_to_sign, signature):
        raise InvalidSignatureException
    return node.principal


async def touched(house: House, tx: Transaction, node_id: str, at_ms: int) -> None:
    """The node was heard of at `at_ms`: GetMessages, or a ping on its control channel. Needs a writing transaction."""
    await NodeStore(tx).set_contact(node_id, at_ms, _CONTACT_EVERY_MS)


async def heard_of(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The event `node.contact`: the node polled, or its control channel is open."""
    await touched(house, tx, facts["node_id"], facts["at_ms"])


async def associations_told(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The event `node.associations`: how all associations of each of these nodes stand on it."""
    await NodeStore(tx).set_associations(facts["nodes"])


async def with_names(tx: Transaction, nodes: Sequence[Node]) -> list[Node]:
    """The nodes (of one account and region), each with its Name tag as its name if it has one."""
    if not nodes:
        return []
    where = nodes[0].account_id, nodes[0].region
    ids = [node.node_id for node in nodes]
    if len(ids) > _MANY:
        named = await tags.ids_with(tx, *where, RESOURCE_TYPE, "Name", None)
        ids = [node_id for node_id in ids if node_id in named]
    names: dict[str, str] = {}
    for chunk in chunks(ids, _MANY):
        of_each = await tags.of_each(tx, *where, RESOURCE_TYPE, chunk)
        names.update({node_id: name for node_id, own in of_each.items() if (name := own.get("Name"))})
    return [replace(node, name=names[node.node_id]) if node.node_id in names else node for node in nodes]


def chunks(ids: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    """The ids in pieces of at most `size`."""
    return (ids[start : start + size] for start in range(0, len(ids), size))


async def _not_registered(tx: Transaction, node_id: str) -> Exception:
    if await NodeStore(tx).was_deregistered(node_id):
        return AccessDeniedException(f"The managed node {node_id} is deregistered. Register the machine again.")
    return UnrecognizedClientException()
