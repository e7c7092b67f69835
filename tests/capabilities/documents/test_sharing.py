"""Documents of one account used by another, and reviews of versions."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from pilothouse.capabilities import access
from tests.capabilities.documents.test_own_documents import refused, steps
from tests.conftest import Aws, Server
from tests.identity.test_resource_tags import statement

GONE = ("InvalidDocument", "The specified document does not exist.")
SETTING = "/ssm/documents/console/public-sharing-permission"


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


@pytest.fixture
def guest(aws: Aws, server: Server) -> tuple[str, Any]:
    """Another account, and its client."""
    made = server.run(access.create_account(server.application.house, "guest"))
    return made.account_id, aws("ssm", access_key=made.access_key_id, secret=made.secret)


def shared(ssm: Any, *accounts: str, **more: str) -> None:
    ssm.modify_document_permission(Name="Tool", PermissionType="Share", AccountIdsToAdd=list(accounts), **more)


def made(ssm: Any) -> str:
    ssm.create_document(Name="Tool", Content=steps("one"))
    ssm.update_document(Name="Tool", Content=steps("two"), DocumentVersion="$LATEST")
    owner = ssm.describe_document(Name="Tool")["Document"]["Owner"]
    return f"arn:aws:ssm:eu-west-1:{owner}:document/Tool"


def test_a_shared_document_is_used_by_its_arn_until_it_is_taken_back(ssm: Any, guest: tuple[str, Any]) -> None:
    number, theirs = guest
    arn = made(ssm)
    assert refused(lambda: theirs.get_document(Name=arn)) == GONE
    shared(ssm, number)
    assert json.loads(theirs.get_document(Name=arn)["Content"]) == json.loads(steps("one"))
    described = theirs.describe_document(Name=arn)["Document"]
    assert (described["Name"], described["Owner"]) == (arn, arn.split(":")[4])
    assert refused(lambda: theirs.get_document(Name="Tool")) == GONE
    assert refused(lambda: theirs.get_document(Name=arn, DocumentVersion="2")) == GONE
    sent = theirs.send_command(DocumentName=arn, Targets=[{"Key": "tag:a", "Values": ["b"]}])["Command"]
    assert sent["DocumentName"] == arn
    listed = theirs.list_documents(Filters=[{"Key": "Owner", "Values": ["Private"]}])["DocumentIdentifiers"]
    assert [(each["Name"], each["Owner"]) for each in listed] == [(arn, arn.split(":")[4])]
    assert refused(lambda: ssm.delete_document(Name="Tool")) == (
        "InvalidDocumentOperation", "Must unshare document first before delete",
    )  # fmt: skip
    for change in ("update_document", "delete_document", "update_document_default_version"):
        more = {"delete_document": {}, "update_document": {"Content": "{}"}}.get(change, {"DocumentVersion": "1"})
        assert refused(lambda change=change, more=more: getattr(theirs, change)(Name="Tool", **more)) == GONE
    ssm.modify_document_permission(Name="Tool", PermissionType="Share", AccountIdsToRemove=[number])
    assert refused(lambda: theirs.get_document(Name=arn)) == GONE
    assert refused(lambda: theirs.send_command(DocumentName=arn, Targets=[{"Key": "tag:a", "Values": ["b"]}])) == GONE
    ssm.delete_document(Name="Tool")


def test_policies_of_guests_learn_nothing_of_what_is_not_shared(
    ssm: Any, aws: Aws, server: Server
) -> None:  # fmt: skip
    key = server.run(access.create_account(server.application.house, "guest"))
    iam = aws("iam", access_key=key.access_key_id, secret=key.secret)
    iam.create_user(UserName="eve")
    policy = statement("Allow", "ssm:GetDocument", ssm_DocumentType="Command")
    iam.put_user_policy(
        UserName="eve", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    )
    hers = iam.create_access_key(UserName="eve")["AccessKey"]
    eve = aws("ssm", access_key=hers["AccessKeyId"], secret=hers["SecretAccessKey"])
    arn = made(ssm)
    for asked in (arn, arn.replace("Tool", "None")):
        assert refused(lambda asked=asked: eve.get_document(Name=asked))[0] == "AccessDeniedException"
    shared(ssm, key.account_id)
    assert eve.get_document(Name=arn)["DocumentVersion"] == "1"


@pytest.mark.parametrize(
    ("version", "seen"),
    [
        ("$DEFAULT", {None: "1", "1": "1"}),
        ("$LATEST", {None: "2", "2": "2"}),
        ("$ALL", {None: "1", "1": "1", "2": "2"}),
    ],
)
def test_which_versions_are_shared(
    ssm: Any, guest: tuple[str, Any], version: str, seen: dict[str | None, str]
) -> None:  # fmt: skip
    number, theirs = guest
    arn = made(ssm)
    shared(ssm, number, SharedDocumentVersion=version)
    told = ssm.describe_document_permission(Name="Tool", PermissionType="Share")
    assert told["AccountIds"] == [number]
    assert told["AccountSharingInfoList"] == [{"AccountId": number, "SharedDocumentVersion": version}]
    for asked in (None, "1", "2"):
        more = {"DocumentVersion": asked} if asked else {}
        if asked in seen:
            assert theirs.get_document(Name=arn, **more)["DocumentVersion"] == seen[asked]
        else:
            assert refused(lambda more=more: theirs.get_document(Name=arn, **more)) == GONE
    listed = theirs.list_document_versions(Name=arn)["DocumentVersions"]
    assert sorted(each["DocumentVersion"] for each in listed) == sorted(set(seen.values()))


def test_public_documents(ssm: Any, guest: tuple[str, Any]) -> None:
    number, theirs = guest
    arn = made(ssm)
    mixed = refused(lambda: shared(ssm, "All", number))
    assert mixed == ("DocumentPermissionLimit", "Accounts can either be all or a group of AWS accounts")
    shared(ssm, "All")
    assert ssm.describe_document_permission(Name="Tool", PermissionType="Share")["AccountIds"] == ["all"]
    public = theirs.list_documents(Filters=[{"Key": "Owner", "Values": ["Public"]}, {"Key": "Name", "Values": ["T"]}])
    assert [each["Name"] for each in public["DocumentIdentifiers"]] == [arn]
    assert theirs.get_document(Name=arn)["DocumentVersion"] == "1"
    ssm.modify_document_permission(Name="Tool", PermissionType="Share", AccountIdsToRemove=["all"])
    ssm.update_service_setting(SettingId=SETTING, SettingValue="Disable")
    assert refused(lambda: shared(ssm, "all"))[0] == "AccessDeniedException"
    shared(ssm, number)


def test_permissions_are_listed_in_pages_and_are_for_owners(ssm: Any, guest: tuple[str, Any]) -> None:
    _, theirs = guest
    made(ssm)
    numbers = [f"{each:012d}" for each in range(1, 6)]
    shared(ssm, *numbers)
    ssm.modify_document_permission(
        Name="Tool", PermissionType="Share", AccountIdsToAdd=numbers[:1], AccountIdsToRemove=numbers[:1]
    )
    found, token = [], {}
    while True:
        page = ssm.describe_document_permission(Name="Tool", PermissionType="Share", MaxResults=3, **token)
        found += page["AccountIds"]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert found == numbers[1:]
    for call in (theirs.describe_document_permission, theirs.modify_document_permission):
        assert refused(lambda call=call: call(Name="Tool", PermissionType="Share")) == GONE


def review(ssm: Any, action: str, *comments: str) -> Callable[[], Any]:
    said = {"Action": action, "Comment": [{"Type": "Comment", "Content": each} for each in comments]}
    return lambda: ssm.update_document_metadata(Name="Tool", DocumentReviews=said)


def test_a_version_is_reviewed(ssm: Any) -> None:
    made(ssm)
    assert refused(review(ssm, "Approve"))[0] == "InvalidDocumentOperation"
    review(ssm, "SendForReview", "please")()
    assert refused(review(ssm, "SendForReview"))[0] == "InvalidDocumentOperation"
    shown = ssm.describe_document(Name="Tool", DocumentVersion="2")["Document"]
    assert (shown["ReviewStatus"], shown["PendingReviewVersion"]) == ("PENDING", "2")
    review(ssm, "UpdateReview", "please, soon")()
    review(ssm, "Approve", "good")()
    shown = ssm.describe_document(Name="Tool", DocumentVersion="2")["Document"]
    assert (shown["ReviewStatus"], shown["ApprovedVersion"]) == ("APPROVED", "2")
    assert [each["Status"] for each in shown["ReviewInformation"]] == ["PENDING", "APPROVED"]
    assert ssm.get_document(Name="Tool")["ReviewStatus"] == "NOT_REVIEWED"
    first = ssm.list_document_metadata_history(Name="Tool", Metadata="DocumentReviews", MaxResults=1)
    more = ssm.list_document_metadata_history(
        Name="Tool", Metadata="DocumentReviews", MaxResults=1, NextToken=first["NextToken"]
    )
    assert (first["DocumentVersion"], "NextToken" in more) == ("2", False)
    said = [page["Metadata"]["ReviewerResponse"][0] for page in (first, more)]
    assert [(each["ReviewStatus"], each["Comment"][0]["Content"]) for each in said] == [
        ("PENDING", "please, soon"), ("APPROVED", "good"),
    ]  # fmt: skip
