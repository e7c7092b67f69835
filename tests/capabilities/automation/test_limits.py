"""How many executions go on at once, and how many wait for their turn."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.capabilities.automation.conftest import FINAL, Runbooks, statuses
from tests.capabilities.automation.test_people import NAP
from tests.capabilities.automation.test_steps import VARIABLES, good
from tests.capabilities.commands.conftest import refused
from tests.capabilities.events.conftest import eventually
from tests.conftest import Server, clients_of, fresh_database, open_server
from tests.databases import PostgresqlDatabases

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import AutomationSettings, LimitSettings, Settings

FULL = "AutomationExecutionLimitExceededException"


@pytest.fixture(scope="module")
def server(database_url: str, tmp_path_factory: pytest.TempPathFactory, clock: TestClock) -> Iterator[Server]:
    """Two at once, two more wait."""
    settings = AutomationSettings(concurrent=2, queued=2)
    with open_server(database_url, tmp_path_factory.mktemp("server"), clock, automation=settings) as opened:
        yield opened


def standing(runbooks: Runbooks, ids: list[str]) -> list[str]:
    return [str(runbooks.get(each)["AutomationExecutionStatus"]) for each in ids]


def stand(runbooks: Runbooks, ids: list[str], *wanted: str) -> None:
    runbooks.until(lambda: runbooks.server.advance(seconds=1) or standing(runbooks, ids) == list(wanted))


def stop(runbooks: Runbooks, *ids: str) -> None:
    for each in ids:
        runbooks.ssm.stop_automation_execution(AutomationExecutionId=each)
        runbooks.comes_to(each, *FINAL)


def test_two_go_on_two_wait_and_no_more_are_taken(runbooks: Runbooks) -> None:
    name = runbooks.make({"name": "hold", "action": "aws:pause"})
    ids = [runbooks.start(name) for _ in range(4)]
    stand(runbooks, ids, "Waiting", "Waiting", "Pending", "Pending")
    assert refused(lambda: runbooks.start(name)) == FULL
    for _ in range(5):
        runbooks.server.advance(seconds=1)
    assert standing(runbooks, ids) == ["Waiting", "Waiting", "Pending", "Pending"]
    stop(runbooks, ids[1])
    stand(runbooks, ids, "Waiting", "Cancelled", "Waiting", "Pending")  # the first that waited, not the last
    ids.append(runbooks.start(name))
    assert refused(lambda: runbooks.start(name)) == FULL
    stop(runbooks, ids[3])  # while it waits: it ends, and its place is free
    ids.append(runbooks.start(name))
    stop(runbooks, ids[0], ids[2])
    stand(runbooks, ids, "Cancelled", "Cancelled", "Cancelled", "Cancelled", "Waiting", "Waiting")
    stop(runbooks, *ids[4:])


def test_few_of_those_that_start_others_go_on_and_the_rest_lets_others_pass(
    database_url: str, tmp_path: Path, postgresql_databases: PostgresqlDatabases | None, runbooks: Runbooks
) -> None:
    engine = "postgresql" if database_url.startswith("postgresql") else "sqlite"
    settings = AutomationSettings(concurrent=4, rate_controlled=1, queued=3)
    where = {"TargetParameterName": "host", "Targets": [{"Key": "ParameterValues", "Values": ["a", "b"]}]}
    with (
        fresh_database(engine, tmp_path, postgresql_databases) as url,
        open_server(url, tmp_path, TestClock(), automation=settings) as opened,
    ):
        held = Runbooks(clients_of(opened)("ssm"), opened, runbooks.until)
        name = held.make(
            {"name": "hold", "action": "aws:pause"}, parameters={"host": {"type": "String", "default": ""}}
        )
        ids = [held.start(name, **where) for _ in range(3)]
        stand(held, ids, "InProgress", "Pending", "Pending")
        plain = [held.start(name) for _ in range(3)]
        stand(held, [*ids, *plain], "InProgress", "Pending", "Pending", "Waiting", "Waiting", "Waiting")
        plain.append(held.start(name))
        assert refused(lambda: held.start(name, **where)) == FULL
        stop(held, ids[0])
        stand(held, ids, "Cancelled", "InProgress", "Pending")  # it was there before the plain one
        stop(held, plain[0])
        stand(held, [ids[2], plain[3]], "Pending", "Waiting")


def test_children_wait_for_nobody(runbooks: Runbooks) -> None:
    held = runbooks.start(runbooks.make({"name": "hold", "action": "aws:pause"}))
    child = runbooks.make(good("one"), **VARIABLES)
    steps = [
        {"name": name, "action": "aws:executeAutomation", "inputs": {"DocumentName": child}} for name in ("a", "b")
    ]  # fmt: skip
    got = runbooks.ended(runbooks.start(runbooks.make(*steps)))
    assert got["AutomationExecutionStatus"] == "Success"
    host = {"host": {"type": "String"}}
    many = runbooks.start(
        runbooks.make(NAP, parameters=host), TargetParameterName="host", MaxConcurrency="5",
        Targets=[{"Key": "ParameterValues", "Values": ["a", "b", "c", "d", "e"]}],
    )  # fmt: skip

    def all_at_once() -> bool:
        steps = runbooks.get(many)["StepExecutions"]
        return [each["StepStatus"] for each in steps] == ["InProgress"] * 5

    runbooks.until(all_at_once)
    stop(runbooks, many, held)


def test_all_that_waited_is_done(runbooks: Runbooks) -> None:
    name = runbooks.make(good("one"), {"name": "rest", "action": "aws:sleep", "inputs": {"Duration": "PT1S"}},
                         **VARIABLES)  # fmt: skip
    ids: list[str] = []
    for _ in itertools.takewhile(lambda _: len(ids) < 12, itertools.count()):
        code = _started(runbooks, name, ids)
        assert code in ("", FULL)
        runbooks.server.advance(seconds=1)
    for each in ids:
        assert set(statuses(runbooks.ended(each)).values()) == {"Success"}


def _started(runbooks: Runbooks, name: str, ids: list[str]) -> str:
    try:
        ids.append(runbooks.start(name))
    except runbooks.ssm.exceptions.AutomationExecutionLimitExceededException as error:
        code: Any = error.response["Error"]["Code"]
        return str(code)
    return ""


def test_the_queue_outlives_the_server(
    database_url: str, tmp_path: Path, postgresql_databases: PostgresqlDatabases | None
) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    engine = "postgresql" if database_url.startswith("postgresql") else "sqlite"
    with fresh_database(engine, tmp_path, postgresql_databases) as url:
        settings = Settings(
            data=tmp_path / "data", database=url, limits=LimitSettings(failures_per_minute=0),
            automation=AutomationSettings(concurrent=1, queued=5),
        )  # fmt: skip
        hold = json.dumps({"schemaVersion": "0.3", "mainSteps": [{"name": "hold", "action": "aws:pause"}]})
        first = Server(settings, TestClock())
        try:
            ssm = clients_of(first)("ssm")
            ssm.create_document(Name="holds", Content=hold, DocumentType="Automation")
            ids = [ssm.start_automation_execution(DocumentName="holds")["AutomationExecutionId"] for _ in range(3)]
        finally:
            first.close()
        second = Server(settings, TestClock())
        try:
            _one_after_another(second, ids)
        finally:
            second.close()


def _one_after_another(server: Server, ids: list[str]) -> None:
    ssm = clients_of(server)("ssm")
    for number, each in enumerate(ids):
        eventually(lambda: server.advance(seconds=1) or _all(ssm, ids)[number] == "Waiting")  # noqa: B023
        assert _all(ssm, ids)[number + 1 :] == ["Pending"] * (2 - number)
        ssm.send_automation_signal(AutomationExecutionId=each, SignalType="Resume")
    eventually(lambda: _all(ssm, ids) == ["Success"] * 3)


def _all(ssm: Any, ids: list[str]) -> list[str]:
    return [
        ssm.get_automation_execution(AutomationExecutionId=each)["AutomationExecution"]["AutomationExecutionStatus"]
        for each in ids
    ]
