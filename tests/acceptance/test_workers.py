"""One server of several processes, on both engines: what one writes all others see, and any of them may be killed."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families

from pilothouse.storage.engines import open_database
from tests.acceptance.installation import BIN, Installation, eventually, installation
from tests.acceptance.test_events import StreamReader, numbers
from tests.acceptance.test_kill import Writer, _stored

WORKERS = 2
SHELL = "AWS-RunShellScript"


class House(Installation):
    """A server of several processes."""

    def workers(self) -> dict[int, int]:
        """Number to process id of those that live, by the server's own log."""
        found: dict[int, int] = {}
        for line in self.server_log.read_text().splitlines():
            said = json.loads(line) if line.startswith("{") else {}
            if said.get("event") == "worker.started":
                found[said["worker"]] = said["pid"]
        return found

    def kill_worker(self, number: int) -> None:
        """kill -9, and wait until another is in its place."""
        before = self.workers()[number]
        os.kill(before, signal.SIGKILL)
        eventually(lambda: self.workers()[number] != before, what=f"another worker {number}")
        eventually(lambda: self.figure("pilothouse_workers") == len(self.workers()), what="all workers")

    @contextlib.contextmanager
    def alone(self, number: int) -> Iterator[None]:
        """While the block lasts only this worker takes connections."""
        others = [pid for each, pid in self.workers().items() if each != number]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    def at(self, number: int, service: str = "ssm", **more: Any) -> Any:
        """A client whose one connection is to this worker."""
        client = self.boto(service, max_pool_connections=1, retries={"max_attempts": 1}, **more)
        first = {"ssm": "describe_parameters", "iam": "list_users"}
        with self.alone(number):
            getattr(client, first[service])()
        return client

    def figure(self, name: str, **labels: str) -> float | None:
        """A figure of `/metrics`, added up over the other labels."""
        try:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:  # the connection was to the worker that has just been killed
            return None
        found = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found)


def options_of(database_url: str) -> tuple[str, ...]:
    return ("--database", database_url) if database_url.startswith("postgresql") else ()


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, *options_of(database_url), "--workers", str(WORKERS))
    try:
        made.start()
        yield made
    finally:
        made.close()


def refused(call: Any, **members: Any) -> str:
    try:
        call(**members)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def policy(action: str) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]})


def test_what_one_worker_does_the_other_knows_at_once(house: House) -> None:
    """Values, keys, policies: whatever a process remembers holds only until somebody commits."""
    said = [json.loads(line) for line in house.server_log.read_text().splitlines()]
    migrated = [(each["capability"], each["number"]) for each in said if each["event"] == "storage.migrated"]
    assert len(migrated) == len(set(migrated)), "one installation is made, by one of them"
    assert migrated or not (house.data / "pilothouse.db").exists()
    assert [each["workers"] for each in said if each["event"] == "server.ready"] == [WORKERS]
    first, second = house.at(1), house.at(2)
    for number in range(40):
        write, read = (first, second) if number % 2 else (second, first)
        write.put_parameter(Name="/shared", Value=str(number), Type="SecureString", Overwrite=True)
        assert read.get_parameter(Name="/shared", WithDecryption=True)["Parameter"]["Value"] == str(number)
    iam = house.at(1, "iam")
    iam.create_user(UserName="ada")
    made = iam.create_access_key(UserName="ada")["AccessKey"]
    environment = house.known()
    theirs = {**environment, "AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}
    iam.put_user_policy(UserName="ada", PolicyName="read", PolicyDocument=policy("ssm:*"))
    ada = house.at(2, values=theirs)
    for _ in range(5):
        assert ada.get_parameter(Name="/shared")["Parameter"]["Name"] == "/shared"
        iam.delete_user_policy(UserName="ada", PolicyName="read")
        assert refused(ada.get_parameter, Name="/shared") == "AccessDeniedException"
        iam.put_user_policy(UserName="ada", PolicyName="read", PolicyDocument=policy("ssm:*"))
    iam.update_access_key(UserName="ada", AccessKeyId=made["AccessKeyId"], Status="Inactive")
    assert refused(ada.get_parameter, Name="/shared") == "UnrecognizedClientException"
    iam.update_access_key(UserName="ada", AccessKeyId=made["AccessKeyId"], Status="Active")
    assert refused(ada.get_parameter, Name="/shared") == ""
    setting = "/ssm/parameter-store/default-parameter-tier"
    first.update_service_setting(SettingId=setting, SettingValue="Advanced")
    second.put_parameter(Name="/tier", Value="x", Type="String")
    assert first.describe_parameters()["Parameters"][-1]["Tier"] == "Advanced"


def test_a_node_of_one_worker_is_everybodys(house: House) -> None:
    node = house.enrol("web-1")
    for number in (1, 2):
        ssm = house.at(number)
        assert ssm.get_connection_status(Target=node.node_id)["Status"] == "connected"
        sent = ssm.send_command(
            InstanceIds=[node.node_id], DocumentName=SHELL, Parameters={"commands": [f"echo by-{number}"]}
        )
        got = house.finished(sent["Command"]["CommandId"], node.node_id)
        assert (got["Status"], got["StandardOutputContent"]) == ("Success", f"by-{number}\n")
        assert house.figure("pilothouse_control_channels") == 1
    stop = threading.Event()
    reader = StreamReader(house, stop)
    reader.start()
    assert reader.ready.wait(60)
    for number in (1, 2):
        house.at(number).put_parameter(Name=f"/kill/{number}/0", Value="x", Type="String")
        eventually(lambda lane=number: numbers(reader.events, lane) == [0], what="the event")
    stop.set()
    node.kill()
    eventually(
        lambda: all(house.at(n).get_connection_status(Target=node.node_id)["Status"] == "notconnected" for n in (1, 2)),
        what="the end of the channel",
    )


def test_killed_workers_are_replaced_and_nothing_is_lost(house: House, tmp_path: Path) -> None:
    node = house.enrol("web-1")
    ran = tmp_path / "ran"
    stop = threading.Event()
    writers = [Writer(house, lane, stop) for lane in range(3)]
    for writer in writers:
        writer.start()
    ids = []
    ssm = house.boto("ssm", retries={"max_attempts": 10})
    seen = 0.0
    for index in range(4):
        sent = ssm.send_command(
            InstanceIds=[node.node_id],
            DocumentName=SHELL,
            Parameters={"commands": [f"echo {index} >> {ran}", "sleep 0.3", f"echo done-{index}"]},
        )
        ids.append(sent["Command"]["CommandId"])
        house.kill_worker(index % WORKERS + 1)  # one of the first two holds the node's channel
        house.connected(node)
        now = eventually(lambda: house.figure("pilothouse_calls_total", operation="PutParameter"), what="figures") or 0
        assert now > seen, "a counter went down"
        seen = now
    stop.set()
    for writer in writers:
        writer.join(30)
    for index, command_id in enumerate(ids):
        got = house.finished(command_id, node.node_id, within=120)
        assert (got["Status"], got["StandardOutputContent"]) == ("Success", f"done-{index}\n")
    assert sorted(ran.read_text().split()) == ["0", "1", "2", "3"]
    assert [surprise for writer in writers for surprise in writer.surprises] == []
    acknowledged = {name: value for writer in writers for name, value in writer.acknowledged.items()}
    stored = _stored(house)
    assert {name: stored.get(name) for name in acknowledged} == acknowledged
    assert house.figure("pilothouse_workers_replaced_total") == 4
    assert house.figure("pilothouse_workers") == WORKERS


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_signals_end_all_of_it_well(house: House) -> None:
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup a server would rightly stay
    try:
        _end_by_signals(house)
    finally:
        signal.signal(signal.SIGHUP, inherited)


def _end_by_signals(house: House) -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if house.process is None:
            house.start()
        assert house.process is not None
        workers = house.workers()
        assert len(workers) == WORKERS
        house.process.send_signal(number)
        assert house.process.wait(30) == 0
        house.process = None
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers.values())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_workers_end_with_a_killed_supervisor_and_leave_nothing_behind(house: House) -> None:
    """Reads of secrets are in the journal of their worker first; a server of fewer workers takes up what is there."""
    house.at(1).put_parameter(Name="/secret", Value="x", Type="SecureString")
    for number in (1, 2):
        reader = house.at(number)
        for _ in range(3):
            reader.get_parameter(Name="/secret", WithDecryption=True)
    workers = house.workers()
    former = (house.data / "process-id.2").read_text()
    house.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers.values()), what="the workers' end")
    house._options = ()
    house.start()
    assert not (house.data / "process-id.2").exists()
    assert former not in asyncio.run(_processes(house.data))
    trail = house.boto("cloudtrail")
    found = trail.lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": "GetParameter"}])
    assert len(found["Events"]) == 6
    done = subprocess.run(
        [BIN / "pilothouse", "audit", "verify", "--data", house.data], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


async def _processes(data: Path) -> list[str]:
    database = await open_database(f"sqlite:///{data}/pilothouse.db")
    try:
        async with database.reading() as tx:
            return [row["process_id"] for row in await tx.rows("select process_id from gateway_process")]
    finally:
        await database.close()


def test_a_start_that_must_fail_fails_once_and_says_why(tmp_path: Path) -> None:
    with installation(tmp_path) as made:
        command = [BIN / "pilothouse", "serve", "--data", made.data, "--workers", "3", "--http", "127.0.0.1:0"]
        busy = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert "another server is running" in busy.stderr
        made.stop()
        (made.data / "master.key").write_text("bm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm5ubm4=\n")
        other = subprocess.run(
            [*command, "--https", "127.0.0.1:0"], capture_output=True, text=True, check=False, timeout=60
        )
        assert other.returncode == 1
        assert other.stderr.count("nothing was changed") == 1
        assert other.stderr.splitlines()[-1].startswith("pilothouse: ")
