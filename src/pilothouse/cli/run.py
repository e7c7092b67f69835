"""`pilothouse run`: a command on one node or on thousands, watched until it has ended everywhere."""

import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from pilothouse.cli import run_outcome, run_view, whom
from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.output import followed
from pilothouse.cli.shared import DataOption, Failed

SHELL: Final = "AWS-RunShellScript"
EXIT_FAILED, EXIT_NOBODY, EXIT_LEFT = 1, 3, 130
_LOOK_SECONDS: Final = (0.1, 1.0)
"""From one look at a running command to the next: at first, and later."""


def run(
    words: Annotated[
        list[str] | None, typer.Argument(help="The script: one text, or a program and its words. `-` reads it.")
    ] = None,
    node: Annotated[list[str] | None, typer.Option("--node", help="Id or name of a node; can be repeated.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", help="KEY=VALUE[,VALUE]: tag:Env=Prod, tag-key=Env, resource-groups:Name=web."),
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every node.")] = False,
    file: Annotated[Path | None, typer.Option("--file", help="A file with the script, in place of words.")] = None,
    document: Annotated[str, typer.Option("--document", help="Another document than AWS-RunShellScript.")] = SHELL,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", help="NAME=VALUE for the document; can be repeated.")
    ] = None,
    max_concurrency: Annotated[str, typer.Option(help="Nodes at once, a number or a percentage.")] = "50",
    max_errors: Annotated[str, typer.Option(help="Errors tolerated, a number or a percentage.")] = "0",
    timeout: Annotated[int, typer.Option(help="Seconds in which a node must begin.")] = 3600,
    comment: Annotated[str, typer.Option(help="Stored with the command.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Show who would get it and why others would not.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until it has ended, or print its id.")] = True,
    follow: Annotated[bool, typer.Option("--follow", help="Print output as nodes write it.")] = False,
    output: Annotated[str, typer.Option("--output", help="text or json.")] = "text",
    region: Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")] = None,
    endpoint_url: Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")] = None,
    data: DataOption = None,
) -> None:
    """Run a script, or a document, on nodes, and show what came of it.

    Exit code 0: it succeeded on every node. 1: it failed somewhere, or could not be sent. 3: no node fits. 130: you
    left before it ended.
    """
    if output not in {"text", "json"}:
        raise Failed(f"--output {output}: use text or json")
    request: dict[str, Any] = {
        "DocumentName": document,
        "MaxConcurrency": max_concurrency,
        "MaxErrors": max_errors,
        "Parameters": _parameters(document, _script(words or [], file), parameter or []),
    }
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    ssm = clients.service("ssm")
    try:
        request |= _whom(ssm, node or [], target or [], everybody)
        if plan:
            _show_plan(clients.service("pilothouse"), request, output)
            return
        sent = ssm.send_command(**request, TimeoutSeconds=timeout, Comment=comment)["Command"]
        if not wait:
            typer.echo(json.dumps({"CommandId": sent["CommandId"]}) if output == "json" else sent["CommandId"])
            return
        code = _followed(ssm, clients, sent) if follow else _watched(ssm, sent, output)
    except (BotoCoreError, ClientError, HTTPError) as error:
        raise told(error) from error
    if code:
        raise typer.Exit(code)


def _script(words: Sequence[str], file: Path | None) -> str | None:
    if file is not None and words:
        raise Failed("give the script as words or with --file, not both")
    try:
        if file is not None:
            return file.read_text("utf-8")
        if list(words) == ["-"]:
            return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"the script cannot be read: {error}") from error
    return (words[0] if len(words) == 1 else shlex.join(words)) if words else None


def _parameters(document: str, script: str | None, given: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise Failed(f"--parameter {text}: write NAME=VALUE")
        found.setdefault(name, []).append(value)
    if script is not None:
        if "commands" in found:
            raise Failed("the script is the parameter commands; leave out --parameter commands=…")
        found["commands"] = script.splitlines() or [""]
    elif document == SHELL and "commands" not in found:
        raise Failed("what shall be run? Add the command: pilothouse run --target tag:Env=Prod -- uname -a")
    return found


def _whom(ssm: Any, names: Sequence[str], targets: Sequence[str], everybody: bool) -> dict[str, Any]:
    if bool(names) + bool(targets) + everybody != 1:
        raise Failed("on which nodes? Use one of --node, --target (tag:Env=Prod) and --all")
    if everybody:
        return {"Targets": [{"Key": "InstanceIds", "Values": ["*"]}]}
    if targets:
        return {"Targets": [whom.target(text) for text in targets]}
    return {"InstanceIds": [each for name in names for each in whom.ids_of(ssm, name)]}


def _show_plan(own: Any, request: dict[str, Any], output: str) -> None:
    asked = {**request, "IncludeOthers": "Targets" in request, "MaxResults": 1000}
    answer = own.plan_command(**asked)
    found = list(answer["Nodes"])
    while answer.get("NextToken"):
        answer = own.plan_command(**asked, NextToken=answer["NextToken"])
        found += answer["Nodes"]
    answer |= {"Nodes": found}
    for name in ("ResponseMetadata", "NextToken"):
        answer.pop(name, None)
    if output == "json":
        typer.echo(json.dumps(answer, indent=2))
    else:
        run_view.show_plan(answer)


def _followed(ssm: Any, clients: Clients, sent: dict[str, Any]) -> int:
    command_id = sent["CommandId"]
    found = run_outcome.invocations(ssm, command_id)
    lines = run_view.Lines({each["InstanceId"]: each["InstanceName"] or each["InstanceId"] for each in found})
    try:
        for piece in followed(clients, command_id, []):
            lines.show(piece)
        lines.end()
    except KeyboardInterrupt:
        return _left(command_id)
    (command,) = ssm.list_commands(CommandId=command_id)["Commands"]
    run_view.say(run_view.summary(command | {"Nodes": list(run_outcome.invocations(ssm, command_id))}))
    return _exit_code(command, command["TargetCount"])


def _left(command_id: str) -> int:
    run_view.say(f"Left. The command goes on; stop it with: aws ssm cancel-command --command-id {command_id}")
    return EXIT_LEFT


def _exit_code(command: dict[str, Any], nodes: int) -> int:
    if command["Status"] != "Success":
        return EXIT_FAILED
    return 0 if nodes else EXIT_NOBODY


def _watched(ssm: Any, sent: dict[str, Any], output: str) -> int:
    command_id = sent["CommandId"]
    try:
        with run_view.live(command_id) as show:
            for command, open_ones in _looks(ssm, command_id):
                show(command, open_ones)
    except KeyboardInterrupt:
        return _left(command_id)
    outcome = run_outcome.gathered(ssm, command)
    if output == "json":
        typer.echo(json.dumps(outcome, indent=2))
    else:
        run_view.show_outcome(outcome)
    return _exit_code(outcome, len(outcome["Nodes"]))


def _looks(ssm: Any, command_id: str) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The command again and again until it has ended, with invocations for the people who watch."""
    pause, longest = _LOOK_SECONDS
    while True:
        (command,) = ssm.list_commands(CommandId=command_id)["Commands"]
        some: list[dict[str, Any]] = []
        if run_view.watched():
            some = ssm.list_command_invocations(CommandId=command_id, Details=True)["CommandInvocations"]
        yield command, some
        if command["Status"] not in {"Pending", "InProgress", "Cancelling"}:
            return
        time.sleep(pause)
        pause = min(longest, pause * 1.3)
