"""The types that nodes send and this server keeps itself, with their attributes (spec: AWS's user guide)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A type that everybody has."""

    version: str
    attributes: tuple[str, ...]
    moment: str | None = None
    """An attribute that differs from node to node, so that what they share is told apart from it."""
    text_only: tuple[str, ...] = ()
    """Attributes that say much of one entry and are seldom sought: they are looked at, but not found by an index."""
    served: bool = False
    """This server knows it by itself: nobody sends it."""


_APPLICATION: Final = (
    "Name", "ApplicationType", "Publisher", "Version", "Release", "Epoch", "InstalledTime", "Architecture", "URL",
    "Summary", "PackageId",
)  # fmt: skip
_LONG: Final = ("URL", "Summary", "PackageId")

BUILT_IN: Final[Mapping[str, BuiltIn]] = {
    "AWS:AWSComponent": BuiltIn(
        "1.0", ("Name", "ApplicationType", "Publisher", "Version", "InstalledTime", "Architecture", "URL"),
        moment="InstalledTime", text_only=("URL",),
    ),
    "AWS:Application": BuiltIn("1.1", _APPLICATION, moment="InstalledTime", text_only=_LONG),
    "AWS:Association": BuiltIn(
        "1.0", ("AssociationId", "DocumentName", "DocumentVersion", "Severity", "Status", "ExecutionTime"), served=True
    ),
    "AWS:BillingInfo": BuiltIn("1.0", ("BillingProductId",)),
    "AWS:ComplianceItem": BuiltIn(
        "1.0",
        ("ComplianceType", "ExecutionId", "ExecutionType", "ExecutionTime", "Id", "Title", "Status", "Severity",
         "DocumentName", "DocumentVersion", "Classification", "PatchBaselineId", "PatchSeverity", "PatchState",
         "PatchGroup", "InstalledTime", "InstallOverrideList", "CVEIds"),
        served=True,
    ),
    "AWS:ComplianceSummary": BuiltIn(
        "1.0",
        ("ComplianceType", "Status", "OverallSeverity", "ExecutionId", "ExecutionType", "ExecutionTime",
         "CompliantCount", "NonCompliantCount",
         *(f"{status}{severity}Count" for status in ("Compliant", "NonCompliant")
           for severity in ("Critical", "High", "Medium", "Low", "Informational", "Unspecified"))),
        served=True,
    ),
    "AWS:File": BuiltIn(
        "1.0",
        ("Name", "Size", "Description", "FileVersion", "InstalledDate", "ModificationTime", "LastAccessTime",
         "ProductName", "InstalledDir", "ProductLanguage", "CompanyName", "ProductVersion"),
        moment="ModificationTime",
    ),
    "AWS:InstanceDetailedInformation": BuiltIn(
        "1.0",
        ("CPUModel", "CPUCores", "CPUs", "CPUSpeedMHz", "CPUSockets", "CPUHyperThreadEnabled", "OSServicePack",
         "KernelVersion"),
    ),
    "AWS:InstanceInformation": BuiltIn(
        "1.0",
        ("AgentType", "AgentVersion", "ComputerName", "InstanceId", "InstanceStatus", "IpAddress", "PlatformName",
         "PlatformType", "PlatformVersion", "ResourceType"),
        served=True,
    ),
    "AWS:Network": BuiltIn(
        "1.0", ("Name", "SubnetMask", "Gateway", "DHCPServer", "DNSServer", "MacAddress", "IPV4", "IPV6")
    ),
    "AWS:PatchCompliance": BuiltIn(
        "1.0", ("Title", "KBId", "Classification", "Severity", "State", "InstalledTime"), text_only=("Title",)
    ),
    "AWS:PatchSummary": BuiltIn(
        "1.0",
        ("PatchGroup", "BaselineId", "SnapshotId", "OwnerInformation", "InstalledCount", "InstalledPendingRebootCount",
         "InstalledOtherCount", "InstalledRejectedCount", "NotApplicableCount", "MissingCount", "FailedCount",
         "OperationType", "OperationStartTime", "OperationEndTime", "InstallOverrideList", "RebootOption",
         "LastNoRebootInstallOperationTime"),
    ),
    "AWS:Process": BuiltIn(
        "1.0",
        ("StartTime", "CommandLine", "User", "FileName", "FileVersion", "FileDescription", "FileSize", "CompanyName",
         "ProductName", "ProductVersion", "InstalledDate", "InstalledDir", "UsageId"),
        moment="StartTime",
    ),
    "AWS:ResourceGroup": BuiltIn("1.0", ("Name", "Arn"), served=True),
    "AWS:Service": BuiltIn(
        "1.0",
        ("Name", "DisplayName", "ServiceType", "Status", "DependentServices", "ServicesDependedOn", "StartType"),
        text_only=("DisplayName", "DependentServices", "ServicesDependedOn"),
    ),
    "AWS:Tag": BuiltIn("1.0", ("Key", "Value"), served=True),
    "AWS:WindowsRegistry": BuiltIn("1.0", ("KeyPath", "ValueName", "ValueType", "Value")),
    "AWS:WindowsRole": BuiltIn(
        "1.0",
        ("Name", "DisplayName", "Path", "FeatureType", "DependsOn", "Description", "Installed", "InstalledState",
         "SubFeatures", "ServerComponentDescriptor", "Parent"),
        text_only=("Description", "SubFeatures"),
    ),
    "AWS:WindowsUpdate": BuiltIn(
        "1.0", ("HotFixId", "Description", "InstalledTime", "InstalledBy"), moment="InstalledTime"
    ),
}  # fmt: skip
COUNTED: Final[Mapping[str, tuple[str, ...]]] = {
    "AWS:Application": ("Name", "ApplicationType", "Publisher", "Version", "Architecture"),
    "AWS:InstanceInformation": (
        "AgentType", "AgentVersion", "ComputerName", "InstanceId", "InstanceStatus", "IpAddress", "PlatformName",
        "PlatformType", "PlatformVersion", "ResourceType",
    ),
    "AWS:ResourceGroup": ("Name",),
    "AWS:Service": ("Name", "ServiceType", "Status", "StartType"),
    "AWS:WindowsRole": ("Name", "FeatureType", "Installed"),
}  # fmt: skip
"""What GetInventorySchema names of the built-in types when asked for what can be counted; more can be."""
CONTEXTS: Final = frozenset({"AWS:ComplianceItem", "AWS:PatchCompliance", "AWS:PatchSummary"})
"""Types whose items may come with a context."""
