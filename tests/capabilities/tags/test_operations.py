"""Tag operations through boto3, with parameters as the things that are tagged."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

Aws = Callable[..., Any]


@pytest.fixture
def ssm(aws: Aws) -> Any:
    client = aws("ssm")
    client.put_parameter(Name="/x", Value="v", Type="String")
    return client


def refusal(call: Callable[..., Any], /, **request: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**request)
    code: str = caught.value.response["Error"]["Code"]
    return code


def tags_of(ssm: Any, name: str = "/x") -> dict[str, str]:
    listed = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
    return {tag["Key"]: tag["Value"] for tag in listed}


def add(ssm: Any, tags: dict[str, str], name: str = "/x") -> None:
    ssm.add_tags_to_resource(
        ResourceType="Parameter",
        ResourceId=name,
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )


def test_adding_overwrites_the_same_key_and_removing_an_absent_one_is_fine(ssm: Any) -> None:
    add(ssm, {"Env": "Test", "Owner": "me"})
    add(ssm, {"Env": "Prod"}, name="x")
    assert tags_of(ssm) == {"Env": "Prod", "Owner": "me"}
    ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId="x", TagKeys=["Owner", "absent"])
    assert tags_of(ssm) == {"Env": "Prod"}
    ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId="x", TagKeys=["Env"])
    assert tags_of(ssm) == {}


def test_letters_of_any_script_and_an_empty_value(ssm: Any) -> None:
    add(ssm, {"Größe": "", "名前 _.:/=+-@": "값"})
    assert tags_of(ssm) == {"Größe": "", "名前 _.:/=+-@": "값"}


def test_a_resource_has_at_most_fifty_tags(ssm: Any) -> None:
    add(ssm, {f"k{number}": "v" for number in range(50)})
    add(ssm, {"k0": "again"})
    with pytest.raises(ClientError, match="TooManyTagsError"):
        add(ssm, {"one more": "v"})
    assert len(tags_of(ssm)) == 50
    assert tags_of(ssm)["k0"] == "again"


def test_reserved_and_doubled_keys_are_refused(ssm: Any) -> None:
    def refused(*keys: str) -> str:
        tags = [{"Key": key, "Value": "v"} for key in keys]
        return refusal(ssm.add_tags_to_resource, ResourceType="Parameter", ResourceId="/x", Tags=tags)

    assert refused("aws:x") == "ValidationException"
    assert refused("AWS:x") == "ValidationException"
    assert refused("a", "a") == "ValidationException"
    assert tags_of(ssm) == {}


@pytest.mark.parametrize(
    ("resource_type", "resource_id"),
    [("Parameter", "nope"), ("Parameter", "/mal//formed"), ("PatchBaseline", "pb-1")],
)
def test_unknown_resources_are_invalid_ids(ssm: Any, resource_type: str, resource_id: str) -> None:
    named = {"ResourceType": resource_type, "ResourceId": resource_id}
    assert refusal(ssm.list_tags_for_resource, **named) == "InvalidResourceId"
    assert refusal(ssm.remove_tags_from_resource, **named, TagKeys=["a"]) == "InvalidResourceId"
    assert refusal(ssm.add_tags_to_resource, **named, Tags=[{"Key": "a", "Value": "b"}]) == "InvalidResourceId"


def test_a_type_that_is_none_is_refused(ssm: Any) -> None:
    code = refusal(ssm.list_tags_for_resource, ResourceType="Spaceship", ResourceId="x")
    assert code in {"InvalidResourceType", "ValidationException"}
