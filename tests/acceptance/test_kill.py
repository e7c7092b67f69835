"""kill -9 of the server at random moments: no acknowledged write is lost, a command in flight finishes once."""

import random
import threading
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from tests.acceptance.installation import Installation, eventually

KILLS = 10
WRITERS = 4
COMMANDS = 4


class Writer(threading.Thread):
    """Puts parameters one after another and remembers what was acknowledged and what may have happened."""

    def __init__(self, house: Installation, lane: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._ssm: Any = house.boto("ssm", retries={"max_attempts": 0}, connect_timeout=2, read_timeout=5)
        self._lane = lane
        self._stop_writing = stop
        self.acknowledged: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.surprises: list[str] = []

    def run(self) -> None:
        n = 0
        while not self._stop_writing.is_set():
            name, value = f"/kill/{self._lane}/{n}", f"value-{self._lane}-{n}"
            try:
                self._ssm.put_parameter(Name=name, Value=value, Type="SecureString" if n % 2 else "String")
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    self.surprises.append(str(error))
                self.unknown[name] = value
            except (HTTPClientError, BotoCoreError):
                self.unknown[name] = value
                time.sleep(0.02)
            else:
                self.acknowledged[name] = value
            n += 1


def _stored(house: Installation) -> dict[str, str]:
    pages = house.boto("ssm").get_paginator("get_parameters_by_path")
    return {
        parameter["Name"]: parameter["Value"]
        for page in pages.paginate(Path="/kill", Recursive=True, WithDecryption=True)
        for parameter in page["Parameters"]
    }


def test_no_acknowledged_write_is_lost_over_kills(house: Installation) -> None:
    stop = threading.Event()
    writers = [Writer(house, lane, stop) for lane in range(WRITERS)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        time.sleep(random.uniform(0.05, 0.6))
        house.kill()
        house.start()
    stop.set()
    for writer in writers:
        writer.join(30)
    acknowledged = {name: value for writer in writers for name, value in writer.acknowledged.items()}
    unknown = {name: value for writer in writers for name, value in writer.unknown.items()}
    stored = _stored(house)
    assert [surprise for writer in writers for surprise in writer.surprises] == []
    assert len(acknowledged) > KILLS
    assert {name: stored.get(name) for name in acknowledged} == acknowledged
    assert all(unknown[name] == value for name, value in stored.items() if name not in acknowledged)


def test_a_command_in_flight_finishes_once_over_kills_of_the_server(house: Installation, tmp_path: Path) -> None:
    node = house.enrol("web-1")
    ran = tmp_path / "ran"
    ssm = house.boto("ssm")
    ids = []
    for index in range(COMMANDS):
        sent = ssm.send_command(
            InstanceIds=[node.node_id],
            DocumentName="AWS-RunShellScript",
            Parameters={"commands": [f"echo {index} >> {ran}", f"sleep {index * 0.7}", f"echo done-{index}"]},
        )
        ids.append(sent["Command"]["CommandId"])
        time.sleep(random.uniform(0, 0.4))
        house.kill()
        house.start()
    for index, command_id in enumerate(ids):
        got = house.finished(command_id, node.node_id, within=120)
        assert (got["Status"], got["StandardOutputContent"]) == ("Success", f"done-{index}\n")
    assert sorted(ran.read_text().split()) == [str(index) for index in range(COMMANDS)]


def test_a_command_in_flight_finishes_once_over_a_kill_of_the_agent(house: Installation, tmp_path: Path) -> None:
    node = house.enrol("web-1")
    ran = tmp_path / "ran"
    sent = house.boto("ssm").send_command(
        InstanceIds=[node.node_id],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": [f"echo once >> {ran}", "sleep 2", "echo finished"]},
    )
    eventually(ran.exists, what="the start of the script")
    node.kill()
    node.start()
    got = house.finished(sent["Command"]["CommandId"], node.node_id)
    assert (got["Status"], got["StandardOutputContent"]) == ("Success", "finished\n")
    assert ran.read_text() == "once\n"


def test_a_retried_sendcommand_runs_once(house: Installation, tmp_path: Path) -> None:
    """The same call again (same invocation id, same body), as an SDK does when the answer was lost."""
    node = house.enrol("web-1")
    ran = tmp_path / "ran"
    ssm = house.boto("ssm")

    def same_call(request: Any, **_: Any) -> None:
        request.headers["amz-sdk-invocation-id"] = "11111111-2222-3333-4444-555555555555"  # SDKs do not sign it

    ssm.meta.events.register("before-send.ssm.SendCommand", same_call)

    def send() -> str:
        command = ssm.send_command(
            InstanceIds=[node.node_id],
            DocumentName="AWS-RunShellScript",
            Parameters={"commands": [f"echo once >> {ran}"]},
        )["Command"]
        command_id: str = command["CommandId"]
        return command_id

    first = send()
    house.kill()
    house.start()
    assert send() == first
    house.finished(first, node.node_id)
    assert len(ssm.list_commands()["Commands"]) == 1
    assert ran.read_text() == "once\n"


def test_a_killed_server_does_not_leave_nodes_connected_for_ever(house: Installation) -> None:
    node = house.enrol("web-1")
    node.kill()
    house.kill()
    house.start()
    assert house.boto("ssm").get_connection_status(Target=node.node_id)["Status"] == "notconnected"
