"""ReadParameters, through botocore clients: what GetParameterHistory and ListTagsForResource tell, many at a time."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities import access

LARGE = 1 << 20


@pytest.fixture
def ssm(aws: Any) -> Any:
    return aws("ssm")


@pytest.fixture
def own(aws: Any) -> Any:
    return aws("pilothouse")


def put(ssm: Any, name: str, value: str, **more: Any) -> None:
    ssm.put_parameter(Name=name, Value=value, **{"Type": "String", **more})


def allow_large_values(ssm: Any) -> None:
    ssm.update_service_setting(SettingId="/ph/parameter-store/max-value-bytes", SettingValue=str(LARGE))


@pytest.mark.parametrize("decrypt", [False, True])
def test_it_tells_what_the_plain_operations_tell(ssm: Any, own: Any, decrypt: bool) -> None:
    put(ssm, "plain", "1", Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "1"}], Description="d")
    put(ssm, "/s/secret", "s3cret", Type="SecureString", Tier="Advanced", AllowedPattern="s.*")
    for number in range(2, 63):
        put(ssm, "/s/secret", f"s{number}", Type="SecureString", Overwrite=True)
    ssm.label_parameter_version(Name="/s/secret", ParameterVersion=3, Labels=["old"])
    ssm.label_parameter_version(Name="/s/secret", Labels=["x", "new"])
    asked = {"Names": ["/s/secret", "/none", "/plain"], "WithDecryption": decrypt}
    for history in (False, True):
        answer = own.read_parameters(**asked, WithHistory=history)
        assert (answer["InvalidParameters"], answer["UnreadNames"]) == (["/none"], [])
        assert [each["Name"] for each in answer["Parameters"]] == ["/s/secret", "plain"]
        for each in answer["Parameters"]:
            pages = ssm.get_paginator("get_parameter_history").paginate(Name=each["Name"], WithDecryption=decrypt)
            versions = [version for page in pages for version in page["Parameters"]]
            assert each["Versions"] == (versions if history else versions[-1:])
            told = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=each["Name"])["TagList"]
            assert each["Tags"] == told


def test_what_the_answer_has_no_room_for_is_told(ssm: Any, own: Any) -> None:
    allow_large_values(ssm)
    names = [f"/l/{number}" for number in range(6)]
    for name in names:
        put(ssm, name, "x" * LARGE, Tier="Advanced")
    put(ssm, "/l/small", "x")
    answer = own.read_parameters(Names=[*names, "/l/small"])
    assert [each["Name"] for each in answer["Parameters"]] == names[:4]
    assert answer["UnreadNames"] == [*names[4:], "/l/small"]


def test_a_history_beyond_every_answer_is_left_to_the_plain_operation(ssm: Any, own: Any) -> None:
    allow_large_values(ssm)
    for _ in range(5):
        put(ssm, "/l/long", "x" * LARGE, Tier="Advanced", Overwrite=True)
    put(ssm, "/l/short", "x")
    answer = own.read_parameters(Names=["/l/long", "/l/short"], WithHistory=True)
    assert [each["Name"] for each in answer["Parameters"]] == ["/l/short"]
    assert answer["UnreadNames"] == ["/l/long"]
    assert len(own.read_parameters(Names=["/l/long"])["Parameters"]) == 1


@pytest.mark.parametrize(("names", "text"), [(["/a b"], "sub-paths"), ([f"/n/{n}" for n in range(201)], "'names'")])
def test_names_that_cannot_be(own: Any, names: list[str], text: str) -> None:
    with pytest.raises(ClientError) as raised:
        own.read_parameters(Names=names)
    assert raised.value.response["Error"]["Code"] == "ValidationException"
    assert text in raised.value.response["Error"]["Message"]


def test_another_account_and_another_region_have_names_of_their_own(ssm: Any, aws: Any, server: Any) -> None:
    put(ssm, "/a/x", "1")
    made = server.run(access.create_account(server.application.house, "stranger"))
    stranger = aws("pilothouse", access_key=made.access_key_id, secret=made.secret)
    for client in (stranger, aws("pilothouse", region="eu-north-1")):
        answer = client.read_parameters(Names=["/a/x"], WithDecryption=True)
        assert (answer["Parameters"], answer["InvalidParameters"]) == ([], ["/a/x"])
