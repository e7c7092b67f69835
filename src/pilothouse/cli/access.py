"""`pilothouse access`: requests for access to nodes, for who decides about them and for who has made one."""

import shlex
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.shared import DataOption, Failed

app = typer.Typer(no_args_is_help=True, help="Access to nodes for a while: requests, decisions, credentials.")

RegionOption = Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")]
RequestArgument = Annotated[str, typer.Argument(metavar="REQUEST-ID")]
CommentOption = Annotated[str, typer.Option("--comment", help="What others read about it.")]


def _clients(
    region: str | None, profile: str | None, endpoint_url: str | None, data: DataOption
) -> Clients:  # fmt: skip
    return Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))


@app.command("list")
def listed(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Requests, newest first: id, status, node, end, who asked, why."""
    own = _clients(region, profile, endpoint_url, data).service("pilothouse")
    asked: dict[str, Any] = {"All": everything}
    try:
        while True:
            page = own.list_access_requests(**asked)
            for each in page["AccessRequests"]:
                ends = each["EndTime"].strftime("%Y-%m-%d %H:%M") if "EndTime" in each else "-"
                who = each["Requester"].rpartition("/")[2].rpartition(":")[2]
                parts = (
                    each["AccessRequestId"],
                    each["AccessRequestStatus"],
                    each["Target"],
                    ends,
                    who,
                    each["Reason"],
                )
                typer.echo(_shown("  ".join(parts)))
                for said in each["Decisions"]:
                    line = f"    {said['Decision']} by {said['By']}: {said.get('Comment', '')}"
                    typer.echo(_shown(line.rstrip(": ")))
            if "NextToken" not in page:
                return
            asked["NextToken"] = page["NextToken"]
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error


def _deciding(name: str, decision: str, help_text: str) -> None:
    """A command that decides about a request."""

    @app.command(name, help=help_text)
    def decide(
        request_id: RequestArgument,
        comment: CommentOption = "",
        region: RegionOption = None,
        profile: ProfileOption = None,
        endpoint_url: EndpointOption = None,
        data: DataOption = None,
    ) -> None:
        clients = _clients(region, profile, endpoint_url, data)
        more = {"Comment": comment} if comment else {}
        try:
            answer = clients.service("pilothouse").decide_access_request(
                AccessRequestId=request_id, Decision=decision, **more
            )
        except (BotoCoreError, ClientError) as error:
            raise told(error) from error
        typer.echo(answer["AccessRequestStatus"])


_deciding("approve", "Approve", "Let somebody have access.")
_deciding("reject", "Reject", "Refuse it.")
_deciding("revoke", "Revoke", "Take it back: its sessions end.")


@app.command("env")
def env(
    request_id: RequestArgument,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Credentials of an approved request, as lines for a shell."""
    try:
        answer = (
            _clients(region, profile, endpoint_url, data).service("ssm").get_access_token(AccessRequestId=request_id)
        )
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    if "Credentials" not in answer:
        raise Failed(f"the access request {request_id} is {answer['AccessRequestStatus']}")
    names = {
        "AWS_ACCESS_KEY_ID": "AccessKeyId",
        "AWS_SECRET_ACCESS_KEY": "SecretAccessKey",
        "AWS_SESSION_TOKEN": "SessionToken",
    }
    for name, member in names.items():
        typer.echo(f"export {name}={shlex.quote(answer['Credentials'][member])}")


def _shown(text: str) -> str:
    """A text from somebody else, with nothing in it that moves a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
