"""`pilothouse params`: whole trees of parameters at once: export, import, diff, copy, move, restore, trash."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.text import Text

from pilothouse.cli import parameter_files, parameter_reading
from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.parameter_files import Entry, read_file, written
from pilothouse.cli.parameter_words import MASK, counted, cut, print_table, progress, say, show_changes, table, waiting
from pilothouse.cli.shared import DataOption, Failed

app = typer.Typer(no_args_is_help=True, help="Whole trees of parameters: export, import, compare, move, restore.")
trash = typer.Typer(no_args_is_help=True, help="Deleted parameters that can still be brought back.")
app.add_typer(trash, name="trash")

Profile = Annotated[str | None, typer.Option(help="Profile of the AWS configuration.")]
Endpoint = Annotated[str | None, typer.Option(help="URL of the server. Default: AWS_ENDPOINT_URL, else of --data.")]
Region = Annotated[str | None, typer.Option(help="Region. Default: AWS_REGION, else that of --data.")]
Output = Annotated[str, typer.Option(help="table or json.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="With all that lies below.")]

_UNITS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_MOST: Final = 10_000
_WAYS_OUT: Final = "add --overwrite, or choose another destination"


@contextmanager
def _asking(output: str = "table", *, hints: Mapping[str, str] | None = None) -> Iterator[None]:
    """Faults of a call become one sentence; for some codes a hint says what to do."""
    if output not in {"table", "json"}:
        raise Failed(f"--output {output}: use table or json")
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        failed = told(error)
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
        if hint := (hints or {}).get(code):
            failed = Failed(f"{failed}; {hint}")
        raise failed from error


def _read(
    clients: Clients, path: str, *, decrypt: bool, recursive: bool = True, history: bool = False
) -> list[dict[str, Any]]:
    names = parameter_reading.names_at(clients.service("ssm"), path, recursive=recursive)
    if not names:
        raise Failed(f"there are no parameters at {path}; check the path, the account and the region")
    with progress("Reading parameters", len(names)) as step:
        return parameter_reading.read(clients, names, decrypt=decrypt, history=history, step=step)


@app.command("export")
def export(
    path: Annotated[str, typer.Option(help="Path or name; / is everything.")] = "/",
    file: Annotated[Path | None, typer.Option("--file", "-o", help="Where to. Default: standard output.")] = None,
    form: Annotated[str, typer.Option("--format", help="json, yaml or env.")] = "json",
    decrypt: Annotated[
        bool, typer.Option("--with-decryption/--no-decrypt", help="Whether the values of secrets are exported.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--with-history", help="Every version that is kept, with its labels.")
    ] = False,
    profile: Profile = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    data: DataOption = None,
) -> None:
    """Write parameters to a file, in the order of their names. Works on any Parameter Store, the cloud's included."""
    if form not in {"json", "yaml", "env"}:
        raise Failed(f"--format {form}: use json, yaml or env")
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    with _asking():
        found = _read(clients, path, decrypt=decrypt, history=history)
    text = written(found, form, path=path)
    if file is None:
        typer.echo(text, nl=False)
        return
    secrets = sum(each["type"] == "SecureString" for each in found)
    _write(file, text, private=decrypt and secrets > 0)
    note = ""
    if secrets:
        how = "in the clear (the file has mode 0600)" if decrypt else "without value (add --with-decryption)"
        note = f", {secrets} of them secret and {how}"
    say(f"{counted(len(found))} written to {file}{note}.")


def _write(file: Path, text: str, *, private: bool) -> None:
    """Into place at once and whole; never readable by others, not even for a moment, when it holds secrets."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise Failed(f"cannot write {file}: {error.strerror}") from error


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="An export, a flat JSON or YAML mapping, or a dotenv file.")],
    path: Annotated[str, typer.Option(help="Put in front of every name.")] = "",
    dry_run: DryRun = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Short for --on-existing overwrite.")] = False,
    on_existing: Annotated[str, typer.Option(help="fail, skip or overwrite.")] = "fail",
    key_id: Annotated[str | None, typer.Option(help="Key of all secrets, in place of the file's.")] = None,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Do not mask values.")] = False,
    output: Output = "table",
    profile: Profile = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    data: DataOption = None,
) -> None:
    """Put all parameters of a file, or none if one of them cannot be. Exit code 1 also when a dry run would fail."""
    if on_existing not in {"fail", "skip", "overwrite"}:
        raise Failed(f"--on-existing {on_existing}: use fail, skip or overwrite")
    entries = read_file(file, prefix=path)
    if key_id:
        for entry in entries:
            if entry.members.get("Type") == "SecureString":
                for version in (entry.members, *entry.members.get("History", ())):
                    version["KeyId"] = key_id
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    with _asking(output):
        changes = _imported(
            clients, entries, str(file), mode="overwrite" if overwrite else on_existing, dry_run=dry_run
        )
        there = _there(clients, changes) if dry_run and output == "table" else {}
    values = {each.members["Name"]: each.members for each in entries}
    show_changes(changes, output, dry_run=dry_run, values=values, there=there, show_secrets=show_secrets)
    conflicts = [each["Name"] for each in changes if each["Change"] == "Conflict"]
    if conflicts:
        exist = "1 parameter exists" if len(conflicts) == 1 else f"{len(conflicts)} parameters exist"
        raise Failed(f"{exist} with another content, {conflicts[0]} first; add --overwrite, or --on-existing skip")


def _there(clients: Clients, changes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is there now under the names whose content would differ, in the members of the operation."""
    names = [each["Name"] for each in changes if each.get("Members")]
    found = parameter_reading.read(clients, names, decrypt=True) if names else []
    return {
        name: {member: each[part] for part, member in parameter_files.MEMBERS.items() if part in each}
        for name, each in zip(names, found, strict=True)
    }


def _imported(clients: Clients, entries: Sequence[Entry], file: str, *, mode: str, dry_run: bool) -> Any:
    if len(entries) > _MOST:
        raise Failed(f"{file} has {len(entries)} parameters; one import takes {_MOST} at most: split it")
    members = [entry.members for entry in entries]
    if len(json.dumps(members)) > parameter_files.MOST_BYTES:
        raise Failed(f"{file} is larger than the {parameter_files.MOST_BYTES >> 20} MiB one import takes: split it")
    own = clients.service("pilothouse")
    try:
        with waiting(f"Importing {counted(len(members))}"):
            return own.import_parameters(Entries=members, OnExisting=mode, DryRun=dry_run)["Changes"]
    except ClientError as error:
        text = error.response["Error"].get("Message", "")
        match = re.search(r"^Entry (\d+) |'entries\.(\d+)\.", text)
        number = int(match[1] or match[2]) if match else 0
        if not 0 < number <= len(entries):
            raise
        entry = entries[number - 1]
        sentence = text.removeprefix(f"Entry {number} ({entry.members['Name']}): ")
        code = error.response["Error"]["Code"]
        if code == "ParameterAlreadyExists":
            sentence = "it exists with another content; add --overwrite, or --on-existing skip"
        place = re.search(r"^Version (\d+) of its history: |'entries\.\d+\.member\.history\.(\d+)\.", sentence)
        version = int(place[1] or place[2]) if place else 0
        line = entry.history[version - 1] if 0 < version <= len(entry.history) else entry.line
        raise Failed(
            f"{file}, line {line}: {entry.members['Name']}: {cut(sentence)} ({code}). Nothing was imported."
        ) from error


@app.command("diff")
def diff(
    one: Annotated[str, typer.Argument(metavar="A", help="A path, a name, or name:version.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The same of the other side.")],
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Do not mask values.")] = False,
    output: Output = "table",
    profile: Profile = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    data: DataOption = None,
    to_profile: Annotated[str | None, typer.Option(help="Profile of B.")] = None,
    to_endpoint_url: Annotated[str | None, typer.Option(help="URL of B's server.")] = None,
    to_region: Annotated[str | None, typer.Option(help="Region of B.")] = None,
) -> None:
    """Compare two paths, versions, accounts or regions. Exit code 0: no difference; 1: there are some; 2: it failed."""
    here = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    there = _other_side(here, to_profile, to_endpoint_url, to_region)
    try:
        with _asking(output):
            left, right = _side(Clients(here), one), _side(Clients(there), other)
            if not left and not right:
                raise Failed(f"there are no parameters at {one} and none at {other}; check paths, accounts and regions")
            found = _differences(left, right)
    except Failed as failed:
        say(f"pilothouse: {failed}")
        raise typer.Exit(2) from failed
    if not show_secrets:
        found = [{**each, **dict.fromkeys(("a", "b") if each["secret"] else (), MASK)} for each in found]
    if output == "json":
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif found:
        rows = table("Parameter", "Member", f"A: {one}", f"B: {other}")
        for each in found:
            rows.add_row(
                *(Text(each[part] if each[part] is not None else "—") for part in ("name", "member", "a", "b"))
            )
        print_table(rows)
    else:
        say("No difference.")
    if found:
        raise typer.Exit(1)


def _other_side(here: Side, profile: str | None, endpoint_url: str | None, region: str | None) -> Side:
    if profile or endpoint_url:
        return Side(profile=profile, endpoint_url=endpoint_url, region=region)
    return Side(profile=here.profile, endpoint_url=here.endpoint_url, region=region or here.region, data=here.data)


def _side(clients: Clients, asked: str) -> dict[str, dict[str, Any]]:
    """What one side holds: by the name below the path, the members."""
    ssm = clients.service("ssm")
    if ":" in asked:
        parameter = ssm.get_parameter(Name=asked, WithDecryption=True)["Parameter"]
        return {"": {"type": parameter["Type"], "value": parameter["Value"], "data_type": parameter["DataType"]}}
    names = parameter_reading.names_at(ssm, asked)
    with progress(f"Reading {asked}", len(names)) as step:
        found = parameter_reading.read(clients, names, decrypt=True, step=step)
    base = f"/{asked.strip('/')}".rstrip("/")
    return {f"/{each.pop('name').removeprefix('/')}".removeprefix(base): each for each in found}


def _differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in sorted({*left, *right}):
        a, b = left.get(name), right.get(name)
        shown = name or "(itself)"
        secret = "SecureString" in ((a or {}).get("type"), (b or {}).get("type"))
        if a is None or b is None:
            sides = {"a": "there" if a else None, "b": "there" if b else None}
            found.append({"name": shown, "member": "", **sides, "secret": False})
            continue
        members = {"type", "value", "data_type"} if not ({*a, *b} - {"type", "value", "data_type"}) else {*a, *b}
        for member in sorted(members - {"labels"}):
            if a.get(member) != b.get(member):
                sides = {"a": _text(a.get(member)), "b": _text(b.get(member))}
                found.append({"name": shown, "member": member, **sides, "secret": secret and member == "value"})
    return found


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(help="Name or path.")],
    destination: Annotated[str, typer.Argument(help="Name or path.")],
    recursive: Recursive = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite what exists.")] = False,
    history: Annotated[
        bool, typer.Option("--with-history", help="With every version that is kept, numbered from 1.")
    ] = False,
    dry_run: DryRun = False,
    key_id: Annotated[str | None, typer.Option(help="Key of all secrets at the destination.")] = None,
    output: Output = "table",
    profile: Profile = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    data: DataOption = None,
    to_profile: Annotated[str | None, typer.Option(help="Profile of the destination.")] = None,
    to_endpoint_url: Annotated[str | None, typer.Option(help="URL of the destination's server.")] = None,
    to_region: Annotated[str | None, typer.Option(help="Region of the destination.")] = None,
) -> None:
    """Copy the newest versions, with labels and tags, also to another account or region. All or none is written."""
    here = Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)
    there = _other_side(here, to_profile, to_endpoint_url, to_region)
    foreign = here != there
    with _asking(output):
        found = _read(Clients(here), source, decrypt=True, recursive=recursive, history=history)
        members = [_copied(each, source, destination, key_id, foreign=foreign) for each in found]
        mode = "overwrite" if overwrite else "fail"
        own = Clients(there).service("pilothouse")
        with waiting(f"Writing {counted(len(members))}"):
            changes = _written(own, members, mode, dry_run=dry_run)
    show_changes(changes, output, dry_run=dry_run)
    if any(each["Change"] == "Conflict" for each in changes):
        raise Failed(f"some destinations exist with another content; {_WAYS_OUT}")


def _written(own: Any, members: Sequence[Mapping[str, Any]], mode: str, *, dry_run: bool) -> Any:
    try:
        return own.import_parameters(Entries=members, OnExisting=mode, DryRun=dry_run)["Changes"]
    except ClientError as error:
        code, text = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        match = re.match(r"Entry \d+ \(([^)]*)\): (.*)", text, re.DOTALL)
        if match is None:
            raise
        why = f"it exists with another content; {_WAYS_OUT}" if code == "ParameterAlreadyExists" else cut(match[2])
        raise Failed(f"{match[1]}: {why} ({code}). Nothing was copied.") from error


def _copied(
    shape: dict[str, Any], source: str, destination: str, key_id: str | None, *, foreign: bool
) -> dict[str, Any]:
    rest = f"/{shape['name'].removeprefix('/')}".removeprefix(f"/{source.strip('/')}".rstrip("/"))
    members = _members_of(shape, key_id)
    if "history" in shape:
        members["History"] = [_members_of(each, key_id) for each in shape["history"][:-1]]
        for each in members["History"]:
            del each["Type"]
    members["Name"] = f"{destination.rstrip('/')}{rest}"
    if "tags" in shape:
        members["Tags"] = [{"Key": key, "Value": value} for key, value in shape["tags"].items()]
    keys = [str(each.get("KeyId", "alias/")) for each in (members, *members.get("History", ()))]
    if foreign and not key_id and not all(key.startswith("alias/") for key in keys):
        raise Failed(f"{shape['name']} is under a key of its own account; name one of the destination with --key-id")
    return members


def _members_of(shape: dict[str, Any], key_id: str | None) -> dict[str, Any]:
    """The members of an entry that each version has."""
    members = {name: shape[member] for member, name in parameter_files.MEMBERS.items() if member in shape}
    if "policies" in shape:
        members["Policies"] = json.dumps(shape["policies"])
    if key_id and shape["type"] == "SecureString":
        members["KeyId"] = key_id
    return members


@app.command("move")
def move(
    source: Annotated[str, typer.Argument(help="Name or path.")],
    destination: Annotated[str, typer.Argument(help="Name or path; nothing may be there.")],
    recursive: Recursive = False,
    dry_run: DryRun = False,
    drop_sharing: Annotated[
        bool, typer.Option("--drop-sharing", help="Move what is shared with other accounts too; the sharing ends.")
    ] = False,
    output: Output = "table",
    profile: Profile = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    data: DataOption = None,
) -> None:
    """Rename a parameter or a subtree with history, labels, tags and policies. All or none is moved."""
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    hint = "check the name" if recursive else "if it is a path, add --recursive"
    with _asking(output, hints={"ParameterNotFound": hint}), waiting("Moving"):
        own = clients.service("pilothouse")
        moves = own.move_parameters(
            Source=source, Destination=destination, Recursive=recursive, DryRun=dry_run, DropSharing=drop_sharing
        )["Moves"]
    if output == "json":
        typer.echo(json.dumps(moves, indent=2))
        return
    rows = table("From", "To")
    for each in moves:
        rows.add_row(Text(each["Source"]), Text(each["Destination"]))
    print_table(rows)
    say(f"{counted(len(moves))} {'would be moved (dry run, nothing was changed)' if dry_run else 'moved'}.")


@app.command("restore")
def restore(
    path: Annotated[str, typer.Option(help="Path to restore; / is everything.")],
    as_of: Annotated[str, typer.Option(help='A moment: 2026-11-23T10:00:00Z, or "2 hours ago".')],
    dry_run: DryRun = False,
    delete_newer: Annotated[bool, typer.Option("--delete-newer", help="Delete what was not there then.")] = False,
    output: Output = "table",
    profile: Profile = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    data: DataOption = None,
) -> None:
    """Bring a path back to what it was at a moment. Exit code 1 when something cannot be brought back."""
    moment = parse_moment(as_of, datetime.now(UTC))
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    with _asking(output), waiting("Restoring"):
        changes = clients.service("pilothouse").restore_parameters(
            Path=path, AsOf=moment, DryRun=dry_run, DeleteNewer=delete_newer
        )["Changes"]
    show_changes(changes, output, dry_run=dry_run)
    if any(each["Change"] == "Impossible" for each in changes):
        raise Failed("some parameters cannot be brought back; the table says why")


def parse_moment(text: str, now: datetime) -> datetime:
    """A moment as people write it: ISO 8601 (without an offset: UTC), or `2 hours ago`. Raises Failed."""
    span = re.fullmatch(r"(\d{1,6})\s*(second|minute|hour|day|week)s?(?:\s+ago)?", text.strip().lower())
    if span:
        return now - timedelta(seconds=int(span[1]) * _UNITS[span[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise Failed(f'{text} is no moment; write it as 2026-11-23T10:00:00Z, or as "2 hours ago"') from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@trash.command("list")
def trash_list(
    path: Annotated[str, typer.Option(help="Path to look at.")] = "/",
    output: Output = "table",
    profile: Profile = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    data: DataOption = None,
) -> None:
    """Show deleted parameters that can be brought back."""
    own = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)).service("pilothouse")
    found: list[dict[str, Any]] = []
    with _asking(output):
        answer = own.list_trashed_parameters(Path=path, MaxResults=1000)
        found += answer["Parameters"]
        while token := answer.get("NextToken"):
            answer = own.list_trashed_parameters(Path=path, MaxResults=1000, NextToken=token)
            found += answer["Parameters"]
    if output == "json":
        typer.echo(json.dumps(found, indent=2, default=lambda moment: moment.isoformat()))
        return
    if not found:
        say(f"Nothing that was deleted at {path} is kept.")
        return
    rows = table("Parameter", "Type", "Newest version", "Deleted")
    for each in found:
        deleted = each["DeletedDate"].astimezone().strftime("%Y-%m-%d %H:%M:%S")
        rows.add_row(Text(each["Name"]), each["Type"], str(each["Version"]), deleted)
    print_table(rows)


@trash.command("restore")
def trash_restore(
    name: Annotated[str, typer.Argument(help="Name of the deleted parameter.")],
    output: Output = "table",
    profile: Profile = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
    data: DataOption = None,
) -> None:
    """Bring back what was last deleted under a name, with its history."""
    own = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data)).service("pilothouse")
    with _asking(output, hints={"ParameterNotFound": "`pilothouse params trash list` shows what it holds"}):
        answer = own.restore_trashed_parameter(Name=name)
    if output == "json":
        typer.echo(json.dumps({"Name": answer["Name"], "Version": answer["Version"]}))
    else:
        say(f"{answer['Name']} is back, at version {answer['Version']}.")
