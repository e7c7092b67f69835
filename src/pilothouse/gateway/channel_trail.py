"""What the audit trail is told of control channels, within bounds: a node that comes and goes cannot fill it."""

from typing import Any

import structlog

from pilothouse.call import House
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.principals import Principal
from pilothouse.runtime.sparing import Sparing
from pilothouse.storage import StorageUnavailable, Transaction

log = structlog.get_logger()

_EACH, _WITHIN_MS, _TOGETHER = 12, 3_600_000, 300
Node = tuple[str, str, str]
"""Account, region and id."""


class ChannelTrail:
    """Tells of the control channels of one process."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._sparing = Sparing(house.clock, each=_EACH, within_ms=_WITHIN_MS, together=_TOGETHER)

    async def tell(
        self, tx: Transaction, node: Node, name: str, why: str = "", error: tuple[str, str] | None = None
    ) -> None:
        """A channel was opened, closed or refused."""
        account_id, region, node_id = node
        unsaid = self._sparing.may_say(f"{node_id} {bool(error)}")
        if unsaid is None:
            return
        kind = f"ec2:{region}:{account_id}:instance" if node_id.startswith("i-") else (
            f"ssm:{region}:{account_id}:managed-instance"
        )  # fmt: skip
        arn = f"arn:aws:{kind}/{node_id}"
        said: dict[str, Any] = {"target": node_id} | ({"reason": why} if why else {})
        said |= {"notRecorded": unsaid} if unsaid else {}
        await self._house.tell(
            tx, "channel.told",
            account_id=account_id, region=region, name=name, by=(arn, node_id), username=node_id, access_key_id="",
            resources=[arn], said=said, error=error,
        )  # fmt: skip

    async def refused(self, who: Principal, region: str, action: str, why: str) -> None:
        """A known caller may not have a channel; others are counted and logged where signatures are checked."""
        unsaid = self._sparing.may_say(f"{who.arn} refused")
        if unsaid is None:
            return
        said: dict[str, Any] = {"notRecorded": unsaid} if unsaid else {}
        try:
            async with self._house.database.transaction() as tx:
                await self._house.tell(
                    tx, "channel.told",
                    account_id=who.account_id, region=region, name=action.partition(":")[2],
                    by=(who.arn, who.user_id), username=who.node_id or who.name, access_key_id=who.access_key_id,
                    resources=[], said=said, error=(AccessDeniedException.__name__, why),
                )  # fmt: skip
        except StorageUnavailable as trouble:
            log.warning("control_channel.storage_unavailable", error=str(trouble))
