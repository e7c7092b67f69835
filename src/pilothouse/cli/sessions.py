"""`pilothouse sessions`: who is or was at which node, and what was recorded of it."""

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pilothouse.cli.connections import Clients
from pilothouse.cli.named import asked, pages, printable, show, with_clients
from pilothouse.cli.shared import Failed

app = typer.Typer(no_args_is_help=True, help="Sessions: who is or was at which node, and their recordings.")

SessionArgument = Annotated[str, typer.Argument(metavar="SESSION-ID")]
_PAGE: Final = 1 << 20
_COLUMNS: Final = ("SessionId", "Status", "Target", "StartDate", "Owner", "Reason")
_MATCHES: Final = 200
"""Lines that one call gives."""


@app.command("list")
@with_clients
def listed(
    clients: Clients,
    output: str,
    history: Annotated[bool, typer.Option("--history", help="Those that have ended.")] = False,
    node: Annotated[str, typer.Option("--node", help="On this node only.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="ARN of who began it.")] = "",
    most: Annotated[int, typer.Option("--most", min=1, help="So many at most.")] = 50,
) -> None:
    """Sessions, newest first: id, status, node, begin, owner, reason."""
    wanted = [{"key": key, "value": value} for key, value in (("Target", node), ("Owner", owner)) if value]
    asking: dict[str, Any] = {"State": "History" if history else "Active"} | ({"Filters": wanted} if wanted else {})
    found = list(islice(pages(clients, "ssm", "describe_sessions", "Sessions", **asking), most))
    if output == "text":
        found = [{**each, "Owner": each["Owner"].rpartition("/")[2].rpartition(":")[2]} for each in found]
    show(found, output, _COLUMNS, "There are no such sessions.")


@app.command("show")
@with_clients
def shown(clients: Clients, output: str, session_id: SessionArgument) -> None:
    """A session and what is recorded of it, as JSON."""
    found = _described(clients, session_id)
    page = asked(clients, "pilothouse", "get_session_recording", SessionId=session_id, MaxBytes=1)
    names = ("Recorded", "Size", "Sha256", "BytesSent", "BytesReceived")
    recording = {name: page[name] for name in names if name in page}
    typer.echo(json.dumps({**found, "Recording": recording}, indent=2, default=str))


@app.command("recording")
@with_clients
def recording(
    clients: Clients,
    output: str,
    session_id: SessionArgument,
    to: Annotated[Path | None, typer.Option("--to", help="A new file. Default: standard output.")] = None,
    text: Annotated[bool, typer.Option("--text", help="What was shown, as plain text.")] = False,
) -> None:
    """The recording in the format of asciicast v2, which `asciinema play` and other players understand."""
    try:
        pieces = _asciicast(clients, session_id)
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


@app.command("search")
@with_clients
def search(
    clients: Clients,
    output: str,
    text: Annotated[str, typer.Argument(help="What a line of output holds, in any case of letters.")],
    node: Annotated[str, typer.Option("--node", help="On this node only.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="ARN of who began it.")] = "",
    most: Annotated[int, typer.Option("--most", min=1, help="So many lines at most.")] = 100,
) -> None:
    """Lines of recorded output that hold a text, newest sessions first: session, seconds from its begin, line."""
    asking = {"Text": text} | ({"Target": node} if node else {}) | ({"Owner": owner} if owner else {})
    matches = pages(
        clients, "pilothouse", "search_session_recordings", "Matches", **asking, MaxResults=min(most, _MATCHES)
    )  # fmt: skip
    found = islice(matches, most)
    if output == "json":
        show(list(found), output, (), "")
        return
    for each in found:  # as they come: a search may take long
        typer.echo(f"{each['SessionId']}  {each['Seconds']:.3f}  {printable(each['Line'])}")


@app.command("terminate")
@with_clients
def terminate(clients: Clients, output: str, session_id: SessionArgument) -> None:
    """End a session for both of its ends."""
    asked(clients, "ssm", "terminate_session", SessionId=session_id)


def _described(clients: Clients, session_id: str) -> dict[str, Any]:
    wanted = [{"key": "SessionId", "value": session_id}]
    for state in ("Active", "History"):
        found = asked(clients, "ssm", "describe_sessions", State=state, Filters=wanted)["Sessions"]
        if found:
            return dict(found[0])
    raise Failed(f"there is no session {session_id}")


def _asciicast(clients: Clients, session_id: str) -> Iterator[bytes]:
    """The file: its first line, then the others in pieces of whole lines. Raises Failed."""
    offset, held = 0, b""
    while True:
        page = asked(
            clients, "pilothouse", "get_session_recording", SessionId=session_id, Offset=offset, MaxBytes=_PAGE
        )  # fmt: skip
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
