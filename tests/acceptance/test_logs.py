"""Logs as users and crashes meet them: the real CLI that tails, and kill -9 of a server that is being written to."""

import random
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.acceptance.installation import BIN, Installation, eventually

KILLS = 3
WRITERS = 4
OF = {"logGroupName": "/app", "logStreamName": "s"}


def made(house: Installation) -> Any:
    logs = house.boto("logs")
    logs.create_log_group(logGroupName="/app")
    logs.create_log_stream(**OF)
    return logs


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_cli_tails_what_comes(house: Installation, tmp_path: Path) -> None:
    logs = made(house)
    arn, shown = logs.describe_log_groups()["logGroups"][0]["logGroupArn"], tmp_path / "shown"
    with shown.open("w") as out:
        tail = subprocess.Popen(
            [BIN / "aws", "logs", "start-live-tail", "--log-group-identifiers", arn],
            env=house.environment() | {"AWS_DISABLE_HOST_PREFIX_INJECTION": "true"}, stdout=out,
        )  # fmt: skip
    try:

        def heard() -> bool:
            logs.put_log_events(**OF, logEvents=[{"timestamp": int(time.time() * 1000), "message": "hello"}])
            return "hello\n" in shown.read_text()

        eventually(heard, what="the line")
    finally:
        tail.kill()
        tail.wait(10)
    found = house.aws("logs", "filter-log-events", "--log-group-name", "/app", "--filter-pattern", "?hello ?none")
    assert {each["message"] for each in found["events"]} == {"hello"}


class Writer(threading.Thread):
    """Puts one batch after another and remembers what was acknowledged."""

    def __init__(self, house: Installation, lane: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._logs = house.boto("logs", retries={"max_attempts": 0}, connect_timeout=2, read_timeout=5)
        self._lane, self._stop_asked = lane, stop
        self.told = 0
        self.acknowledged: list[str] = []

    def run(self) -> None:
        while not self._stop_asked.is_set():
            batch = [f"{self._lane}-{self.told + number}" for number in range(20)]
            self.told += len(batch)
            events = [{"timestamp": int(time.time() * 1000), "message": each} for each in batch]
            try:
                self._logs.put_log_events(**OF, logEvents=events)
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
            else:
                self.acknowledged += batch


def test_acknowledged_events_outlive_kills(house: Installation) -> None:
    made(house)
    stop = threading.Event()
    writers = [Writer(house, lane, stop) for lane in range(WRITERS)]
    for writer in writers:
        writer.start()
    chance = random.Random(11)
    for _ in range(KILLS):
        before = sum(len(each.acknowledged) for each in writers)
        eventually(lambda least=before + 40: sum(len(each.acknowledged) for each in writers) > least, what="writes")
        time.sleep(chance.random() / 5)
        house.kill()
        house.start()
    stop.set()
    for writer in writers:
        writer.join(30)
    pages = house.boto("logs").get_paginator("filter_log_events").paginate(logGroupName="/app")
    found = [each["message"] for page in pages for each in page["events"]]
    assert len(found) == len(set(found))
    acknowledged = {each for writer in writers for each in writer.acknowledged}
    assert acknowledged <= set(found)
    whole = {message.partition("-")[0] + "-" + str(int(message.partition("-")[2]) // 20) for message in found}
    assert len(found) == 20 * len(whole)  # a batch is there as a whole, or not at all


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_output_of_a_command_goes_to_its_log_group(house: Installation) -> None:
    node = house.enrol("web-1")
    policy = "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"
    house.boto("iam").attach_role_policy(RoleName="node-role", PolicyArn=policy)
    house.run(
        node.node_id, "echo one", "echo two", "echo bad >&2", CloudWatchOutputConfig={"CloudWatchOutputEnabled": True}
    )
    logs, group = house.boto("logs"), "/aws/ssm/AWS-RunShellScript"

    def told() -> set[tuple[str, str]]:
        if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            return set()
        events = logs.filter_log_events(logGroupName=group)["events"]
        return {(each["logStreamName"].rpartition("/")[2], each["message"]) for each in events}

    wanted = {("stdout", "one"), ("stdout", "two"), ("stderr", "bad")}
    eventually(lambda: told() == wanted, what="the output in the log group")
