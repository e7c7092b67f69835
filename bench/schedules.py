"""10,000 associations and 1,000 windows on PostgreSQL: what lists and times that come cost beside a hundredth of them.

Filled by the house's own stores: half of them another account's, each association for a node's tag and on a node, with
executions that have ended; all of them are due some day. Run as a program it fills one installation, and prints how the
database finds what the house's own statements ask: the plans of the very statements, as PostgreSQL chose them.
"""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import postgresql
from bench.get_parameter import client
from bench.processes import pilothouse

ASSOCIATIONS = 10_000
_WINDOWS = 10
"""So many times fewer windows."""
_SMALL = 100
"""So many times fewer are what it is compared with."""
_EXECUTIONS = 10
"""Of each association and window that have ended."""
_CALLS = 30
_OTHER = "999999999999"
_NODES = 200


def measure(rounds: int, url: str, size: int = ASSOCIATIONS) -> dict[str, dict[str, Any]]:
    """Milliseconds of a call, medians, by what is asked; and how many rows at most a statement of the house reads that
    do not fit what it asks for: few, where it finds them by an index.
    """
    results: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        opened = []
        for count in (size // _SMALL, size):
            data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            fresh = stack.enter_context(postgresql.database(url))
            with pilothouse(data, "--database", fresh) as (_, values):  # makes the installation
                account_id = client(values, "sts").get_caller_identity()["Account"]
            command = [sys.executable, "-m", "bench.schedules", str(data), account_id, values["AWS_REGION"],
                       str(count), str(count // _WINDOWS)]  # fmt: skip
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            server, values = stack.enter_context(pilothouse(data, "--database", fresh))
            opened.append((count, client(values, "ssm"), json.loads(said)))
            results[_title(count)] = {"seconds from start to ready": server.ready_seconds}
        figures: dict[tuple[int, str], list[float]] = {}
        for _ in range(rounds * _CALLS):
            for count, ssm, _ in opened:
                for what, call in _asked(ssm, size).items():
                    began = time.perf_counter()
                    call()
                    figures.setdefault((count, what), []).append((time.perf_counter() - began) * 1000)
        for (count, what), each in figures.items():
            results[_title(count)][f"{what}, ms"] = statistics.median(each)
        plans_ = opened[-1][2]
    results[_title(size)]["statements"] = len(plans_)
    results[_title(size)]["rows that a statement reads in vain, at most"] = max(plan["removed"] for plan in plans_)
    results[_title(size)]["slowest statement, ms"] = max(plan["ms"] for plan in plans_)
    return results


def _title(count: int) -> str:
    return f"{count:,} associations and {count // _WINDOWS:,} windows, PostgreSQL"


def _asked(ssm: Any, size: int) -> dict[str, Callable[[], Any]]:
    named = [{"key": "AssociationName", "value": "hay-00000042"}]
    failed = [{"key": "AssociationStatusName", "value": "Failed"}]
    last = f"hay-{max(0, size // _WINDOWS // _SMALL - 2):08}"
    return {
        "ListAssociations, 50 of them": lambda: ssm.list_associations(MaxResults=50),
        "ListAssociations by name": lambda: ssm.list_associations(AssociationFilterList=named),
        "ListAssociations, those that failed": lambda: ssm.list_associations(AssociationFilterList=failed),
        "DescribeMaintenanceWindows, 50 of them": lambda: ssm.describe_maintenance_windows(MaxResults=50),
        "DescribeMaintenanceWindows by name": lambda: ssm.describe_maintenance_windows(
            Filters=[{"Key": "Name", "Values": [last]}]
        ),
    }


class Explaining:
    """A transaction that also asks PostgreSQL how it finds what it is asked."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx
        self.plans: list[dict[str, Any]] = []

    async def rows(self, sql: str, /, **values: Any) -> Any:
        (row,) = await self._tx.rows(f"explain (analyze, format json) {sql}", **values)
        found = next(iter(row.values()))
        plan = (json.loads(found) if isinstance(found, str) else found)[0]
        self.plans.append({
            "sql": " ".join(sql.split()), "ms": plan["Execution Time"], "uses": _nodes(plan["Plan"]),
            "removed": _removed(plan["Plan"]),
        })  # fmt: skip
        return await self._tx.rows(sql, **values)

    async def row(self, sql: str, /, **values: Any) -> Any:
        found = await self.rows(sql, **values)
        return found[0] if found else None

    async def value(self, sql: str, /, **values: Any) -> Any:
        found = await self.row(sql, **values)
        return None if found is None else next(iter(found.values()))

    async def tuples(self, sql: str, /, **values: Any) -> Any:
        return [tuple(each.values()) for each in await self.rows(sql, **values)]


def _nodes(plan: dict[str, Any]) -> list[str]:
    name = f"{plan['Node Type']} {plan.get('Index Name') or plan.get('Relation Name') or ''}".strip()
    return [name, *(each for part in plan.get("Plans", ()) for each in _nodes(part))]


def _removed(plan: dict[str, Any]) -> int:
    """Rows that were read and did not fit."""
    removed: int = plan.get("Rows Removed by Filter", 0)
    return removed + sum(_removed(part) for part in plan.get("Plans", ()))


async def plans(house: Any, account_id: str, region: str) -> list[dict[str, Any]]:
    """Of what lists, targets, and times that come and have come are asked with."""
    from pilothouse.capabilities.associations import run_store, store
    from pilothouse.capabilities.maintenance_windows import run_store as window_runs
    from pilothouse.capabilities.maintenance_windows import store as windows
    from pilothouse.scheduling.store import ScheduledStore

    where = account_id, region
    now = house.clock.millis()
    one, window = _association_id(42), _window_id(42)
    async with house.database.reading() as tx:
        asked = Explaining(tx)
        made: Any = asked
        associations, runs = store.AssociationStore(made), run_store.RunStore(made)
        await associations.page(*where, [], [], [_association_id(500)], 51)
        for condition in (
            ("association_name", "=", "hay-00000042"), ("document", "=", "Needle"), ("status", "=", "Failed"),
            ("association_id", "=", one), ("instance_id", "=", "mi-0"),
        ):  # fmt: skip
            await associations.page(*where, [condition], [], None, 51)
        await associations.page(*where, [], ["group-42"], None, 51)
        for comparison, at in (("<", now - 2**40), (">", now + 2**40), ("<", now + 2**40)):
            executed_then = [("last_execution_at", comparison, at)]
            await associations.page(*where, executed_then, [], None, 51)
            await associations.page(*where, executed_then, [], [now - 1000, one], 51)
        await associations.by_ids([one, _association_id(44)])
        await associations.legacy(*where, "AWS-RunShellScript", "mi-0")
        await associations.paused(*where, "", 51)
        await associations.matching(*where, "tag:hay", ["42", "44"])
        await associations.with_key("resource-groups:Name")
        await associations.of_document(*where, "Needle")
        await associations.versions(one, None, 51)
        await runs.newest(one, None, 51, [])
        await runs.open_executions(one)
        await runs.due(one, now)
        await runs.members(one)
        await runs.on_node(_node_id(42), "", 51)
        await runs.open_on(one, _node_id(42))
        await runs.waiting_on(_node_id(42))
        await runs.statuses([_node_id(42)])
        scheduled = ScheduledStore(made)
        await scheduled.due(now, 64)
        await scheduled.next_look()
        await scheduled.of("association", [_association_id(number) for number in range(0, 100, 2)])
        await scheduled.of("maintenance_window", [_window_id(number) for number in range(0, 100, 2)])
        await windows.WindowStore(made).page(*where, None, None, _window_id(100), 51)
        for enabled in (True, False):
            await windows.WindowStore(made).page(*where, None, enabled, "", 51)
        await windows.WindowStore(made).page(*where, ["hay-00000042"], None, "", 51)
        await windows.WindowStore(made).by_token(*where, "token-42")
        await windows.WindowStore(made).by_ids(*where, [window, _window_id(44)])
        parts, executed = windows.PartStore(made), window_runs.RunStore(made)
        await parts.naming(*where, "INSTANCE", "tag:hay", ["42"])
        await parts.targets(window)
        await parts.tasks(window)
        await executed.newest(*where, window, None, None, None, 51)
        await executed.open_of(window)
        await executed.for_time(window, now)
        await executed.to_call(now, 64)
        await executed.next_call(now)
        await executed.ended_before(now - 2**40, 50)
    return asked.plans


def _association_id(number: int) -> str:
    return f"{number * 7919 % 2**32:08x}-0000-4000-8000-{number:012d}"


def _window_id(number: int) -> str:
    return f"mw-{number * 7919:017x}"


def _node_id(number: int) -> str:
    return f"mi-{number % _NODES:017x}"


async def _fill_associations(house: Any, account_id: str, region: str, count: int) -> None:
    from pilothouse.capabilities.associations import run_store, store
    from pilothouse.capabilities.associations.model import Association, Execution, OnNode, Reason, Result, Terms

    now = house.clock.millis()
    done = Result(status="Success", details="Success", executed_at=now)
    for start in range(0, count, 500):
        made = []
        for number in range(start, min(start + 500, count)):
            targets = [{"Key": "tag:hay", "Values": [f"{number}"]}]
            terms = Terms(
                document="AWS-RunShellScript", parameters={"commands": ["true"]}, targets=targets,
                schedule="rate(12 hours)", association_name=f"hay-{number:08}",
            )  # fmt: skip
            made.append(Association(
                association_id=_association_id(number), account_id=_OTHER if number % 2 else account_id, region=region,
                version=1, instance_id="", terms=terms, created_at=now, updated_at=now, status="Success",
                counts={"Success": 1}, last_execution_at=now - number,
            ))  # fmt: skip
        async with house.database.transaction() as tx:
            associations, runs = store.AssociationStore(tx), run_store.RunStore(tx)
            for each, number in zip(made, range(start, count), strict=False):
                await associations.add(each)
                pairs = [("tag:hay", f"{number}")]
                if number % 100 == 42:
                    pairs.append(("resource-groups:Name", f"group-{number}"))
                await associations.set_targets(each, pairs)
            for account in {each.account_id for each in made}:
                await runs.add_members(account, region, [
                    OnNode(association_id=each.association_id, node_id=_node_id(number), result=done, since=now)
                    for each, number in zip(made, range(start, count), strict=False) if each.account_id == account
                ])  # fmt: skip
            for each in made:
                for again in range(_EXECUTIONS):
                    at = now - again * 43_200_000
                    await runs.add(Execution(
                        execution_id=house.ids.uuid(), association_id=each.association_id, account_id=each.account_id,
                        region=region, version=1, reason=Reason.SCHEDULE, created_at=at, due_at=at, status="Success",
                        details="Success", target_count=1, ended={"Success": 1},
                    ), [])  # fmt: skip
            await _due(tx, "association", [(each.association_id, each.account_id) for each in made], region, now)


async def _fill_windows(house: Any, account_id: str, region: str, count: int) -> None:
    from pilothouse.capabilities.maintenance_windows import run_store, store
    from pilothouse.capabilities.maintenance_windows.model import TargetTerms, Window, WindowTarget, WindowTerms
    from pilothouse.capabilities.maintenance_windows.run_model import Execution, Standing, Status

    now = house.clock.millis()
    async with house.database.transaction() as tx:
        made = []
        for number in range(count):
            terms = WindowTerms(
                name=f"hay-{number:08}", schedule="rate(1 day)", duration=2, cutoff=1, unassociated=False
            )  # fmt: skip
            account = _OTHER if number % 2 else account_id
            window = Window(
                window_id=_window_id(number), account_id=account, region=region, terms=terms, enabled=number % 20 != 0,
                since=now, created_at=now, modified_at=now, client_token=f"token-{number}",
            )  # fmt: skip
            made.append((window.window_id, account))
            await store.WindowStore(tx).add(window)
            pairs = [("tag:hay", [f"{number}"])]
            target = WindowTarget(
                window_target_id=house.ids.uuid(), window_id=window.window_id, account_id=account, region=region,
                terms=TargetTerms(resource_type="INSTANCE", targets=pairs), created_at=now,
            )  # fmt: skip
            await store.PartStore(tx).add_target(target, [(key, value) for key, values in pairs for value in values])
            for again in range(_EXECUTIONS):
                at = now - again * 86_400_000
                done = Standing(status=Status.SUCCESS, started_at=at, ended_at=at)
                await run_store.RunStore(tx).add(Execution(
                    execution_id=house.ids.uuid(), window_id=window.window_id, account_id=account, region=region,
                    due_at=at, cutoff_at=at, ends_at=at, at=done,
                ))  # fmt: skip
        await _due(tx, "maintenance_window", made, region, now)


async def _due(tx: Any, kind: str, keys: list[tuple[str, str]], region: str, now: int) -> None:
    names = ["kind", "key", "account_id", "region", "due_at", "look_at", "failures"]
    at = [now + 43_200_000 + number for number in range(len(keys))]
    await tx.fill("scheduled", names, [
        (kind, key, account, region, due, due, 0) for (key, account), due in zip(keys, at, strict=True)
    ])  # fmt: skip


async def fill(data: Path, account_id: str, region: str, associations: int, windows: int) -> list[dict[str, Any]]:
    """Fill an installation that is not running; the plans."""
    from pilothouse.app import opened_house
    from pilothouse.runtime.settings import load

    async with opened_house(load(data), create=False) as house:
        await _fill_associations(house, account_id, region, associations)
        await _fill_windows(house, account_id, region, windows)
        async with house.database.transaction() as tx:
            for table in (
                "association", "association_target", "association_node", "association_execution", "scheduled",
                "maintenance_window", "maintenance_window_target_value", "maintenance_window_execution",
            ):  # fmt: skip
                await tx.execute(f"analyze {table}")
        return await plans(house, account_id, region)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(fill(Path(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4]), int(sys.argv[5])))))
