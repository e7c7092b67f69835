"""`pilothouse compliance`: how the fleet stands, and what does not comply."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table
from rich.text import Text

from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.inventory import plain, wide
from pilothouse.cli.shared import DataOption, Failed

_SEVERITIES = ("Critical", "High", "Medium", "Low", "Informational", "Unspecified")
_COLORS = {"CRITICAL": "red", "HIGH": "red", "MEDIUM": "yellow"}


def compliance(
    kind: Annotated[str, typer.Option("--type", help="Such as Patch, Association or Custom:Disk.")] = "",
    node: Annotated[str, typer.Option("--node", help="What does not comply on this node.")] = "",
    nodes: Annotated[bool, typer.Option("--nodes", help="How each node stands.")] = False,
    every: Annotated[bool, typer.Option("--all", help="What complies as well.")] = False,
    region: Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")] = None,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")] = None,
    data: DataOption = None,
    output: Annotated[str, typer.Option("--output", help="table or json.")] = "table",
) -> None:
    """Show how many nodes comply, by type; with --nodes which, with --node what does not."""
    if output not in ("table", "json"):
        raise Failed(f"--output {output}: use table or json")
    client = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)).service("ssm")
    filters = [{"Key": "ComplianceType", "Values": [kind]}] if kind else []
    if not every and (nodes or node):
        filters.append({"Key": "Status", "Values": ["NON_COMPLIANT"]})
    if node:
        found = _all(client, "list_compliance_items", "ComplianceItems", ResourceIds=[node], Filters=filters)
        head, lines = ["Type", "Severity", "Status", "Id", "Title"], [_item(each) for each in found]
    elif nodes:
        found = _all(client, "list_resource_compliance_summaries", "ResourceComplianceSummaryItems", Filters=filters)
        head, lines = (
            ["Node", "Type", "Status", "Severity", "Good", "Bad", "Found"],
            [_standing(each) for each in found],
        )
    else:
        found = _all(client, "list_compliance_summaries", "ComplianceSummaryItems", Filters=filters)
        head, lines = ["Type", "Good", "Bad", *_SEVERITIES], [_summary(each) for each in found]
    if output == "json":
        typer.echo(json.dumps(found, indent=2, default=str))
        return
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*(Text(plain(cell), style=_COLORS.get(cell, "")) for cell in line))
    wide(table)


def _all(client: Any, name: str, member: str, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    try:
        while True:
            answer = getattr(client, name)(**asked)
            found += answer[member]
            if not answer.get("NextToken"):
                return found
            asked["NextToken"] = answer["NextToken"]
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error


def _item(each: Mapping[str, Any]) -> Sequence[str]:
    return [each["ComplianceType"], each["Severity"], each["Status"] or "-", each["Id"], each["Title"]]


def _standing(each: Mapping[str, Any]) -> Sequence[str]:
    return [
        each["ResourceId"], each["ComplianceType"], each["Status"], each["OverallSeverity"],
        str(each["CompliantSummary"]["CompliantCount"]), str(each["NonCompliantSummary"]["NonCompliantCount"]),
        f"{each['ExecutionSummary']['ExecutionTime']:%Y-%m-%d %H:%M}",
    ]  # fmt: skip


def _summary(each: Mapping[str, Any]) -> Sequence[str]:
    bad = each["NonCompliantSummary"]
    by_severity = [str(bad["SeveritySummary"][f"{name}Count"] or "") for name in _SEVERITIES]
    return [each["ComplianceType"], str(each["CompliantSummary"]["CompliantCount"]), str(bad["NonCompliantCount"]),
            *by_severity]  # fmt: skip
