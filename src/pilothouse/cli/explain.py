"""`pilothouse explain`: why something is allowed or not, and why an association or window did not run."""

import json
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pilothouse.cli import associations, windows
from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.shared import DataOption, Failed

_ASSOCIATION, _WINDOW = "association", "window"


def explain(
    action: Annotated[
        str, typer.Argument(help="Such as ssm:GetParameter; left out with --event. `association`, `window`: see below.")
    ] = "",
    resource: Annotated[str, typer.Argument(help="ARN; `*` where left out. Or an association or window.")] = "*",
    principal: Annotated[str, typer.Option(help="ARN of a user, a role or a session. Default: who asks.")] = "",
    context: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of a condition key; can be repeated.")] = None,
    event: Annotated[str, typer.Option(help="EventId of a call in the audit trail, in place of ACTION.")] = "",
    node: Annotated[str, typer.Option("--node", help="With `association`: the node on which it did not run.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Statements too that speak of other actions.")] = False,
    region: Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")] = None,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")] = None,
    data: DataOption = None,
    output: Annotated[str, typer.Option("--output", help="text or json.")] = "text",
) -> None:
    """Say why ACTION on RESOURCE is allowed or not, statement by statement.

    With `association NAME|ID`: why an association did not run, or not on a node, in plain words. With `window
    NAME|ID`: why a maintenance window did not start, or did less than was hoped.
    """
    if output not in {"text", "json"}:
        raise Failed(f"--output {output}: use text or json")
    if bool(action) == bool(event):
        raise Failed("name either an action such as ssm:GetParameter, or --event with an EventId of the audit trail")
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    if action == _ASSOCIATION:
        _explain_association(clients, resource, node, output)
        return
    if action == _WINDOW:
        _explain_window(clients, resource, output)
        return
    asked: dict[str, Any] = {"Action": action, "Resource": resource}
    if principal:
        asked["PrincipalArn"] = principal
    try:
        if event:
            asked = _of_event(clients, event)
        if context:
            asked.setdefault("Context", []).extend(_entries(context))
        answer = clients.service("pilothouse").explain(**asked)
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    answer.pop("ResponseMetadata", None)
    if output == "json":
        typer.echo(json.dumps(answer, indent=2))
        return
    console = Console()
    console.print(Text(f"{asked['Action']} on {asked['Resource']} by {answer['PrincipalArn']}: {answer['Verdict']}"))
    console.print(Text(answer["Reason"]))
    _show(console, [each for each in answer.get("Statements", []) if every or each["ActionFits"]])


def _explain_association(clients: Clients, named: str, node_id: str, output: str) -> None:
    if named == "*":
        raise Failed("name the association: pilothouse explain association NAME|ID")
    association_id = associations.id_of(clients, named)
    asked = {"AssociationId": association_id} | ({"InstanceId": node_id} if node_id else {})
    try:
        answer = clients.service("pilothouse").explain_association(**asked)
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    _say(f"association {association_id}", answer, output)


def _explain_window(clients: Clients, named: str, output: str) -> None:
    if named == "*":
        raise Failed("name the maintenance window: pilothouse explain window NAME|ID")
    window_id = windows.id_of(clients, named)
    try:
        answer = clients.service("pilothouse").explain_maintenance_window(WindowId=window_id)
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    _say(f"window {window_id}", answer, output)


def _say(about: str, answer: dict[str, Any], output: str) -> None:
    answer.pop("ResponseMetadata", None)
    if output == "json":
        typer.echo(json.dumps(answer, indent=2))
        return
    console = Console()
    console.print(Text(f"{about}: {answer['Status']}"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for line in answer["Lines"]:
        table.add_row(Text(line["About"]), Text(line["Text"]))
    console.print(table)


def _of_event(clients: Clients, event_id: str) -> dict[str, Any]:
    """What a recorded call was about."""
    wanted = [{"AttributeKey": "EventId", "AttributeValue": event_id}]
    found = clients.service("cloudtrail").lookup_events(LookupAttributes=wanted)["Events"]
    if not found:
        raise Failed(f"the audit trail has no event {event_id} in this account and region")
    event = json.loads(found[0]["CloudTrailEvent"])
    service = event["eventSource"].partition(".")[0]
    identity = event["userIdentity"]
    if "arn" not in identity:
        raise Failed("the call of this event was not signed; no policy was asked")
    resources = event.get("resources") or [{"ARN": "*"}]
    return {
        "PrincipalArn": identity["arn"],
        "Action": f"{service}:{event['eventName']}",
        "Resource": resources[0]["ARN"],
        "Context": [
            {"Key": "aws:SourceIp", "Values": [event["sourceIPAddress"]]},
            {"Key": "aws:UserAgent", "Values": [event["userAgent"]]},
            {"Key": "aws:RequestedRegion", "Values": [event["awsRegion"]]},
            {"Key": "aws:CurrentTime", "Values": [event["eventTime"]]},
        ],
    }


def _entries(texts: list[str]) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise Failed(f"--context {text}: write KEY=VALUE, such as aws:SourceIp=10.0.0.1")
        found.setdefault(key, []).append(value)
    return [{"Key": key, "Values": values} for key, values in found.items()]


def _show(console: Console, statements: list[dict[str, Any]]) -> None:
    if not statements:
        console.print("No statement of any policy speaks of this action.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("policy", "statement", "effect", "resource", "conditions", "applies"):
        table.add_column(name, overflow="fold")
    for each in statements:
        conditions = "\n".join(_condition(one) for one in each["Conditions"]) or "-"
        cells = (
            f"{each['Policy']} ({each['Kind']})",
            each["Sid"] or str(each["Number"]),
            each["Effect"],
            "fits" if each["ResourceFits"] else "another",
            conditions,
            "yes" if each["Applies"] else "no",
        )
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


def _condition(one: dict[str, Any]) -> str:
    found = ", ".join(one["Found"]) if one["Found"] else "nothing"
    word = "holds" if one["Holds"] else "fails"
    return f"{one['Operator']} {one['Key']} {', '.join(one['Wanted'])}: {word}, the request has {found}"
