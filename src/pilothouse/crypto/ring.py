"""The ring: the root keys of the installation by version, each wrapped by the master key.

A new master key wraps the ring anew and no value is touched. A new root key is added to the ring; values move under it
one by one (`crypto/resealing`) while every version opens. A process that meets a value under a version it does not
know asks for the ring again, with the master key as it is set now.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from pilothouse.crypto.master_key import (
    FILE,
    NEXT_FILE,
    LocalKey,
    MasterKey,
    MasterKeyUnusable,
    WrappingBroken,
    missing,
    new_key,
    save_key,
)
from pilothouse.crypto.store import RingStore, RootKey, Wrapping
from pilothouse.crypto.vault import Vault
from pilothouse.runtime.clock import Clock, SystemClock
from pilothouse.runtime.ids import Ids
from pilothouse.storage import Database, Migrations, StorageUnavailable

log = structlog.get_logger()

RANDOM: Final = "random"
WAS_MASTER_KEY: Final = "master key"
SETTLED_MS: Final = 30_000
"""After this every running process holds a new version, so it is used: they look each 5 s (`app`)."""
_SECONDS_BETWEEN: Final = 1.0
"""At most one look at the ring in this time: anybody can send a token that names a version out of the air."""
_FILES_OF_AN_INSTALLATION: Final = ("root.sealed", "database.sealed", NEXT_FILE)
_TABLES: Final = "crypto"
_KEY_BYTES: Final = 32

FindMaster = Callable[[], MasterKey | None]


class WrongMasterKey(MasterKeyUnusable):
    """The database was sealed under another master key."""


@dataclass(frozen=True, slots=True)
class State:
    """What the database says of the ring."""

    fingerprint: str | None
    roots: tuple[RootKey, ...]
    wrappings: tuple[Wrapping, ...]

    def wrapped_by(self, master: MasterKey) -> dict[int, bytes]:
        """This master key's wrappings, by version."""
        return {each.version: each.wrapped for each in self.wrappings if each.master == master.fingerprint}

    def masters(self) -> dict[str, str]:
        """Fingerprint to name of every master key that wraps something."""
        return {each.master: each.master_name for each in self.wrappings}


def root_context(version: int) -> str:
    """What a wrapped root key is bound to."""
    return f"pilothouse root key/{version}"


async def state_of(database: Database) -> State:
    """The ring as it is committed."""
    async with database.reading() as tx:
        store = RingStore(tx)
        return State(await store.fingerprint(), tuple(await store.roots()), tuple(await store.wrappings()))


async def _state_before(database: Database) -> State:
    """The ring in a database whose tables may be those of an earlier release, or not there at all."""
    number = await database.migrated(_TABLES)
    if number > 1:
        return await state_of(database)
    async with database.reading() as tx:
        return State(await RingStore(tx).fingerprint() if number else None, (), ())


@dataclass(slots=True, repr=False)
class Ring:
    """The root keys of an open installation, in its vault, and the master key that wraps them."""

    database: Database
    vault: Vault
    master: MasterKey
    find_master: FindMaster
    clock: Clock
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asked: float = float("-inf")

    async def reload(self) -> None:
        """Hold the ring as it is now. Raises StorageUnavailable if it cannot be had; what was held stays."""
        state = await state_of(self.database)
        versions = {each.version for each in state.roots}
        if versions != set(self.vault.versions):
            try:
                roots = await self._unwrapped(state, versions)
            except MasterKeyUnusable as error:
                log.error("ring.unusable", error=str(error))
                raise StorageUnavailable("a root key made meanwhile cannot be unwrapped by the master key") from error
            self.vault.hold(roots, settled=settled(state, self.clock.millis()))
            log.info("ring.reloaded", versions=sorted(versions))
        else:
            self._settle(state)

    async def ask_again(self) -> None:
        """Reload for a value under an unknown version. All who ask at once share one look; see _SECONDS_BETWEEN."""
        loop = asyncio.get_running_loop()
        came = loop.time()
        async with self._one:
            if self._asked >= came:
                return
            wait = self._asked + _SECONDS_BETWEEN - loop.time()
            if wait > 0:
                await SystemClock().sleep(wait)
            self._asked = loop.time()
            await self.reload()

    async def _unwrapped(self, state: State, versions: set[int]) -> dict[int, bytes]:
        known = {version: self.vault.root(version) for version in self.vault.versions if version in versions}
        new = versions - set(known)
        if not new <= set(state.wrapped_by(self.master)):
            self.master = self.find_master() or self.master
        return known | await unwrapped(state, self.master, new)

    def _settle(self, state: State) -> None:
        now = settled(state, self.clock.millis())
        if now != self.vault.settled and now in self.vault.versions:
            self.vault.hold({version: self.vault.root(version) for version in self.vault.versions}, settled=now)


async def unwrapped(state: State, master: MasterKey, versions: set[int] | None = None) -> dict[int, bytes]:
    """The root keys themselves. Raises MasterKeyUnusable, having changed nothing."""
    wanted = {each.version for each in state.roots} if versions is None else versions
    wrapped = state.wrapped_by(master)
    if not wanted <= set(wrapped):
        names = " or ".join(f"{name} (fingerprint {print_[:8]})" for print_, name in sorted(state.masters().items()))
        raise WrongMasterKey(
            f"this master key, {master.name} (fingerprint {master.fingerprint[:8]}), is not the one that the database "
            f"was sealed under; nothing was changed. It was sealed under {names}: put that key back, or set master_key."
        )
    roots: dict[int, bytes] = {}
    for version in sorted(wanted):
        try:
            roots[version] = root = await master.unwrap(wrapped[version], root_context(version))
        except WrappingBroken as error:
            raise MasterKeyUnusable(
                f"root key {version} in the database is damaged, or another was put in its place: the master key "
                f"({master.name}) does not open it. Put the database back from its backup; nothing was changed"
            ) from error
        if len(root) != _KEY_BYTES:
            raise MasterKeyUnusable(
                f"{master.name} opened root key {version} to {len(root)} bytes instead of {_KEY_BYTES}: what answers "
                "there is not what wrapped it; nothing was changed"
            )
    return roots


async def checked(master: MasterKey, version: int, blob: bytes, root: bytes) -> Wrapping:
    """The wrapping, once it was seen to open again: nothing is sealed under a root key that could not come back.

    Raises MasterKeyUnusable.
    """
    if await master.unwrap(blob, root_context(version)) != root:
        raise MasterKeyUnusable(f"{master.name} does not give back what it wrapped; nothing was changed")
    return Wrapping(version=version, master=master.fingerprint, master_name=master.name, wrapped=blob)


def settled(state: State, now: int) -> int:
    """The newest version that all processes hold by now."""
    old = [each.version for each in state.roots if each.created_at + SETTLED_MS <= now]
    return max(old) if old else min(each.version for each in state.roots)


def knows_a_key(data: Path) -> bool:
    """Whether the data directory holds what was sealed under a master key."""
    return any((data / name).exists() for name in _FILES_OF_AN_INSTALLATION)


async def open_ring(
    database: Database,
    data: Path,
    find_master: FindMaster,
    clock: Clock,
    ids: Ids,
    *,
    create: bool,
    migrations: Sequence[Migrations] = (),
) -> Ring:
    """The installation's ring; made where there is none. The ring's own tables are brought up to date by `migrations`.

    A missing master key is made only with `create`, in a directory and for a database that know of no earlier one.
    Raises MasterKeyUnusable, having changed nothing: tables are touched once the master key was seen to be right.
    """
    master = find_master()
    for _ in range(3):
        state = await _state_before(database)
        if master is None:
            if not create or state.fingerprint is not None or state.roots or knows_a_key(data):
                raise missing(data)
            made = new_key("file")
            save_key(data / FILE, made)
            master = made
        if not state.roots:
            await _begin(database, migrations, state, master, clock, ids)
            continue
        try:
            roots = await unwrapped(state, master)
        except WrongMasterKey:
            now = find_master()  # it may have been changed between the two looks
            if now is None or now.fingerprint == master.fingerprint:
                raise
            master = now
            continue
        await database.migrate(migrations)
        vault = Vault(roots)
        vault.hold(roots, settled=settled(state, clock.millis()))
        ring = Ring(database, vault, master, find_master, clock)
        vault.ask_again(ring.ask_again)
        return ring
    raise MasterKeyUnusable("the ring of root keys could not be read back; start again")


async def _begin(
    database: Database,
    migrations: Sequence[Migrations],
    state: State,
    master: MasterKey,
    clock: Clock,
    ids: Ids,
) -> None:
    """Make version 1: random, or what the values of an installation from before the ring are sealed under."""
    root, origin = ids.random_bytes(32), RANDOM
    if state.fingerprint is not None:
        if not isinstance(master, LocalKey) or master.fingerprint != state.fingerprint:
            raise WrongMasterKey(
                f"this master key, {master.name}, is not the one that the database was sealed under "
                f"(fingerprint {state.fingerprint[:8]}); nothing was changed. "
                "Put the right master.key into the data directory or set PILOTHOUSE_MASTER_KEY."
            )
        root, origin = master.key, WAS_MASTER_KEY
    wrapping = await checked(master, 1, await master.wrap(root, root_context(1)), root)
    await database.migrate(migrations)
    now = clock.millis()
    async with database.transaction() as tx:
        store = RingStore(tx)
        await store.lock()
        if await store.roots() or await store.fingerprint() != state.fingerprint:
            return  # another process was faster; its ring counts
        await store.set_fingerprint(master.fingerprint, now)
        await store.add_root(1, origin, now)
        await store.wrap(wrapping, now)


async def add_version(ring: Ring, ids: Ids) -> int:
    """A new root key, in use SETTLED_MS from now. Raises MasterKeyUnusable while two master keys wrap the ring."""
    state = await state_of(ring.database)
    if set(state.masters()) != {ring.master.fingerprint}:
        raise MasterKeyUnusable(
            "more than one master key wraps the root keys: end that change first with "
            "pilothouse master-key rotate --finish"
        )
    version = max(each.version for each in state.roots) + 1
    root = ids.random_bytes(32)
    wrapping = await checked(ring.master, version, await ring.master.wrap(root, root_context(version)), root)
    now = ring.clock.millis()
    async with ring.database.transaction() as tx:
        store = RingStore(tx)
        await store.lock()
        if await store.roots() != list(state.roots) or await store.wrappings() != list(state.wrappings):
            raise MasterKeyUnusable("somebody else changed the root keys at this moment; try again")
        await store.add_root(version, RANDOM, now)
        await store.wrap(wrapping, now)
    await ring.reload()
    return version
