"""Ties everything together: the only file that lists the capabilities, and nobody imports it but the CLI and tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pilothouse.call import Capability, House
from pilothouse.capabilities import access
from pilothouse.crypto.master_key import MasterKeyUnusable, check_installation, load_vault
from pilothouse.runtime.bus import Bus
from pilothouse.runtime.clock import Clock, SystemClock
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.settings import Settings
from pilothouse.storage import Migrations, StorageUnavailable
from pilothouse.storage.engines import open_database
from pilothouse.storage.migrations import PackageMigrations
from pilothouse.storage.pages import Pages

CAPABILITIES: tuple[Capability, ...] = (access.CAPABILITY,)


class StartFailed(Exception):
    """The installation cannot be opened or served; the text is a sentence for the operator."""


def migrations_of_the_house() -> Sequence[Migrations]:
    """Every table, machinery first."""
    machinery = [PackageMigrations(name, f"pilothouse.{name}") for name in ("crypto", "wire", "gateway")]
    return machinery + [
        PackageMigrations(each.name, f"pilothouse.capabilities.{each.name}") for each in CAPABILITIES
    ]


@asynccontextmanager
async def opened_house(settings: Settings, *, create: bool, clock: Clock | None = None) -> AsyncIterator[House]:
    """The machinery of an installation, with its tables up to date. Raises StartFailed."""
    try:
        vault = load_vault(settings.data, create=create)
        database = await open_database(settings.database_url)
    except (MasterKeyUnusable, StorageUnavailable) as error:
        raise StartFailed(str(error)) from error
    house = House(
        database=database,
        clock=clock or SystemClock(),
        ids=Ids(),
        bus=Bus(),
        vault=vault,
        pages=Pages(vault.subkey("page tokens")),
        settings=settings,
    )
    for capability in CAPABILITIES:
        house.taggable.update(capability.taggable)
        for event, listener in capability.listeners.items():
            house.listeners.setdefault(event, []).append(listener)
    try:
        await database.migrate(migrations_of_the_house())
        await check_installation(database, vault, house.clock.millis())
        yield house
    except (MasterKeyUnusable, StorageUnavailable) as error:
        raise StartFailed(str(error)) from error
    finally:
        await database.close()
