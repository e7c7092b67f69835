"""The web console's files: what `make setup` built of `console/`, given out from memory below /console/.

They lie in the folder `console-files` beside this module. They are public, as they hold no secret: who signs in there
is a client like any other. Names below `assets/` change with their content, so browsers may keep them for ever. Every
other path is a page of the console, and gets the one page that there is.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import msgspec

from pilothouse.call import House
from pilothouse.runtime.listening import read_listening
from pilothouse.wire.http import Request, Response, RouteHandler, text_response

PATH = "/console"
PREFIX = "/console/"
FILES = Path(__file__).parent / "console-files"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".woff": "font/woff",
    ".ttf": "font/ttf",
    ".png": "image/png",
    ".wasm": "application/wasm",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",  # the player of recordings is WebAssembly; no script is made of text
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self' data:",  # the design system's typeface stands in its style sheet
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_GUARDS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_NOT_BUILT = (
    "The console was not built with this installation.\n"
    "`make setup` builds it, and says why where it cannot. Everything else works: the aws CLI needs no console.\n"
)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes = field(repr=False)
    is_zipped: bool
    """Kept by gzip alone, as nearly everybody takes it."""
    headers: Mapping[str, str]

    def plain(self) -> bytes:
        """For those who do not."""
        return gzip.decompress(self.content) if self.is_zipped else self.content


class Console:
    """Answers GET and HEAD below /console/."""

    def __init__(self, house: House, *, account_id: str, files: Path = FILES) -> None:
        """`account_id`: of whom `--dev` makes everybody an administrator with one click."""
        self._house = house
        self._account_id = account_id
        self._files = _read(files)

    def routes(self) -> dict[str, RouteHandler]:
        """The exact paths."""
        return {PATH: self._enter, f"{PREFIX}config.json": self._config}

    async def give(self, request: Request) -> Response:
        """A file, or the page."""
        if request.method not in ("GET", "HEAD"):
            return text_response(405, "Only GET is answered here.\n", allow="GET, HEAD")
        if "index.html" not in self._files:
            return text_response(503, _NOT_BUILT, **_GUARDS)
        name = request.path.removeprefix(PREFIX)
        found = self._files.get(name)
        if found is None and (name.startswith("assets/") or "." in name.rpartition("/")[2]):
            return text_response(404, "The console has no such file.\n", **_GUARDS)
        found = found or self._files["index.html"]
        if found.is_zipped and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(200, {**found.headers, "content-encoding": "gzip"}, found.content)
        return Response(200, found.headers, found.plain())

    async def _enter(self, request: Request) -> Response:
        return Response(308, {"location": PREFIX, **_GUARDS}, b"")

    async def _config(self, request: Request) -> Response:
        """What the console must know before anybody has signed in."""
        settings = self._house.settings
        told: dict[str, object] = {"region": settings.region, "version": version("pilothouse")}
        if settings.dev:
            told["dev"] = {"accountId": self._account_id}
        listening = read_listening(settings.data)
        if listening is not None:
            told["agentsPort"] = int(listening["https"].rpartition(":")[2])
        headers = {"content-type": "application/json", "cache-control": "no-store", **_GUARDS}
        return Response(200, headers, msgspec.json.encode(told))


def _read(folder: Path) -> dict[str, _File]:
    """Every file by its path in the folder; a twin `X.gz` belongs to X."""
    files: dict[str, _File] = {}
    for path in sorted(folder.rglob("*")):
        name, zipped = path.relative_to(folder).as_posix(), path.with_name(f"{path.name}.gz")
        if path.suffix in _TYPES and path.is_file():
            is_zipped = zipped.is_file()
            files[name] = _File((zipped if is_zipped else path).read_bytes(), is_zipped, _headers(name))
    return files


def _headers(name: str) -> dict[str, str]:
    lasting = name.startswith("assets/")
    return {
        "content-type": _TYPES[Path(name).suffix],
        "cache-control": "public, max-age=31536000, immutable" if lasting else "no-cache",
        "vary": "accept-encoding",
        **_GUARDS,
    }
