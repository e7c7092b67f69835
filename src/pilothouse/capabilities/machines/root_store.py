"""SQL of machine_root_task: first disks that get the content of a snapshot."""

from dataclasses import fields
from typing import Any, Final

from pilothouse.capabilities.machines.model import FAILED, IN_PROGRESS, SUCCEEDED, RootTask
from pilothouse.storage import Transaction

_NAMES: Final = tuple(each.name for each in fields(RootTask))
_COLUMNS: Final = ", ".join(_NAMES)
_SCOPE: Final = "account_id = :account_id and region = :region"


async def add(tx: Transaction, task: RootTask) -> None:
    """A new one."""
    await tx.execute(
        f"insert into machine_root_task ({_COLUMNS}) values ({', '.join(f':{name}' for name in _NAMES)})",  # noqa: S608
        **{name: getattr(task, name) for name in _NAMES},
    )


async def tasks(tx: Transaction, account_id: str, region: str) -> list[RootTask]:
    """All of them, by id."""
    return await _those(tx, "", account_id=account_id, region=region)


async def with_token(tx: Transaction, account_id: str, region: str, token: str) -> RootTask | None:
    """The one that a call with this token began."""
    found = await _those(tx, " and client_token = :token", account_id=account_id, region=region, token=token)
    return found[0] if found else None


async def _those(tx: Transaction, more: str, **values: Any) -> list[RootTask]:
    rows = await tx.rows(
        f"select {_COLUMNS} from machine_root_task where {_SCOPE}{more} order by task_id",  # noqa: S608
        **values,
    )
    return [RootTask(**row) for row in rows]


async def began(tx: Transaction, account_id: str, region: str, task_id: str) -> None:
    """It is being done."""
    await tx.execute(
        f"""update machine_root_task set state = :state
            where {_SCOPE} and task_id = :task_id and ended_at is null""",  # noqa: S608
        account_id=account_id, region=region, task_id=task_id, state=IN_PROGRESS,
    )  # fmt: skip


async def ended(tx: Transaction, account_id: str, region: str, task_id: str, at: int, reason: str) -> None:
    """It was done, or not: for that reason."""
    await tx.execute(
        f"""update machine_root_task set state = :state, ended_at = :at, reason = :reason
            where {_SCOPE} and task_id = :task_id""",  # noqa: S608
        account_id=account_id, region=region, task_id=task_id, state=FAILED if reason else SUCCEEDED, at=at,
        reason=reason,
    )  # fmt: skip


async def forget(tx: Transaction, before: int, most: int) -> int:
    """Remove those that ended before a time; how many."""
    rows = await tx.rows(
        "select account_id, region, task_id from machine_root_task where ended_at < :before limit :most",
        before=before, most=most,
    )  # fmt: skip
    await tx.many(
        f"delete from machine_root_task where {_SCOPE} and task_id = :task_id",  # noqa: S608
        [dict(row) for row in rows],
    )
    return len(rows)
