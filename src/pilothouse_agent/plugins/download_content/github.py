"""GitHub: a file or a directory of a repository, through the contents API."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from pilothouse_agent.plugins.download_content import Order, file_place, text_of
from pilothouse_agent.plugins.download_content.checkout import Checkout, checkout_of
from pilothouse_agent.plugins.download_content.places import Parts, Place, parts_of
from pilothouse_agent.plugins.download_content.secret_values import resolve
from pilothouse_agent.plugins.download_content.web import check_url, open_url
from pilothouse_agent.plugins.server import server_of
from pilothouse_agent.plugins.supervisor import WorkFailed

_MOST_LISTED = 8 * 1024 * 1024
_MOST_DEPTH = 64


def fetch(order: Order) -> None:
    """sourceInfo: owner, repository, path, getOptions, tokenInfo."""
    for member in ("owner", "repository"):
        if not text_of(order.info, member):
            raise WorkFailed(f"{member.capitalize()} for GitHub SourceType must be specified")
    repository = _Repository(order)
    path = text_of(order.info, "path").strip("/")
    limit = order.run.settings.download_limit
    entries = repository.entries(path)
    if entries is None:
        directory, name = file_place(order, path.rpartition("/")[2])
        with repository.content(path) as content:
            Place(directory, limit).write(parts_of(name), content)
        return
    from pathlib import Path

    _directory(repository, Place(Path(order.destination), limit), entries, ())


def _directory(repository: "_Repository", place: Place, entries: list[dict[str, str]], at: Parts) -> None:
    if len(at) > _MOST_DEPTH:
        raise WorkFailed("the repository has directories too deep inside one another")
    for entry in entries:
        parts = (*at, *parts_of(str(entry.get("name"))))
        path = str(entry.get("path"))
        if entry.get("type") == "dir":
            _directory(repository, place, repository.entries(path) or [], parts)
        elif entry.get("type") == "file":
            with repository.content(path) as content:
                place.write(parts, content)
        # links and submodules are left out: the API does not give what they stand for


class _Repository:
    """A repository, as the token may see it."""

    def __init__(self, order: Order) -> None:
        self._node = order.run.node
        base = order.run.settings.github_url.rstrip("/")
        check_url(base, insecure=True)
        owner, name = (quote(text_of(order.info, member), safe="") for member in ("owner", "repository"))
        self._url = f"{base}/repos/{owner}/{name}/contents"
        chosen: Checkout = checkout_of(text_of(order.info, "getOptions"))
        reference = chosen.commit or chosen.branch
        self._query = f"?ref={quote(reference, safe='')}" if reference else ""
        token = resolve(server_of(self._node), text_of(order.info, "tokenInfo"))
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def entries(self, path: str) -> list[dict[str, str]] | None:
        """What is in the directory; None if the path is a file."""
        with self._open(path, "application/vnd.github+json") as content:
            data = bytearray()
            for piece in content:
                data += piece
                if len(data) > _MOST_LISTED:
                    return None  # no list is as long: the content of a file
        try:
            value = json.loads(data)
        except ValueError as error:
            raise WorkFailed("the answer of GitHub is no JSON") from error
        if isinstance(value, list):
            return [entry for entry in value if isinstance(entry, dict)]
        return None

    @contextmanager
    def content(self, path: str) -> Iterator[Iterator[bytes]]:
        with self._open(path, "application/vnd.github.raw+json") as content:
            yield content

    @contextmanager
    def _open(self, path: str, kind: str) -> Iterator[Iterator[bytes]]:
        url = f"{self._url}/{quote(path)}{self._query}"
        with open_url(self._node, url, {"Accept": kind, **self._headers}, insecure=True) as content:
            yield content
