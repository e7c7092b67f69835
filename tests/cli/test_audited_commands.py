"""Commands on the server's machine that change it or show a secret: one record each, with the operator's name."""

import getpass
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, installation
from tests.cli.test_commands import pilothouse

REGION = "us-east-1"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("audited")) as made:
        yield made


def test_each_command_leaves_one_record_with_who_gave_it(house: Installation, tmp_path: Path) -> None:
    images = tmp_path / "images.json"
    images.write_text(json.dumps({"/aws/service/images/base": "ami-1"}))
    env = json.loads(told(house, "env", "--output", "json"))
    made = json.loads(told(house, "accounts", "create", "team", "--output", "json"))
    told(house, "public-parameters", "load", images)
    told(house, "public-parameters", "remove", "/aws/service/images")
    told(house, "master-key", "rotate")
    told(house, "master-key", "status")
    again = json.loads(told(house, "accounts", "rotate-root", "--output", "json"))
    assert pilothouse("accounts", "create", "team", "--data", house.data).returncode == 1  # nothing came of it
    assert pilothouse("master-key", "retire", "9", "--data", house.data).returncode == 1
    trail = house.boto("cloudtrail", values=values_of(env, again))
    commands = [{"AttributeKey": "EventSource", "AttributeValue": "pilothouse"}]
    page = trail.lookup_events(LookupAttributes=commands)["Events"]
    found = [json.loads(each["CloudTrailEvent"]) for each in page][::-1]
    assert [(each["eventName"], each["readOnly"]) for each in found] == [
        ("GetRootKey", True),
        ("LoadPublicParameters", False),
        ("RemovePublicParameters", False),
        ("ChangeMasterKey", False),
        ("RotateRoot", False),
    ]
    account = found[0]["recipientAccountId"]
    for each in found:
        assert each["userIdentity"] == {
            "type": "Root",
            "principalId": account,
            "arn": f"arn:aws:iam::{account}:root",
            "accountId": account,
            "userName": getpass.getuser(),
            "invokedBy": "pilothouse command line",
        }
        assert each["eventType"] == "PilothouseCommand"
    assert found[1]["requestParameters"] == {"region": None, "names": ["/aws/service/images/base"], "count": 1}
    theirs = house.boto("cloudtrail", values=values_of(env, made)).lookup_events()["Events"]
    assert [each["EventName"] for each in theirs] == ["CreateAccount"]
    text = json.dumps([found, theirs], default=str)
    for secret in (env["AWS_SECRET_ACCESS_KEY"], made["SecretAccessKey"], again["SecretAccessKey"]):
        assert secret not in text
    assert json.loads(told(house, "audit", "verify", "--output", "json"))["Whole"] is True


def told(house: Installation, *words: object) -> str:
    done = pilothouse(*words, "--data", house.data)
    assert done.returncode == 0, done.stderr
    return done.stdout


def values_of(env: dict[str, str], made: dict[str, Any]) -> dict[str, str]:
    return env | {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}
