"""Resource groups with the unmodified aws CLI, on both listeners, over a kill, and with a real agent."""

import json
import subprocess

from tests.acceptance.installation import BIN, Installation

QUERY = {
    "Type": "TAG_FILTERS_1_0",
    "Query": json.dumps(
        {"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": [{"Key": "role", "Values": ["web"]}]}
    ),
}


def test_a_command_goes_to_a_group(house: Installation) -> None:
    agent = house.enrol("web-1", tags={"role": "web"})
    house.enrol("db-1", tags={"role": "db"}, start=False)
    over_tls = ("--https",)
    made = house.aws(
        "resource-groups", "create-group", "--name", "web", "--resource-query", json.dumps(QUERY), "--tags", "team=a",
        options=over_tls,
    )  # fmt: skip
    arn = made["Group"]["GroupArn"]
    house.kill()
    house.start()
    house.connected(agent)
    listed = house.aws("resource-groups", "list-groups", "--page-size", "1")
    assert [each["GroupName"] for each in listed["GroupIdentifiers"]] == ["web"]
    members = house.aws("resource-groups", "list-group-resources", "--group", "web", options=over_tls)
    assert [each["ResourceArn"].rpartition("/")[2] for each in members["ResourceIdentifiers"]] == [agent.node_id]
    assert house.aws("resource-groups", "get-tags", "--arn", arn, options=over_tls)["Tags"] == {"team": "a"}
    sent = house.aws(
        "ssm", "send-command", "--document-name", "AWS-RunShellScript", "--parameters", "commands=echo here",
        "--targets", "Key=resource-groups:Name,Values=web",
    )["Command"]  # fmt: skip
    assert sent["TargetCount"] == 1
    assert house.finished(sent["CommandId"], agent.node_id)["StandardOutputContent"] == "here\n"
    done = subprocess.run(
        [BIN / "pilothouse", "run", "--target", "resource-groups:Name=web", "--", "echo again"],
        env=house.known(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "again" in done.stdout
    refused = house.cli("resource-groups", "get-group", "--group", "absent")
    assert "(NotFoundException)" in refused.stderr
    assert "Cannot find group: absent" in refused.stderr
