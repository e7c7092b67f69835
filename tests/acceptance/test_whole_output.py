"""Whole outputs of commands with a real server and our agent: byte for byte, live, and over kills."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pilothouse.cli.connections import Clients, Side
from tests.acceptance.installation import AgentProcess, Installation, eventually

BIG = "seq 1 200000"
"""1.3 MB"""


@pytest.fixture
def node(house: Installation) -> AgentProcess:
    return house.enrol("web-1")


@pytest.fixture
def own(house: Installation) -> Any:
    return Clients(Side(data=house.data)).service("pilothouse")


def sent(house: Installation, node: AgentProcess, *lines: str) -> str:
    made = house.boto("ssm").send_command(
        InstanceIds=[node.node_id], DocumentName="AWS-RunShellScript", Parameters={"commands": list(lines)}
    )
    return str(made["Command"]["CommandId"])


def whole(own: Any, command: str, node: AgentProcess, stream: str = "StandardOutput") -> bytes:
    """All of a stream, by pages."""
    data, done = b"", False
    while not done:
        page = own.get_command_output(
            CommandId=command, InstanceId=node.node_id, Stream=stream, Offset=len(data), MaxBytes=100_000
        )
        data, done = data + page["Data"], page["Complete"]
        assert page["Source"] == "Node"
        assert page["Data"] or done or not page["Size"] > len(data)
    return data


def complete(own: Any, command: str, node: AgentProcess) -> bool:
    asked = {"CommandId": command, "InstanceId": node.node_id, "Offset": 1 << 40}
    return bool(own.get_command_output(**asked)["Complete"])


def expected(upto: int) -> str:
    text = "".join(f"{number}\n" for number in range(1, upto + 1))
    return hashlib.sha256(text.encode()).hexdigest()


def test_every_byte_is_kept_beyond_what_the_api_shows(house: Installation, node: AgentProcess, own: Any) -> None:
    command = sent(house, node, BIG, "head -c 70000 /dev/urandom | base64 -w0 >&2")
    shown = house.finished(command, node.node_id)["StandardOutputContent"]
    assert len(shown) == 24_000
    eventually(lambda: complete(own, command, node))
    assert hashlib.sha256(whole(own, command, node)).hexdigest() == expected(200_000)
    assert len(base64.b64decode(whole(own, command, node, "StandardError"))) == 70_000


def test_it_can_be_read_while_the_script_runs(house: Installation, node: AgentProcess, own: Any) -> None:
    go = house.folder / "go"
    command = sent(house, node, "echo begun", f"until test -e {go}; do sleep 0.1; done", "echo done")
    page: dict[str, Any] = {}

    def begun() -> bool:
        page.update(own.get_command_output(CommandId=command, InstanceId=node.node_id))
        return bool(page["Data"])

    eventually(begun)
    assert (page["Data"], page["Complete"]) == (b"begun\n", False)
    with reading(house, f"/ph/v1/commands/output?command-id={command}") as told:
        first = next(told)
        assert (first["InstanceId"], first["Stream"], first["Text"]) == (node.node_id, "StandardOutput", "begun\n")
        go.touch()
        assert [each["Text"] for each in told] == ["done\n"]  # and it ends by itself


def test_kills_of_server_and_agent_lose_and_double_no_byte(
    house: Installation, node: AgentProcess, own: Any, tmp_path: Path
) -> None:
    enough = tmp_path / "enough"
    loop = f"i=0; while [ ! -e {enough} ]; do i=$((i+1)); seq $i 400 80000; sleep 0.02; done; echo $i rounds"
    command = sent(house, node, loop)
    for _ in range(2):
        before = own.get_command_output(CommandId=command, InstanceId=node.node_id)["Size"]
        house.kill()
        house.start()
        eventually(lambda before=before: _size(own, command, node) > before)
    node.kill()
    node.start()
    enough.touch()
    house.finished(command, node.node_id, within=120)
    eventually(lambda: complete(own, command, node))
    got = whole(own, command, node).decode()
    rounds = int(got[got.rindex("\n", 0, -1) + 1 :].partition(" ")[0])
    text = "".join(f"{number}\n" for first in range(1, rounds + 1) for number in range(first, 80_001, 400))
    assert got == f"{text}{rounds} rounds\n"


def _size(own: Any, command: str, node: AgentProcess) -> int:
    return int(own.get_command_output(CommandId=command, InstanceId=node.node_id)["Size"])


class reading:  # noqa: N801
    """The stream of a command's output, signed as a client signs."""

    def __init__(self, house: Installation, path: str) -> None:
        values = house.environment()
        request = AWSRequest("GET", house.url + path)
        credentials = Credentials(values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"])
        SigV4Auth(credentials, "pilothouse", values["AWS_REGION"]).add_auth(request)
        self._pool = urllib3.PoolManager()
        self._answer = self._pool.request(
            "GET", house.url + path, headers=dict(request.headers), preload_content=False, timeout=60
        )
        assert self._answer.status == 200

    def __enter__(self) -> Iterator[dict[str, Any]]:
        return self._events()

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._pool.clear()

    def _events(self) -> Iterator[dict[str, Any]]:
        text = ""
        for part in self._answer.stream(4096):
            text += part.decode()
            while "\n\n" in text:
                event, _, text = text.partition("\n\n")
                if event.startswith("event: end"):
                    return
                if event.startswith("event: output"):
                    yield json.loads(event.partition("data: ")[2])
        raise AssertionError("the stream broke off")
