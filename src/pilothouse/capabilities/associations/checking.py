"""What an association may say, beyond what the service model checks."""

import re
from typing import Any, Final

from pilothouse.call import Call, Shape
from pilothouse.capabilities import commands, documents, nodes
from pilothouse.capabilities.associations import runbooks
from pilothouse.capabilities.associations.model import (
    InvalidOutputLocation,
    InvalidTarget,
    InvalidTargetMaps,
    Terms,
    UnsupportedPlatformType,
    check_schedule,
)
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.storage import Transaction

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEYS: Final = "InstanceIds, tag:<key>, tag-key, resource-groups:Name"
_GROUP: Final = "resource-groups:Name"
_MOST_IDS: Final = 50
_FOR_RUNBOOKS: Final = {
    "TargetLocations": "target_locations",
    "TargetMaps": "target_maps",
    "AssociationDispatchAssumeRole": "dispatch_role",
    "AutomationTargetParameterName": "automation_parameter",
}


def check_members(request: Shape, terms: Terms) -> None:
    """What can be told from the request alone. Raises the operations' errors."""
    if request.get("TargetMaps") and request.get("Targets"):
        raise InvalidTargetMaps("TargetMaps and Targets cannot be given together.")
    check_schedule(terms)
    _check_output(terms.output)


def _check_output(output: dict[str, Any] | None) -> None:
    place = (output or {}).get("S3Location") or {}
    bucket = place.get("OutputS3BucketName")
    if bucket and not _BUCKET.fullmatch(bucket):
        raise InvalidOutputLocation(f"{bucket} is not the name of a bucket.")
    if place and not bucket:
        raise InvalidOutputLocation("An S3Location needs an OutputS3BucketName.")


def _check_targets(targets: list[dict[str, Any]]) -> None:
    for target in targets:
        key, values = target.get("Key") or "", target.get("Values") or []
        if not values:
            raise InvalidTarget(f"The target {key or 'without a Key'} needs Values.")
        if key == _GROUP and len(values) != 1:
            raise InvalidTarget(f"A target with the key {_GROUP} has one value: the name of a resource group.")
        if key == "InstanceIds":
            if "*" in values and len(values) > 1:
                raise InvalidTarget("The value * of InstanceIds means all nodes; name no others beside it.")
            if len(values) > _MOST_IDS:
                raise InvalidTarget(f"InstanceIds names at most {_MOST_IDS} nodes; use tags for more.")
            if wrong := [each for each in values if each != "*" and not nodes.is_node_id(each)]:
                raise InvalidTarget(f"Not the id of a managed node: {wrong[0]}.")
        elif key not in ("tag-key", _GROUP) and not (key.startswith("tag:") and len(key) > len("tag:")):
            raise InvalidTarget(f"Unknown target key {key}. Valid keys: {_KEYS}.")


async def check_document(call: Call, tx: Transaction, terms: Terms, instance_id: str | None) -> documents.Document:
    """The document, its parameters, the calendars, and the node if one is named. Raises the operations' errors."""
    where = call.account_id, call.region
    found = await documents.find(tx, *where, terms.document, terms.document_version)
    for name in terms.calendars:
        await documents.calendar(tx, *where, name)
    if is_runbook(found):
        if instance_id:
            raise ValidationException("InstanceId is for documents that run on nodes; a runbook has Targets.")
        await runbooks.check(call, tx, terms)
        return found
    for name, attribute in _FOR_RUNBOOKS.items():
        if getattr(terms, attribute):
            raise ValidationException(f"{name} is for associations of runbooks; {found.name} runs on nodes.")
    _check_targets(terms.targets)
    document = await documents.for_run(tx, *where, terms.document, terms.document_version)
    documents.check_values(document, terms.parameters)
    await commands.check_references(call, tx, documents.references(document, terms.parameters))
    if instance_id:
        await _check_node(call, tx, document, instance_id)
    elif not terms.targets:
        raise InvalidTarget("An association with a document that runs on nodes needs Targets.")
    if not await nodes.may_read_groups(call, tx, terms.targets):
        raise AccessDeniedException(f"User: {call.principal.arn} may not see what is in the groups of the targets")
    return document


def is_runbook(document: documents.Document) -> bool:
    """Whether the server runs it, and not nodes."""
    return document.kind.startswith("Automation")


async def _check_node(call: Call, tx: Transaction, document: documents.Document, instance_id: str) -> None:
    node = await nodes.find(tx, call.account_id, call.region, instance_id)
    if node is None:
        raise nodes.InvalidInstanceId(f"There is no managed node {instance_id} in this region.")
    if document.schema_version != "1.2":
        raise documents.InvalidDocument(
            f"InstanceId is for documents with schemaVersion 1.2; {document.name} has {document.schema_version}. "
            "Name the node in Targets."
        )
    if not document.runs_on(node.platform_type):
        raise UnsupportedPlatformType(
            f"The document {document.name} runs on {', '.join(document.platform_types)}; the node does not."
        )


def document_and_nodes(call: Call, request: Shape) -> list[str]:
    """What policies are asked about: the document, and the nodes that are named."""
    named = [request["InstanceId"]] if request.get("InstanceId") else []
    for target in request.get("Targets") or ():
        if target.get("Key") == "InstanceIds":
            named += target.get("Values") or []
    where = f"arn:aws:ssm:{call.region}:{call.account_id}"
    arns = [f"{where}:managed-instance/{each}" for each in named]
    if request.get("Name"):
        arns.insert(0, documents.arn_of(request["Name"], call.account_id, call.region))
    return arns
