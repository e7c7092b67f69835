"""`pilothouse env`: the shell lines that point AWS programs at this installation."""

import asyncio
import json
import shlex
from typing import Annotated, Any

import typer

from pilothouse.capabilities import access
from pilothouse.cli.shared import DataOption, Failed, existing_data, master_key, settings_of
from pilothouse.crypto.master_key import MasterKeyUnusable
from pilothouse.runtime.listening import client_url, read_listening


def env(
    data: DataOption = None,
    https: Annotated[bool, typer.Option("--https", help="Use the TLS listener, with AWS_CA_BUNDLE.")] = False,
    output: Annotated[str, typer.Option(help="shell or json.")] = "shell",
) -> None:
    """Print lines for `eval "$(pilothouse env)"`: endpoint, region and the root key of the first account."""
    if output not in {"shell", "json"}:
        raise Failed(f"--output {output}: use shell or json")
    directory = existing_data(data)
    settings = settings_of(directory)
    try:
        root = asyncio.run(access.read_root(master_key(settings), directory))
    except (MasterKeyUnusable, OSError) as error:
        raise Failed(str(error)) from error
    if root is None:
        raise Failed(f"{directory / 'root.sealed'} does not open with this master key; is it another installation's?")
    listening = read_listening(directory) or {"http": settings.http, "https": settings.https}
    values = {
        "AWS_ENDPOINT_URL": client_url("https" if https else "http", listening["https" if https else "http"]),
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_REGION": settings.region,
        "AWS_ACCESS_KEY_ID": root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": root.secret,
    }
    if https:
        values["AWS_CA_BUNDLE"] = str(directory / "ca.pem")
    typer.echo(json.dumps(values, indent=2) if output == "json" else _shell(values))


def _shell(values: dict[str, Any]) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    # left-overs of another account would win over, or spoil, what was just set
    return "\n".join([*lines, "unset AWS_SESSION_TOKEN AWS_PROFILE"])
