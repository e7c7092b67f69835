"""What a machine fetches to become a node: the agent as one file, and the script that installs it.

Both lie in the folder `files` beside this module, put there by `make setup` or the build of the distribution. They are
public: whoever can reach the server may have them, as they hold no secret.
"""

from functools import cache
from importlib import resources

from pilothouse.wire.http import Request, Response, text_response

PREFIX = "/agent/"

_TYPES = {
    "pilothouse-agent.pyz": "application/octet-stream",
    "install.sh": "text/x-shellscript; charset=utf-8",
}
"""Every file there is to fetch; nothing else below the prefix exists."""


async def download(request: Request) -> Response:
    """Answer GET and HEAD for the files by name."""
    name = request.path.removeprefix(PREFIX)
    if name not in _TYPES:
        return text_response(404, f"There is {' and '.join(PREFIX + each for each in _TYPES)}.\n")
    if request.method not in ("GET", "HEAD"):
        return text_response(405, "Only GET is answered here.\n", allow="GET, HEAD")
    file = resources.files("pilothouse.gateway") / "files" / name
    if not file.is_file():
        return text_response(404, f"{name} was not built with this installation; `make agent` makes it.\n")
    # the HTTP server leaves the body of an answer to HEAD out by itself, and keeps its length
    return Response(200, {"content-type": _TYPES[name], "x-content-type-options": "nosniff"}, _content(name))


@cache
def _content(name: str) -> bytes:
    """One copy for all who fetch it at once."""
    return (resources.files("pilothouse.gateway") / "files" / name).read_bytes()
