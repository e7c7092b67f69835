"""Writing what is judged of nodes, in the transaction of whoever says it, and telling when a node's status turns.

What this server makes itself (of associations and patches) and what was uploaded stand side by side: an upload neither
overwrites nor removes the former, so that an agent's own view, which knows no severities, does not hide it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC
from typing import Any

from pilothouse.call import House
from pilothouse.capabilities import nodes
from pilothouse.capabilities.compliance.model import (
    MOST_TYPES,
    NON_COMPLIANT,
    PATCH,
    ComplianceTypeCountLimitExceededException,
    Execution,
    InvalidResourceId,
    Item,
    Standing,
)
from pilothouse.capabilities.compliance.store import ComplianceStore
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction


class Keeper:
    """What is judged of the nodes of one account and region."""

    def __init__(self, house: House, tx: Transaction, account_id: str, region: str) -> None:
        self._house = house
        self._tx = tx
        self._where = account_id, region
        self._store = ComplianceStore(tx, account_id, region)

    async def put(
        self,
        node_id: str,
        compliance_type: str,
        items: Sequence[Item],
        execution: Execution,
        *,
        whole: bool = True,
        by_system: bool = True,
        content_hash: str = "",
    ) -> None:
        """Items of a type on a node; `whole`: those that are not among them go. No items, whole: the type goes.

        `content_hash`: of all of them, as whoever sends them makes it. Raises InvalidResourceId for what is no node
        (any more), and ComplianceTypeCountLimitExceededException.
        """
        before = await self._begin(node_id, compliance_type)
        if before is None:
            await self._check_room(compliance_type)
        kept = set() if by_system else await self._store.system_ids(node_id, compliance_type)
        added = [item for item in items if item.item_id not in kept]
        await self._store.remove(
            node_id, compliance_type, by_system=by_system,
            item_ids=None if whole else [item.item_id for item in added],
        )  # fmt: skip
        if by_system:  # an upload of the same item came before
            await self._store.remove(
                node_id, compliance_type, by_system=False, item_ids=[item.item_id for item in added]
            )
        await self._store.add(node_id, compliance_type, added, execution, by_system=by_system)
        if by_system:
            content_hash = "" if before is None else before.content_hash
        await self._count(node_id, compliance_type, before, execution, content_hash if items or by_system else "")

    async def same_again(self, node_id: str, compliance_type: str, execution: Execution, content_hash: str) -> bool:
        """Nothing changed since the upload with this hash; False if the last one had another."""
        before = await self._begin(node_id, compliance_type)
        if before is None or not content_hash or before.content_hash != content_hash:
            return False
        await self._store.executed(node_id, compliance_type, execution)
        await self._count(node_id, compliance_type, before, execution, content_hash)
        return True

    async def remove(self, node_id: str, compliance_type: str, item_ids: Collection[str] | None = None) -> None:
        """Items that this server made: those named, or all of the type. What is not there is fine."""
        await self._store.lock(node_id)
        before = await self._store.standing(node_id, compliance_type)
        if before is None:
            return
        await self._store.remove(node_id, compliance_type, by_system=True, item_ids=item_ids)
        await self._count(node_id, compliance_type, before, before.execution, before.content_hash)

    async def remove_everywhere(self, compliance_type: str, item_id: str) -> None:
        """An item that this server made, on every node."""
        for node_id in await self._store.nodes_with(compliance_type, item_id):
            await self.remove(node_id, compliance_type, [item_id])

    async def _begin(self, node_id: str, compliance_type: str) -> Standing | None:
        """Lock, then look whether the node is there: it may go while we wait."""
        await self._store.lock(node_id)
        if await nodes.find(self._tx, *self._where, node_id) is None:
            raise InvalidResourceId(f"There is no managed node {node_id} in this region.")
        return await self._store.standing(node_id, compliance_type)

    async def _check_room(self, compliance_type: str) -> None:
        if not await self._store.has_type(compliance_type) and await self._store.types() >= MOST_TYPES:
            raise ComplianceTypeCountLimitExceededException(f"There are {MOST_TYPES} compliance types already.")

    async def _count(
        self, node_id: str, compliance_type: str, before: Standing | None, execution: Execution, content_hash: str
    ) -> None:
        many, counts = await self._store.counts(node_id, compliance_type)
        if not many:
            await self._store.forget_standing(node_id, compliance_type)
            return
        standing = Standing(
            node_id=node_id, compliance_type=compliance_type, counts=counts, execution=execution,
            content_hash=content_hash,
        )  # fmt: skip
        await self._store.set_standing(standing)
        if before is None or before.status != standing.status:
            await self._tell(standing)

    async def _tell(self, standing: Standing) -> None:
        account_id, region = self._where
        kind = "ec2" if standing.node_id.startswith("i-") else "ssm"
        noun = "instance" if kind == "ec2" else "managed-instance"
        moment = from_millis(standing.execution.at).astimezone(UTC).isoformat(timespec="seconds")
        detail: dict[str, Any] = {
            "last-runtime": moment.replace("+00:00", "Z"),
            "compliance-status": standing.status.lower(),
            "resource-type": "managed-instance",
            "resource-id": standing.node_id,
            "compliance-type": standing.compliance_type,
        }
        if standing.status == NON_COMPLIANT:
            detail["severity"] = standing.overall_severity.lower()
        if standing.compliance_type == PATCH:
            detail |= await self._baseline(standing.node_id)
        await self._house.tell(
            self._tx, "event",
            account_id=account_id, region=region, source="aws.ssm",
            detail_type="Configuration Compliance State Change",
            resources=[f"arn:aws:{kind}:{region}:{account_id}:{noun}/{standing.node_id}"], detail=detail,
        )  # fmt: skip

    async def _baseline(self, node_id: str) -> dict[str, str]:
        """By which baseline the node's patches were looked at, which each of them says."""
        for _, kind, item in await self._store.items([], (node_id, PATCH, ""), 1):
            if kind == PATCH and "PatchBaselineId" in item.details:
                return {"patch-baseline-id": item.details["PatchBaselineId"]}
        return {}


async def node_gone(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """The event `node.deregistered`."""
    store = ComplianceStore(tx, facts["account_id"], facts["region"])
    await store.lock(facts["node_id"])
    await store.forget_node(facts["node_id"])
