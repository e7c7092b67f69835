"""What happens to parameters beyond their rows: removal with everything that hangs on them, and telling of changes."""

from typing import Final, Literal

from pilothouse.call import House
from pilothouse.capabilities import tags
from pilothouse.capabilities.parameters import trash
from pilothouse.capabilities.parameters.model import Policy, Version
from pilothouse.capabilities.parameters.names import arn
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.storage import Transaction

TAGGED_AS: Final = "Parameter"
_SOURCE: Final = "aws.ssm"

What = Literal["Create", "Update", "Delete", "LabelParameterVersion"]


async def remove(house: House, tx: Transaction, account_id: str, region: str, path: str) -> Version | None:
    """Remove a parameter with its versions, labels and tags, and tell of it; the version that was its newest."""
    store = ParameterStore(tx, account_id, region)
    await store.lock(path)
    last = await store.newest(path)
    if last is None:
        return None
    await trash.keep(house, tx, account_id, region, path)
    await store.delete(path)
    await tags.remove_all(tx, account_id, region, TAGGED_AS, path)
    await tell_change(house, tx, account_id, region, last, "Delete")
    return last


async def tell_change(
    house: House, tx: Transaction, account_id: str, region: str, changed: Version, what: What
) -> None:
    """A `Parameter Store Change` event; never with the value."""
    detail = {"operation": what, "name": changed.name, "type": changed.kind}
    if changed.description:
        detail["description"] = changed.description
    await house.tell(
        tx,
        "event",
        account_id=account_id,
        region=region,
        source=_SOURCE,
        detail_type="Parameter Store Change",
        resources=[arn(account_id, region, changed.path)],
        detail=detail,
    )


async def tell_action(
    house: House,
    tx: Transaction,
    account_id: str,
    region: str,
    version: Version,
    policy: Policy,
    *,
    failed: bool,
    reason: str,
) -> None:
    """A `Parameter Store Policy Action` event."""
    await house.tell(
        tx,
        "event",
        account_id=account_id,
        region=region,
        source=_SOURCE,
        detail_type="Parameter Store Policy Action",
        resources=[arn(account_id, region, version.path)],
        detail={
            "parameter-name": version.name,
            "parameter-type": version.kind,
            "policy-type": policy.kind,
            "policy-content": policy.text,
            "action-status": "Failed" if failed else "Success",
            "action-reason": reason,
        },
    )
