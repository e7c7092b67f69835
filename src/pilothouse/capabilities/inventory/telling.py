"""The event `Inventory Resource State Change`."""

from collections.abc import Mapping

from pilothouse.call import House
from pilothouse.storage import Transaction


async def told(
    house: House, tx: Transaction, account_id: str, region: str, type_name: str, detail: Mapping[str, str]
) -> None:
    """Something became of a custom type."""
    await house.tell(
        tx, "event",
        account_id=account_id, region=region, source="aws.ssm", detail_type="Inventory Resource State Change",
        resources=[f"arn:aws:ssm:{region}:{account_id}:inventory/{type_name}"], detail=dict(detail),
    )  # fmt: skip
