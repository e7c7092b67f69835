"""Lists of keys, aliases and grants: whose, how many on a page, and the aliases that have no key yet."""

from typing import Any

import pytest

from tests.capabilities.keys.refusals import refused


@pytest.fixture
def kms(aws: Any) -> Any:
    return aws("kms")


def test_keys_are_the_accounts_own(kms: Any) -> None:
    made = sorted(kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3))
    for owners in (["SELF"], ["OTHER_ACCOUNTS_VIA_RAM", "SELF"]):
        first = kms.list_keys(ResourceOwners=owners, Limit=2)
        rest = kms.list_keys(ResourceOwners=owners[::-1], Limit=2, Marker=first["NextMarker"])
        assert [each["KeyId"] for each in first["Keys"] + rest["Keys"]] == made
    shared = kms.list_keys(ResourceOwners=["OTHER_ACCOUNTS_VIA_RAM"])
    assert (shared["Keys"], shared["Truncated"]) == ([], False)
    marker = kms.list_keys(Limit=1)["NextMarker"]
    other = {"ResourceOwners": ["OTHER_ACCOUNTS_VIA_RAM"], "Marker": marker}
    assert refused(kms.list_keys, **other)[0] == "InvalidMarkerException"


def test_the_services_aliases_are_listed_before_they_have_a_key(kms: Any) -> None:
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    for name in ("alias/a", "alias/aws", "alias/b"):
        kms.create_alias(AliasName=name, TargetKeyId=key)
    listed = [each for page in kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 1})
              for each in page["Aliases"]]  # fmt: skip
    names = [each["AliasName"] for each in listed]
    assert names == ["alias/a", "alias/aws", "alias/aws/secretsmanager", "alias/aws/ssm", "alias/b"]
    unused = listed[3]
    assert sorted(unused) == ["AliasArn", "AliasName"]
    assert unused["AliasArn"].endswith(":alias/aws/ssm")
    made = kms.describe_key(KeyId="alias/aws/ssm")["KeyMetadata"]
    assert made["Description"] == "Default key that protects my SSM parameters when no other key is defined"
    targets = {each["AliasName"]: each.get("TargetKeyId") for each in kms.list_aliases()["Aliases"]}
    assert targets["alias/aws/ssm"] == made["KeyId"]
    assert targets["alias/aws/secretsmanager"] is None
    assert [each["AliasName"] for each in kms.list_aliases(KeyId=made["KeyId"])["Aliases"]] == ["alias/aws/ssm"]


def test_aliases_of_a_key_are_asked_for_by_its_id_or_arn(kms: Any) -> None:
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/a", TargetKeyId=key["KeyId"])
    for name in (key["KeyId"], key["Arn"]):
        assert len(kms.list_aliases(KeyId=name)["Aliases"]) == 1
    assert refused(kms.list_aliases, KeyId="alias/a") == ("NotFoundException", "Invalid keyId alias/a")


def test_a_page_holds_a_hundred_at_most(kms: Any) -> None:
    keys = [kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3)]
    for number in range(102):
        kms.create_alias(AliasName=f"alias/{number:03}", TargetKeyId=keys[number // 50])
    first = kms.list_aliases(Limit=1000)
    assert (len(first["Aliases"]), first["Truncated"]) == (100, True)
    assert len(kms.list_aliases(Limit=1000, Marker=first["NextMarker"])["Aliases"]) == 4
    assert refused(kms.create_alias, AliasName="alias/more", TargetKeyId=keys[0]) == (
        "LimitExceededException",
        "Aliases per key quota for this account in this region is 50, current usage is 50.",
    )
