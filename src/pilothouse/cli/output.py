"""`pilothouse output`: all that a command wrote on a node, or on all of its nodes while it runs."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.run_view import Lines
from pilothouse.cli.shared import DataOption, Failed

_PAGE = 1024 * 1024


def output(
    command_id: Annotated[str, typer.Argument(help="As send-command, or run --no-wait, gave it.")],
    node: Annotated[str, typer.Option("--node", help="Id of the node. Left out with --follow: all of them.")] = "",
    step: Annotated[str, typer.Option("--step", help="Name of the step, where the document has several.")] = "",
    stderr: Annotated[bool, typer.Option("--stderr", help="Standard error in place of standard output.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Both streams as they grow, until it ends.")] = False,
    region: Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")] = None,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")] = None,
    data: DataOption = None,
) -> None:
    """Write what a step wrote on a node to standard output, byte for byte, whatever its length."""
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    try:
        if follow:
            lines = Lines()
            for piece in followed(clients, command_id, [node] if node else []):
                lines.show(piece)
            lines.end()
            return
        if not node:
            raise Failed("of which node? Add --node, or --follow for all of them")
        asked: dict[str, Any] = {"CommandId": command_id, "InstanceId": node}
        asked |= {"StepName": step} if step else {}
        asked |= {"Stream": "StandardError"} if stderr else {}
        if _copied(clients.service("pilothouse"), asked):
            sys.stderr.write("pilothouse: the node or the server kept no more than this of it\n")
            raise typer.Exit(1)
    except (BotoCoreError, ClientError, HTTPError) as error:
        raise told(error) from error


def _copied(own: Any, asked: dict[str, Any]) -> bool:
    """Write all there is; whether something is missing."""
    offset = 0
    while True:
        page = own.get_command_output(**asked, Offset=offset, MaxBytes=_PAGE)
        sys.stdout.buffer.write(page["Data"])
        offset = page["NextOffset"]
        if offset >= page["Size"]:
            sys.stdout.buffer.flush()
            return bool(page["Truncated"])


def followed(clients: Clients, command_id: str, nodes: list[str]) -> Iterator[dict[str, Any]]:
    """Pieces of output as the nodes write them, until the command has ended. Raises Failed."""
    query = urlencode([("command-id", command_id), *(("instance-id", node) for node in nodes)])
    answer = clients.stream(f"/ph/v1/commands/output?{query}")
    text = ""
    for part in answer.stream(65536):
        text += part.decode()
        *events, text = text.split("\n\n")
        for event in events:
            kind, _, said = event.partition("\ndata: ")
            if kind == "event: end":
                return
            if kind == "event: output":
                yield json.loads(said)
    raise Failed("the server ended the stream; ask again")
