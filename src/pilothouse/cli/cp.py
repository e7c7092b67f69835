"""`pilothouse cp`: files between here and nodes, many nodes at once."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pilothouse.cli import whom
from pilothouse.cli.connections import Clients, Side, told
from pilothouse.cli.copying import Node, Wish
from pilothouse.cli.link import running
from pilothouse.cli.link.opening import Opening
from pilothouse.cli.shared import DataOption, Failed
from pilothouse.cli.ssh import EndpointOption, ProfileOption, ReasonOption, RegionOption

EXIT_FAILED, EXIT_NOBODY = 1, 3
_REMOTE = re.compile(r"(?P<node>[^/:]*):(?P<path>.*)", re.DOTALL)


def cp(
    words: Annotated[
        list[str],
        typer.Argument(metavar="SRC… DST", help="Files; NODE:PATH is one on a node, :PATH on each of several."),
    ],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Directories with all that is in them.")] = False,
    times: Annotated[bool, typer.Option("--preserve", "-p", help="Keep the times of modification too.")] = False,
    node: Annotated[list[str] | None, typer.Option("--node", help="Id or name of a node; can be repeated.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "--targets", help="KEY=VALUE[,VALUE], such as tag:Env=Prod."),
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every node.")] = False,
    max_concurrency: Annotated[int, typer.Option(min=1, help="Nodes at once.")] = 10,
    output: Annotated[str, typer.Option("--output", help="text or json.")] = "text",
    reason: ReasonOption = None,
    region: RegionOption = None,
    profile: ProfileOption = None,
    endpoint_url: EndpointOption = None,
    data: DataOption = None,
) -> None:
    """Copy files to nodes, or from them. cp app.conf web-1:/etc/; cp web-1:/var/log/app.log .

    To several: cp --target tag:Env=Prod app.conf :/etc/app.conf. From several, each node's files go below a directory
    of its name. A copy that was broken off goes on where it was. Content is compared by SHA-256, and takes the target's
    place in one step. Exit code 0: all is copied. 1: something is not. 3: no node fits.
    """
    if output not in {"text", "json"}:
        raise Failed(f"--output {output}: use text or json")
    is_put, sources, destination, named = _read(words, recursive)
    clients = Clients(Side(profile=profile, endpoint_url=endpoint_url, region=region, data=data))
    ssm = clients.service("ssm")
    try:
        nodes = _nodes(ssm, named, node or [], target or [], everybody)
        opening = Opening(clients)
    except (BotoCoreError, ClientError) as error:
        raise told(error) from error
    if not nodes:
        running.say("no node fits")
        raise typer.Exit(EXIT_NOBODY)
    with _bars(len(nodes)) as bar:
        copied, left = running.run(
            _copy(opening, nodes, is_put, sources, destination, bar, recursive=recursive, times=times, reason=reason,
                  at_once=max_concurrency)
        )  # fmt: skip
    code = _show(copied, output)
    if left:
        running.say("Left. The same command goes on where it was.")
        code = 128 + left
    if code:
        raise typer.Exit(code)


def _read(words: list[str], recursive: bool) -> tuple[bool, tuple[str, ...], str, str]:
    """Whether it goes to nodes, sources, destination, and the node that is named, if one is."""
    *sources, destination = words
    if not sources:
        raise Failed("from where to where? Write pilothouse cp SRC… DST, one side as NODE:PATH")
    froms, to = [_REMOTE.fullmatch(each) for each in sources], _REMOTE.fullmatch(destination)
    if to is not None and not any(froms):
        for each in map(Path, sources):
            if not each.exists():
                raise Failed(f"{each}: there is no such file here")
            if each.is_dir() and not recursive:
                raise Failed(f"{each} is a directory; add -r")
        return True, tuple(sources), to["path"] or "~", to["node"]
    found = [each for each in froms if each is not None]
    if to is not None or len(found) != len(froms):
        raise Failed(
            "one side is here and the other on nodes: NODE:PATH. A local file with a colon in its name is ./NAME;"
            " from node to node, copy to here first"
        )
    names = {each["node"] for each in found}
    if len(names) > 1:
        raise Failed(
            "the sources are on different nodes; copy from one node at a time, or from all: --node A --node B :PATH"
        )
    return False, tuple(each["path"] or "~" for each in found), destination, names.pop()


def _nodes(ssm: Any, named: str, names: list[str], targets: list[str], everybody: bool) -> dict[str, str]:
    """Names by id."""
    if bool(named) + bool(names) + bool(targets) + everybody != 1:
        raise Failed("which nodes? Write NODE:PATH; or :PATH with one of --node, --target (tag:Env=Prod) and --all")
    if targets or everybody:
        return whom.fitting(ssm, [whom.target(text) for text in targets])
    return {whom.one(ssm, name): name for name in ([named] if named else names)}


Bar = Callable[[str], Callable[[int, int], None]]


@contextlib.contextmanager
def _bars(count: int) -> Iterator[Bar]:
    """A bar for each node, on standard error while that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=count > 1, disable=not console.is_terminal) as progress:

        def of(name: str) -> Callable[[int, int], None]:
            task, total = progress.add_task(name, total=None), 0

            def more(done: int, to_do: int) -> None:
                nonlocal total
                total += to_do
                progress.update(task, advance=done, total=total)

            return more

        yield of


async def _copy(
    opening: Opening, nodes: dict[str, str], is_put: bool, sources: tuple[str, ...], target: str, bar: Bar,
    *, recursive: bool, times: bool, reason: str | None, at_once: int,
) -> tuple[list[Node], int]:  # fmt: skip
    """What came of each node, and the signal by which the user left."""
    wish = Wish(
        sources=sources, target=target, recursive=recursive, times=times, reason=reason, nodes=len(nodes)
    )  # fmt: skip
    turns, leaving = asyncio.Semaphore(at_once), running.Leaving()
    done: list[Node] = []

    async def one(node_id: str, name: str) -> None:
        async with turns:
            node = Node(opening, node_id, name, wish, bar(name))
            done.append(node)
            await (node.put() if is_put else node.get())

    async def everything() -> None:
        async with asyncio.TaskGroup() as group:
            for node_id, name in nodes.items():
                group.create_task(one(node_id, name))

    with running.heeded(*running.ENDS, done=leaving.by):
        async with asyncio.TaskGroup() as group:
            copying, watching = group.create_task(everything()), group.create_task(leaving.wait())
            await asyncio.wait((copying, watching), return_when=asyncio.FIRST_COMPLETED)
            copying.cancel()
            watching.cancel()
    return done, leaving.number


def _show(nodes: list[Node], output: str) -> int:
    files = [each for node in nodes for each in node.copied.values()]
    failed = any(node.error for node in nodes) or any(each.status == "Failed" for each in files)
    if output == "json":
        told = [
            {"InstanceId": node.node_id, "Name": node.name, "Error": node.error,
             "Files": [each.told() for each in node.copied.values()]}
            for node in nodes
        ]  # fmt: skip
        typer.echo(json.dumps({"Nodes": told}, indent=2))
        return EXIT_FAILED if failed else 0
    for node in nodes:
        mine = list(node.copied.values())
        copied = [each for each in mine if each.status == "Copied"]
        size, resumed = sum(each.size for each in copied), sum(each.held for each in copied)
        more = f", {_bytes(resumed)} of it were there already" if resumed else ""
        count = "1 file" if len(copied) == 1 else f"{len(copied)} files"
        if copied or not node.error:
            running.say(f"{node.name}: {count} copied, {_bytes(size)}{more}")
        for each in mine:
            if each.status != "Copied":
                running.say(f"{node.name}: {each.source}: {each.status.lower()}: {each.error or 'it was not finished'}")
        if node.error:
            running.say(f"{node.name}: {node.error}")
    return EXIT_FAILED if failed else 0


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
