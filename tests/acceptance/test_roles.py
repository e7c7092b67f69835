"""Processes that do a part of the work: what they leave out they say, and together they are one installation."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.acceptance.installation import BIN, AgentProcess, Installation, eventually
from tests.acceptance.test_events import webhooks
from tests.capabilities.events.conftest import Receiver


def begin(house: Installation, *roles: str) -> None:
    """Start the server anew, with these roles."""
    if house.process is not None:
        house.stop()
    house._options = (*house._options, "--roles", ",".join(roles))
    house.start()


def health(house: Installation) -> Any:
    with urllib.request.urlopen(f"{house.url}/health", timeout=10) as answer:
        return json.load(answer)


def asked(house: Installation, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Status and text of a plain request."""
    request = urllib.request.Request(
        house.url + path, body, {name.replace("_", "-"): value for name, value in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def registration(house: Installation) -> tuple[int, str]:
    return asked(
        house, "/", b"{}", x_amz_target="AmazonSSM.RegisterManagedInstance", content_type="application/x-amz-json-1.1"
    )


def examined(house: Installation) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [BIN / "pilothouse", "doctor", "--data", house.data, "--output", "json"], capture_output=True, check=False
    )
    return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}


def enrolled(gateway: Installation, api: Installation, activation: dict[str, Any]) -> AgentProcess:
    """Our agent, registered at one of them and found by the other."""
    state = gateway.folder / "agent"
    subprocess.run(
        [BIN / "pilothouse-agent", "register", "--url", gateway.tls_url, "--ca", gateway.data / "ca.pem",
         "--activation-id", activation["ActivationId"], "--activation-code", activation["ActivationCode"],
         "--state", state],
        check=True, capture_output=True,
    )  # fmt: skip
    found = api.boto("ssm").describe_instance_information()["InstanceInformationList"]
    return AgentProcess(state, found[0]["InstanceId"], gateway.folder / "agent.log")


def test_what_a_process_leaves_out_it_says_and_never_as_a_refusal(house: Installation) -> None:
    node = house.enrol("web-1", start=False)
    begin(house, "api")
    assert health(house)["roles"] == ["api"]
    house.boto("ssm").put_parameter(Name="/kept", Value="x", Type="String")
    channel = f"/v1/control-channel/{node.node_id}"
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec_websocket_version": "13",
        "sec_websocket_key": "eA==",
    }
    for status, text in (
        registration(house),
        asked(house, channel, b"{}"),
        asked(house, f"{channel}?role=subscribe", **upgrade),
        asked(house, "/", b"{}", x_amz_target="EC2WindowsMessageDeliveryService.GetMessages",
              content_type="application/x-amz-json-1.1"),
    ):  # fmt: skip
        assert status == 503
        assert "lacks the role gateway" in text
        assert "AccessDenied" not in text
    code, found = examined(house)
    assert code == 1
    assert "pilothouse serve --roles gateway,scheduler" in found["processes"]["mend"]

    begin(house, "gateway")
    node.start()
    metrics = "pilothouse_control_channels 1.0\n", 'pilothouse_role{role="gateway"} 1.0\n', 'role="api"} 0.0\n'
    eventually(lambda: all(each in asked(house, "/metrics")[1] for each in metrics), what="the node's channel")
    with pytest.raises(ClientError) as refused:
        house.boto("ssm", retries={"max_attempts": 0}).get_parameter(Name="/kept")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert "lacks the role api (it has: gateway)" in refused.value.response["Error"]["Message"]
    assert asked(house, "/ph/v1/events")[0] == 503
    node.stop()

    begin(house, "scheduler")
    assert health(house)["roles"] == ["scheduler"]
    json11 = "application/x-amz-json-1.1"
    of_client = asked(house, "/", b"{}", x_amz_target="AmazonSSM.GetParameter", content_type=json11)
    for status, text in (registration(house), of_client):
        assert (status, "lacks the role" in text) == (503, True)
    assert '"roles": ["scheduler"], "workers": 1' in house.server_log.read_text()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_three_processes_of_one_role_each_are_one_installation(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTHOUSE_OUTBOUND_ALLOW", "127.0.0.1/32")
    receiver = Receiver()
    made = {role: Installation(tmp_path / role, "--database", database_url) for role in ("api", "gateway", "scheduler")}
    api, gateway, scheduler = made.values()
    node: AgentProcess | None = None
    try:
        for role, each in made.items():
            each.folder.mkdir()
            if role != "api":
                shutil.copytree(api.data, each.data, ignore=shutil.ignore_patterns("process-id", "*.lock"))
            begin(each, role)
        activation = api.boto("ssm").create_activation(IamRole="node-role", DefaultInstanceName="web-1")
        node = enrolled(gateway, api, activation)
        node.start()
        api.connected(node)
        got = api.run(node.node_id, "echo there")
        assert (got["Status"], got["StandardOutputContent"]) == ("Success", "there\n")

        webhooks(api, "create", receiver.url, "--path", "/told")
        put = api.boto("ssm").put_parameter
        put(Name="/told/1", Value="x", Type="String")
        eventually(lambda: len(receiver.events) == 1, what="the delivery by the scheduler")
        assert examined(api)[1]["processes"] == {
            "check": "processes", "ok": True, "found": "seen within 150 s: 1 api, 1 gateway, 1 scheduler", "mend": "",
        }  # fmt: skip

        scheduler.stop()
        put(Name="/told/2", Value="x", Type="String")
        assert examined(api)[1]["processes"]["mend"] == "start one: pilothouse serve --roles scheduler"
        scheduler.start()
        eventually(lambda: len(receiver.events) == 2, what="what had waited")
        gateway.kill()
        gateway.start()
        api.connected(node)
        assert api.run(node.node_id, "echo again")["StandardOutputContent"] == "again\n"
    finally:
        if node is not None:
            node.stop()
        for each in (gateway, scheduler, api):
            each.close()
        receiver.close()
