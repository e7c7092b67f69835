"""`pilothouse master-key`: look at the keys that everything is sealed under, and change them while the server runs."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from pilothouse.app import StartFailed, opened_around, opened_ring, sealed_in_the_house
from pilothouse.capabilities import access, audit
from pilothouse.cli.shared import DataOption, Failed, existing_data, operator, settings_of
from pilothouse.crypto import rotation
from pilothouse.crypto.following import one_change
from pilothouse.crypto.master_key import FILE, MasterKey, MasterKeyUnusable, find_master, new_key_of_environment
from pilothouse.crypto.resealing import lying_below, lying_under, reseal
from pilothouse.crypto.ring import SETTLED_MS, WAS_MASTER_KEY, Ring, add_version, state_of
from pilothouse.crypto.vault import SealBroken
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.settings import Settings, SettingsInvalid, write_master_key
from pilothouse.storage import StorageUnavailable, Transaction

app = typer.Typer(no_args_is_help=True, help="The keys that everything is sealed under.")

OutputOption = Annotated[str, typer.Option(help="text or json.")]
Work = Callable[[Ring, Path], Any]
_LOCK_SECONDS = 3
_FAULTS = (StartFailed, MasterKeyUnusable, SettingsInvalid, StorageUnavailable, SealBroken, rotation.CannotRetire)


@app.callback()
def master_key() -> None:
    """The keys that everything is sealed under."""


@app.command("status")
def status(data: DataOption = None, output: OutputOption = "text") -> None:
    """Where the master key is, the root keys, and how many values lie under each."""
    _say(_run(data, output, _status, act=None), output)


@app.command("rotate")
def rotate(
    data: DataOption = None,
    to: Annotated[
        str | None, typer.Option(help="file, environment, aws-kms:... or transit:...; without it the same place.")
    ] = None,
    root_key: Annotated[bool, typer.Option("--root-key", help="Add a root key; the master key stays.")] = False,
    keep_old: Annotated[
        bool, typer.Option("--keep-old", help="The old master key opens everything too, until --finish.")
    ] = False,
    finish: Annotated[bool, typer.Option("--finish", help="End a change: only the present master key counts.")] = False,
    output: OutputOption = "text",
) -> None:
    """Change the master key, or with --root-key the root key, while the server runs."""
    if sum((root_key, finish, to is not None or keep_old)) > 1:
        raise Failed("--root-key, --finish and --to (with --keep-old) do not go together")

    async def work(ring: Ring, directory: Path) -> dict[str, Any]:
        if root_key:
            return {"RootKey": await add_version(ring, Ids()), "InUseAfterSeconds": SETTLED_MS // 1000}
        if finish:
            await _walk(rotation.finish_steps(ring, directory, ring.master))
            return {"MasterKey": ring.master.name, "Fingerprint": ring.master.fingerprint}
        return await _change(ring, directory, to, keep_old=keep_old)

    act = "CreateRootKey" if root_key else "FinishMasterKeyChange" if finish else "ChangeMasterKey"
    _say(_run(data, output, work, act=act, said={"to": to, "keepOld": keep_old}), output)


@app.command("reseal")
def reseal_all(data: DataOption = None, output: OutputOption = "text") -> None:
    """Seal anew, under the newest root key, what lies under older ones. Waits until all servers hold it."""
    _say(_run(data, output, lambda ring, directory: _reseal(ring, shown=output == "text"), act="Reseal"), output)


@app.command("rewrap")
def rewrap(data: DataOption = None, output: OutputOption = "text") -> None:
    """Wrap the root keys anew by the same master key, after it was rotated where it is kept."""

    async def work(ring: Ring, directory: Path) -> dict[str, Any]:
        return {"Rewrapped": await rotation.rewrap(ring)}

    _say(_run(data, output, work, act="RewrapRootKeys"), output)


@app.command("retire")
def retire(
    version: Annotated[int, typer.Argument(help="The root key's version.")],
    data: DataOption = None,
    now: Annotated[
        bool, typer.Option("--now", help="At once: node credentials and page tokens made under it end.")
    ] = False,
    output: OutputOption = "text",
) -> None:
    """Retire a root key under which nothing lies; 25 hours later it is removed for good."""

    async def work(ring: Ring, directory: Path) -> dict[str, Any]:
        return {"RootKey": version, "Removed": await rotation.retire(ring, sealed_in_the_house(), version, now=now)}

    _say(_run(data, output, work, act="RetireRootKey", said={"version": version, "now": now}), output)


def _run(
    data: Path | None, output: str, work: Work, *, act: str | None, said: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the work finds; it is recorded as `act` in the transaction of its first change."""
    if output not in {"text", "json"}:
        raise Failed(f"--output {output}: use text or json")
    directory = existing_data(data)
    try:
        with _held(directory):
            found: dict[str, Any] = asyncio.run(_worked(directory, work, act, said or {}))
    except _FAULTS as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(
            f"{error.filename or directory}: {error.strerror or error}; everything that was sealed still opens. "
            "Mend that and run the command again"
        ) from error
    return found


@contextmanager
def _held(data: Path) -> Iterator[None]:
    """One change at a time. The server too holds the lock now and then, for a moment."""
    with ExitStack() as held:
        end = time.monotonic() + _LOCK_SECONDS
        while not held.enter_context(one_change(data)):
            if time.monotonic() > end:
                raise Failed(f"another pilothouse master-key works on {data}; wait for it")
            held.close()
            time.sleep(0.05)
        yield


async def _worked(directory: Path, work: Work, act: str | None, said: Mapping[str, Any]) -> dict[str, Any]:
    settings = settings_of(directory)
    async with opened_ring(settings, create=False) as ring:
        if act is not None:
            await _record_change(settings, ring, act, said)
        found: dict[str, Any] = await work(ring, directory)
        return found


async def _record_change(settings: Settings, ring: Ring, act: str, said: Mapping[str, Any]) -> None:
    """Have the next transaction that is kept say in the trail of the first account what is done."""
    house = await opened_around(settings, ring)
    await audit.key_of(house)

    async def record(tx: Transaction) -> None:
        await audit.operator_acted(house, tx, operator(), await access.first_account(tx), act, said)

    ring.database = audit.Recording(ring.database, record)


async def _status(ring: Ring, directory: Path) -> dict[str, Any]:
    state = await state_of(ring.database)
    sealed = sealed_in_the_house()
    async with ring.database.reading() as tx:
        counts = {each.version: await lying_under(tx, sealed, each.version) for each in state.roots}
        below = await lying_below(tx, sealed, ring.vault.settled)
    others = {print_: name for print_, name in state.masters().items() if print_ != ring.master.fingerprint}
    return {
        "MasterKey": ring.master.name,
        "Fingerprint": ring.master.fingerprint,
        "OtherMasterKeys": [{"MasterKey": name, "Fingerprint": print_} for print_, name in sorted(others.items())],
        "RootKeys": [
            {
                "Version": each.version,
                "Origin": each.origin,
                "InUse": each.version == ring.vault.settled,
                "Retired": each.retired_at is not None,
                "Values": counts[each.version],
            }
            for each in state.roots
        ],
        "ValuesToReseal": below,
    }


async def _change(ring: Ring, directory: Path, to: str | None, *, keep_old: bool) -> dict[str, Any]:
    target = to or ring.master.name
    if to is None and target not in {"file", "environment"}:
        raise Failed(
            f"the master key is kept outside ({target}): rotate it there, then run pilothouse master-key rewrap; "
            "or name another place with --to"
        )
    new, place = _target(ring, directory, target)
    if new.fingerprint == ring.master.fingerprint:
        raise Failed(f"{target} is the present master key")
    await _walk(rotation.change_steps(ring, directory, new, place, keep_old=keep_old))
    answer: dict[str, Any] = {"MasterKey": new.name, "Fingerprint": new.fingerprint}
    if place is None:
        answer["Next"] = "set PILOTHOUSE_MASTER_KEY to the new key, restart, then pilothouse master-key rotate --finish"
    elif keep_old:
        answer["Next"] = "give every server the new key, then pilothouse master-key rotate --finish"
    elif any(each.origin == WAS_MASTER_KEY for each in (await state_of(ring.database)).roots[-1:]):
        answer["RootKey"] = await add_version(ring, Ids())  # the newest root key is a former master key
        answer["Next"] = "values move under the new root key by themselves; then pilothouse master-key retire 1"
    return answer


def _target(ring: Ring, directory: Path, target: str) -> tuple[MasterKey, Callable[[], None] | None]:
    """The next master key, and what puts it in place; None where only the operator can."""
    if target == "environment":
        return new_key_of_environment(), None
    if target == "file":
        if (directory / FILE).is_symlink():
            raise Failed(
                f"{directory / FILE} is a symbolic link, and a change would put a file in its place: put the key file "
                "itself there first, or name another place with --to"
            )
        explicit = ring.master.name != "file"

        def place() -> None:
            rotation.place_local_key(directory)
            if explicit:
                write_master_key(directory, "file")

        return rotation.next_local_key(directory), place
    found = find_master(directory, target)
    assert found is not None
    return found, lambda: write_master_key(directory, target)


async def _walk(steps: list[rotation.Step]) -> None:
    for _, step in steps:
        await step()


async def _reseal(ring: Ring, *, shown: bool) -> dict[str, Any]:
    sealed = sealed_in_the_house()
    while ring.vault.settled != ring.vault.newest:
        await ring.clock.sleep(1)
        await ring.reload()
    async with ring.database.reading() as tx:
        total = await lying_below(tx, sealed, ring.vault.settled)
    with Progress(console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("sealing anew", total=total)

        async def progress(count: int) -> None:
            bar.advance(task, count)
            await ring.clock.sleep(0.01)  # writers of the server go first

        done, broken = await reseal(ring.database, ring.vault, sealed, progress=progress)
    return {"RootKey": ring.vault.settled, "Resealed": done, "Broken": broken}


def _say(found: dict[str, Any], output: str) -> None:
    if output == "json":
        typer.echo(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        if isinstance(value, list):
            for each in value:
                typer.echo(f"{name:<18}" + "  ".join(f"{key} {what}" for key, what in each.items()))
        else:
            typer.echo(f"{name:<18}{value}")
