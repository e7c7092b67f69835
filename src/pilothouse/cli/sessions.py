"""`pilothouse sessions`: who is or was at which node, and what was recorded of it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.shared import DataOption, Failed

app = typer.Typer(no_args_is_help=True, help="Sessions: who is or was at which node, and their recordings.")

RegionOption = Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")]
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION-ID")]
_PAGE = 1 << 20


@app.command("list")
def listed(
    history: Annotated[bool, typer.Option("--history", help="Those that have ended.")] = False,
    node: Annotated[str, typer.Option("--node", help="On this node only.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="ARN of who began it.")] = "",
    most: Annotated[int, typer.Option("--most", min=1, help="So many at most.")] = 50,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Sessions, newest first: id, status, node, begin, owner, reason."""
    ssm = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)).service("ssm")
    wanted = [{"key": key, "value": value} for key, value in (("Target", node), ("Owner", owner)) if value]
    asked: dict[str, Any] = {"State": "History" if history else "Active"} | ({"Filters": wanted} if wanted else {})
    left = most
    try:
        pages = ssm.get_paginator("describe_sessions").paginate(**asked, PaginationConfig={"MaxItems": most})
        for page in pages:
            for each in page["Sessions"][:left]:
                began = each["StartDate"].strftime("%Y-%m-%d %H:%M")
                owned = each["Owner"].rpartition("/")[2].rpartition(":")[2]
                parts = (each["SessionId"], each["Status"], each["Target"], began, owned, each.get("Reason", ""))
                typer.echo(_shown("  ".join(parts).rstrip()))
            left -= len(page["Sessions"])
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error


@app.command("show")
def show(
    session_id: SessionArgument,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """A session and what is recorded of it, as JSON."""
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    try:
        found = _described(clients.service("ssm"), session_id)
        page = clients.service("pilothouse").get_session_recording(SessionId=session_id, MaxBytes=1)
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    names = ("Recorded", "Size", "Sha256", "BytesSent", "BytesReceived")
    recording = {name: page[name] for name in names if name in page}
    typer.echo(json.dumps({**found, "Recording": recording}, indent=2, default=str))


@app.command("recording")
def recording(
    session_id: SessionArgument,
    to: Annotated[Path | None, typer.Option("--to", help="A new file. Default: standard output.")] = None,
    text: Annotated[bool, typer.Option("--text", help="What was shown, as plain text.")] = False,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """The recording in the format of asciicast v2, which `asciinema play` and other players understand."""
    own = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)).service("pilothouse")
    try:
        pieces = _asciicast(own, session_id)
        first = next(pieces)
        with sys.stdout.buffer if to is None else to.open("xb") as out:
            if text:
                out.writelines(_text(pieces))
            else:
                out.write(first)
                out.writelines(pieces)
    except FileExistsError as error:
        raise Failed(f"{to} is there already") from error
    except OSError as error:
        raise Failed(f"{to}: {error.strerror}") from error
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error


@app.command("search")
def search(
    text: Annotated[str, typer.Argument(help="What a line of output holds, in any case of letters.")],
    node: Annotated[str, typer.Option("--node", help="On this node only.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="ARN of who began it.")] = "",
    most: Annotated[int, typer.Option("--most", min=1, help="So many lines at most.")] = 100,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Lines of recorded output that hold a text, newest sessions first: session, seconds from its begin, line."""
    own = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)).service("pilothouse")
    asked = {"Text": text} | ({"Target": node} if node else {}) | ({"Owner": owner} if owner else {})
    left, token = most, dict[str, str]()
    try:
        while left > 0:
            page = own.search_session_recordings(**asked, **token, MaxResults=min(left, 200))
            for each in page["Matches"]:
                typer.echo(f"{each['SessionId']}  {each['Seconds']:.3f}  {_shown(each['Line'])}")
            left -= len(page["Matches"])
            if "NextToken" not in page:
                return
            token = {"NextToken": page["NextToken"]}
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error


@app.command("terminate")
def terminate(
    session_id: SessionArgument,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """End a session for both of its ends."""
    ssm = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)).service("ssm")
    try:
        ssm.terminate_session(SessionId=session_id)
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error


def _described(ssm: Any, session_id: str) -> dict[str, Any]:
    for state in ("Active", "History"):
        found = ssm.describe_sessions(State=state, Filters=[{"key": "SessionId", "value": session_id}])["Sessions"]
        if found:
            return dict(found[0])
    raise Failed(f"there is no session {session_id}")


def _asciicast(own: Any, session_id: str) -> Iterator[bytes]:
    """The file: its first line, then the others in pieces of whole lines. Raises Failed."""
    offset, held = 0, b""
    while True:
        page = own.get_session_recording(SessionId=session_id, Offset=offset, MaxBytes=_PAGE)
        if not page["Recorded"]:
            raise Failed(f"{session_id} was not recorded: it is a tunnel, encrypted, or the account records none")
        if offset == 0:
            yield page["Header"].encode() + b"\n"
        whole, newline, held = (held + page["Data"]).rpartition(b"\n")
        yield whole + newline
        offset = page["NextOffset"]
        if offset >= page["Size"]:
            return


def _text(pieces: Iterator[bytes]) -> Iterator[bytes]:
    from pilothouse.capabilities.sessions.screens import plain

    for piece in pieces:
        for each in piece.splitlines():
            _, kind, shown = json.loads(each)
            if kind == "o":
                yield plain(shown).encode()


def _shown(text: str) -> str:
    """A text from a node or a user, with nothing in it that moves a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
