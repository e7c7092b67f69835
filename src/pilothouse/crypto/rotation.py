"""Changing the master key, and retiring root keys. Every change is a list of steps, each safe to be the last one.

First the new master key wraps everything beside the old one, then it takes the old one's place, then the old
wrappings go. At each moment the master key that is in place opens all.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from pilothouse.crypto.kept import rekeep
from pilothouse.crypto.master_key import (
    FILE,
    NEXT_FILE,
    LocalKey,
    MasterKey,
    MasterKeyUnusable,
    new_key,
    read_key,
    save_key,
)
from pilothouse.crypto.resealing import lying_under
from pilothouse.crypto.ring import SETTLED_MS, Ring, checked, root_context, state_of, unwrapped
from pilothouse.crypto.sealed import Sealed
from pilothouse.crypto.store import RingStore, Wrapping
from pilothouse.runtime.files import sync_folder

Step = tuple[str, Callable[[], Awaitable[None]]]

UNUSED_MS: Final = 2 * SETTLED_MS
"""When a version has been there this long, no running process seals under the one before it."""
GRACE_MS: Final = 25 * 3_600_000
"""How long a retired root key still opens: longer than import tokens of KMS, and credentials of nodes by default."""


class CannotRetire(Exception):
    """The root key is still needed; the text says by what."""


def next_local_key(data: Path) -> LocalKey:
    """The key that is to follow: the one that a broken-off change has left, else a new one, kept durably beside."""
    file = data / NEXT_FILE
    if file.exists():
        try:
            return read_key(file)
        except MasterKeyUnusable as error:
            raise MasterKeyUnusable(
                f"{file}, left by a change that was broken off, cannot be used. Remove it and run the command again: "
                f"{FILE} opens everything"
            ) from error
    made = new_key("file")
    save_key(file, made)
    return made


def place_local_key(data: Path) -> None:
    """Put the next key in the place of the key file, in one durable step."""
    (data / NEXT_FILE).replace(data / FILE)
    sync_folder(data)


def change_steps(
    ring: Ring, data: Path, new: MasterKey, place: Callable[[], None] | None, *, keep_old: bool
) -> list[Step]:
    """The steps to the new master key. Without `place` the operator puts it in place, and then asks for `finish`."""
    old = ring.master

    async def put_in_place() -> None:
        assert place is not None
        place()
        ring.master = new

    steps: list[Step] = [
        ("wrap the kept files", lambda: rekeep(data, old, (old, new))),
        ("wrap the root keys", lambda: _wrap_roots(ring, new)),
    ]
    if place is not None:
        steps.append(("put the new key in place", put_in_place))
        if not keep_old:
            steps += finish_steps(ring, data, new)
    return steps


def finish_steps(ring: Ring, data: Path, master: MasterKey) -> list[Step]:
    """The steps that leave `master` alone."""

    async def forget() -> None:
        async with ring.database.transaction() as tx:
            store = RingStore(tx)
            await store.lock()
            wrapped = {each.version for each in await store.wrappings() if each.master == master.fingerprint}
            if wrapped != {each.version for each in await store.roots()}:
                raise MasterKeyUnusable(f"not every root key is wrapped by {master.name} yet; rotate again")
            await store.forget_other_masters(master.fingerprint)
            await store.set_fingerprint(master.fingerprint, ring.clock.millis())

    async def clear() -> None:
        (data / NEXT_FILE).unlink(missing_ok=True)
        if master.name != "file":
            (data / FILE).unlink(missing_ok=True)

    return [
        ("forget the old wrappings", forget),
        ("wrap the kept files under the new key alone", lambda: rekeep(data, master, (master,))),
        ("remove left-over key files", clear),
    ]


async def rewrap(ring: Ring) -> int:
    """Wrap every root key anew by the same master key, after it got a new version where it is kept; how many."""
    state = await state_of(ring.database)
    roots = await unwrapped(state, ring.master)
    anew = []
    for version, wrapped in state.wrapped_by(ring.master).items():
        blob = await ring.master.rewrap(wrapped, root_context(version))
        anew.append(await checked(ring.master, version, blob, roots[version]))
    await _store(ring, anew)
    return len(anew)


async def _wrap_roots(ring: Ring, new: MasterKey) -> None:
    await ring.reload()
    made = []
    for version in ring.vault.versions:
        root = ring.vault.root(version)
        made.append(await checked(new, version, await new.wrap(root, root_context(version)), root))
    await _store(ring, made)


async def _store(ring: Ring, wrappings: Sequence[Wrapping]) -> None:
    async with ring.database.transaction() as tx:
        store = RingStore(tx)
        await store.lock()
        if {each.version for each in await store.roots()} != {each.version for each in wrappings}:
            raise MasterKeyUnusable("somebody else changed the root keys at this moment; try again")
        for each in wrappings:
            await store.wrap(each, ring.clock.millis())


async def retire(ring: Ring, sealed: Sequence[Sealed], version: int, *, now: bool) -> bool:
    """Retire a version under which nothing lies any more; whether it is gone for good.

    It goes GRACE_MS after it was first retired: until then credentials of nodes and page tokens made under it go on
    to work. `now` waits for nothing but UNUSED_MS. Raises CannotRetire.
    """
    roots = {each.version: each for each in (await state_of(ring.database)).roots}
    if version not in roots:
        raise CannotRetire(f"there is no root key of version {version}")
    later = [each for each in roots.values() if each.version > version]
    if not later:
        raise CannotRetire(
            f"version {version} is the newest: make another with pilothouse master-key rotate --root-key"
        )
    at = ring.clock.millis()
    if at < min(each.created_at for each in later) + UNUSED_MS:
        raise CannotRetire(
            f"the version after {version} is younger than {UNUSED_MS // 1000} s: running servers may still seal under "
            f"{version}; wait and try again"
        )
    async with ring.database.transaction() as tx:
        store = RingStore(tx)
        await store.lock()
        if count := await lying_under(tx, sealed, version):
            raise CannotRetire(f"{count} values lie under version {version}: pilothouse master-key reseal")
        retired_at = roots[version].retired_at
        gone = now or (retired_at is not None and at >= retired_at + GRACE_MS)
        if gone:
            await store.remove(version)
        else:
            await store.retire(version, at)
    await ring.reload()
    return gone


async def alone_in_use(ring: Ring) -> bool:
    """Whether no running process seals any more under an older root key than the one in use."""
    made = {each.version: each.created_at for each in (await state_of(ring.database)).roots}
    return made.get(ring.vault.settled, ring.clock.millis()) + UNUSED_MS <= ring.clock.millis()


async def remove_retired(ring: Ring, sealed: Sequence[Sealed]) -> None:
    """Remove for good what was retired long enough ago and is needed by nothing."""
    for each in (await state_of(ring.database)).roots:
        if each.retired_at is None or ring.clock.millis() < each.retired_at + GRACE_MS:
            continue
        with contextlib.suppress(CannotRetire):  # what came to lie under it meanwhile is sealed anew first
            await retire(ring, sealed, each.version, now=False)
