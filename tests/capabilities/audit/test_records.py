"""One record for each act, in CloudTrail's form, without a secret."""

import asyncio
import json
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.capabilities.audit import sealing
from pilothouse.capabilities.audit.sealing import trail_of
from tests.capabilities.audit.test_chain import act, rows, verified, written
from tests.conftest import Aws, Server

SECRET = "correct-horse-battery-staple"
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"


def events(aws: Aws, **attribute: str) -> list[dict[str, Any]]:
    """The records of the account, oldest first."""
    asked = [{"AttributeKey": key, "AttributeValue": value} for key, value in attribute.items()]
    pages = aws("cloudtrail").get_paginator("lookup_events").paginate(LookupAttributes=asked)
    return [json.loads(each["CloudTrailEvent"]) for page in pages for each in page["Events"]][::-1]


def names(aws: Aws, **attribute: str) -> list[str]:
    return [each["eventName"] for each in events(aws, **attribute)]


def test_each_change_gives_one_record_with_the_request_id_of_its_answer(aws: Aws) -> None:
    answer = aws("ssm").put_parameter(Name="/app/db", Value=SECRET, Type="SecureString", Description="the database")
    (event,) = events(aws)
    account = event["recipientAccountId"]
    arn = f"arn:aws:ssm:eu-west-1:{account}:parameter/app/db"
    assert event["requestID"] == answer["ResponseMetadata"]["RequestId"]
    assert event["userIdentity"]["type"] == "Root"
    assert event["userIdentity"]["arn"] == f"arn:aws:iam::{account}:root"
    assert (event["eventSource"], event["eventName"]) == ("ssm.amazonaws.com", "PutParameter")
    assert (event["awsRegion"], event["readOnly"], event["eventType"]) == ("eu-west-1", False, "AwsApiCall")
    assert event["requestParameters"] == {
        "name": "/app/db",
        "value": HIDDEN,
        "type": "SecureString",
        "description": "the database",
    }
    assert event["responseElements"] == {"version": 1, "tier": "Standard"}
    assert event["resources"] == [{"ARN": arn, "accountId": account, "type": "AWS::SSM::Parameter"}]
    assert event["sourceIPAddress"] == "127.0.0.1"
    assert "Botocore" in event["userAgent"] or "Boto3" in event["userAgent"]
    assert "errorCode" not in event


def test_reads_of_secrets_are_recorded_and_other_reads_are_not(aws: Aws) -> None:
    ssm = aws("ssm")
    ssm.put_parameter(Name="/s", Value=SECRET, Type="SecureString")
    ssm.put_parameter(Name="/p", Value="plain", Type="String")
    ssm.get_parameter(Name="/s")  # the ciphertext
    ssm.get_parameter(Name="/p", WithDecryption=True)
    ssm.describe_parameters()
    assert names(aws) == ["PutParameter", "PutParameter"]
    ssm.get_parameter(Name="/s", WithDecryption=True)
    ssm.get_parameters(Names=["/s", "/p"], WithDecryption=True)
    ssm.get_parameters_by_path(Path="/", WithDecryption=True)
    ssm.get_parameter_history(Name="/s", WithDecryption=True)
    secrets = aws("secretsmanager")
    secrets.create_secret(Name="deep", SecretString=SECRET)
    secrets.get_secret_value(SecretId="deep")
    kms = aws("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=SECRET.encode())["CiphertextBlob"]
    kms.decrypt(CiphertextBlob=blob)
    kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    assert names(aws)[2:] == [
        "GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory", "CreateSecret", "GetSecretValue",
        "CreateKey", "Encrypt", "Decrypt", "GenerateDataKey",
    ]  # fmt: skip
    reads = events(aws, EventName="GetSecretValue")
    assert [(each["readOnly"], each["responseElements"]) for each in reads] == [(True, None)]


def test_no_secret_is_in_any_record(aws: Aws, server: Server) -> None:
    aws("ssm").put_parameter(Name="/a", Value=SECRET, Type="String", AllowedPattern=".*")
    with pytest.raises(ClientError):
        aws("ssm").put_parameter(Name="/b", Value=SECRET, Type="String", AllowedPattern="[0-9]+")
    with pytest.raises(ClientError):
        aws("ssm").put_parameter(Name="/b", Value=SECRET, Type="NoSuchType")
    aws("secretsmanager").create_secret(Name="s", SecretString=SECRET, Tags=[{"Key": "team", "Value": "blue"}])
    aws("secretsmanager").put_secret_value(SecretId="s", SecretBinary=SECRET.encode())
    aws("iam").create_user(UserName="ada")
    key = aws("iam").create_access_key(UserName="ada")["AccessKey"]
    activation = aws("ssm").create_activation(IamRole="any")
    text = json.dumps(events(aws))
    for secret in (SECRET, key["SecretAccessKey"], activation["ActivationCode"]):
        assert secret not in text
    assert key["AccessKeyId"] in text
    assert activation["ActivationId"] in text
    assert '"key": "team", "value": "blue"' in text or '"Key": "team", "Value": "blue"' in text


def test_refusals_are_recorded_whatever_was_asked(aws: Aws) -> None:
    aws("iam").create_user(UserName="ada")
    key = aws("iam").create_access_key(UserName="ada")["AccessKey"]
    theirs = aws("ssm", access_key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    with pytest.raises(ClientError, match="AccessDenied"):
        theirs.describe_parameters()
    with pytest.raises(ClientError, match="AccessDenied"):
        theirs.get_parameter(Name="/x")
    with pytest.raises(ClientError, match="AlreadyExists"):
        for _ in range(2):
            aws("ssm").put_parameter(Name="/x", Value=SECRET, Type="String")
    found = events(aws, Username="ada")
    assert [(each["eventName"], each["errorCode"]) for each in found] == [
        ("DescribeParameters", "AccessDeniedException"),
        ("GetParameter", "AccessDeniedException"),
    ]
    assert found[0]["userIdentity"] | {"principalId": ""} == {
        "type": "IAMUser",
        "principalId": "",
        "arn": f"arn:aws:iam::{found[0]['recipientAccountId']}:user/ada",
        "accountId": found[0]["recipientAccountId"],
        "accessKeyId": key["AccessKeyId"],
        "userName": "ada",
    }
    assert found[1]["errorMessage"].startswith(f"User: {found[1]['userIdentity']['arn']} is not authorized to perform")
    (failed,) = [each for each in events(aws, EventName="PutParameter") if "errorCode" in each]
    assert (failed["errorCode"], failed["responseElements"]) == ("ParameterAlreadyExists", None)


def test_a_retry_is_the_same_act(aws: Aws, server: Server) -> None:
    ssm = aws("ssm")
    answers = []

    def twice_before(request: Any, **_: Any) -> None:
        answers.extend(server.answer(request).status_code for _ in range(2))

    ssm.meta.events.register_first("before-send.ssm", twice_before)
    ssm.put_parameter(Name="/once", Value="1", Type="String")
    assert answers == [200, 200]
    assert names(aws) == ["PutParameter"]


def test_many_reads_at_once_are_all_recorded(aws: Aws) -> None:
    aws("ssm").put_parameter(Name="/s", Value=SECRET, Type="SecureString")
    clients = [aws("ssm") for _ in range(8)]
    answered: list[str] = []

    def read(client: Any) -> None:
        for _ in range(10):
            answered.append(client.get_parameter(Name="/s", WithDecryption=True)["ResponseMetadata"]["RequestId"])

    threads = [threading.Thread(target=read, args=(client,)) for client in clients]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    recorded = [each["requestID"] for each in events(aws, EventName="GetParameter")]
    assert sorted(recorded) == sorted(answered)
    assert len(recorded) == 80


def test_lookup_by_each_attribute(aws: Aws) -> None:
    aws("ssm").put_parameter(Name="/app/db", Value="1", Type="String")
    secret = aws("secretsmanager").create_secret(Name="app/db", SecretString=SECRET)
    aws("secretsmanager").get_secret_value(SecretId=secret["ARN"])
    aws("ssm").add_tags_to_resource(ResourceType="Parameter", ResourceId="/app/db", Tags=[{"Key": "a", "Value": "b"}])
    put = events(aws, EventName="PutParameter")[0]
    key_id = put["userIdentity"]["accessKeyId"]
    everything = ["PutParameter", "CreateSecret", "GetSecretValue", "AddTagsToResource"]
    assert names(aws, EventId=put["eventID"]) == ["PutParameter"]
    assert names(aws, EventName="CreateSecret") == ["CreateSecret"]
    assert names(aws, ReadOnly="true") == ["GetSecretValue"]
    assert names(aws, Username="root") == everything
    assert names(aws, Username="nobody") == []
    assert names(aws, AccessKeyId=key_id) == everything
    assert names(aws, EventSource="secretsmanager.amazonaws.com") == ["CreateSecret", "GetSecretValue"]
    assert names(aws, ResourceType="AWS::SSM::Parameter") == ["PutParameter", "AddTagsToResource"]
    assert names(aws, ResourceName=secret["ARN"]) == ["CreateSecret", "GetSecretValue"]
    assert names(aws, ResourceName=put["resources"][0]["ARN"])[:1] == ["PutParameter"]
    assert "CreateSecret" in names(aws, ResourceName="app/db")


def test_pages_times_and_what_is_refused(aws: Aws, server: Server) -> None:
    trail = aws("cloudtrail")
    for number in range(7):
        aws("ssm").put_parameter(Name=f"/n{number}", Value="1", Type="String")
    first = trail.lookup_events(MaxResults=3)
    second = trail.lookup_events(MaxResults=3, NextToken=first["NextToken"])
    third = trail.lookup_events(MaxResults=3, NextToken=second["NextToken"])
    assert [len(each["Events"]) for each in (first, second, third)] == [3, 3, 1]
    assert "NextToken" not in third
    seen = [each["EventId"] for page in (first, second, third) for each in page["Events"]]
    assert len(set(seen)) == 7
    assert first["Events"][0]["Username"] == "root"
    assert first["Events"][0]["ReadOnly"] == "false"
    moment = first["Events"][0]["EventTime"].timestamp()
    assert len(trail.lookup_events(StartTime=moment - 60, EndTime=moment + 60)["Events"]) == 7
    assert trail.lookup_events(StartTime=moment + 60)["Events"] == []
    assert trail.lookup_events(EventCategory="insight")["Events"] == []
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("InvalidTimeRangeException", {"StartTime": moment, "EndTime": moment - 60}),
        ("InvalidNextTokenException", {"NextToken": "x"}),
        ("InvalidNextTokenException", {"NextToken": first["NextToken"], "EndTime": moment}),
        ("InvalidLookupAttributesException", {"LookupAttributes": [attribute("ReadOnly", "maybe")]}),
        ("InvalidLookupAttributesException", {"LookupAttributes": [attribute("Username", "a")] * 2}),
    ]
    for code, asked in wrong:
        with pytest.raises(ClientError) as refused:
            trail.lookup_events(**asked)
        assert refused.value.response["Error"]["Code"] == code


def attribute(key: str, value: str) -> dict[str, str]:
    return {"AttributeKey": key, "AttributeValue": value}


def test_another_region_and_another_account_see_nothing(aws: Aws, server: Server) -> None:
    aws("ssm").put_parameter(Name="/a", Value="1", Type="String")
    assert aws("cloudtrail", region="us-east-1").lookup_events()["Events"] == []


def test_old_records_are_forgotten_and_the_trail_stays_whole(server: Server) -> None:
    written(server, 3)
    assert verified(server).records == 3
    server.advance(days=91)
    written(server, 2)
    server.run(sealing.prune.run(server.application.house))
    report = verified(server)
    assert (report.faults, report.records, report.first_seq) == ([], 2, 4)
    assert len(rows(server, "select event_id from audit_name")) == 2 * 3  # two names and a type of each


def test_a_call_that_cannot_be_recorded_is_not_done(aws: Aws, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    aws("ssm").put_parameter(Name="/s", Value=SECRET, Type="SecureString")
    trail = server.application.house.audit

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdatasync", fails)
    with pytest.raises(ClientError) as refused:
        aws("ssm").get_parameter(Name="/s", WithDecryption=True)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
    assert SECRET not in str(refused.value)
    monkeypatch.undo()
    assert trail is not None
    assert aws("ssm").get_parameter(Name="/s", WithDecryption=True)["Parameter"]["Value"] == SECRET


def test_a_reader_that_leaves_takes_nobody_with_it(server: Server, aws: Aws) -> None:
    """Records that wait together are written also if the caller who writes them is cancelled."""
    aws("ssm").put_parameter(Name="/s", Value="1", Type="String")
    house = server.application.house
    trail = trail_of(house)

    async def race() -> int:
        first = asyncio.create_task(trail.keep(act(house)))
        others = [asyncio.create_task(trail.keep(act(house))) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        done = await asyncio.gather(*others, return_exceptions=True)
        await trail.take_up()
        return sum(1 for each in done if each is None)

    assert server.run(race()) == 5
    recorded = rows(server, "select account_id from audit_record where event_name = 'GetSecretValue'")
    assert len(recorded) in (5, 6)
