"""HTTP: one file from any web server, with no, basic or digest authentication."""

import base64
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from pilothouse_agent.link.blocking import pieces, trust
from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.plugins import Node
from pilothouse_agent.plugins.download_content import Order, file_place, is_true, text_of
from pilothouse_agent.plugins.download_content.places import Place, Unsafe, parts_of
from pilothouse_agent.plugins.download_content.secret_values import resolve
from pilothouse_agent.plugins.server import server_of
from pilothouse_agent.plugins.supervisor import WorkFailed

_METHODS = ("None", "Basic", "Digest")
_PATIENCE = 60.0  # seconds without a byte


def fetch(order: Order) -> None:
    """sourceInfo: url, allowInsecureDownload, authMethod, username, password."""
    url = text_of(order.info, "url")
    insecure = is_true(order.info, "allowInsecureDownload")
    check_url(url, insecure=insecure)
    method = text_of(order.info, "authMethod") or "None"
    if method not in _METHODS:
        raise WorkFailed(
            f"Invalid authentication method: {method}. The following methods are accepted: {', '.join(_METHODS)}"
        )
    server = server_of(order.run.node)
    who = (resolve(server, text_of(order.info, "username")), resolve(server, text_of(order.info, "password")))
    headers: dict[str, str] = {}
    handlers: list[urllib.request.BaseHandler] = []
    if method == "Basic":
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(who).encode()).decode()
    elif method == "Digest":
        known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        known.add_password(None, "{0.scheme}://{0.netloc}/".format(urlsplit(url)), *who)  # that server, no other one
        handlers.append(urllib.request.HTTPDigestAuthHandler(known))
    directory, name = file_place(order, _name_in(url))
    with open_url(order.run.node, url, headers, insecure=insecure, handlers=handlers) as content:
        Place(directory, order.run.settings.download_limit).write(parts_of(name), content)


def check_url(url: str, *, insecure: bool) -> None:
    """Raises WorkFailed unless it is a URL that may be fetched."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise WorkFailed("URL scheme for HTTP resource type is invalid. HTTP or HTTPS is accepted")
    if parts.scheme == "http" and not insecure:
        raise WorkFailed(
            "Non secure URL provided and insecure download is not allowed. "
            "Provide a secure URL or set 'allowInsecureDownload' to true to perform the download operation"
        )


@contextmanager
def open_url(
    node: Node, url: str, headers: dict[str, str], *, insecure: bool, handlers: list[Any] | None = None
) -> Iterator[Iterator[bytes]]:
    """The body of the answer to a GET, piece by piece. Raises WorkFailed, which shows neither headers nor query."""
    tls = trust(None)
    if node.ca_file is not None:  # the server may be known by other names than the one it was registered with
        tls.load_verify_locations(cafile=str(node.ca_file))
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=tls),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(insecure=insecure),
        *(handlers or []),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"User-Agent": "pilothouse-agent"})  # noqa: S310 -- checked above
    for name, value in headers.items():
        request.add_unredirected_header(name, value)  # another server must not see them
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        raise WorkFailed(f"Failed to download file: Status: {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise WorkFailed(f"Failed to download file: Cannot execute request: {reason}") from error
    with response:
        try:
            yield pieces(response)
        except Unreachable as error:
            raise WorkFailed(f"An error occurred during data transfer: {error}") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to other URLs that may be fetched, a few times."""

    max_redirections = 5

    def __init__(self, *, insecure: bool) -> None:
        self._insecure = insecure

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        check_url(newurl, insecure=self._insecure)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _name_in(url: str) -> str:
    """The last part of the URL's path, if it will do as a file's name."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    try:
        return "/".join(parts_of(name))
    except Unsafe:
        return "download"
