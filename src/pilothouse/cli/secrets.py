"""`pilothouse secrets`: edit, compare, export and import secrets, who read them, and what their rotation does."""

import difflib
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.table import Table
from rich.text import Text

from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.secret_files import edited, open_sealed, seal_to
from pilothouse.cli.shared import DataOption, Failed, table_console

app = typer.Typer(no_args_is_help=True, help="Secrets: edit, compare, export, import, who read them, rotation.")
database = typer.Typer(no_args_is_help=True, help="Credentials of databases that the service rotates by itself.")
app.add_typer(database, name="database")

RegionOption = Annotated[str | None, typer.Option("--region", help="Default: the region of the AWS settings.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="A profile of the AWS settings.")]
EndpointOption = Annotated[str | None, typer.Option("--endpoint-url", help="Default: AWS_ENDPOINT_URL.")]
RevealOption = Annotated[bool, typer.Option("--reveal", help="Show the values.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name or ARN of a secret.")]
_HIDDEN = "(hidden)"
_CLEAN = "AWSPENDING"


@app.callback()
def connect(
    context: typer.Context,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Where the server is; these options stand before the command."""
    context.obj = lambda: Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))


def _client(context: typer.Context, service: str = "secretsmanager") -> Any:
    return context.obj().service(service)


def _ask(call: Callable[..., dict[str, Any]], **members: Any) -> dict[str, Any]:
    """The answer to one call. Raises Failed."""
    try:
        return call(**members)
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error


def _all(context: typer.Context, **asked: Any) -> Iterator[dict[str, Any]]:
    client = _client(context)
    while True:
        page = _ask(client.list_secrets, **asked)
        yield from page["SecretList"]
        if "NextToken" not in page:
            return
        asked["NextToken"] = page["NextToken"]


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(cell) for cell in cells))


def _when(moment: datetime | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime(form)


@app.command("list")
def listed(
    context: typer.Context,
    prefix: Annotated[str, typer.Argument(help="Only names that begin so.")] = "",
    unused_for: Annotated[
        int | None, typer.Option("--unused-for", min=1, help="Only those that nobody read for so many days.")
    ] = None,
    output: Annotated[str, typer.Option("--output", help="text or json.")] = "text",
) -> None:
    """Secrets with when they were last changed, read and rotated. Values are not read."""
    asked: dict[str, Any] = {"Filters": [{"Key": "name", "Values": [prefix]}]} if prefix else {}
    found = list(_all(context, **asked))
    if unused_for is not None:
        before = datetime.now(UTC) - timedelta(days=unused_for)
        found = [each for each in found if each["CreatedDate"] < before and _last_read(each) < before]
    if output == "json":
        typer.echo(json.dumps(found, indent=2, default=str))
        return
    table = _table("name", "changed (UTC)", "last read", "rotation", "next rotation")
    for each in found:
        rotation = {True: "on", False: "off", None: ""}[each.get("RotationEnabled")]
        read = _when(each.get("LastAccessedDate"), "%Y-%m-%d") or "never"
        _row(
            table, each["Name"], _when(each.get("LastChangedDate")), read, rotation,
            _when(each.get("NextRotationDate"), "%Y-%m-%d"),
        )  # fmt: skip
    table_console().print(table)


def _last_read(secret: dict[str, Any]) -> datetime:
    """A read on a day counts to that day's end."""
    read: datetime | None = secret.get("LastAccessedDate")
    return datetime.min.replace(tzinfo=UTC) if read is None else read + timedelta(days=1)


@app.command("edit")
def edit(
    context: typer.Context,
    name: Name,
    create: Annotated[bool, typer.Option("--create", help="Make the secret if it is not there.")] = False,
) -> None:
    """Open the current value in $EDITOR, on a file in memory that only you can read, and put what you saved."""
    client = _client(context)
    is_new, before = False, ""
    try:
        value = client.get_secret_value(SecretId=name)
        if "SecretString" not in value:
            raise Failed("the value is not a text; put it with: aws secretsmanager put-secret-value --secret-binary")
        before = value["SecretString"]
    except client.exceptions.ResourceNotFoundException as error:
        is_new = True
        if not create:
            raise Failed(f"{error.response['Error']['Message']} --create makes it.") from error
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    after = edited(before, suffix=".json" if before.lstrip().startswith("{") else ".txt")
    if after == before or not after:
        typer.echo("nothing was changed")
        return
    if is_new:
        try:
            _ask(client.create_secret, Name=name, SecretString=after)
        except Failed:
            _ask(client.put_secret_value, SecretId=name, SecretString=after)
    else:
        current = client.describe_secret(SecretId=name).get("VersionIdsToStages", {})
        if "AWSCURRENT" not in current.get(value["VersionId"], ()):
            raise Failed("somebody else changed the secret meanwhile; nothing was put")
        _ask(client.put_secret_value, SecretId=name, SecretString=after)
    typer.echo(f"{name} has a new version")


@app.command("history")
def history(context: typer.Context, name: Name) -> None:
    """The versions of a secret, oldest first, with their labels. Values are not read."""
    client = _client(context)
    table = _table("version", "created (UTC)", "last read", "labels")
    token: dict[str, str] = {}
    while True:
        page = _ask(client.list_secret_version_ids, SecretId=name, IncludeDeprecated=True, **token)
        for each in page["Versions"]:
            read = _when(each.get("LastAccessedDate"), "%Y-%m-%d") or "never"
            labels = ", ".join(each.get("VersionStages", ()))
            _row(table, each["VersionId"], _when(each["CreatedDate"]), read, labels)
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    table_console().print(table)


@app.command("diff")
def diff(
    context: typer.Context,
    name: Name,
    old: Annotated[str, typer.Option("--from", help="Version id or label.")] = "AWSPREVIOUS",
    new: Annotated[str, typer.Option("--to", help="Version id or label.")] = "AWSCURRENT",
    reveal: RevealOption = False,
) -> None:
    """What differs between two versions: of JSON which members, of a text which lines; values only with --reveal."""
    client = _client(context)
    values = [_value(client, name, each) for each in (old, new)]
    if values[0] == values[1]:
        typer.echo("no difference")
        return
    objects = [_object(each) for each in values]
    if all(each is not None for each in objects):
        _diff_members(objects[0] or {}, objects[1] or {}, reveal=reveal)
        return
    texts = [each if isinstance(each, str) else b64encode(each).decode() for each in values]
    lines = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), old, new, lineterm="", n=0)
    for line in lines:
        hide = not reveal and not line.startswith(("---", "+++", "@@"))
        typer.echo(f"{line[:1]} {_HIDDEN}" if hide else line)


def _value(client: Any, name: str, which: str) -> str | bytes:
    chosen = {"VersionId": which} if len(which) >= 32 else {"VersionStage": which}
    answer = _ask(client.get_secret_value, SecretId=name, **chosen)
    found: str | bytes = answer["SecretString"] if "SecretString" in answer else answer["SecretBinary"]
    return found


def _object(value: str | bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _diff_members(old: dict[str, Any], new: dict[str, Any], *, reveal: bool) -> None:
    def shown(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False) if reveal else _HIDDEN

    for key in [*old, *(key for key in new if key not in old)]:
        if key not in new:
            typer.echo(f"- {key}: {shown(old[key])}")
        elif key not in old:
            typer.echo(f"+ {key}: {shown(new[key])}")
        elif old[key] != new[key]:
            typer.echo(f"~ {key}: {shown(old[key])} -> {shown(new[key])}")


@app.command("export")
def export(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Secrets; a name with /* means all below it.")],
    public_key: Annotated[Path, typer.Option("--public-key", help="PEM file of an X25519 public key.")],
) -> None:
    """Write the current values, sealed to a public key, to standard output."""
    client = _client(context)
    entries = []
    for name in _spelled(context, names):
        about = _ask(client.describe_secret, SecretId=name)
        value = _value(client, name, "AWSCURRENT")
        entry: dict[str, Any] = {"name": about["Name"], "description": about.get("Description", "")}
        entry["tags"] = {each["Key"]: each["Value"] for each in about.get("Tags", ())}
        if isinstance(value, str):
            entry["text"] = value
        else:
            entry["bytes"] = b64encode(value).decode()
        entries.append(entry)
    sys.stdout.write(seal_to(public_key, json.dumps({"secrets": entries}).encode()))


def _spelled(context: typer.Context, names: list[str]) -> Iterator[str]:
    for name in names:
        if name.endswith("/*"):
            filters = [{"Key": "name", "Values": [name[:-1]]}]
            yield from (each["Name"] for each in _all(context, Filters=filters))
        else:
            yield name


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `export` wrote.")],
    private_key: Annotated[Path, typer.Option("--private-key", help="PEM file of the X25519 private key.")],
    on_existing: Annotated[str, typer.Option(help="fail, skip or put: a new version of what is there.")] = "fail",
) -> None:
    """Make the secrets of an export."""
    if on_existing not in {"fail", "skip", "put"}:
        raise Failed("--on-existing: use fail, skip or put")
    client = _client(context)
    for entry in json.loads(open_sealed(private_key, file))["secrets"]:
        value = {"SecretString": entry["text"]} if "text" in entry else {"SecretBinary": b64decode(entry["bytes"])}
        tags = [{"Key": key, "Value": value} for key, value in entry["tags"].items()]
        try:
            client.create_secret(Name=entry["name"], Description=entry["description"], Tags=tags, **value)
            typer.echo(f"{entry['name']}: made")
        except client.exceptions.ResourceExistsException as error:
            if on_existing == "fail":
                raise Failed(f"{entry['name']} is there already; see --on-existing") from error
            if on_existing == "put":
                _ask(client.put_secret_value, SecretId=entry["name"], **value)
            typer.echo(f"{entry['name']}: {'has a new version' if on_existing == 'put' else 'left as it is'}")
        except (BotoCoreError, ClientError) as error:
            raise told(error) from error


@app.command("readers")
def readers(
    context: typer.Context,
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Reads at most, the newest ones.")] = 50,
) -> None:
    """Who read a secret, and who tried, newest first; from the audit trail."""
    arn = _ask(_client(context).describe_secret, SecretId=name)["ARN"]
    trail = _client(context, "cloudtrail")
    asked = {"LookupAttributes": [{"AttributeKey": "ResourceName", "AttributeValue": arn}]}
    table = _table("time (UTC)", "user", "from", "version", "outcome")
    shown = 0
    try:
        for page in trail.get_paginator("lookup_events").paginate(**asked):
            for each in page["Events"]:
                if each["EventName"] != "GetSecretValue" or shown >= limit:
                    continue
                event = json.loads(each["CloudTrailEvent"])
                request = event.get("requestParameters") or {}
                version = request.get("versionId") or request.get("versionStage") or "AWSCURRENT"
                outcome = event.get("errorCode", "read")
                _row(
                    table, _when(each["EventTime"]), each.get("Username", ""), event.get("sourceIPAddress", ""),
                    version, outcome,
                )  # fmt: skip
                shown += 1
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    table_console().print(table)


@app.command("rotations")
def rotations(
    context: typer.Context,
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Rotations at most, the newest ones.")] = 3,
) -> None:
    """What became of the rotations of a secret, step by step."""
    page = _ask(_client(context, "pilothouse").list_secret_rotations, SecretId=name, MaxResults=limit)
    for each in page["Rotations"]:
        kind = "test" if each["TestOnly"] else "rotation"
        typer.echo(f"{_when(each['StartedAt'])}  {kind} to {each['VersionId']}: {each['State']}")
        for line in each["Log"]:
            typer.echo(f"  {_when(line['At'])}  {line.get('Step', ''):<13} {line['Text']}")
    if not page["Rotations"]:
        typer.echo("the secret was never rotated")


@app.command("retry")
def retry(context: typer.Context, name: Name) -> None:
    """Go on with a rotation that failed, at the step that it failed at."""
    _ask(_client(context, "pilothouse").retry_secret_rotation, SecretId=name)
    typer.echo(f"the rotation goes on; see: pilothouse secrets rotations {name}")


@app.command("clean")
def clean(context: typer.Context, name: Name) -> None:
    """Take AWSPENDING off a version that a failed rotation left, so that the next one can begin."""
    client = _client(context)
    versions = _ask(client.describe_secret, SecretId=name).get("VersionIdsToStages", {})
    for version, labels in versions.items():
        if _CLEAN in labels and "AWSCURRENT" not in labels:
            _ask(
                client.update_secret_version_stage, SecretId=name, VersionStage=_CLEAN, RemoveFromVersionId=version
            )  # fmt: skip
            typer.echo(f"{_CLEAN} is off {version}")
            return
    typer.echo("nothing is pending")


@database.command("create")
def database_create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new secret.")],
    engine: Annotated[str, typer.Option(help="postgresql, mysql, mariadb, mongodb or redis.")],
    host: Annotated[str, typer.Option()],
    username: Annotated[str, typer.Option()],
    port: Annotated[int | None, typer.Option(help="Default: the engine's usual one.")] = None,
    dbname: Annotated[str, typer.Option()] = "",
    days: Annotated[int, typer.Option(min=1, max=1000, help="Rotate after so many days.")] = 7,
) -> None:
    """Keep a user's credential in a secret that the service rotates; its password is asked for and changed at once."""
    password = typer.prompt("Password", hide_input=True, err=True)
    asked: dict[str, Any] = {"Port": port} if port else {}
    if dbname:
        asked["DbName"] = dbname
    answer = _ask(
        _client(context, "pilothouse").create_database_secret, Name=name, Engine=engine, Host=host, Username=username,
        Password=password, AutomaticallyAfterDays=days, **asked,
    )  # fmt: skip
    typer.echo(answer["ARN"])


@database.command("verify")
def database_verify(
    context: typer.Context,
    name: Name,
    stage: Annotated[str, typer.Option(help="Label of the version.")] = "AWSCURRENT",
) -> None:
    """Whether the credential in a secret logs in to its database now; exit code 1 if not. The value stays away."""
    answer = _ask(_client(context, "pilothouse").verify_database_secret, SecretId=name, VersionStage=stage)
    if not answer["Connected"]:
        raise Failed(answer["Error"])
    typer.echo(f"{answer['Username']} logs in to {answer['Host']}")
