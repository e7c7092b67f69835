"""The documents that come with the installation: they are good ones, and have the names and parameters of the known."""

import pytest

from pilothouse.capabilities.documents import check_values, for_node, to_node
from pilothouse.capabilities.documents.checking import checked
from pilothouse.capabilities.documents.library import provided
from pilothouse.capabilities.documents.model import ON_NODES
from tests.capabilities.documents.agent_parser import parse

NEEDED = {
    "commands": ["true"], "sourceInfo": ['{"url": "https://x"}'], "commandLine": ["true"], "name": ["p"],
    "source": ["https://x/a.msi"], "directoryId": ["d"], "directoryName": ["n"],
}  # fmt: skip
PARAMETERS = {
    "AWS-ApplyAnsiblePlaybooks": "SourceType SourceInfo InstallDependencies PlaybookFile ExtraVariables Check Verbose "
                                 "TimeoutSeconds",
    "AWS-ConfigureAWSPackage": "action installationType name version additionalArguments",
    "AWS-DownloadContent": "sourceType sourceInfo destinationPath",
    "AWS-GatherSoftwareInventory": "applications awsComponents files networkConfig windowsUpdates "
                                   "instanceDetailedInformation services windowsRegistry windowsRoles customInventory "
                                   "billingInfo",
    "AWS-RefreshAssociation": "associationIds",
    "AWS-RunDocument": "sourceType sourceInfo documentParameters",
    "AWS-RunPowerShellScript": "commands workingDirectory executionTimeout",
    "AWS-RunRemoteScript": "sourceType sourceInfo commandLine workingDirectory executionTimeout",
    "AWS-RunShellScript": "commands workingDirectory executionTimeout",
    "AWS-StartPortForwardingSessionToRemoteHost": "host portNumber localPortNumber",
    "AWS-UpdateSSMAgent": "version allowDowngrade",
}  # fmt: skip
PLATFORMS = {
    "AWS-ConfigureAWSPackage": ("Windows", "Linux", "MacOS"), "AWS-InstallApplication": ("Windows",),
    "AWS-Noop": ("Windows", "Linux", "MacOS"), "AWS-RunShellScript": ("Linux", "MacOS"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(provided()))
def test_a_provided_document_is_one_that_agents_take(name: str) -> None:
    document = provided()[name]
    assert checked(document.kind, "JSON", document.text) == document.content
    assert document.description
    if name in PARAMETERS:
        assert list(document.parameters) == PARAMETERS[name].split()
    assert document.platform_types == PLATFORMS.get(name, document.platform_types)
    if document.kind in ON_NODES:
        needed = {
            each: found["allowedValues"][-1:] if "allowedValues" in found else NEEDED[each]
            for each, found in document.parameters.items()
            if "default" not in found
        }
        check_values(document, needed)
        assert parse(for_node(document), to_node(document, needed))
    else:
        assert document.kind in ("Session", "Automation")
