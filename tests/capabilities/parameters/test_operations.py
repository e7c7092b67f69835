"""Parameters through boto3: what a client sees."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.runtime.clock import TestClock

Aws = Callable[..., Any]
ALREADY = "The parameter already exists. To overwrite this value, set the overwrite option in the request to true."


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


def refusal(call: Callable[..., Any], /, **request: Any) -> tuple[str, str]:
    """Code and text of the error that the call must give."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error.get("Message", "")


def put(ssm: Any, name: str, value: str = "v", kind: str = "String", **more: Any) -> Any:
    return ssm.put_parameter(Name=name, Value=value, Type=kind, **more)


def value_of(ssm: Any, name: str, **more: Any) -> str:
    text: str = ssm.get_parameter(Name=name, **more)["Parameter"]["Value"]
    return text


def test_a_secure_string_is_stored_and_read_back(ssm: Any) -> None:
    made = put(ssm, "/prod/db/password", "s3cret", "SecureString")
    assert (made["Version"], made["Tier"]) == (1, "Standard")
    hidden = value_of(ssm, "/prod/db/password")
    assert "s3cret" not in hidden
    assert b"s3cret" not in base64.b64decode(hidden, validate=True)
    assert value_of(ssm, "/prod/db/password", WithDecryption=True) == "s3cret"


def test_an_answer_has_exactly_the_members_of_the_service(ssm: Any) -> None:
    put(ssm, "/a/b", "x,y", "StringList", Description="d")
    parameter = ssm.get_parameter(Name="/a/b")["Parameter"]
    assert set(parameter) == {"Name", "Type", "Value", "Version", "LastModifiedDate", "ARN", "DataType"}
    assert parameter["ARN"].endswith(":parameter/a/b")
    assert parameter["DataType"] == "text"
    assert abs(parameter["LastModifiedDate"] - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_taken_name_needs_overwrite_and_keeps_what_is_left_out(ssm: Any) -> None:
    put(ssm, "x", "one", "SecureString", Description="about x", AllowedPattern="[a-z]+")
    assert refusal(ssm.put_parameter, Name="x", Value="two", Type="SecureString") == ("ParameterAlreadyExists", ALREADY)
    assert ssm.put_parameter(Name="x", Value="two", Overwrite=True)["Version"] == 2
    (described,) = ssm.describe_parameters()["Parameters"]
    assert described["Description"] == "about x"
    assert described["Type"] == "SecureString"
    assert described["KeyId"] == "alias/aws/ssm"
    assert described["AllowedPattern"] == "[a-z]+"
    assert described["Version"] == 2
    assert "Value" not in described
    assert refusal(ssm.put_parameter, Name="x", Value="NO", Overwrite=True)[0] == "ParameterPatternMismatchException"


def test_an_empty_description_and_pattern_clear_the_old_ones(ssm: Any) -> None:
    put(ssm, "x", "one", Description="d", AllowedPattern="[a-z]+")
    ssm.put_parameter(Name="x", Value="2", Overwrite=True, Description="", AllowedPattern="")
    (described,) = ssm.describe_parameters()["Parameters"]
    assert "Description" not in described
    assert "AllowedPattern" not in described


def test_overwrite_of_a_missing_name_creates_it_and_needs_a_type(ssm: Any) -> None:
    code, text = refusal(ssm.put_parameter, Name="x", Value="v", Overwrite=True)
    assert (code, text) == ("ValidationException", "A parameter type is required when you create a parameter.")
    assert put(ssm, "x", Overwrite=True)["Version"] == 1


def test_the_type_of_a_parameter_does_not_change(ssm: Any) -> None:
    put(ssm, "x")
    code, _ = refusal(ssm.put_parameter, Name="x", Value="v", Type="SecureString", Overwrite=True)
    assert code == "HierarchyTypeMismatchException"


def test_selectors_read_older_versions(ssm: Any) -> None:
    put(ssm, "x", "1")
    for number in "23":
        ssm.put_parameter(Name="x", Value=number, Overwrite=True)
    parameter = ssm.get_parameter(Name="x:2")["Parameter"]
    assert (parameter["Name"], parameter["Value"], parameter["Version"], parameter["Selector"]) == ("x", "2", 2, ":2")
    assert ssm.get_parameter(Name="x:3")["Parameter"]["Selector"] == ":3"
    assert "Selector" not in ssm.get_parameter(Name="x")["Parameter"]
    for selector in ("9", "nolabel", "99999999999999999999", "0", "2.5", "-1"):
        assert refusal(ssm.get_parameter, Name=f"x:{selector}") == (
            "ParameterVersionNotFound",
            f"Systems Manager could not find version {selector} of x. Verify the version and try again.",
        )
    assert refusal(ssm.get_parameter, Name="x:2:3") == ("ParameterNotFound", "Parameter x:2:3 not found.")
    assert refusal(ssm.get_parameter, Name="y:2") == ("ParameterNotFound", "Parameter y:2 not found.")


def test_labels_move_and_select(ssm: Any) -> None:
    put(ssm, "x", "1")
    ssm.put_parameter(Name="x", Value="2", Overwrite=True)
    ssm.label_parameter_version(Name="x", ParameterVersion=1, Labels=["prod"])
    assert value_of(ssm, "x:prod") == "1"
    assert ssm.label_parameter_version(Name="x", Labels=["prod"])["ParameterVersion"] == 2
    history = ssm.get_parameter_history(Name="x")["Parameters"]
    assert [(each["Version"], each["Labels"]) for each in history] == [(1, []), (2, ["prod"])]
    selected = ssm.get_parameter(Name="x:prod")["Parameter"]
    assert (selected["Value"], selected["Selector"]) == ("2", ":prod")


def test_bad_labels_are_answered_and_good_ones_attached(ssm: Any) -> None:
    put(ssm, "x")
    answer = ssm.label_parameter_version(Name="x", Labels=["1abc", "ok", "AWS-x", "ssmx", "with blank"])
    assert answer["InvalidLabels"] == ["1abc", "AWS-x", "ssmx", "with blank"]
    assert ssm.get_parameter_history(Name="x")["Parameters"][0]["Labels"] == ["ok"]
    assert refusal(ssm.label_parameter_version, Name="x", ParameterVersion=7, Labels=["a"])[0] == (
        "ParameterVersionNotFound"
    )
    assert refusal(ssm.label_parameter_version, Name="y", Labels=["a"]) == (
        "ParameterNotFound",
        "Parameter y not found.",
    )


def test_a_version_has_at_most_ten_labels(ssm: Any) -> None:
    put(ssm, "x")
    ssm.label_parameter_version(Name="x", Labels=[f"l{n}" for n in range(6)])
    code, _ = refusal(ssm.label_parameter_version, Name="x", Labels=[f"m{n}" for n in range(5)])
    assert code == "ParameterVersionLabelLimitExceeded"
    assert len(ssm.get_parameter_history(Name="x")["Parameters"][0]["Labels"]) == 6
    ssm.label_parameter_version(Name="x", Labels=["l0", "l1", *(f"m{n}" for n in range(4))])
    assert len(ssm.get_parameter_history(Name="x")["Parameters"][0]["Labels"]) == 10


def test_unlabel_takes_off_only_what_sits_on_that_version(ssm: Any) -> None:
    put(ssm, "x", "1")
    ssm.label_parameter_version(Name="x", Labels=["a", "b"])
    answer = ssm.unlabel_parameter_version(Name="x", ParameterVersion=1, Labels=["a", "c"])
    assert (answer["RemovedLabels"], answer["InvalidLabels"]) == (["a"], ["c"])
    assert refusal(ssm.get_parameter, Name="x:a")[0] == "ParameterVersionNotFound"
    assert value_of(ssm, "x:b") == "1"


def test_get_parameters_answers_unknown_names_beside_the_good_ones(ssm: Any) -> None:
    put(ssm, "b", "1")
    put(ssm, "/a/x", "2", "SecureString")
    ssm.put_parameter(Name="b", Value="3", Overwrite=True)
    answer = ssm.get_parameters(Names=["b", "nope", "b:1", "b:7", "/a/x", "b", "a:1:2"], WithDecryption=True)
    assert [(each["Name"], each["Value"], each.get("Selector")) for each in answer["Parameters"]] == [
        ("/a/x", "2", None),
        ("b", "3", None),
        ("b", "1", ":1"),
    ]
    assert answer["InvalidParameters"] == ["nope", "b:7", "a:1:2"]
    empty = ssm.get_parameters(Names=["nope"])
    assert empty["Parameters"] == []
    assert ssm.get_parameters(Names=["b"])["InvalidParameters"] == []
    assert refusal(ssm.get_parameters, Names=["b", "/a//x"])[0] == "ValidationException"


def test_one_parameter_has_two_spellings(ssm: Any) -> None:
    put(ssm, "/x", "v")
    assert refusal(ssm.put_parameter, Name="x", Value="w", Type="String")[0] == "ParameterAlreadyExists"
    assert ssm.get_parameter(Name="x")["Parameter"]["Name"] == "x"
    found = ssm.get_parameter(Name="/x")["Parameter"]
    assert found["Name"] == "/x"
    assert found["ARN"].endswith(":parameter/x")
    assert ssm.get_parameter(Name=found["ARN"])["Parameter"]["Name"] == "/x"
    ssm.delete_parameter(Name="x")
    assert refusal(ssm.get_parameter, Name="/x") == ("ParameterNotFound", "Parameter /x not found.")


def test_arns_of_this_account_and_region_are_names(ssm: Any, aws: Aws) -> None:
    put(ssm, "/a/b", "1")
    ssm.put_parameter(Name="/a/b", Value="2", Overwrite=True)
    arn = ssm.get_parameter(Name="/a/b")["Parameter"]["ARN"]
    assert ssm.get_parameter(Name=f"{arn}:1")["Parameter"]["Value"] == "1"
    assert ssm.get_parameter(Name=arn)["Parameter"]["Name"] == "/a/b"
    assert len(ssm.get_parameter_history(Name=arn)["Parameters"]) == 2
    assert refusal(aws("ssm", region="us-east-1").get_parameter, Name=arn)[0] == "ParameterNotFound"
    assert refusal(ssm.get_parameter, Name=arn.replace(":parameter/", ":document/"))[0] == "ParameterNotFound"
    assert refusal(ssm.delete_parameter, Name=arn)[0] == "ValidationException"


def test_regions_keep_parameters_apart(ssm: Any, aws: Aws) -> None:
    put(ssm, "x", "here", "SecureString")
    elsewhere = aws("ssm", region="us-east-1")
    assert refusal(elsewhere.get_parameter, Name="x")[0] == "ParameterNotFound"
    assert elsewhere.describe_parameters()["Parameters"] == []
    assert put(elsewhere, "x", "there", "SecureString")["Version"] == 1
    assert value_of(ssm, "x", WithDecryption=True) == "here"


def test_by_path_gives_descendants_never_the_path_itself(ssm: Any) -> None:
    for name in ("/a", "/a/b", "/a/b/c", "/ab/c", "root"):
        put(ssm, name)

    def names(path: str, **more: Any) -> list[str]:
        return [each["Name"] for each in ssm.get_parameters_by_path(Path=path, **more)["Parameters"]]

    assert names("/a") == ["/a/b"]
    assert names("/a/") == ["/a/b"]
    assert names("/a", Recursive=True) == ["/a/b", "/a/b/c"]
    assert sorted(names("/")) == ["/a", "root"]
    assert sorted(names("/", Recursive=True)) == ["/a", "/a/b", "/a/b/c", "/ab/c", "root"]
    assert names("/aws/service/ami-amazon-linux-latest", Recursive=True) == []
    for malformed in ("x", "//", "/###", "/a//b"):
        assert refusal(ssm.get_parameters_by_path, Path=malformed)[0] == "ValidationException"


def test_pages_by_path_have_ten_and_repeat_nothing(ssm: Any) -> None:
    for number in range(25):
        put(ssm, f"/p/{number}", str(number), "SecureString")
    pages = list(ssm.get_paginator("get_parameters_by_path").paginate(Path="/p", WithDecryption=True))
    assert [len(page["Parameters"]) for page in pages] == [10, 10, 5]
    found = [each["Name"] for page in pages for each in page["Parameters"]]
    assert sorted(found) == sorted(f"/p/{number}" for number in range(25))
    assert all(each["Name"] == f"/p/{each['Value']}" for page in pages for each in page["Parameters"])
    exactly = list(ssm.get_paginator("get_parameters_by_path").paginate(Path="/p", PaginationConfig={"PageSize": 5}))
    assert [len(page["Parameters"]) for page in exactly] == [5] * 5


def test_by_path_filters_by_type_key_and_label(ssm: Any) -> None:
    put(ssm, "/a/s", "1")
    put(ssm, "/a/t", "2", "SecureString")
    put(ssm, "/a/b/u", "3", "SecureString")
    ssm.put_parameter(Name="/a/s", Value="4", Overwrite=True)
    ssm.label_parameter_version(Name="/a/s", ParameterVersion=1, Labels=["old"])
    ssm.label_parameter_version(Name="/a/b/u", Labels=["old", "new"])

    def found(recursive: bool, *filters: dict[str, Any]) -> list[tuple[str, str, str | None]]:
        answer = ssm.get_parameters_by_path(
            Path="/a", Recursive=recursive, WithDecryption=True, ParameterFilters=list(filters)
        )
        return [(each["Name"], each["Value"], each.get("Selector")) for each in answer["Parameters"]]

    secure = {"Key": "Type", "Values": ["SecureString"]}
    old = {"Key": "Label", "Option": "Equals", "Values": ["old"]}
    assert found(True, secure) == [("/a/b/u", "3", None), ("/a/t", "2", None)]
    assert found(False, {"Key": "KeyId", "Option": "BeginsWith", "Values": ["alias/aws"]}) == [("/a/t", "2", None)]
    assert found(False, old) == [("/a/s", "1", ":old")]
    assert found(True, {"Key": "Label", "Values": ["old", "new"]}) == [
        ("/a/b/u", "3", ":new"),
        ("/a/b/u", "3", ":old"),
        ("/a/s", "1", ":old"),
    ]
    assert found(True, old, secure) == [("/a/b/u", "3", ":old")]
    assert refusal(ssm.get_parameters_by_path, Path="/a", ParameterFilters=[{"Key": "Name", "Values": ["x"]}]) == (
        "InvalidFilterKey",
        "The following filter key is not valid: Name. Valid filter keys include: [Type, KeyId].",
    )


def test_labelled_pages_repeat_nothing(ssm: Any) -> None:
    for number in range(7):
        put(ssm, f"/p/{number}")
        ssm.label_parameter_version(Name=f"/p/{number}", Labels=["a", "b", "c"])
    pages = ssm.get_paginator("get_parameters_by_path").paginate(
        Path="/p", ParameterFilters=[{"Key": "Label", "Values": ["a", "c"]}], PaginationConfig={"PageSize": 3}
    )
    found = [(each["Name"], each["Selector"]) for page in pages for each in page["Parameters"]]
    assert found == [(f"/p/{number}", f":{label}") for number in range(7) for label in "ac"]


def test_tokens_serve_their_own_query_only(ssm: Any) -> None:
    for number in range(12):
        put(ssm, f"/p/{number}")
    token = ssm.get_parameters_by_path(Path="/p")["NextToken"]
    assert refusal(ssm.get_parameters_by_path, Path="/", NextToken=token)[0] == "InvalidNextToken"
    assert refusal(ssm.get_parameters_by_path, Path="/p", NextToken="x" + token)[0] == "InvalidNextToken"
    assert refusal(ssm.describe_parameters, NextToken=token)[0] == "InvalidNextToken"
    assert refusal(ssm.get_parameter_history, Name="/p/1", NextToken=token)[0] == "InvalidNextToken"


def test_history_shows_every_version_ascending_and_in_pages(ssm: Any) -> None:
    put(ssm, "x", "v 1", "SecureString", Description="first")
    for number in range(2, 8):
        ssm.put_parameter(Name="x", Value=f"v {number}", Overwrite=True, Description=f"d{number}")
    history = ssm.get_parameter_history(Name="x", WithDecryption=True)["Parameters"]
    assert [each["Value"] for each in history] == [f"v {number}" for number in range(1, 8)]
    assert history[0]["Description"] == "first"
    assert all(each["Policies"] == [] and each["Labels"] == [] and each["Tier"] == "Standard" for each in history)
    assert all(each["KeyId"] == "alias/aws/ssm" and each["LastModifiedUser"].endswith(":root") for each in history)
    assert not any(each["Value"].startswith("v ") for each in ssm.get_parameter_history(Name="x")["Parameters"])
    pages = ssm.get_paginator("get_parameter_history").paginate(Name="x", PaginationConfig={"PageSize": 3})
    assert [[each["Version"] for each in page["Parameters"]] for page in pages] == [[1, 2, 3], [4, 5, 6], [7]]
    assert refusal(ssm.get_parameter_history, Name="nope") == ("ParameterNotFound", "Parameter nope not found.")


def test_standard_takes_4096_bytes_and_intelligent_tiering_more(ssm: Any) -> None:
    put(ssm, "fits", "é" * 2048)
    code, text = refusal(ssm.put_parameter, Name="x", Value="v" * 4097, Type="String")
    assert code == "ValidationException"
    assert text.startswith("Standard tier parameters support a maximum parameter value of 4096 characters.")
    assert put(ssm, "x", "v" * 4097, Tier="Intelligent-Tiering")["Tier"] == "Advanced"
    assert put(ssm, "y", "v", Tier="Intelligent-Tiering")["Tier"] == "Standard"
    assert put(ssm, "z", "é" * 4096, "SecureString", Tier="Advanced")["Tier"] == "Advanced"
    assert value_of(ssm, "z", WithDecryption=True) == "é" * 4096
    assert refusal(ssm.put_parameter, Name="w", Value="v" * 8193, Type="String", Tier="Advanced")[0] == (
        "ValidationException"
    )


def test_an_advanced_parameter_never_goes_back_to_standard(ssm: Any) -> None:
    put(ssm, "x", Tier="Advanced")
    code, text = refusal(ssm.put_parameter, Name="x", Value="v", Tier="Standard", Overwrite=True)
    assert code == "ValidationException"
    assert "You can't downgrade a parameter from the advanced-parameter tier" in text
    assert ssm.put_parameter(Name="x", Value="v", Overwrite=True)["Tier"] == "Advanced"
    assert ssm.put_parameter(Name="x", Value="v", Overwrite=True, Tier="Intelligent-Tiering")["Tier"] == "Advanced"
    put(ssm, "y")
    assert ssm.put_parameter(Name="y", Value="v", Overwrite=True, Tier="Advanced")["Tier"] == "Advanced"


def test_the_allowed_pattern_holds_for_the_whole_value(ssm: Any) -> None:
    assert refusal(ssm.put_parameter, Name="x", Value="abc", Type="String", AllowedPattern=r"^\d{1,4}$") == (
        "ParameterPatternMismatchException",
        r"Parameter value, cannot be validated against allowedPattern: ^\d{1,4}$",
    )
    put(ssm, "x", "1234", AllowedPattern=r"\d{1,4}")
    assert refusal(ssm.put_parameter, Name="x", Value="12345", Overwrite=True)[0] == "ParameterPatternMismatchException"
    for broken in ("(", "(?=x)y", r"(a)\1", "a{0,1000}" * 20):
        assert refusal(ssm.put_parameter, Name="y", Value="v", Type="String", AllowedPattern=broken)[0] == (
            "InvalidAllowedPatternException"
        )


def test_the_hundred_and_first_version_drops_the_oldest_unless_it_is_labelled(ssm: Any) -> None:
    put(ssm, "x", "1")
    ssm.label_parameter_version(Name="x", Labels=["keep"])
    for number in range(2, 101):
        ssm.put_parameter(Name="x", Value=str(number), Overwrite=True)
    code, text = refusal(ssm.put_parameter, Name="x", Value="101", Overwrite=True)
    assert code == "ParameterMaxVersionLimitExceeded"
    assert text == (
        "You attempted to create a new version of x by calling the PutParameter API with the overwrite flag. Version "
        "1, the oldest version, can't be deleted because it has a label associated with it. Move the label to another "
        "version of the parameter, and try again."
    )
    assert value_of(ssm, "x") == "100"
    ssm.label_parameter_version(Name="x", ParameterVersion=50, Labels=["keep"])
    assert ssm.put_parameter(Name="x", Value="101", Overwrite=True)["Version"] == 101
    assert refusal(ssm.get_parameter, Name="x:1")[0] == "ParameterVersionNotFound"
    assert value_of(ssm, "x:2") == "2"
    history = ssm.get_paginator("get_parameter_history").paginate(Name="x")
    assert [each["Version"] for page in history for each in page["Parameters"]] == list(range(2, 102))


def test_the_provider_s_namespace_is_closed(ssm: Any) -> None:
    for name in ("/aws/foo/bar", "/AWS_test/x", "/aws/service/x"):
        assert refusal(ssm.put_parameter, Name=name, Value="v", Type="String") == (
            "AccessDeniedException",
            f"No access to reserved parameter name: {name}.",
        )
        assert refusal(ssm.delete_parameter, Name=name)[0] == "AccessDeniedException"
    assert refusal(ssm.get_parameter, Name="/aws/service/x") == (
        "ParameterNotFound",
        "Parameter /aws/service/x not found.",
    )


def test_references_to_secrets_that_are_not_there(ssm: Any) -> None:
    name = "/aws/reference/secretsmanager/app"
    assert refusal(ssm.get_parameter, Name=name) == (
        "ValidationException",
        "WithDecryption flag must be True for retrieving a Secret Manager secret.",
    )
    code, text = refusal(ssm.get_parameter, Name=name, WithDecryption=True)
    assert code == "ParameterNotFound"
    assert text.endswith(f"Secret {name} not found.")
    assert ssm.get_parameters(Names=[name], WithDecryption=True)["InvalidParameters"] == [name]


def test_describe_filters_by_part_of_the_name(ssm: Any) -> None:
    for name in ("/prod/db/url", "mydb", "/prod/web"):
        put(ssm, name)

    def found(*filters: dict[str, Any]) -> list[str]:
        return [each["Name"] for each in ssm.describe_parameters(ParameterFilters=list(filters))["Parameters"]]

    assert sorted(found({"Key": "Name", "Option": "Contains", "Values": ["db"]})) == ["/prod/db/url", "mydb"]
    assert found(
        {"Key": "Name", "Option": "Contains", "Values": ["db", "web"]}, {"Key": "Path", "Values": ["/prod"]}
    ) == ["/prod/web"]
    assert found({"Key": "Name", "Option": "BeginsWith", "Values": ["prod"]}) == ["/prod/db/url", "/prod/web"]
    assert found({"Key": "Name", "Values": ["/mydb", "prod/web"]}) == ["mydb", "/prod/web"]
    assert found({"Key": "Path", "Option": "Recursive", "Values": ["/prod"]}) == ["/prod/db/url", "/prod/web"]
    legacy = ssm.describe_parameters(Filters=[{"Key": "Name", "Values": ["/prod/d"]}])["Parameters"]
    assert [each["Name"] for each in legacy] == ["/prod/db/url"]


def test_describe_filters_by_tag_tier_and_data_type(ssm: Any) -> None:
    put(ssm, "/a", Tags=[{"Key": "Env", "Value": "Prod"}])
    put(ssm, "/b", Tags=[{"Key": "Env", "Value": "Test"}], Tier="Advanced")
    put(ssm, "/c", "7", DataType="integer")

    def found(key: str, values: list[str] | None = None, option: str | None = None) -> list[str]:
        one: dict[str, Any] = {"Key": key}
        if values is not None:
            one["Values"] = values
        if option is not None:
            one["Option"] = option
        return [each["Name"] for each in ssm.describe_parameters(ParameterFilters=[one])["Parameters"]]

    assert found("tag:Env", ["Prod"]) == ["/a"]
    assert found("tag:Env", ["Pr", "Te"], "BeginsWith") == ["/a", "/b"]
    assert found("tag:Env") == ["/a", "/b"]
    assert found("tag:Owner") == []
    assert found("Tier", ["Advanced"]) == ["/b"]
    assert found("DataType", ["integer"]) == ["/c"]
    assert found("Type", ["String"]) == ["/a", "/b", "/c"]
    assert ssm.describe_parameters(Shared=True)["Parameters"] == []


def test_tags_come_with_the_creation_only(ssm: Any) -> None:
    tags = [{"Key": "Env", "Value": "Prod"}]
    put(ssm, "/x", Tags=tags)
    for spelling in ("/x", "x"):
        listed = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=spelling)
        assert listed["TagList"] == tags
    code, text = refusal(ssm.put_parameter, Name="/x", Value="v", Overwrite=True, Tags=tags)
    assert code == "ValidationException"
    assert text.startswith("Invalid request: tags and overwrite can't be used together.")
    ssm.delete_parameter(Name="/x")
    put(ssm, "/x")
    assert ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/x")["TagList"] == []


def test_a_failed_creation_leaves_nothing(ssm: Any) -> None:
    many = [{"Key": f"k{number}", "Value": ""} for number in range(51)]
    assert refusal(ssm.put_parameter, Name="x", Value="v", Type="String", Tags=many)[0] == "TooManyTagsError"
    assert ssm.describe_parameters()["Parameters"] == []


def test_delete_parameters_answers_both_lists(ssm: Any) -> None:
    put(ssm, "good")
    answer = ssm.delete_parameters(Names=["good", "bad", "/mal//formed", "/good", "good"])
    assert answer["DeletedParameters"] == ["/good"]
    assert answer["InvalidParameters"] == ["good", "bad", "/mal//formed"]
    assert refusal(ssm.delete_parameter, Name="good") == ("ParameterNotFound", "Parameter good not found.")


def test_a_recreated_parameter_starts_anew(ssm: Any) -> None:
    put(ssm, "x", "old", "SecureString")
    ssm.put_parameter(Name="x", Value="older", Overwrite=True)
    ssm.label_parameter_version(Name="x", Labels=["l"])
    ssm.delete_parameter(Name="x")
    assert put(ssm, "x", "new")["Version"] == 1
    assert len(ssm.get_parameter_history(Name="x")["Parameters"]) == 1
    assert refusal(ssm.get_parameter, Name="x:l")[0] == "ParameterVersionNotFound"


def test_values_that_are_refused(ssm: Any) -> None:
    assert refusal(ssm.put_parameter, Name="x", Value="", Type="String")[1] == (
        "1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length "
        "greater than or equal to 1."
    )
    assert refusal(ssm.put_parameter, Name="x", Value="a {{ssm:b}} c", Type="String")[1] == (
        'Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.'
    )
    assert refusal(ssm.put_parameter, Name="x", Value="v", Type="String", DataType="Text")[1] == (
        "The following data type is not supported: Text (Data type names are all lowercase.)"
    )
    assert (
        refusal(ssm.put_parameter, Name="x", Value="no", Type="String", DataType="integer")[0] == "ValidationException"
    )
    assert refusal(ssm.put_parameter, Name="x", Value="a\x00b", Type="String")[0] == "ValidationException"
    assert refusal(ssm.put_parameter, Name="x", Value="{}", Type="String", DataType="json")[0] == "ValidationException"
    assert put(ssm, "x", "{}", DataType="json", Tier="Intelligent-Tiering")["Tier"] == "Advanced"


def test_a_key_that_is_not_there_is_an_invalid_key(ssm: Any) -> None:
    for key in ("alias/none", "00000000-0000-0000-0000-000000000000", "nonsense"):
        code, _ = refusal(ssm.put_parameter, Name="x", Value="v", Type="SecureString", KeyId=key)
        assert code == "InvalidKeyId"
    put(ssm, "x", "v", "SecureString", KeyId="alias/aws/ssm")
    assert value_of(ssm, "x", WithDecryption=True) == "v"


def test_policies_are_kept_until_they_are_replaced_or_cleared(ssm: Any, clock: TestClock) -> None:
    later = (clock.now() + timedelta(days=3)).isoformat(timespec="milliseconds")
    expiration = f'{{"Type":"Expiration","Version":"1.0","Attributes":{{"Timestamp":"{later}"}}}}'
    assert refusal(ssm.put_parameter, Name="x", Value="v", Type="String", Policies=f"[{expiration}]")[0] == (
        "ValidationException"
    )
    put(ssm, "x", Policies=f"[{expiration}]", Tier="Intelligent-Tiering")
    ssm.put_parameter(Name="x", Value="w", Overwrite=True)
    (described,) = ssm.describe_parameters()["Parameters"]
    assert described["Policies"] == [{"PolicyText": expiration, "PolicyType": "Expiration", "PolicyStatus": "Pending"}]
    ssm.put_parameter(Name="x", Value="w", Overwrite=True, Policies="[{}]")
    (described,) = ssm.describe_parameters()["Parameters"]
    assert described["Policies"] == []


def test_overwrites_at_once_get_versions_without_gaps(ssm: Any) -> None:
    put(ssm, "x", "0", "SecureString")
    with ThreadPoolExecutor(8) as threads:
        versions = list(
            threads.map(lambda n: ssm.put_parameter(Name="x", Value=str(n), Overwrite=True)["Version"], range(40))
        )
    assert sorted(versions) == list(range(2, 42))
    history = ssm.get_parameter_history(Name="x", WithDecryption=True)["Parameters"]
    assert [each["Version"] for each in history] == list(range(1, 42))
    for number, version in enumerate(versions):
        assert history[version - 1]["Value"] == str(number)


def test_creations_at_once_make_one_parameter(ssm: Any) -> None:
    def create(number: int) -> str:
        try:
            put(ssm, "/x", str(number))
        except ClientError as error:
            code: str = error.response["Error"]["Code"]
            return code
        return "made"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create, range(24)))
    assert sorted(answers) == ["ParameterAlreadyExists"] * 23 + ["made"]
    assert value_of(ssm, "/x") == str(answers.index("made"))


def test_deletes_in_opposite_orders_all_end(ssm: Any) -> None:
    names = [f"/p/{number}" for number in range(10)]
    for _ in range(5):
        for name in names:
            put(ssm, name)
        with ThreadPoolExecutor(2) as threads:
            forth = threads.submit(ssm.delete_parameters, Names=names)
            back = threads.submit(ssm.delete_parameters, Names=names[::-1])
        deleted = forth.result()["DeletedParameters"] + back.result()["DeletedParameters"]
        assert sorted(deleted) == names
