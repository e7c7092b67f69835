"""SQL of secret_rotation and secret_rotation_line."""

from typing import Final

from pilothouse.capabilities.secrets.model import Secret
from pilothouse.capabilities.secrets.rotation_model import LogLine, Run, State, Step
from pilothouse.storage import Row, Transaction

_COLUMNS: Final = (
    "run_id", "account_id", "region", "name", "suffix", "version_id", "function", "test_only", "state", "step",
    "attempts", "outside_id", "error", "started_at", "ended_at", "try_at",
)  # fmt: skip
_ABOUT: Final = ", ".join(_COLUMNS)
_GIVEN: Final = ", ".join(f":{each}" for each in _COLUMNS)
_OF: Final = "account_id = :account_id and region = :region and name = :name"


class RotationStore:
    """Rotations, within one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, run: Run) -> None:
        """A new rotation."""
        await self._tx.execute(
            f"insert into secret_rotation ({_ABOUT}) values ({_GIVEN})",  # noqa: S608
            **{name: getattr(run, name) for name in _COLUMNS} | {"test_only": int(run.test_only)},
        )

    async def latest(self, secret: Secret) -> Run | None:
        """The last rotation of a secret that began."""
        found = await self.runs(secret, before=None, count=1)
        return found[0] if found else None

    async def runs(self, secret: Secret, *, before: int | None, count: int) -> list[Run]:
        """Rotations of a secret, the newest first."""
        rows = await self._tx.rows(
            f"""select {_ABOUT} from secret_rotation where {_OF} and suffix = :suffix
                 and (:before = -1 or started_at < :before)
               order by started_at desc, run_id desc limit :count""",  # noqa: S608
            account_id=secret.account_id, region=secret.region, name=secret.name, suffix=secret.suffix,
            before=-1 if before is None else before, count=count,
        )  # fmt: skip
        return [_run(row) for row in rows]

    async def due(self, now: int, count: int) -> list[Run]:
        """Those that somebody may go on with."""
        rows = await self._tx.rows(
            f"select {_ABOUT} from secret_rotation where try_at <= :now order by try_at limit :count",  # noqa: S608
            now=now, count=count,
        )  # fmt: skip
        return [_run(row) for row in rows]

    async def next_due(self) -> int | None:
        """When there is next something to do."""
        found = await self._tx.value("select min(try_at) from secret_rotation where try_at is not null")
        return None if found is None else int(found)

    async def hold(self, run: Run, holder: str, until: int) -> bool:
        """Keep others from it until then; False if somebody was faster."""
        return bool(await self._tx.execute(
            """update secret_rotation set try_at = :until, holder = :holder
               where run_id = :run_id and try_at = :try_at and state = :state""",
            run_id=run.run_id, try_at=run.try_at, until=until, holder=holder, state=run.state.value,
        ))  # fmt: skip

    async def save(self, run: Run, was: State, holder: str | None, *, keep: bool = False) -> bool:
        """Keep what changed; False where it stands otherwise meanwhile, or somebody else (not `holder`) holds it.

        `keep`: the holder goes on with it; else it is free from its `try_at` on.
        """
        held = "and holder = :holder" if holder is not None else ""
        given = {"holder": holder} if holder is not None else {}
        kept_by = holder if keep else None
        return bool(await self._tx.execute(
            f"""update secret_rotation set state = :state, step = :step, attempts = :attempts,
                 outside_id = :outside_id, error = :error, ended_at = :ended_at, try_at = :try_at, holder = :kept_by
               where run_id = :run_id and state = :was {held}""",  # noqa: S608
            run_id=run.run_id, state=run.state.value, step=run.step.value, attempts=run.attempts,
            outside_id=run.outside_id, error=run.error, ended_at=run.ended_at, try_at=run.try_at, was=was.value,
            kept_by=kept_by,
            **given,
        ))  # fmt: skip

    async def release(self, holder: str, now: int) -> int:
        """Give free what a process held that is gone."""
        return await self._tx.execute(
            "update secret_rotation set try_at = :now, holder = null where holder = :holder and try_at is not null",
            holder=holder, now=now,
        )  # fmt: skip

    async def note(self, run_id: str, at: int, step: Step | str, text: str) -> None:
        """One more line of a rotation's log."""
        await self._tx.execute(
            """insert into secret_rotation_line (run_id, number, at, step, line)
               select :run_id, coalesce(max(number), 0) + 1, :at, :step, :line
               from secret_rotation_line where run_id = :run_id""",
            run_id=run_id, at=at, step=str(step), line=text,
        )  # fmt: skip

    async def lines(self, run_id: str) -> list[LogLine]:
        """A rotation's log."""
        rows = await self._tx.rows(
            "select at, step, line from secret_rotation_line where run_id = :run_id order by number", run_id=run_id
        )  # fmt: skip
        return [LogLine(at=row["at"], step=row["step"], text=row["line"]) for row in rows]

    async def failing(self) -> int:
        """How many secrets have a rotation that failed and was not made good."""
        return int(await self._tx.value(
            """select count(*) from secret_rotation r
               join secret_stage s on s.account_id = r.account_id and s.region = r.region and s.name = r.name
                 and s.version_id = r.version_id and s.stage = 'AWSPENDING'
               where r.state = 'Failed'"""
        ))  # fmt: skip

    async def ended_before(self, moment: int, count: int) -> list[str]:
        """Old ones, by their ids."""
        rows = await self._tx.rows(
            "select run_id from secret_rotation where try_at is null and ended_at < :moment limit :count",
            moment=moment, count=count,
        )  # fmt: skip
        return [row["run_id"] for row in rows]

    async def forget(self, run_ids: list[str]) -> None:
        """Remove rotations with their logs."""
        for table in ("secret_rotation_line", "secret_rotation"):
            await self._tx.execute(f"delete from {table} where run_id in (:run_ids)", run_ids=run_ids)  # noqa: S608


def _run(row: Row) -> Run:
    return Run(
        **{**row, "test_only": bool(row["test_only"]), "state": State(row["state"]), "step": Step(row["step"])}
    )  # fmt: skip
