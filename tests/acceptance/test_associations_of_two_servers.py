"""Two server processes on one PostgreSQL: nodes at either keep to what is made at the other, each due time once."""

import itertools
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import AgentProcess, DrivenInstallation, eventually, running

ROUNDS = 4
MINUTE = 60


@pytest.fixture
def two_servers(database_url: str, tmp_path: Path) -> Iterator[tuple[DrivenInstallation, DrivenInstallation]]:
    folders = tmp_path / "one", tmp_path / "two"
    for each in folders:
        each.mkdir()
    one, two = (DrivenInstallation(each, "--database", database_url) for each in folders)
    with running(one):
        shutil.copytree(one.data, two.data, dirs_exist_ok=True)
        with running(two):
            yield one, two


class Applied:
    """What nodes have done by associations: each writes down its id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def script(self) -> str:
        return json.dumps({"commands": [f"echo $AWS_SSM_INSTANCE_ID >> {self._folder}/$SSM_ASSOCIATION_ID"]})

    def times(self, association_id: str, node: AgentProcess) -> int:
        file = self._folder / association_id
        return file.read_text().split().count(node.node_id) if file.exists() else 0


def made_at(house: DrivenInstallation, applied: Applied, *words: str) -> str:
    association_id: str = house.aws(
        "ssm", "create-association", "--name", "AWS-RunShellScript", "--targets", "Key=tag:role,Values=web",
        "--parameters", applied.script(), *words,
    )["AssociationDescription"]["AssociationId"]  # fmt: skip
    return association_id


def executions(house: DrivenInstallation, association_id: str) -> list[dict[str, Any]]:
    """Those that have ended; the newest first."""
    found = house.boto("ssm").describe_association_executions(AssociationId=association_id)["AssociationExecutions"]
    return [dict(each) for each in found if each["Status"] not in ("Pending", "InProgress")]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_each_application_is_once_whichever_server_is_killed(
    two_servers: tuple[DrivenInstallation, DrivenInstallation], tmp_path: Path
) -> None:
    one, two = two_servers
    applied = Applied(tmp_path)
    here, there = one.enrol("web-1", tags={"role": "web"}), two.enrol("web-2")

    drift = made_at(two, applied, "--schedule-expression", "rate(30 minutes)", "--max-concurrency", "2")
    eventually(lambda: applied.times(drift, here) == 1, within=MINUTE, what="the first run, at the other server")
    one.aws(
        "ssm", "add-tags-to-resource", "--resource-type", "ManagedInstance", "--resource-id", there.node_id,
        "--tags", "Key=role,Value=web",
    )  # fmt: skip
    eventually(lambda: applied.times(drift, there) == 1, within=MINUTE, what="the run of a node that got the tag")
    eventually(lambda: len(executions(one, drift)) == 2, what="both reports")
    assert applied.times(drift, here) == 1

    def pass_time(minutes: float, *nodes: tuple[AgentProcess, DrivenInstallation]) -> None:
        for each in (one, two):
            each.advance(minutes=minutes)
        for node, home in nodes:
            home.connected(node)  # so that its server has said, by the new time, that it is there

    for count in range(1, ROUNDS + 1):
        killed, other = (one, two) if count % 2 else (two, one)
        alive = [(node, home) for node, home in ((here, one), (there, two)) if home is not killed]
        if count > ROUNDS // 2:  # one alone is left to see the time come
            killed.kill()
        pass_time(29, *alive)
        for each in (one, two):
            each.advance(minutes=1, seconds=1)
        if count <= ROUNDS // 2:  # while it fires, or just has
            killed.kill()
        for node, _ in alive:
            eventually(lambda node=node, count=count: applied.times(drift, node) == count + 1, what=f"time {count}")
        killed.start()
        for node in (here, there):
            eventually(lambda node=node, count=count: applied.times(drift, node) == count + 1, what=f"time {count}")
        eventually(lambda other=other, count=count: len(executions(other, drift)) == count + 2, what="its reports")

    due = executions(one, drift)[:ROUNDS]
    assert [each["Status"] for each in due] == ["Success"] * ROUNDS
    assert [each["ResourceCountByStatus"] for each in due] == ["{Success=2}"] * ROUNDS
    gaps = {
        round((later["CreatedTime"] - earlier["CreatedTime"]).total_seconds() / 60 / 30)
        for later, earlier in itertools.pairwise(due)
    }
    assert gaps == {1}

    once = f"at({datetime.now(UTC) + timedelta(minutes=30 * ROUNDS + 40):%Y-%m-%dT%H:%M:%S})"
    single = made_at(two, applied, "--schedule-expression", once, "--apply-only-at-cron-interval")
    two.kill()  # who made it is gone before its time
    pass_time(39, (here, one))
    for each in (one, two):
        each.advance(minutes=2)
    eventually(lambda: applied.times(single, here) == 1, what="the only time")
    two.start()
    eventually(lambda: applied.times(single, there) == 1, what="the same on the other server's node")
    eventually(lambda: [each["Status"] for each in executions(two, single)] == ["Success"], what="its reports")

    two.aws("ssm", "start-associations-once", "--association-ids", single)
    one.kill()
    eventually(lambda: applied.times(single, there) == 2, what="what was asked for")
    one.start()
    eventually(lambda: applied.times(single, here) == 2, what="the same, where the server was away")
    eventually(lambda: len(executions(one, single)) == 2, what="its reports")
    assert [applied.times(single, node) for node in (here, there)] == [2, 2]
    assert len(executions(one, drift)) - ROUNDS - 2 in (0, 1)  # 41 minutes have passed since
