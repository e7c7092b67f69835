"""`pilothouse public-parameters` beside a running server, read with the aws CLI."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, installation
from tests.cli.test_commands import one_sentence, pilothouse

INFRASTRUCTURE = "/aws/service/global-infrastructure"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("public")) as made:
        yield made


def run(house: Installation, *words: object) -> str:
    done = pilothouse("public-parameters", *words, "--data", house.data)
    assert done.returncode == 0, done.stderr
    return done.stdout


def get(house: Installation, name: str, *more: str) -> Any:
    return house.aws("ssm", "get-parameter", "--name", name, *more)["Parameter"]


def below(house: Installation, path: str, *more: str) -> dict[str, str]:
    found = house.aws("ssm", "get-parameters-by-path", "--path", path, *more)["Parameters"]
    return {each["Name"]: each["Value"] for each in found}


def test_files_are_loaded_listed_read_and_removed(house: Installation, tmp_path: Path) -> None:
    yaml, more = tmp_path / "images.yaml", tmp_path / "more.json"
    yaml.write_text(
        "/aws/service/images/base: ami-1\n"
        '/aws/service/images/list: {Value: "a,b", Type: StringList, Description: two of them}\n'
    )
    more.write_text(json.dumps({"/aws/service/images/base": "ami-2", "/aws/service/images/deep/er": "ami-3"}))
    assert "2 of 2" in run(house, "load", yaml)
    assert get(house, "/aws/service/images/base")["Value"] == "ami-1"
    assert "0 of 2" in run(house, "load", yaml)
    assert "2 of 2" in run(house, "load", more)
    found = get(house, "/aws/service/images/base")
    region = house.environment()["AWS_REGION"]
    assert (found["Value"], found["Version"]) == ("ami-2", 2)
    assert found["ARN"] == f"arn:aws:ssm:{region}::parameter/aws/service/images/base"
    assert below(house, "/aws/service/images") == {
        "/aws/service/images/base": "ami-2",
        "/aws/service/images/list": "a,b",
    }
    assert len(below(house, "/aws/service/images", "--recursive")) == 3
    run(house, "load", more, "--region", "eu-north-1")
    assert get(house, "/aws/service/images/base", "--region", "eu-north-1")["Version"] == 1
    listed = json.loads(run(house, "list", "--output", "json"))
    assert listed[0] == {
        "Name": "/aws/service/images/base",
        "Type": "String",
        "Value": "ami-2",
        "Version": 2,
        "DataType": "text",
    }
    assert len(listed) == 3
    rows = [line.split() for line in run(house, "list").splitlines()]
    assert rows[2] == ["/aws/service/images/list", "1", "StringList", "a,b"]
    assert len(run(house, "list", "--region", "eu-north-1").splitlines()) == 2
    assert "1 public" in run(house, "remove", "/aws/service/images/deep")
    assert "1 public" in run(house, "remove", "/aws/service/images/deep", "--region", "eu-north-1")
    assert "2 public" in run(house, "remove", "/aws/service/images")
    assert below(house, "/aws/service/images", "--recursive") == {}


def test_one_bad_entry_changes_nothing(house: Installation, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    for text, named in (
        ("/aws/service/good: v\n/mine: v\n", "/mine"),
        ("/aws/service/good: v\n/aws/service/number: 1\n", "/aws/service/number"),
        ("/aws/service/good: v\n/aws/service/x: v\n/aws/service/good: w\n", "line 3: /aws/service/good comes twice"),
        ("- no\n", "object"),
        ("a: b\nc: [", "cannot be read: line 2: "),
        ("/aws/service/good: v\n/aws/service/a b: v\n", "letters"),
    ):
        file.write_text(text)
        assert named in one_sentence(pilothouse("public-parameters", "load", file, "--data", house.data)), text
    assert below(house, "/aws/service", "--recursive") == {}
    for words, named in (
        (["load"], "--global-infrastructure"),
        (["load", tmp_path / "absent"], "absent"),
        (["list", "--output", "xml"], "xml"),
        (["remove", "/aws/service/absent"], "/aws/service/absent"),
    ):
        assert named in one_sentence(pilothouse("public-parameters", *words, "--data", house.data))


def test_the_global_infrastructure_as_botocore_knows_it(house: Installation) -> None:
    run(house, "load", "--global-infrastructure")
    regions = f"{INFRASTRUCTURE}/regions"
    assert below(house, regions)[f"{regions}/af-south-1"] == "af-south-1"
    assert below(house, f"{regions}/us-west-1") == {
        f"{regions}/us-west-1/domain": "amazonaws.com",
        f"{regions}/us-west-1/longName": "US West (N. California)",
        f"{regions}/us-west-1/partition": "aws",
    }
    assert get(house, f"{regions}/cn-north-1/partition")["Value"] == "aws-cn"
    assert get(house, f"{regions}/eu-west-1/services/ssm")["Value"] == "ssm"
    services = f"{INFRASTRUCTURE}/services"
    assert len(below(house, services)) > 200
    assert get(house, f"{services}/ssm/longName")["Value"] == "Amazon Simple Systems Manager (SSM)"
    assert get(house, f"{services}/ssm/regions/eu-west-1")["Value"] == "eu-west-1"
    assert run(house, "load", "--global-infrastructure").startswith("0 of ")
    run(house, "remove", INFRASTRUCTURE)
    assert below(house, INFRASTRUCTURE, "--recursive") == {}
