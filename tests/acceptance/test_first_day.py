"""The story of the first day, played with the unmodified aws CLI, boto3 and our agent."""

import json

import pytest

from tests.acceptance.installation import Installation, eventually


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """The first day begins with nothing."""
    return empty_database_url


def test_a_securestring_is_stored_and_read_back(house: Installation) -> None:
    house.aws(
        "ssm", "put-parameter", "--name", "/prod/db/password", "--type", "SecureString", "--value", "s3cret-value"
    )
    plain = house.aws("ssm", "get-parameter", "--name", "/prod/db/password")["Parameter"]["Value"]
    opened = house.aws("ssm", "get-parameter", "--name", "/prod/db/password", "--with-decryption")["Parameter"]["Value"]
    assert plain != "s3cret-value"
    assert opened == "s3cret-value"
    boto = house.boto("ssm").get_parameter(Name="/prod/db/password", WithDecryption=True)["Parameter"]["Value"]
    assert boto == "s3cret-value"
    assert "s3cret-value" not in house.server_log.read_text()


def test_the_same_over_tls_with_the_installations_own_ca(house: Installation) -> None:
    told = house.aws("sts", "get-caller-identity", options=("--https",))
    assert told["Arn"] == f"arn:aws:iam::{told['Account']}:root"


def test_a_command_runs_on_a_node_chosen_by_tag(house: Installation) -> None:
    node = house.enrol("web-1", tags={"Env": "Prod"})
    sent = house.aws(
        "ssm", "send-command", "--document-name", "AWS-RunShellScript", "--targets", "Key=tag:Env,Values=Prod",
        "--parameters", json.dumps({"commands": ["uname -a", "echo to-stderr >&2"]}),
    )["Command"]  # fmt: skip
    house.finished(sent["CommandId"], node.node_id)
    told = house.aws("ssm", "list-command-invocations", "--command-id", sent["CommandId"], "--details")
    invocation = told["CommandInvocations"][0]
    assert invocation["InstanceId"] == node.node_id
    assert invocation["InstanceName"] == "web-1"
    assert invocation["Status"] == "Success"
    assert "Linux" in invocation["CommandPlugins"][0]["Output"]
    got = house.aws("ssm", "get-command-invocation", "--command-id", sent["CommandId"], "--instance-id", node.node_id)
    assert got["StandardErrorContent"] == "to-stderr\n"
    assert got["ResponseCode"] == 0


def test_the_boto3_waiter_returns(house: Installation) -> None:
    node = house.enrol("web-1")
    ssm = house.boto("ssm")
    sent = ssm.send_command(
        InstanceIds=[node.node_id], DocumentName="AWS-RunShellScript", Parameters={"commands": ["hostname"]}
    )["Command"]
    ssm.get_waiter("command_executed").wait(
        CommandId=sent["CommandId"], InstanceId=node.node_id, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    assert ssm.list_commands(CommandId=sent["CommandId"])["Commands"][0]["Status"] == "Success"


def test_a_failing_script_tells_its_exit_code(house: Installation) -> None:
    node = house.enrol("web-1")
    got = house.run(node.node_id, "echo before", "exit 3")
    assert (got["Status"], got["ResponseCode"]) == ("Failed", 3)
    assert got["StandardOutputContent"] == "before\n"


def test_a_deregistered_node_is_refused_and_gone(house: Installation) -> None:
    node = house.enrol("web-1")
    ssm = house.boto("ssm")
    ssm.deregister_managed_instance(InstanceId=node.node_id)
    assert ssm.describe_instance_information()["InstanceInformationList"] == []
    eventually(
        lambda: ssm.get_connection_status(Target=node.node_id)["Status"] == "notconnected", what="the closed channel"
    )


def test_accounts_do_not_see_one_another(house: Installation) -> None:
    import subprocess

    import boto3

    from tests.acceptance.installation import BIN

    house.aws("ssm", "put-parameter", "--name", "/a", "--type", "String", "--value", "mine")
    made = json.loads(
        subprocess.run(
            [BIN / "pilothouse", "accounts", "create", "other", "--data", house.data, "--output", "json"],
            check=True, capture_output=True, text=True,
        ).stdout
    )  # fmt: skip
    other = boto3.client(
        "ssm", region_name="us-east-1", endpoint_url=house.url,
        aws_access_key_id=made["AccessKeyId"], aws_secret_access_key=made["SecretAccessKey"],
    )  # fmt: skip
    assert other.get_parameters(Names=["/a"])["InvalidParameters"] == ["/a"]
    assert other.describe_parameters()["Parameters"] == []
