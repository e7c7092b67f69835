"""Baselines and patch groups through boto3."""

import itertools
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.conftest import Server

_NUMBERS = itertools.count(1)
RULE = {
    "PatchFilterGroup": {"PatchFilters": [{"Key": "PRIORITY", "Values": ["Required", "Important"]}]},
    "ComplianceLevel": "HIGH",
    "ApproveAfterDays": 0,
}


def refused(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as error:
        call(**request)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def make(ssm: Any, **members: Any) -> str:
    request = {"Name": f"baseline-{next(_NUMBERS)}", "OperatingSystem": "UBUNTU", **members}
    made: str = ssm.create_patch_baseline(**request)["BaselineId"]
    return made


def test_a_fresh_system_has_a_default_for_each_operating_system(ssm: Any) -> None:
    found = ssm.describe_patch_baselines(Filters=[{"Key": "OWNER", "Values": ["AWS"]}])["BaselineIdentities"]
    systems = ssm.meta.service_model.shape_for("OperatingSystem").enum
    assert sorted(each["OperatingSystem"] for each in found if each["DefaultBaseline"]) == sorted(systems)
    ubuntu = ssm.get_default_patch_baseline(OperatingSystem="UBUNTU")
    assert ubuntu["BaselineId"].startswith("arn:aws:ssm:eu-west-1:")
    whole = ssm.get_patch_baseline(BaselineId=ubuntu["BaselineId"])
    assert (whole["Name"], whole["OperatingSystem"]) == ("AWS-UbuntuDefaultPatchBaseline", "UBUNTU")
    assert ssm.get_default_patch_baseline()["OperatingSystem"] == "WINDOWS"
    narrow = [{"Key": "NAME_PREFIX", "Values": ["AWS-Ubuntu"]}, {"Key": "OPERATING_SYSTEM", "Values": ["UBUNTU"]}]
    assert [each["BaselineId"] for each in ssm.describe_patch_baselines(Filters=narrow)["BaselineIdentities"]] == [
        ubuntu["BaselineId"]
    ]
    for call in (ssm.update_patch_baseline, ssm.delete_patch_baseline):
        assert refused(call, BaselineId=ubuntu["BaselineId"])[0] == "DoesNotExistException"


def test_a_baseline_says_what_was_said(ssm: Any) -> None:
    baseline_id = make(ssm, ApprovalRules={"PatchRules": [RULE]}, Description="those that matter")
    found = ssm.get_patch_baseline(BaselineId=baseline_id)
    assert found["ApprovalRules"] == {"PatchRules": [{**RULE, "EnableNonSecurity": False}]}
    assert (found["GlobalFilters"], found["Sources"], found["PatchGroups"]) == ({"PatchFilters": []}, [], [])
    assert found["RejectedPatchesAction"] == "ALLOW_AS_DEPENDENCY"
    assert found["ApprovedPatchesComplianceLevel"] == "UNSPECIFIED"
    changed = ssm.update_patch_baseline(BaselineId=baseline_id, RejectedPatches=["vim"])
    assert (changed["RejectedPatches"], changed["ApprovalRules"]) == (["vim"], found["ApprovalRules"])
    replaced = ssm.update_patch_baseline(BaselineId=baseline_id, Replace=True, Name="bare")
    assert (replaced["ApprovalRules"], replaced["RejectedPatches"]) == ({"PatchRules": []}, [])
    assert "Description" not in replaced
    assert replaced["OperatingSystem"] == "UBUNTU"
    assert refused(ssm.update_patch_baseline, BaselineId=baseline_id, Replace=True)[0] == "ValidationException"
    ssm.delete_patch_baseline(BaselineId=baseline_id)
    assert ssm.delete_patch_baseline(BaselineId=baseline_id)["BaselineId"] == baseline_id
    assert refused(ssm.get_patch_baseline, BaselineId=baseline_id) == (
        "DoesNotExistException", "Patch Baseline to be retrieved does not exist.",
    )  # fmt: skip
    assert refused(ssm.get_patch_baseline, BaselineId="pb-0123456789abcdefg")[0] == "InvalidResourceId"


def test_a_token_makes_one_baseline(ssm: Any) -> None:
    one = make(ssm, Name="once", ClientToken="t-1")
    assert make(ssm, Name="once", ClientToken="t-1") == one
    code, _ = refused(ssm.create_patch_baseline, Name="twice", OperatingSystem="UBUNTU", ClientToken="t-1")
    assert code == "IdempotentParameterMismatch"


@pytest.mark.parametrize(
    ("system", "members", "word"),
    [
        ("UBUNTU", {"GlobalFilters": {"PatchFilters": [{"Key": "SEVERITY", "Values": ["Low"]}]}}, "SEVERITY"),
        ("REDHAT_ENTERPRISE_LINUX", {"ApprovalRules": {"PatchRules": [{"PatchFilterGroup": {"PatchFilters": []}}]}},
         "ApproveAfterDays"),
        ("SUSE", {"ApprovalRules": {"PatchRules": [
            {"PatchFilterGroup": {"PatchFilters": []}, "ApproveAfterDays": 1, "ApproveUntilDate": "2026-01-01"}]}},
         "not both"),
        ("SUSE", {"ApprovalRules": {"PatchRules": [
            {"PatchFilterGroup": {"PatchFilters": []}, "ApproveUntilDate": "2026-02-30"}]}}, "YYYY-MM-DD"),
        ("WINDOWS", {"ApprovedPatchesEnableNonSecurity": True}, "Linux"),
        ("WINDOWS", {"Sources": [{"Name": "own", "Products": ["*"], "Configuration": "deb x y z"}]}, "Linux"),
        ("UBUNTU", {"AvailableSecurityUpdatesComplianceStatus": "COMPLIANT"}, "WINDOWS"),
    ],
)  # fmt: skip
def test_what_a_baseline_cannot_say(ssm: Any, system: str, members: dict[str, Any], word: str) -> None:
    code, text = refused(ssm.create_patch_baseline, Name="wrong", OperatingSystem=system, **members)
    assert code == "ValidationException"
    assert word in text


def test_a_group_has_one_baseline_for_each_operating_system(ssm: Any) -> None:
    one, other, debian = make(ssm), make(ssm), make(ssm, OperatingSystem="DEBIAN")
    ssm.register_patch_baseline_for_patch_group(BaselineId=one, PatchGroup="web 1")
    ssm.register_patch_baseline_for_patch_group(BaselineId=debian, PatchGroup="web 1")
    assert refused(ssm.register_patch_baseline_for_patch_group, BaselineId=other, PatchGroup="web 1") == (
        "AlreadyExistsException",
        "Patch Group baseline already has a baseline registered for OperatingSystem UBUNTU.",
    )
    found = ssm.get_patch_baseline_for_patch_group(PatchGroup="web 1", OperatingSystem="UBUNTU")
    assert (found["BaselineId"], found["PatchGroup"]) == (one, "web 1")
    default = ssm.get_default_patch_baseline(OperatingSystem="SUSE")["BaselineId"]
    assert ssm.get_patch_baseline_for_patch_group(PatchGroup="web 1", OperatingSystem="SUSE")["BaselineId"] == default
    assert ssm.get_patch_baseline(BaselineId=one)["PatchGroups"] == ["web 1"]
    assert refused(ssm.delete_patch_baseline, BaselineId=one)[0] == "ResourceInUseException"
    pages = ssm.get_paginator("describe_patch_groups").paginate(
        Filters=[{"Key": "NAME_PREFIX", "Values": ["web"]}], PaginationConfig={"PageSize": 1}
    )
    mappings = [each for page in pages for each in page["Mappings"]]
    assert [(each["PatchGroup"], each["BaselineIdentity"]["OperatingSystem"]) for each in mappings] == [
        ("web 1", "DEBIAN"), ("web 1", "UBUNTU"),
    ]  # fmt: skip
    ssm.deregister_patch_baseline_for_patch_group(BaselineId=one, PatchGroup="web 1")
    ssm.deregister_patch_baseline_for_patch_group(BaselineId=debian, PatchGroup="web 1")
    ssm.delete_patch_baseline(BaselineId=one)
    gone = refused(ssm.register_patch_baseline_for_patch_group, BaselineId=one, PatchGroup="web 1")
    assert gone == ("DoesNotExistException", "Patch Baseline to be retrieved does not exist.")


def test_an_arn_leads_to_no_other_baseline_than_it_names(ssm: Any, server: Server) -> None:
    """A policy may deny one ARN: the same baseline must not be there under another."""
    baseline_id = make(ssm)
    own = f"arn:aws:ssm:eu-west-1:{server.application.root.account_id}:patchbaseline/{baseline_id}"
    assert ssm.get_patch_baseline(BaselineId=own)["BaselineId"] == baseline_id
    default = ssm.get_default_patch_baseline(OperatingSystem="UBUNTU")["BaselineId"]
    for foreign in (
        own.replace("eu-west-1", "eu-north-1"),
        f"arn:aws:ssm:eu-west-1:075727635805:patchbaseline/{baseline_id}",
        f"arn:aws:ssm:eu-west-1:aws:patchbaseline/{baseline_id}",
        default.replace(":aws:patchbaseline", f":{server.application.root.account_id}:patchbaseline"),
    ):
        for call in (ssm.get_patch_baseline, ssm.delete_patch_baseline, ssm.register_default_patch_baseline):
            assert refused(call, BaselineId=foreign)[0] == "DoesNotExistException"
        group = {"BaselineId": foreign, "PatchGroup": "elsewhere"}
        assert refused(ssm.register_patch_baseline_for_patch_group, **group)[0] == "DoesNotExistException"
        assert refused(ssm.deregister_patch_baseline_for_patch_group, **group)[0] == "InvalidResourceId"
        tags = {"ResourceType": "PatchBaseline", "ResourceId": foreign, "Tags": [{"Key": "a", "Value": "b"}]}
        assert refused(ssm.add_tags_to_resource, **tags)[0] in ("InvalidResourceId", "ValidationException")
    left = ssm.deregister_patch_baseline_for_patch_group(BaselineId=own, PatchGroup="never registered")
    assert (left["BaselineId"], left["PatchGroup"]) == (baseline_id, "never registered")
    ssm.delete_patch_baseline(BaselineId=baseline_id)


def test_a_default_can_be_another_and_is_then_in_use(ssm: Any) -> None:
    given = ssm.get_default_patch_baseline(OperatingSystem="CENTOS")["BaselineId"]
    own = make(ssm, OperatingSystem="CENTOS")
    assert ssm.register_default_patch_baseline(BaselineId=own)["BaselineId"] == own
    assert ssm.get_default_patch_baseline(OperatingSystem="CENTOS")["BaselineId"] == own
    assert refused(ssm.delete_patch_baseline, BaselineId=own)[0] == "ResourceInUseException"
    shown = ssm.describe_patch_baselines(Filters=[{"Key": "OPERATING_SYSTEM", "Values": ["CENTOS"]}])
    assert [each["BaselineId"] for each in shown["BaselineIdentities"] if each["DefaultBaseline"]] == [own]
    ssm.register_default_patch_baseline(BaselineId=given)
    ssm.delete_patch_baseline(BaselineId=own)


def test_pages_go_from_those_that_come_along_to_the_own(ssm: Any) -> None:
    own = sorted(make(ssm, OperatingSystem="ALMA_LINUX") for _ in range(3))
    pages = ssm.get_paginator("describe_patch_baselines").paginate(
        Filters=[{"Key": "OPERATING_SYSTEM", "Values": ["ALMA_LINUX"]}], PaginationConfig={"PageSize": 2}
    )
    found = [each["BaselineId"] for page in pages for each in page["BaselineIdentities"]]
    assert found[0].startswith("arn:")
    assert found[1:] == own
    assert refused(ssm.describe_patch_baselines, NextToken="forged")[0] == "ValidationException"
    for each in own:
        ssm.delete_patch_baseline(BaselineId=each)


def test_tags_hang_on_baselines_and_go_with_them(ssm: Any) -> None:
    baseline_id = make(ssm, Tags=[{"Key": "team", "Value": "web"}])
    tags = {"ResourceType": "PatchBaseline", "ResourceId": baseline_id}
    assert ssm.list_tags_for_resource(**tags)["TagList"] == [{"Key": "team", "Value": "web"}]
    ssm.delete_patch_baseline(BaselineId=baseline_id)
    assert refused(ssm.list_tags_for_resource, **tags)[0] == "InvalidResourceId"


def test_passwords_of_sources_are_sealed(ssm: Any, server: Server) -> None:
    secret = "https://user:hunter2-of-the-mirror@example.org/debian"
    source = {"Name": "mirror", "Products": ["*"], "Configuration": f"deb {secret} stable main"}
    baseline_id = make(ssm, Sources=[source])
    assert ssm.get_patch_baseline(BaselineId=baseline_id)["Sources"] == [source]

    async def rows() -> str:
        async with server.application.house.database.reading() as tx:
            return str([dict(each) for each in await tx.rows("select * from patch_baseline")])

    assert "hunter2" not in server.run(rows())
