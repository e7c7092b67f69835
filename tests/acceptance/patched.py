"""What tests of patching do with one machine."""

import uuid
from typing import Any

from tests.acceptance.installation import Installation
from tests.acceptance.roots import Root, RootAgent

DEBIAN = {"ID": "debian", "NAME": "Debian GNU/Linux", "VERSION_ID": "12", "VERSION_CODENAME": "bookworm"}
UBUNTU = {"ID": "ubuntu", "NAME": "Ubuntu", "VERSION_ID": "22.04", "VERSION_CODENAME": "jammy"}
ROCKY = {"ID": "rocky", "ID_LIKE": "rhel fedora", "NAME": "Rocky Linux", "VERSION_ID": "9.1"}
SUSE = {"ID": "sles", "NAME": "SLES", "VERSION_ID": "15.4"}


class Patched:
    """What a test does with one machine."""

    def __init__(self, house: Installation, root: Root, agent: RootAgent) -> None:
        self.house, self.root, self.agent = house, root, agent
        self.ssm = house.boto("ssm")
        self.id = agent.node_id

    def run(self, operation: str, *, document: str = "AWS-RunPatchBaseline", **parameters: str) -> dict[str, Any]:
        """Run the document on the machine; the invocation when it is final."""
        given = {"Operation": [operation]} if operation else {}
        given |= {name: [value] for name, value in parameters.items()}
        sent = self.ssm.send_command(InstanceIds=[self.id], DocumentName=document, Parameters=given)
        command_id = sent["Command"]["CommandId"]
        self.house.finished(command_id, self.id, within=120)
        step = {"Pilothouse-PlanPatches": "PlanLinux"}.get(document, "PatchLinux")
        got: dict[str, Any] = self.ssm.get_command_invocation(CommandId=command_id, InstanceId=self.id, PluginName=step)
        return got

    def done(self, operation: str, **parameters: str) -> dict[str, Any]:
        """The same, which must have gone well."""
        got = self.run(operation, **parameters)
        assert got["Status"] == "Success", (got["StandardOutputContent"], got["StandardErrorContent"])
        return got

    def state(self) -> dict[str, Any]:
        (found,) = self.ssm.describe_instance_patch_states(InstanceIds=[self.id])["InstancePatchStates"]
        return dict(found)

    def patches(self, *names: str) -> dict[str, str]:
        """Id to state, of those named or all."""
        pages = self.ssm.get_paginator("describe_instance_patches").paginate(InstanceId=self.id)
        found = {each["KBId"]: each["State"] for page in pages for each in page["Patches"]}
        return {name: found[name] for name in names if name in found} if names else found

    def baseline(self, system: str, **members: Any) -> str:
        """Make a baseline the machine's, by a patch group of its own."""
        group = f"group-{uuid.uuid4().hex[:8]}"
        made: str = self.ssm.create_patch_baseline(Name=group, OperatingSystem=system, **members)["BaselineId"]
        self.ssm.register_patch_baseline_for_patch_group(BaselineId=made, PatchGroup=group)
        self.ssm.add_tags_to_resource(
            ResourceType="ManagedInstance", ResourceId=self.id, Tags=[{"Key": "Patch Group", "Value": group}]
        )
        return made


def rule(*filters: tuple[str, list[str]], **members: Any) -> dict[str, Any]:
    """A rule by filters, for ApprovalRules."""
    group = {"PatchFilters": [{"Key": key, "Values": values} for key, values in filters]}
    return {"PatchRules": [{"PatchFilterGroup": group, "ApproveAfterDays": 0, **members}]}
