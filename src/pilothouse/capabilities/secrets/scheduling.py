"""When secrets are rotated by their schedules."""

from dataclasses import replace

from pilothouse.call import House
from pilothouse.capabilities.secrets.model import Secret
from pilothouse.capabilities.secrets.rotation_model import next_window, rotation_of, with_rotation
from pilothouse.scheduling import due
from pilothouse.storage import Transaction

KIND = "secrets.rotation"


def due_key(secret: Secret) -> str:
    """The name of a secret among all that is due."""
    return f"{secret.account_id}/{secret.region}/{secret.name}"


def rotated(secret: Secret, now: int) -> Secret:
    """The secret after its current value changed, by whomever: its schedule counts from now on."""
    rotation = rotation_of(secret)
    return secret if rotation is None else with_rotation(secret, replace(rotation, since=now))


def next_start(secret: Secret) -> int | None:
    """When the secret is to be rotated next, in epoch milliseconds; None for never."""
    rotation = rotation_of(secret)
    if rotation is None or not rotation.enabled or secret.is_replica:
        return None
    window = next_window(rotation)
    return None if window is None else window.start


async def reschedule(house: House, tx: Transaction, secret: Secret) -> None:
    """Have the secret rotated when its schedule says so, and no more at an earlier time."""
    if secret.rotation is None:
        return
    await due.put(
        house, tx, KIND, due_key(secret), next_start(secret), account_id=secret.account_id, region=secret.region
    )  # fmt: skip
