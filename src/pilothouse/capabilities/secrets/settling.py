"""Readers of a current value wait for a moment while its password is changed on a server that knows one password only.

Who reads a credential logs in with it a moment later. So before such a password changes, readers are held back, for
QUIET_SECONDS: whoever has the old one has used it by then. Then the password changes, is tried, and the labels move;
who waited reads the new one, and nobody was refused. What holds them is in the secret's row, so every process of the
installation keeps to it, and after HOLD_MS nobody does: a process that is killed meanwhile stops no reader for long.
"""

from typing import Final

from pilothouse.call import Call, House
from pilothouse.capabilities.secrets.model import Reading, Secret
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.runtime.clock import SystemClock
from pilothouse.storage import Transaction

QUIET_SECONDS: Final = 0.5
HOLD_MS: Final = 3000
_LOOK_SECONDS: Final = 0.02
LOOKS: Final = 200
"""As often as that at most, whatever the house's clock does."""


_real: Final = SystemClock()  # those who wait are clients out there: whatever a test does to the house's clock


async def hold(house: House, secret: Secret) -> None:
    """Hold readers back; returns when those who read before have had their time."""
    async with house.database.transaction() as tx:
        store = SecretStore(tx, secret.account_id, secret.region)
        await store.settle(secret, house.clock.millis() + HOLD_MS)
    await _real.sleep(QUIET_SECONDS)


async def free(tx: Transaction, secret: Secret) -> None:
    """Let readers go on."""
    if secret.settles_at is not None:
        await SecretStore(tx, secret.account_id, secret.region).settle(secret, None)


def is_settled(call: Call, secret: Secret | Reading) -> bool:
    """Whether its current value may be read now."""
    return secret.settles_at is None or secret.settles_at <= call.clock.millis() or call.within is not None


async def look_again() -> None:
    """Between two looks."""
    await _real.sleep(_LOOK_SECONDS)


async def all_settled(call: Call) -> None:
    """Wait until no secret of the caller's account and region holds readers back; for who reads several at once."""
    for _ in range(LOOKS if call.within is None else 0):
        async with call.reading() as tx:
            store = SecretStore(tx, call.account_id, call.region)
            if not await store.any_settling(call.clock.millis()):
                return
        await look_again()
