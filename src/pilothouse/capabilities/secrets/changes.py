"""What follows from a change of a secret, in its own transaction: replicas become alike, and an event tells of it."""

from typing import Any, Final, Literal

from pilothouse.call import House
from pilothouse.capabilities.secrets.model import Secret
from pilothouse.capabilities.secrets.replicas import keep_alike
from pilothouse.storage import Transaction

_SOURCE: Final = "aws.secretsmanager"

What = Literal[
    "Create", "Update", "PutValue", "MoveStage", "ScheduleDeletion", "Delete", "Restore", "Tag", "Untag", "PutPolicy",
    "DeletePolicy", "Replicate", "Promote", "ConfigureRotation", "CancelRotation",
]  # fmt: skip


async def changed(house: House, tx: Transaction, secret: Secret, what: What, **about: Any) -> None:
    """Tell of a change, never with a value; `about` are further members of the event's detail."""
    if secret.primary_region == secret.region and what != "Delete":
        await keep_alike(house, tx, secret)
    await house.tell(
        tx,
        "event",
        account_id=secret.account_id,
        region=secret.region,
        source=_SOURCE,
        detail_type="Secrets Manager Secret Change",
        resources=[secret.arn],
        detail={"operation": what, "name": secret.name, **{k: v for k, v in about.items() if v is not None}},
    )


async def happened(house: House, tx: Transaction, secret: Secret, name: str, **about: Any) -> None:
    """An event of the service itself, such as RotationSucceeded, in the form of the cloud's."""
    await house.tell(
        tx,
        "event",
        account_id=secret.account_id,
        region=secret.region,
        source=_SOURCE,
        detail_type="AWS Service Event via CloudTrail",
        resources=[secret.arn],
        detail={
            "eventSource": "secretsmanager.amazonaws.com",
            "eventName": name,
            "eventType": "AwsServiceEvent",
            "additionalEventData": {"SecretId": secret.arn, **{k: v for k, v in about.items() if v is not None}},
        },
    )
