"""`pilothouse webhooks`: who is called when something changes."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from pilothouse.cli.connections import Clients, Side
from pilothouse.cli.params import parse_moment
from pilothouse.cli.shared import DataOption, Failed

app = typer.Typer(no_args_is_help=True, help="Webhooks: who is called when something changes.")

RegionOption = Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")]
IdArgument = Annotated[str, typer.Argument(metavar="WEBHOOK-ID")]


@app.command("create")
def create(
    url: str,
    path: Annotated[str, typer.Option(help="Parameters at or below this path only.")] = "",
    pattern: Annotated[str, typer.Option(help="Event pattern, JSON.")] = "",
    description: Annotated[str, typer.Option()] = "",
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Have URL called for every change from now on. The secret is shown this once."""
    side = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    _show(_asked(side, "create_webhook", Url=url, Path=path, Pattern=pattern, Description=description))


@app.command("list")
def listed(
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Every webhook of the account and region: id, state, URL."""
    side = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    token: dict[str, str] = {}
    while True:
        page = _asked(side, "list_webhooks", **token)
        for each in page["Webhooks"]:
            typer.echo(f"{each['WebhookId']}  {each['State']:<8}  {each['Url']}")
        if "NextToken" not in page:
            return
        token = {"NextToken": page["NextToken"]}


@app.command("show")
def show(
    webhook_id: IdArgument,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """A webhook and how its deliveries fare."""
    side = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    _show(_asked(side, "describe_webhook", WebhookId=webhook_id)["Webhook"])


@app.command("delete")
def delete(
    webhook_id: IdArgument,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Call it no more."""
    side = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    _asked(side, "delete_webhook", WebhookId=webhook_id)


@app.command("test")
def tried(
    webhook_id: IdArgument,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Send one event now and tell what the receiver answers; exit code 1 if it does not take it."""
    side = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    told = _asked(side, "test_webhook", WebhookId=webhook_id)
    if not told["Delivered"]:
        raise Failed(told["Error"])
    typer.echo(f"delivered; the receiver answered {told['StatusCode']}")


@app.command("enable")
def enable(
    webhook_id: IdArgument,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Deliver again: a disabled one goes on where it stopped, one that fails is tried at once."""
    side = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    _asked(side, "update_webhook", WebhookId=webhook_id, Enabled=True)


@app.command("redeliver")
def redeliver(
    webhook_id: IdArgument,
    since: Annotated[str, typer.Option(help="A moment: 2026-11-23T10:00:00Z, or a span: 2 hours ago.")],
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Deliver what happened since a moment, again where need be; what waits from before it is left out."""
    side = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    moment = parse_moment(since, datetime.now(UTC))
    events = _asked(side, "redeliver_events", WebhookId=webhook_id, Since=moment)["Events"]
    typer.echo(f"events to look through: {events}")


@app.command("rotate-secret")
def rotate_secret(
    webhook_id: IdArgument,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """A new secret, shown this once; for 24 hours deliveries are signed with the one before as well."""
    side = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    _show(_asked(side, "rotate_webhook_secret", WebhookId=webhook_id))


def _asked(side: Side, method: str, **members: Any) -> dict[str, Any]:
    """The answer to one call, without what every answer has. Raises Failed."""
    ask: Callable[..., dict[str, Any]] = getattr(Clients(side).service("pilothouse"), method)
    try:
        answer = ask(**members)
    except ClientError as error:
        raise Failed(error.response["Error"].get("Message") or str(error)) from error
    except BotoCoreError as error:
        raise Failed(str(error)) from error
    answer.pop("ResponseMetadata", None)
    return answer


def _show(members: dict[str, Any]) -> None:
    typer.echo(json.dumps(members, indent=2, default=str))
