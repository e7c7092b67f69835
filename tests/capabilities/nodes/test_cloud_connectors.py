"""Cloud connectors and the default role of hosts, through boto3."""

from typing import Any

import pytest
from tests.capabilities.commands.conftest import refused
from tests.conftest import Aws

TENANT, SUBSCRIPTION = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
AZURE = {
    "AzureConfiguration": {
        "TenantId": TENANT, "ApplicationId": SUBSCRIPTION, "Targets": {"Subscriptions": [{"Id": SUBSCRIPTION}]}
    }
}  # fmt: skip
GOOGLE = {
    "GcpConfiguration": {
        "OrganizationId": "123456",
        "WorkloadIdentityPoolProvider": "projects/1/locations/global/workloadIdentityPools/pool/providers/prov",
        "ServiceAccountEmail": "sa@proj.iam.gserviceaccount.com",
    }
}


@pytest.fixture
def ssm(aws: Aws) -> Any:
    return aws("ssm")


@pytest.fixture
def role(aws: Aws) -> str:
    return f"arn:aws:iam::{aws('sts').get_caller_identity()['Account']}:role/Linker"


def test_the_life_of_a_connector(ssm: Any, role: str) -> None:
    made = ssm.create_cloud_connector(
        DisplayName="azure", RoleArn=role, Configuration=AZURE, Tags=[{"Key": "team", "Value": "ops"}]
    )["CloudConnectorId"]
    shown = ssm.get_cloud_connector(CloudConnectorId=made)
    assert (shown["DisplayName"], shown["RoleArn"], shown["Configuration"]) == ("azure", role, AZURE)
    assert shown["CloudConnectorArn"].endswith(f":cloud-connector/{made}")
    tags = {"ResourceType": "CloudConnector", "ResourceId": made}
    assert ssm.list_tags_for_resource(**tags)["TagList"] == [{"Key": "team", "Value": "ops"}]
    assert ssm.update_cloud_connector(CloudConnectorId=made, Description="ours")["CloudConnectorId"] == made
    assert ssm.get_cloud_connector(CloudConnectorId=made)["Description"] == "ours"
    (finding,) = ssm.validate_cloud_connector(CloudConnectorId=made)["ValidationFindings"]
    assert (finding["Type"], finding["Scope"]) == ("ERROR", {"Type": "azure:tenant", "Id": TENANT})
    ssm.delete_cloud_connector(CloudConnectorId=made)
    assert refused(lambda: ssm.get_cloud_connector(CloudConnectorId=made)) == "ResourceNotFoundException"
    assert refused(lambda: ssm.list_tags_for_resource(**tags)) == "InvalidResourceId"


def test_names_are_taken_once_and_a_connector_stays_in_its_cloud(ssm: Any, role: str) -> None:
    first = ssm.create_cloud_connector(DisplayName="a", RoleArn=role, Configuration=AZURE)["CloudConnectorId"]
    second = ssm.create_cloud_connector(DisplayName="b", RoleArn=role, Configuration=GOOGLE)["CloudConnectorId"]
    again = {"DisplayName": "a", "RoleArn": role, "Configuration": GOOGLE}
    assert refused(lambda: ssm.create_cloud_connector(**again)) == "ConflictException"
    assert refused(lambda: ssm.update_cloud_connector(CloudConnectorId=second, DisplayName="a")) == "ConflictException"
    moved = {"CloudConnectorId": first, "Configuration": GOOGLE}
    assert refused(lambda: ssm.update_cloud_connector(**moved)) == "ValidationException"


def test_lists_by_page_and_by_what_they_reach(ssm: Any, role: str) -> None:
    azure = ssm.create_cloud_connector(DisplayName="a", RoleArn=role, Configuration=AZURE)["CloudConnectorId"]
    google = ssm.create_cloud_connector(DisplayName="b", RoleArn=role, Configuration=GOOGLE)["CloudConnectorId"]
    first = ssm.list_cloud_connectors(MaxResults=1)
    rest = ssm.list_cloud_connectors(MaxResults=1, NextToken=first["NextToken"])
    both = first["CloudConnectors"] + rest["CloudConnectors"]
    assert {each["CloudConnectorId"]: each["Provider"] for each in both} == {azure: "Azure", google: "GCP"}
    for key, value, expected in [
        ("SubscriptionId", SUBSCRIPTION, [azure]),
        ("OrganizationId", "123456", [google]),
        ("TenantId", SUBSCRIPTION, []),
    ]:
        found = ssm.list_cloud_connectors(Filters=[{"FilterKey": key, "FilterValues": [value]}])["CloudConnectors"]
        assert [each["CloudConnectorId"] for each in found] == expected
    assert refused(lambda: ssm.list_cloud_connectors(NextToken="x")) == "ValidationException"


def test_the_default_role_of_hosts_is_the_service_setting(ssm: Any, role: str) -> None:
    setting = "/ssm/managed-instance/default-ec2-instance-management-role"
    register = ssm.register_default_host_management_configuration
    assert refused(lambda: register(PermissionModel="SELF_MANAGED")) == "ValidationException"
    assert register(PermissionModel="SELF_MANAGED", RoleArn=role)["RoleArn"] == role
    assert ssm.get_service_setting(SettingId=setting)["ServiceSetting"]["SettingValue"] == "Linker"
    assert refused(lambda: register(PermissionModel="SERVICE_MANAGED")) == "ValidationException"
    taken = register(PermissionModel="SERVICE_MANAGED", Overwrite=True)["RoleArn"]
    assert taken.endswith(":role/service-role/AWSSystemsManagerDefaultEC2InstanceManagementRole")
    ssm.deregister_default_host_management_configuration()
    assert ssm.get_service_setting(SettingId=setting)["ServiceSetting"]["Status"] == "Default"
