"""`pilothouse env`: the shell lines that point AWS programs at this installation."""

import asyncio
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from pilothouse.app import StartFailed, opened_house
from pilothouse.capabilities import access, audit
from pilothouse.cli.shared import DataOption, Failed, existing_data, master_key, operator, settings_of
from pilothouse.crypto.master_key import MasterKeyUnusable
from pilothouse.crypto.vault import SealBroken
from pilothouse.runtime.listening import client_url, read_listening
from pilothouse.runtime.settings import Settings
from pilothouse.storage import StorageUnavailable


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
        root = asyncio.run(_read(directory, settings))
    except (MasterKeyUnusable, OSError, StartFailed, StorageUnavailable, SealBroken) as error:
        raise Failed(str(error)) from error
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


async def _read(directory: Path, settings: Settings) -> access.AccountKey:
    """The root key; it is recorded who reads it before it is shown."""
    root = await access.read_root(master_key(settings), directory)
    if root is None:
        raise Failed(f"{directory / 'root.sealed'} does not open with this master key; is it another installation's?")
    async with opened_house(settings, create=False) as house:
        await audit.key_of(house)
        async with house.database.transaction() as tx:
            said = {"accessKeyId": root.access_key_id}
            await audit.operator_acted(house, tx, operator(), root.account_id, "GetRootKey", said, reads=True)
    return root


def _shell(values: dict[str, Any]) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    # left-overs of another account would win over, or spoil, what was just set
    return "\n".join([*lines, "unset AWS_SESSION_TOKEN AWS_PROFILE"])
