"""What is done to machines, step by step. A step says what is to be; done again after a kill it does no more.

What must not be decided twice (whether a machine ran before an image was taken, which run a reboot is to end) is kept
as progress, durably, before anything is done about it. Copies of disks have the attempt in their names: what an
attempt that died left behind is removed by the next.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.machines.driver import CannotDo, DriverFailed, NotThere, Seen
from pilothouse.capabilities.machines.model import Kind, Snapshot, Work
from pilothouse.capabilities.machines.places import Link, Links
from pilothouse.capabilities.machines.store import MachineStore

_ASK_AGAIN_MS: Final = 30_000
"""A system that did not hear that it is to shut down is told again."""
_POLL_SECONDS: Final = 1.0
_TRIES: Final = 5
_BUSY: Final = 0.0
Progress = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Again:
    """Go on after some seconds, from there."""

    seconds: float
    progress: Progress


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more is to be done. `error`: why it was not done."""

    results: Progress = field(default_factory=dict)
    error: str = ""


Outcome = Again | Ended


@dataclass(frozen=True, slots=True)
class Doing:
    """A work in the hands of this process."""

    house: House
    work: Work
    links: Links
    link: Link
    native: str
    """Of the machine; empty where there is none."""

    async def find(self) -> Seen | None:
        native = self.native
        return await self.link.ask(lambda driver: driver.find(native))

    async def there(self) -> Seen:
        """The machine. Raises NotThere."""
        found = await self.find()
        if found is None:
            raise NotThere("the machine is not there any more")
        return found

    @property
    def progress(self) -> Progress:
        return dict(self.work.progress)


async def act(doing: Doing) -> Outcome:
    """The next step, or several. A failure is tried again a few times, unless that is of no use."""
    try:
        return await ACTS[doing.work.kind](doing)
    except DriverFailed as failed:
        progress = doing.progress
        tries = progress.get("failures", 0) + 1
        if tries >= _TRIES or isinstance(failed, CannotDo | NotThere):
            return await _given_up(doing, str(failed))
        return Again(float(2 ** (tries - 1)), {**progress, "failures": tries})


async def _given_up(doing: Doing, error: str) -> Outcome:
    """A machine that was stopped for its image, or for another disk, runs again, whatever became of that. One that
    cannot be run goes, with its disks: nobody would take it for a machine that was stopped."""
    progress, native = doing.work.progress, doing.native
    if doing.work.kind is Kind.RUN:
        with suppress(DriverFailed):
            await doing.link.ask(lambda driver: driver.remove(native))
            for volume in progress.get("disks", {}).values():
                await _deleted(doing, volume)
    if doing.work.kind in (Kind.IMAGE, Kind.REPLACE_ROOT) and progress.get("was_running") and not progress.get("error"):
        return Again(_BUSY, {**progress, "error": error, "failures": 0})
    return Ended(error=error)


async def _start(doing: Doing) -> Outcome:
    native = doing.native
    await doing.link.ask(lambda driver: driver.start(native))
    return Ended()


async def _stop(doing: Doing) -> Outcome:
    seen = await doing.find()
    if seen is None or not seen.running or doing.work.superseded:
        return Ended()
    return await _towards_off(doing, doing.progress, force=bool(doing.work.arguments.get("force")))


async def _towards_off(doing: Doing, progress: Progress, *, force: bool = False) -> Again:
    """One step towards a machine that does not run."""
    native, now = doing.native, doing.house.clock.millis()
    asked_first = progress.setdefault("asked_first", now)
    if force or now - asked_first >= doing.house.settings.machines.stop_seconds * 1000:
        await doing.link.ask(lambda driver: driver.cut(native))
        return Again(_BUSY, progress)
    if now - progress.get("asked", 0) >= _ASK_AGAIN_MS:
        await doing.link.ask(lambda driver: driver.ask_to_stop(native))
        progress["asked"] = now
        return Again(_BUSY, progress)
    return Again(_POLL_SECONDS, progress)


async def _reboot(doing: Doing) -> Outcome:
    """The run that there was when it began ends, and another begins. So a reboot is not done twice."""
    progress, native = doing.progress, doing.native
    seen = await doing.there()
    if "run" not in progress:
        return Again(_BUSY, {"run": seen.run}) if seen.running and not doing.work.superseded else Ended()
    if not seen.running:
        if not doing.work.superseded:
            await doing.link.ask(lambda driver: driver.start(native))
        return Ended()
    if seen.run != progress["run"]:
        return Ended()
    if not seen.lasting:
        raise CannotDo("the machine is not defined on its host: once stopped it would be gone")
    return await _towards_off(doing, progress)


async def _terminate(doing: Doing) -> Outcome:
    native, arguments = doing.native, doing.work.arguments
    await doing.link.ask(lambda driver: driver.remove(native))
    for volume in arguments["volumes"]:
        await _deleted(doing, volume)
    if beside := arguments.get("beside"):
        prefix = f"{doing.work.subject}-"
        await doing.link.ask(lambda driver: driver.clear(beside, prefix, ""))
    return Ended()


async def _run(doing: Doing) -> Outcome:
    """Disks are copied, then the machine is defined, then it is started."""
    progress, native, arguments, subject = doing.progress, doing.native, doing.work.arguments, doing.work.subject
    if doing.work.superseded:
        return Ended()
    if await doing.find() is None:
        store = await _image_of(doing, arguments["image_id"])
        disks: dict[str, str] = progress.setdefault("disks", {})
        for device, snapshot in store.items():
            if device not in disks:
                disks[device] = await _copied(doing, snapshot.volume, f"{subject}-{device}-")
                return Again(_BUSY, progress)
        form = arguments["template"]
        name, vcpus, memory_mib = arguments["name"], arguments["vcpus"], arguments["memory_mib"]
        await doing.link.ask(lambda driver: driver.define(form, native, name, disks, vcpus, memory_mib))
    await doing.link.ask(lambda driver: driver.start(native))
    return Ended()


async def _image_of(doing: Doing, image_id: str) -> Mapping[str, Snapshot]:
    """The snapshots of an image by device. Raises NotThere."""
    work = doing.work
    async with doing.house.database.reading() as tx:
        store = MachineStore(tx, work.account_id, work.region)
        image = await store.image(image_id)
        found = {} if image is None else {device: await store.snapshot(each) for device, each in image.disks}
    whole = {device: each for device, each in found.items() if each is not None and each.volume}
    if not whole or len(whole) < len(found):
        raise NotThere(f"the image {image_id} is not there any more, or not whole")
    return whole


async def _copied(doing: Doing, volume: str, prefix: str, running: str | None = None) -> str:
    """A whole copy, under a name that no attempt had; what earlier ones left goes."""
    name = f"{prefix}{doing.work.attempt}"
    await doing.link.ask(lambda driver: driver.clear(volume, prefix, ""))
    return await doing.link.ask(lambda driver: driver.copy(volume, name, running=running), long=True)


async def _snapshot(doing: Doing) -> Outcome:
    seen = await doing.there()
    arguments = doing.work.arguments
    running = doing.native if seen.running else None
    volume = await _copied(doing, arguments["volume"], f"{arguments['snapshot_id']}-", running)
    return Ended({"volumes": {arguments["snapshot_id"]: volume}})


async def _image(doing: Doing) -> Outcome:
    """The machine is stopped unless it is to go on, its disks are copied, and it is started if it ran."""
    progress, native, arguments = doing.progress, doing.native, doing.work.arguments
    seen = await doing.there()
    if "was_running" not in progress:
        return Again(_BUSY, {"was_running": seen.running and arguments["reboot"], "volumes": {}})
    if not progress.get("error"):
        volumes: dict[str, str] = progress["volumes"]
        left = [each for each in arguments["disks"] if each["snapshot_id"] not in volumes]
        if left and seen.running and arguments["reboot"]:
            if not seen.lasting:
                raise CannotDo("the machine is not defined on its host: once stopped it would be gone")
            return await _towards_off(doing, progress)
        for each in left:
            running = native if seen.running else None
            volumes[each["snapshot_id"]] = await _copied(doing, each["volume"], f"{each['snapshot_id']}-", running)
            return Again(_BUSY, {**progress, "failures": 0})
    if progress["was_running"] and not seen.running:
        await doing.link.ask(lambda driver: driver.start(native))
    if progress.get("error"):
        return Ended(error=progress["error"])
    template = await doing.link.ask(lambda driver: driver.template(native))
    return Ended({"volumes": progress["volumes"], "template": template})


async def _replace_root(doing: Doing) -> Outcome:
    """The snapshot is copied while the machine goes on; then it is stopped, gets the copy, and is started if it ran."""
    progress, native, arguments = doing.progress, doing.native, doing.work.arguments
    seen = await doing.there()
    if "was_running" not in progress:
        return Again(_BUSY, {"was_running": seen.running})
    if not progress.get("error"):
        device = arguments["device"]
        if not seen.lasting:
            raise CannotDo("the machine is not defined on its host: its disks cannot be exchanged")
        if "volume" not in progress:
            progress["old"] = next((each.volume for each in seen.disks if each.device == device), "")
            progress["volume"] = await _copied(doing, arguments["volume"], f"{arguments['task_id']}-")
            return Again(_BUSY, {**progress, "failures": 0})
        volume = progress["volume"]
        if not progress.get("exchanged"):
            if seen.running:
                return await _towards_off(doing, progress)
            await doing.link.ask(lambda driver: driver.exchange(native, device, volume))
            return Again(_BUSY, {**progress, "exchanged": True, "failures": 0})
    if progress["was_running"] and not seen.running:
        await doing.link.ask(lambda driver: driver.start(native))
    if progress.get("error"):
        return Ended(error=progress["error"])
    if arguments["delete"] and progress["old"] not in ("", progress["volume"]):
        await _deleted(doing, progress["old"])
    return Ended()


async def _copy_image(doing: Doing) -> Outcome:
    progress, arguments = doing.progress, doing.work.arguments
    volumes: dict[str, str] = progress.setdefault("volumes", {})
    source = tuple(arguments["source"])
    for each in arguments["disks"]:
        if each["snapshot_id"] in volumes:
            continue
        prefix = f"{each['snapshot_id']}-"
        if source == doing.link.place.key:
            volumes[each["snapshot_id"]] = await _copied(doing, each["volume"], prefix)
        else:
            volumes[each["snapshot_id"]] = await _carried(doing, doing.links.to(*source), each["volume"], prefix)
        return Again(_BUSY, {**progress, "failures": 0})
    return Ended({"volumes": volumes, "template": arguments["template"]})


async def _carried(doing: Doing, source: Link, volume: str, prefix: str) -> str:
    """A copy in another place, by way of a file of the server."""
    folder = doing.house.settings.data / "machines"
    folder.mkdir(mode=0o700, exist_ok=True)
    for left in folder.glob(f"{prefix}*"):
        left.unlink(missing_ok=True)
    name = f"{prefix}{doing.work.attempt}"
    path: Path = folder / name
    try:
        size = await source.ask(lambda driver: driver.fetch(volume, str(path)), long=True)
        return await doing.link.ask(lambda driver: driver.bring(str(path), name, size, prefix), long=True)
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _deleted(doing: Doing, volume: str) -> None:
    await doing.link.ask(lambda driver: driver.delete(volume))


async def _forget(doing: Doing) -> Outcome:
    await _deleted(doing, doing.work.arguments["volume"])
    return Ended()


ACTS: Final[Mapping[Kind, Callable[[Doing], Awaitable[Outcome]]]] = {
    Kind.START: _start, Kind.STOP: _stop, Kind.REBOOT: _reboot, Kind.TERMINATE: _terminate, Kind.RUN: _run,
    Kind.SNAPSHOT: _snapshot, Kind.IMAGE: _image, Kind.COPY_IMAGE: _copy_image, Kind.FORGET: _forget,
    Kind.REPLACE_ROOT: _replace_root,
}  # fmt: skip
