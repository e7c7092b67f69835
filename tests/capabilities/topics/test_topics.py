"""Topics as their owners see them: made, looked at, changed, tagged, and who may do what with them."""

import json
from typing import Any

import pytest

from pilothouse.capabilities import access
from tests.capabilities.access.policies import User, allow, deny, document, error
from tests.conftest import Aws, Server

DENIED = "AuthorizationError"


def test_a_topic_from_its_making_to_its_end(sns: Any) -> None:
    attributes = {"DisplayName": "Ops"}
    arn = sns.create_topic(Name="ops", Attributes=attributes, Tags=[{"Key": "team", "Value": "a"}])["TopicArn"]
    account = arn.split(":")[4]
    assert arn == f"arn:aws:sns:eu-west-1:{account}:ops"
    assert sns.create_topic(Name="ops")["TopicArn"] == arn
    assert sns.create_topic(Name="ops", Attributes=attributes)["TopicArn"] == arn
    different = error(sns.create_topic, Name="ops", Attributes={"DisplayName": "Other"})
    assert (different["Code"], different["Message"]) == (
        "InvalidParameter", "Invalid parameter: Attributes Reason: Topic already exists with different attributes"
    )  # fmt: skip
    assert error(sns.create_topic, Name="ops", Tags=[{"Key": "a", "Value": "b"}])["Code"] == "InvalidParameter"
    shown = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert (shown["TopicArn"], shown["Owner"], shown["DisplayName"]) == (arn, account, "Ops")
    assert shown["SubscriptionsConfirmed"] == shown["SubscriptionsPending"] == "0"
    assert json.loads(shown["Policy"])["Id"] == "__default_policy_ID"
    sns.set_topic_attributes(TopicArn=arn, AttributeName="DisplayName", AttributeValue="Operators")
    assert sns.get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"] == "Operators"
    sns.tag_resource(ResourceArn=arn, Tags=[{"Key": "env", "Value": "dev"}])
    sns.untag_resource(ResourceArn=arn, TagKeys=["team"])
    assert sns.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "env", "Value": "dev"}]
    others = [sns.create_topic(Name=f"t{number:03}")["TopicArn"] for number in range(101)]
    pages = list(sns.get_paginator("list_topics").paginate())
    assert len(pages) == 2
    assert [each["TopicArn"] for page in pages for each in page["Topics"]] == [arn, *others]
    sns.delete_topic(TopicArn=arn)
    sns.delete_topic(TopicArn=arn)
    gone = error(sns.get_topic_attributes, TopicArn=arn)
    assert (gone["Code"], gone["Message"]) == ("NotFound", "Topic does not exist")
    assert error(sns.list_tags_for_resource, ResourceArn=arn)["Code"] == "ResourceNotFound"
    sns.create_topic(Name="ops")
    assert sns.list_tags_for_resource(ResourceArn=arn)["Tags"] == []


def test_what_is_not_there_is_refused_by_name(sns: Any, aws: Aws) -> None:
    arn = sns.create_topic(Name="ops")["TopicArn"]

    def said(call: Any, **members: Any) -> str:
        found = error(call, **members)
        assert found["Code"] == "InvalidParameter"
        return found["Message"]

    assert "FIFO" in said(sns.create_topic, Name="ops.fifo")
    assert "FIFO" in said(sns.create_topic, Name="ops", Attributes={"FifoTopic": "true"})
    assert said(sns.create_topic, Name="a b") == "Invalid parameter: Topic Name"
    assert "DisplayName" in said(sns.create_topic, Name="a", Attributes={"KmsMasterKeyId": "x"})
    policy = {"TopicArn": arn, "AttributeName": "Policy"}
    assert "Policy" in said(sns.set_topic_attributes, **policy, AttributeValue="{")
    assert "http and https" in said(sns.subscribe, TopicArn=arn, Protocol="email", Endpoint="a@example.com")
    assert "match" in said(sns.subscribe, TopicArn=arn, Protocol="https", Endpoint="http://example.com/")
    inside = said(sns.subscribe, TopicArn=arn, Protocol="http", Endpoint="http://169.254.169.254/")
    assert "not a public address" in inside
    ours = {"TopicArn": arn, "Protocol": "http", "Endpoint": "http://127.0.0.1:9/"}
    assert "FilterPolicy" in said(sns.subscribe, **ours, Attributes={"FilterPolicy": '{"a": "b"}'})
    assert said(sns.publish, TopicArn=arn, Message="") == "Invalid parameter: Empty message"
    assert said(sns.publish, TopicArn=arn, Message="x", Subject="a\nb") == "Invalid parameter: Subject"
    assert "too long" in said(sns.publish, TopicArn=arn, Message="x" * (256 * 1024 + 1))
    assert "No default entry" in said(sns.publish, TopicArn=arn, Message="{}", MessageStructure="json")
    assert "telephones" in said(sns.publish, PhoneNumber="+4912345", Message="x")
    assert "6 elements, not 1" in said(sns.publish, TopicArn="ops", Message="x")
    assert said(aws("sns", region="us-east-1").publish, TopicArn=arn, Message="x") == "Invalid parameter: TopicArn"
    assert said(sns.confirm_subscription, TopicArn=arn, Token="0" * 112) == "Invalid parameter: Token"
    assert error(sns.publish, TopicArn=f"{arn}2", Message="x")["Code"] == "NotFound"
    entry = {"Id": "a", "Message": "x"}
    batch = {"TopicArn": arn, "PublishBatchRequestEntries": [entry, entry]}
    assert error(sns.publish_batch, **batch)["Code"] == "BatchEntryIdsNotDistinct"
    assert error(sns.opt_in_phone_number, phoneNumber="+4912345")["Code"] == "InvalidAction"


def test_who_may_do_what(server: Server, sns: Any, aws: Aws) -> None:
    arn = sns.create_topic(Name="ops", Tags=[{"Key": "env", "Value": "dev"}])["TopicArn"]
    other = sns.create_topic(Name="other")["TopicArn"]
    user = User(aws, "worker")
    as_user = aws("sns", access_key=user.key["AccessKeyId"], secret=user.key["SecretAccessKey"])
    refused = error(as_user.publish, TopicArn=arn, Message="x")
    assert refused["Code"] == DENIED
    assert refused["Message"] == (
        f"User: {user.arn} is not authorized to perform: SNS:Publish on resource: {arn} "
        "because no identity-based policy allows the SNS:Publish action"
    )
    user.may(allow("sns:Publish", arn))
    as_user.publish(TopicArn=arn, Message="x")
    assert error(as_user.publish, TopicArn=other, Message="x")["Code"] == DENIED
    user.may(allow("sns:*", Condition={"StringEquals": {"aws:ResourceTag/env": "dev"}}))
    as_user.get_topic_attributes(TopicArn=arn)
    assert error(as_user.get_topic_attributes, TopicArn=other)["Code"] == DENIED
    policy = {"TopicArn": other, "AttributeName": "Policy"}
    lets = allow("SNS:Publish", other, Principal={"AWS": user.arn})
    sns.set_topic_attributes(**policy, AttributeValue=document(lets))
    as_user.publish(TopicArn=other, Message="x")
    user.may(allow("sns:*"))
    stops = deny("SNS:Publish", other, Principal={"AWS": user.arn})
    sns.set_topic_attributes(**policy, AttributeValue=document(stops))
    assert "explicit deny" in error(as_user.publish, TopicArn=other, Message="x")["Message"]
    sns.set_topic_attributes(**policy, AttributeValue="")
    as_user.publish(TopicArn=other, Message="x")
    user.may(allow("sns:Subscribe", Condition={"StringLike": {"sns:Endpoint": "https://good.example/*"}}))
    bad = {"TopicArn": arn, "Protocol": "https", "Endpoint": "https://bad.example/"}
    assert error(as_user.subscribe, **bad)["Code"] == DENIED
    as_user.subscribe(**bad | {"Endpoint": "https://good.example/x"})
    stranger = server.run(access.create_account(server.application.house, "second"))
    theirs = aws("sns", access_key=stranger.access_key_id, secret=stranger.secret)
    for there in (arn, f"{arn}2"):
        assert error(theirs.publish, TopicArn=there, Message="x")["Code"] == DENIED


def test_the_trail_tells_of_calls_and_not_of_messages(sns: Any, aws: Aws) -> None:
    arn = sns.create_topic(Name="ops")["TopicArn"]
    message = {"DataType": "String", "StringValue": "hush-attribute"}
    sns.publish(TopicArn=arn, Message="hush-text", Subject="hush-subject", MessageAttributes={"hush-name": message})
    sns.subscribe(TopicArn=arn, Protocol="https", Endpoint="https://good.example/hush-path")
    wanted = {"AttributeKey": "ResourceType", "AttributeValue": "AWS::SNS::Topic"}
    found = aws("cloudtrail").lookup_events(LookupAttributes=[wanted])["Events"]
    assert sorted(each["EventName"] for each in found) == ["CreateTopic", "Publish", "Subscribe"]
    assert "hush" not in json.dumps([each["CloudTrailEvent"] for each in found])
    assert json.loads(found[0]["CloudTrailEvent"])["requestParameters"]["topicArn"] == arn


@pytest.mark.parametrize("given", ["x", "http://a/path", "ftp://a"])
def test_the_address_for_subscribers_is_one(given: str) -> None:
    from pilothouse.runtime.settings import SettingsInvalid, TopicSettings

    with pytest.raises(SettingsInvalid, match=r"\[topics\] url"):
        TopicSettings(url=given)
