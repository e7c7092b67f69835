"""`pilothouse sign-in`: a password or an identity provider for credentials that every AWS program takes."""

import json
import shlex
import sys
import webbrowser
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from select import select
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import typer
from botocore.exceptions import BotoCoreError, ClientError

from pilothouse.cli.connections import told, unsigned
from pilothouse.cli.shared import DataOption, Failed, existing_data, settings_of
from pilothouse.runtime.listening import client_url, read_listening

_SECONDS = 300
"""How long one may take at the provider."""
_PAGE = b"<!doctype html><title>Pilothouse</title><p>Signed in as far as this page goes. Go back to the terminal."


def sign_in(
    user: Annotated[str, typer.Option("--user", "-u", help="Name of the user. Default: asked for.")] = "",
    provider: Annotated[str, typer.Option(help="Sign in with this identity provider, in a browser.")] = "",
    account: Annotated[str, typer.Option(help="Id, alias or name. Default: the first account.")] = "",
    role: Annotated[str, typer.Option(help="ARN, with --provider. Default: the first role that lets you in.")] = "",
    seconds: Annotated[int | None, typer.Option(min=900, max=43200, help="Default: an hour.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password's line there.")] = False,
    code: Annotated[str, typer.Option(help="Code of the second factor. Default: asked for if one is needed.")] = "",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print where to go.")] = False,
    endpoint_url: Annotated[
        str, typer.Option("--endpoint-url", envvar="AWS_ENDPOINT_URL", help="Default: of the server on this machine.")
    ] = "",
    data: DataOption = None,
    output: Annotated[
        str, typer.Option("--output", help="shell, json, or process (for credential_process).")
    ] = "shell",
) -> None:
    """Sign in and print credentials that end by themselves: eval "$(pilothouse sign-in)"."""
    if output not in {"shell", "json", "process"}:
        raise Failed(f"--output {output}: use shell, json or process")
    if role and not provider:
        raise Failed("--role goes with --provider; a user takes a role on with aws sts assume-role")
    endpoint = endpoint_url or _of_data(data)
    client = unsigned("pilothouse", endpoint)
    asked: dict[str, Any] = {"Account": account} if account else {}
    lasting: dict[str, Any] = {"DurationSeconds": seconds} if seconds else {}
    try:
        if provider:
            answer = _with_provider(client, asked | {"Provider": provider}, lasting, role, no_browser=no_browser)
        else:
            name = user or typer.prompt("User name", err=True)
            whole = asked | lasting | {"UserName": name, "Password": _password(from_stdin=password_stdin)}
            answer = _with_password(client, whole | ({"TokenCode": code} if code else {}), may_ask=not password_stdin)
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    typer.echo(f"Signed in as {answer['Arn']} until {_local(answer['Credentials']['Expiration'])}.", err=True)
    typer.echo(_shown(answer, endpoint, output))


def _of_data(data: Path | None) -> str:
    directory = existing_data(data)
    listening = read_listening(directory) or {"http": settings_of(directory).http}
    return client_url("http", listening["http"])


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, err=True))


def _with_password(client: Any, members: dict[str, Any], *, may_ask: bool) -> dict[str, Any]:
    """The answer; what turns out to be missing is asked for."""
    questions: dict[str, tuple[str, Callable[[], str]]] = {
        "MfaRequiredException": ("TokenCode", lambda: typer.prompt("Code of the second factor", err=True)),
        "PasswordChangeRequiredException": (
            "NewPassword",
            lambda: typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True),
        ),
    }
    while True:
        try:
            answer: dict[str, Any] = client.sign_in(**members)
            return answer
        except ClientError as error:
            member, ask = questions.get(error.response["Error"]["Code"], ("", str))
            if not may_ask or not member or member in members:
                raise
            if member == "NewPassword" and "TokenCode" in members:  # the code has counted
                typer.echo("The password must be changed.", err=True)
                members["TokenCode"] = typer.prompt("Next code of the second factor", err=True)
            members[member] = ask()


def _with_provider(
    client: Any, asked: dict[str, Any], lasting: dict[str, Any], role: str, *, no_browser: bool
) -> dict[str, Any]:
    back: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            found = dict(parse_qsl(parts.query))
            if parts.path != "/callback" or "state" not in found:
                self.send_error(404)
                return
            back.update(found)
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(_PAGE)

        def log_message(self, *_: object) -> None:
            """The terminal is for the person."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        uri = f"http://127.0.0.1:{server.server_address[1]}/callback"
        begun = client.begin_federated_sign_in(**asked, RedirectUri=uri)
        typer.echo(f"Sign in at {begun['AuthorizationUrl']}", err=True)
        if not no_browser:
            webbrowser.open(begun["AuthorizationUrl"])
        while back.get("state") != begun["State"]:  # a browser asks for its icon as well
            if not select([server], [], [], _SECONDS)[0]:
                raise Failed("nobody came back from the identity provider; begin again")
            server.handle_request()
    if "code" not in back:
        raise Failed(f"the identity provider refused: {back.get('error_description') or back.get('error')}")
    wanted = lasting | ({"RoleArn": role} if role else {})
    answer: dict[str, Any] = client.complete_federated_sign_in(
        Pending=begun["Pending"], State=back["state"], Code=back["code"], **wanted
    )
    return answer


def _local(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M")


def _shown(answer: dict[str, Any], endpoint: str, output: str) -> str:
    made = answer["Credentials"]
    if output == "process":  # the form of the AWS programs' credential_process
        told_credentials = {name: made[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
        return json.dumps({"Version": 1, **told_credentials, "Expiration": made["Expiration"].isoformat()})
    values = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        "AWS_SESSION_TOKEN": made["SessionToken"],
    }
    if output == "json":
        return json.dumps(values | {"Arn": answer["Arn"], "Expiration": made["Expiration"].isoformat()}, indent=2)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    return "\n".join([*lines, "unset AWS_PROFILE"])
