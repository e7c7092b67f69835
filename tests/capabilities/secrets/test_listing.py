"""ListSecrets and BatchGetSecretValue: order, pages, filters by words and prefixes, one error for each bad secret."""

import json
from typing import Any

import pytest

from pilothouse.capabilities.secrets.filters import words
from tests.capabilities.secrets.answers import bare, refused


def names(secrets: Any, *filters: tuple[str, list[str]], **more: Any) -> list[str]:
    asked = [{"Key": key, "Values": values} for key, values in filters]
    return [each["Name"] for each in secrets.list_secrets(Filters=asked, **more)["SecretList"]]


def test_secrets_are_listed_by_age_in_pages(secrets: Any, server: Any) -> None:
    for name in ("c", "a", "b"):
        secrets.create_secret(Name=name, SecretString=name, Tags=[{"Key": "t", "Value": name}])
        server.advance(seconds=2)
    first = secrets.list_secrets(MaxResults=2)
    assert [each["Name"] for each in first["SecretList"]] == ["c", "a"]
    last = secrets.list_secrets(MaxResults=2, NextToken=first["NextToken"])
    assert [each["Name"] for each in last["SecretList"]] == ["b"]
    assert "NextToken" not in last
    entry = first["SecretList"][0]
    assert set(entry) == {"ARN", "Name", "LastChangedDate", "CreatedDate", "Tags", "SecretVersionsToStages"}
    assert list(entry["SecretVersionsToStages"].values()) == [["AWSCURRENT"]]
    assert names(secrets, SortBy="name") == ["a", "b", "c"]
    assert names(secrets, SortBy="name", SortOrder="desc") == ["c", "b", "a"]
    secrets.get_secret_value(SecretId="a")
    assert names(secrets, SortBy="last-accessed-date", SortOrder="desc")[0] == "a"
    secrets.update_secret(SecretId="c", Description="new")
    assert names(secrets, SortBy="last-changed-date", SortOrder="desc")[0] == "c"
    page = secrets.list_secrets(MaxResults=1, SortBy="name", SortOrder="desc")
    second = secrets.list_secrets(MaxResults=1, SortBy="name", SortOrder="desc", NextToken=page["NextToken"])
    assert second["SecretList"][0]["Name"] == "b"
    with refused("InvalidNextTokenException"):
        secrets.list_secrets(MaxResults=1, NextToken=page["NextToken"])
    secrets.delete_secret(SecretId="b")
    assert names(secrets) == ["c", "a"]
    assert names(secrets, IncludePlannedDeletion=True) == ["c", "a", "b"]


def test_filters(secrets: Any) -> None:
    texts = {"one": "a secret", "two": "an secret", "three": "asecret", "four": "thesecret", "five": "one two"}
    for name, text in texts.items():
        secrets.create_secret(Name=name, Description=text)
    assert names(secrets, ("description", ["a secret"])) == ["one", "two"]
    assert names(secrets, ("description", ["a"])) == ["one", "two", "three"]
    assert names(secrets, ("description", ["o t"])) == ["five"]
    assert names(secrets, ("description", ["!a"])) == ["four", "five"]
    assert len(names(secrets, ("description", ["!c"]))) == 5
    assert names(secrets, ("name", ["t"])) == ["two", "three"]
    assert names(secrets, ("name", ["T"])) == []
    assert names(secrets, ("name", ["t"]), ("name", ["th", "o"])) == ["three"]
    secrets.tag_resource(SecretId="one", Tags=[{"Key": "env", "Value": "prod"}])
    assert names(secrets, ("tag-key", ["env"])) == ["one"]
    assert names(secrets, ("tag-key", ["!env"])) == ["two", "three", "four", "five"]
    assert names(secrets, ("tag-value", ["pr"])) == ["one"]
    assert names(secrets, ("all", ["PROD"])) == ["one"]
    assert names(secrets, ("all", ["+"])) == []
    with refused("InvalidParameterException", "Invalid filter key"):
        secrets.list_secrets(Filters=[{"Values": ["x"]}])
    with refused("ValidationException"):
        names(secrets, ("name", ["*"]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SecretFTag", ("secret", "f", "tag")),
        ("COMPANYthings", ("compan", "ythings")),
        ("Thirdsecret", ("thirdsecret",)),
        ("one/two-three.four", ("one", "two", "three", "four")),
        ("+", ()),
    ],
)
def test_words(text: str, found: tuple[str, ...]) -> None:
    assert words(text) == found


def test_a_batch_gives_what_it_can(secrets: Any) -> None:
    for name in ("a", "b", "gone"):
        secrets.create_secret(Name=name, SecretString=name.upper())
    secrets.delete_secret(SecretId="gone")
    answer = secrets.batch_get_secret_value(SecretIdList=["b", "nothing", "a", "gone", "in valid"])
    assert [each["SecretString"] for each in answer["SecretValues"]] == ["B", "A"]
    assert [(each["SecretId"], each["ErrorCode"]) for each in answer["Errors"]] == [
        ("nothing", "ResourceNotFoundException"),
        ("gone", "InvalidRequestException"),
        ("in valid", "ValidationException"),
    ]
    assert answer["Errors"][1]["Message"] == (
        "You tried to perform the operation on a secret that's currently marked deleted."
    )
    page = secrets.batch_get_secret_value(Filters=[{"Key": "name", "Values": ["a", "b"]}], MaxResults=1)
    assert [each["Name"] for each in page["SecretValues"]] == ["a"]
    rest = secrets.batch_get_secret_value(
        Filters=[{"Key": "name", "Values": ["a", "b"]}], MaxResults=1, NextToken=page["NextToken"]
    )
    assert [each["Name"] for each in rest["SecretValues"]] == ["b"]
    secrets.create_secret(Name="empty")
    with refused("ResourceNotFoundException"):
        secrets.batch_get_secret_value(Filters=[{"Key": "name", "Values": ["e"]}])
    both = "Either 'SecretIdList' or 'Filters' must be provided, but not both."
    with refused("InvalidParameterException", both):
        secrets.batch_get_secret_value()
    with refused("InvalidParameterException", both):
        secrets.batch_get_secret_value(SecretIdList=["a"], Filters=[{"Key": "name", "Values": ["a"]}])
    with refused(
        "InvalidParameterException",
        "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.",
    ):
        secrets.batch_get_secret_value(SecretIdList=["a"], MaxResults=1)


def test_each_secret_of_a_batch_is_recorded_without_its_value(secrets: Any, aws: Any, server: Any) -> None:
    secrets.create_secret(Name="a", SecretString="canary-71c2")
    secrets.batch_get_secret_value(SecretIdList=["a", "nothing"])
    server.advance(seconds=5)
    events = aws("cloudtrail").lookup_events()["Events"]
    batch = [each for each in events if each["EventName"] in ("BatchGetSecretValue", "GetSecretValue")]
    assert [each["EventName"] for each in batch].count("GetSecretValue") == 2
    assert "canary" not in json.dumps([each["CloudTrailEvent"] for each in events])


def test_random_passwords(secrets: Any) -> None:
    def made(**asked: Any) -> str:
        return secrets.get_random_password(**asked)["RandomPassword"]

    assert len(made()) == 32
    twenty = made(PasswordLength=20, ExcludePunctuation=True)
    assert len(twenty) == 20
    assert twenty.isalnum()
    assert any(each.isupper() for each in twenty)
    assert any(each.islower() for each in twenty)
    assert any(each.isdigit() for each in twenty)
    assert " " in made(PasswordLength=4, IncludeSpace=True)
    assert not set(made(PasswordLength=4096, ExcludeCharacters="aeiou0")) & set("aeiou0")
    short = "Password length is too short based on the required types."
    with refused("InvalidParameterException", short):
        made(PasswordLength=3)
    with refused("ValidationException"):
        made(PasswordLength=5000)
    with refused("InvalidParameterException"):
        made(ExcludeNumbers=True, ExcludePunctuation=True, ExcludeUppercase=True, ExcludeLowercase=True)
    digits = made(
        PasswordLength=5, ExcludePunctuation=True, ExcludeUppercase=True, ExcludeLowercase=True,
        RequireEachIncludedType=False,
    )  # fmt: skip
    assert digits.isdigit()
    assert bare(secrets.get_random_password(PasswordLength=4)).keys() == {"RandomPassword"}
