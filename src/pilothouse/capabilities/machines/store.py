"""SQL of the machine tables, but for machine_work."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from typing import Any

import msgspec

from pilothouse.capabilities.machines.model import Disk, Image, Machine, Snapshot, State
from pilothouse.storage import Row, Transaction

_MACHINE = tuple(each.name for each in fields(Machine))
_SNAPSHOT = tuple(each.name for each in fields(Snapshot))
_IMAGE = tuple(each.name for each in fields(Image) if each.name != "disks")
_SCOPE = "account_id = :account_id and region = :region"


def _insert(table: str, names: Sequence[str]) -> str:
    return f"insert into {table} ({', '.join(names)}) values ({', '.join(f':{name}' for name in names)})"  # noqa: S608


def _machine(row: Row) -> Machine:
    values = dict(row)
    values["disks"] = tuple(Disk(**each) for each in msgspec.json.decode(values["disks"]))
    values["addresses"] = tuple(msgspec.json.decode(values["addresses"]))
    values["state"] = State(values["state"])
    values["lasting"], values["made_here"] = bool(values["lasting"]), bool(values["made_here"])
    return Machine(**values)


def _columns(machine: Machine) -> dict[str, Any]:
    values = {name: getattr(machine, name) for name in _MACHINE}
    values["disks"] = msgspec.json.encode([asdict(each) for each in machine.disks]).decode()
    values["addresses"] = msgspec.json.encode(machine.addresses).decode()
    values["state"] = machine.state.value
    values["lasting"], values["made_here"] = int(machine.lasting), int(machine.made_here)
    return values


class MachineStore:
    """The machines, snapshots and images of one account and region."""

    def __init__(self, tx: Transaction, account_id: str, region: str) -> None:
        self._tx = tx
        self._scope = {"account_id": account_id, "region": region}

    async def lock(self) -> None:
        """Machines, snapshots and images stay as they are until the transaction ends, but for what it does itself."""
        await self._tx.lock("machines", *self._scope.values())

    async def machines(self) -> list[Machine]:
        """All of them, by id."""
        rows = await self._tx.rows(
            f"select {', '.join(_MACHINE)} from machine where {_SCOPE} order by machine_id",  # noqa: S608
            **self._scope,
        )
        return [_machine(row) for row in rows]

    async def machine(self, machine_id: str) -> Machine | None:
        """One of them."""
        row = await self._tx.row(
            f"select {', '.join(_MACHINE)} from machine where {_SCOPE} and machine_id = :machine_id",  # noqa: S608
            **self._scope, machine_id=machine_id,
        )  # fmt: skip
        return None if row is None else _machine(row)

    async def run_with(self, client_token: str) -> list[Machine]:
        """Those that a call with this token ran."""
        rows = await self._tx.rows(
            f"""select {", ".join(_MACHINE)} from machine where {_SCOPE} and client_token = :client_token
                order by launch_index""",  # noqa: S608
            **self._scope, client_token=client_token,
        )  # fmt: skip
        return [_machine(row) for row in rows]

    async def put(self, machine: Machine) -> None:
        """As it is now."""
        changed = ", ".join(f"{name} = excluded.{name}" for name in _MACHINE if name not in self._scope)
        await self._tx.execute(
            f"{_insert('machine', _MACHINE)} on conflict (account_id, region, machine_id) do update set {changed}",
            **_columns(machine),
        )

    async def forget(self, machine_id: str) -> None:
        """It is shown no more."""
        await self._tx.execute(
            f"delete from machine where {_SCOPE} and machine_id = :machine_id",  # noqa: S608
            **self._scope, machine_id=machine_id,
        )  # fmt: skip

    async def snapshots(self) -> list[Snapshot]:
        """All of them, by id."""
        rows = await self._tx.rows(
            f"select {', '.join(_SNAPSHOT)} from machine_snapshot where {_SCOPE} order by snapshot_id",  # noqa: S608
            **self._scope,
        )
        return [Snapshot(**row) for row in rows]

    async def snapshot(self, snapshot_id: str) -> Snapshot | None:
        """One of them."""
        row = await self._tx.row(
            f"select {', '.join(_SNAPSHOT)} from machine_snapshot where {_SCOPE} and snapshot_id = :snapshot_id",  # noqa: S608
            **self._scope, snapshot_id=snapshot_id,
        )  # fmt: skip
        return None if row is None else Snapshot(**row)

    async def add_snapshot(self, snapshot: Snapshot) -> None:
        """A new one."""
        await self._tx.execute(
            _insert("machine_snapshot", _SNAPSHOT), **{name: getattr(snapshot, name) for name in _SNAPSHOT}
        )

    async def end_snapshot(
        self,
        snapshot_id: str,
        state: str,
        at: int,
        *,
        volume: str = "",
        size_bytes: int | None = None,
        reason: str = "",
    ) -> None:
        """It is whole, or it failed."""
        await self._tx.execute(
            f"""update machine_snapshot set state = :state, ended_at = :at, volume = :volume, reason = :reason
                where {_SCOPE} and snapshot_id = :snapshot_id""",  # noqa: S608
            **self._scope, snapshot_id=snapshot_id, state=state, at=at, volume=volume, reason=reason,
        )  # fmt: skip

    async def remove_snapshot(self, snapshot_id: str) -> None:
        """It is no more."""
        await self._tx.execute(
            f"delete from machine_snapshot where {_SCOPE} and snapshot_id = :snapshot_id",  # noqa: S608
            **self._scope, snapshot_id=snapshot_id,
        )  # fmt: skip

    async def stood_on(self, snapshot_id: str) -> list[str]:
        """The images that stand on a snapshot."""
        rows = await self._tx.rows(
            f"select image_id from machine_image_disk where {_SCOPE} and snapshot_id = :snapshot_id order by image_id",  # noqa: S608
            **self._scope, snapshot_id=snapshot_id,
        )  # fmt: skip
        return [row["image_id"] for row in rows]

    async def images(self, image_ids: Collection[str] | None = None) -> list[Image]:
        """All of them, or those with these ids, by id."""
        if image_ids is not None and not image_ids:
            return []
        only = "" if image_ids is None else " and image_id in (:image_ids)"
        more: dict[str, Any] = {} if image_ids is None else {"image_ids": list(image_ids)}
        rows = await self._tx.rows(
            f"select {', '.join(_IMAGE)} from machine_image where {_SCOPE}{only} order by image_id",  # noqa: S608
            **self._scope, **more,
        )  # fmt: skip
        disks: dict[str, list[tuple[str, str]]] = {}
        for row in await self._tx.rows(
            f"""select image_id, device, snapshot_id from machine_image_disk where {_SCOPE}{only}
                order by image_id, device""",  # noqa: S608
            **self._scope, **more,
        ):  # fmt: skip
            disks.setdefault(row["image_id"], []).append((row["device"], row["snapshot_id"]))
        return [Image(**row, disks=tuple(disks.get(row["image_id"], ()))) for row in rows]

    async def image(self, image_id: str) -> Image | None:
        """One of them."""
        found = await self.images([image_id])
        return found[0] if found else None

    async def image_with(self, *, name: str = "", client_token: str = "") -> str | None:
        """The image of that name, or the one that a call with that token made."""
        found: str | None = await self._tx.value(
            f"""select image_id from machine_image where {_SCOPE}
                and (name = :name or (client_token = :client_token and client_token <> ''))""",  # noqa: S608
            **self._scope, name=name, client_token=client_token,
        )  # fmt: skip
        return found

    async def add_image(self, image: Image) -> None:
        """A new one, with its disks."""
        await self._tx.execute(_insert("machine_image", _IMAGE), **{name: getattr(image, name) for name in _IMAGE})
        await self._tx.many(
            _insert("machine_image_disk", ("account_id", "region", "image_id", "device", "snapshot_id")),
            [
                {**self._scope, "image_id": image.image_id, "device": device, "snapshot_id": snapshot_id}
                for device, snapshot_id in image.disks
            ],
        )

    async def end_image(self, image_id: str, state: str, *, template: str | None = None, reason: str = "") -> None:
        """It is whole, or it failed."""
        await self._tx.execute(
            f"""update machine_image set state = :state, template = coalesce(:template, template), reason = :reason
                where {_SCOPE} and image_id = :image_id""",  # noqa: S608
            **self._scope, image_id=image_id, state=state, template=template, reason=reason,
        )  # fmt: skip

    async def remove_image(self, image_id: str) -> None:
        """It is no more; its snapshots stay."""
        for table in ("machine_image_disk", "machine_image"):
            await self._tx.execute(
                f"delete from {table} where {_SCOPE} and image_id = :image_id",  # noqa: S608
                **self._scope, image_id=image_id,
            )  # fmt: skip

    async def errors(self) -> dict[str, str]:
        """By connection what is wrong with it; one that is well has an empty text."""
        rows = await self._tx.rows(f"select name, error from machine_connection where {_SCOPE}", **self._scope)  # noqa: S608
        return {row["name"]: row["error"] for row in rows}


async def told(tx: Transaction, account_id: str, region: str, name: str, now: int, error: str) -> None:
    """How it stands with a connection."""
    await tx.execute(
        """insert into machine_connection (account_id, region, name, since, error)
           values (:account_id, :region, :name, :now, :error)
           on conflict (account_id, region, name) do update set since = excluded.since, error = excluded.error""",
        account_id=account_id, region=region, name=name, now=now, error=error,
    )  # fmt: skip


async def account_of(tx: Transaction, kind: str, region: str, resource_id: str) -> str:
    """Whose an image or a snapshot is; empty if there is none."""
    table, column = {"image": ("machine_image", "image_id"), "snapshot": ("machine_snapshot", "snapshot_id")}[kind]
    found = await tx.value(
        f"select account_id from {table} where region = :region and {column} = :resource_id",  # noqa: S608
        region=region, resource_id=resource_id,
    )  # fmt: skip
    return str(found or "")
