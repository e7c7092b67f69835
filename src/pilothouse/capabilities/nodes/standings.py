"""ListNodeStandings of our own service: what a list of nodes shows of each, asked for a page at a time.

It says what GetConnectionStatus and ListTagsForResource say of one node, to who may ask those.
"""

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.nodes.model import RESOURCE_TYPE
from pilothouse.capabilities.nodes.store import NodeStore
from pilothouse.gateway import presence
from pilothouse.identity.authorise import allowed_of


@operation("pilothouse", "ListNodeStandings", asks_itself=True)
async def list_node_standings(call: Call, request: Shape) -> Shape:
    """Of each node that is there, in the order asked: whether its channel is open, and its tags, if one may ask."""
    asked = list(dict.fromkeys(request["NodeIds"]))
    arns = {node_id: f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{node_id}" for node_id in asked}
    async with call.reading() as tx:
        store = NodeStore(tx)
        there = [each for each in asked if await store.find(call.account_id, call.region, each) is not None]
        named = [arns[each] for each in there]
        connectable = set(await allowed_of(call, tx, "ssm:GetConnectionStatus", named))
        tagged = set(await allowed_of(call, tx, "ssm:ListTagsForResource", named))
        connected = await presence.connected(tx, there, call.clock.millis())
        found = await tags.of_each(tx, call.account_id, call.region, RESOURCE_TYPE, there)
    return {"Nodes": [
        {
            "NodeId": each,
            "Connected": each in connected if arns[each] in connectable else None,
            "Tags": [{"Key": key, "Value": value} for key, value in found.get(each, {}).items()]
            if arns[each] in tagged else None,
        }
        for each in there
    ]}  # fmt: skip
