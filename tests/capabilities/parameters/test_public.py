"""Public parameters: loaded by the operator, read by everybody, written by no user."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.parameters import public
from pilothouse.capabilities.parameters.public import PublicParameter
from pilothouse.cli.public_parameters import entries_of
from pilothouse.cli.shared import Failed

Aws = Callable[..., Any]
REGIONS = "/aws/service/global-infrastructure/regions"


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


def load(server: Any, region: str | None, **values: str) -> int:
    entries = [PublicParameter(name, value) for name, value in values.items()]

    async def run() -> int:
        async with server.application.house.database.transaction() as tx:
            return await public.load(tx, region, entries, at=server.clock.millis(), by="arn:operator")

    changed: int = server.run(run())
    return changed


def test_everybody_reads_what_the_operator_loaded(ssm: Any, aws: Aws, server: Any) -> None:
    load(server, None, **{f"{REGIONS}/eu-west-1": "eu-west-1", f"{REGIONS}/eu-west-1/longName": "Ireland"})
    found = ssm.get_parameter(Name=f"{REGIONS}/eu-west-1/longName")["Parameter"]
    arn = f"arn:aws:ssm:eu-west-1::parameter{REGIONS}/eu-west-1/longName"
    assert (found["Value"], found["Version"], found["ARN"], found["Name"]) == (
        "Ireland",
        1,
        arn,
        f"{REGIONS}/eu-west-1/longName",
    )
    assert ssm.get_parameter(Name=arn)["Parameter"]["Value"] == "Ireland"
    assert ssm.get_parameter(Name=f"{arn}:1")["Parameter"]["Selector"] == ":1"
    assert (
        aws("ssm", region="us-east-1").get_parameter(Name=f"{REGIONS}/eu-west-1")["Parameter"]["Value"] == "eu-west-1"
    )
    both = ssm.get_parameters(Names=[f"{REGIONS}/eu-west-1", f"{REGIONS}/nowhere", "mine"])
    assert [each["Value"] for each in both["Parameters"]] == ["eu-west-1"]
    assert sorted(both["InvalidParameters"]) == [f"{REGIONS}/nowhere", "mine"]


def test_a_region_s_own_value_goes_before_that_of_every_region(ssm: Any, aws: Aws, server: Any) -> None:
    load(server, None, **{f"/aws/service/ami/{name}": "everywhere" for name in "abcdefghijklm"})
    load(server, "eu-west-1", **{"/aws/service/ami/c": "here", "/aws/service/ami/zz": "here"})
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/aws/service/ami")
    found = {each["Name"][-1]: each["Value"] for page in pages for each in page["Parameters"]}
    assert found == {**dict.fromkeys("abdefghijklm", "everywhere"), "c": "here", "z": "here"}
    assert ssm.get_parameter(Name="/aws/service/ami/c")["Parameter"]["Value"] == "here"
    assert aws("ssm", region="us-east-1").get_parameter(Name="/aws/service/ami/c")["Parameter"]["Value"] == "everywhere"


def test_users_see_them_by_name_and_path_only_and_change_nothing(ssm: Any, server: Any) -> None:
    load(server, None, **{"/aws/service/x": "v"})
    ssm.put_parameter(Name="/mine", Value="v", Type="String")
    assert [each["Name"] for each in ssm.describe_parameters()["Parameters"]] == ["/mine"]
    everything = ssm.get_parameters_by_path(Path="/", Recursive=True)["Parameters"]
    assert [each["Name"] for each in everything] == ["/mine"]
    for change in (
        lambda: ssm.put_parameter(Name="/aws/service/x", Value="w", Type="String", Overwrite=True),
        lambda: ssm.delete_parameter(Name="/aws/service/x"),
        lambda: ssm.delete_parameters(Names=["/aws/service/x"]),
        lambda: ssm.label_parameter_version(Name="/aws/service/x", Labels=["l"]),
        lambda: ssm.unlabel_parameter_version(Name="/aws/service/x", ParameterVersion=1, Labels=["l"]),
    ):
        with pytest.raises(ClientError, match="No access to reserved parameter name: /aws/service/x"):
            change()
    assert ssm.get_parameter(Name="/aws/service/x")["Parameter"]["Value"] == "v"


def test_loading_again_makes_versions_of_what_changed_and_removal_takes_all_below(ssm: Any, server: Any) -> None:
    assert load(server, None, **{"/aws/service/a/x": "1", "/aws/service/a/y": "1"}) == 2
    assert load(server, None, **{"/aws/service/a/x": "2", "/aws/service/a/y": "1"}) == 1
    assert ssm.get_parameter(Name="/aws/service/a/x")["Parameter"]["Version"] == 2
    (kept,) = ssm.get_parameter_history(Name="/aws/service/a/x")["Parameters"]
    assert kept["Value"] == "2"

    async def run() -> int:
        async with server.application.house.database.transaction() as tx:
            return await public.remove(tx, None, "/aws/service/a")

    assert server.run(run()) == 2
    assert ssm.get_parameters_by_path(Path="/aws/service", Recursive=True)["Parameters"] == []


def test_files_are_read_whole_or_refused_with_the_entry() -> None:
    assert entries_of({"/aws/service/a": "1", "/aws/service/b": {"Value": "2", "Type": "StringList"}}) == [
        PublicParameter("/aws/service/a", "1"),
        PublicParameter("/aws/service/b", "2", "StringList"),
    ]
    for content, named in (
        ({"/mine": "1"}, "/mine"),
        ({"/aws/service/a b": "1"}, "a b"),
        ({"/aws/service/a": 1}, "/aws/service/a"),
        ({"/aws/service/a": {"Value": "1", "Wert": "1"}}, "Wert"),
        ({"/aws/service/a": {"Value": "1", "Type": "SecureString"}}, "Type"),
        ({"/aws/service/a": {"Value": "1", "DataType": "Text"}}, "/aws/service/a: The following data type"),
        ({"/aws/service/a": {"Value": "x", "DataType": "integer"}}, "/aws/service/a: The parameter value is not"),
        (["/aws/service/a"], "object"),
    ):
        with pytest.raises(Failed, match=named):
            entries_of(content)
