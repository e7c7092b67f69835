"""What a machine fetches to become a node, and to stay a good one: the agent as one file, the manifest that agents
update by, and the script that installs it.

They lie in the folder `files` beside this module, put there by `make setup` or the build of the distribution. They are
public: whoever can reach the server may have them, as they hold no secret. The manifest is signed with the key of the
installation's authority, which nodes trust since they were registered; it is made when it is first asked for.
"""

import base64
import hashlib
import io
import json
import zipfile
from functools import cache
from importlib import resources
from pathlib import Path

from pilothouse.crypto.certificates import sign_as_authority
from pilothouse.wire.http import Request, Response, text_response

PREFIX = "/agent/"
PURPOSE = b"pilothouse-agent manifest 1\n"
"""Before the manifest in what is signed, so that no other signature of that key can pose as one."""

_AGENT = "pilothouse-agent.pyz"
_MANIFEST = "pilothouse-agent.json"
_TYPES = {
    _AGENT: "application/octet-stream",
    _MANIFEST: "application/json",
    "install.sh": "text/x-shellscript; charset=utf-8",
}
"""Every file there is to fetch; nothing else below the prefix exists."""


class Downloads:
    """Answers GET and HEAD for the files by name."""

    def __init__(self, data: Path) -> None:
        """data: the installation's directory, where its authority is, if it has one."""
        self._data = data
        self._manifest: bytes | None = None

    async def download(self, request: Request) -> Response:
        name = request.path.removeprefix(PREFIX)
        if name not in _TYPES:
            return text_response(404, f"There is {' and '.join(PREFIX + each for each in _TYPES)}.\n")
        if request.method not in ("GET", "HEAD"):
            return text_response(405, "Only GET is answered here.\n", allow="GET, HEAD")
        stored = _AGENT if name == _MANIFEST else name
        if not (resources.files("pilothouse.gateway") / "files" / stored).is_file():
            return text_response(404, f"{name} was not built with this installation; `make agent` makes it.\n")
        content = self._signed_manifest() if name == _MANIFEST else _content(name)
        if content is None:
            return text_response(404, "This installation has no authority of its own to sign the manifest with.\n")
        # the HTTP server leaves the body of an answer to HEAD out by itself, and keeps its length
        return Response(200, {"content-type": _TYPES[name], "x-content-type-options": "nosniff"}, content)

    def _signed_manifest(self) -> bytes | None:
        """Of the very bytes that are given out."""
        if self._manifest is None:
            content = _content(_AGENT)
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                version = packed.read("version").decode()
            members = {
                "name": "pilothouse-agent",
                "version": version,
                "file": _AGENT,
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
            }
            text = json.dumps(members)
            signature = sign_as_authority(self._data, PURPOSE + text.encode())
            if signature is None:
                return None
            answer = {"manifest": text, "signature": base64.b64encode(signature).decode()}
            self._manifest = json.dumps(answer).encode()
        return self._manifest


@cache
def _content(name: str) -> bytes:
    """One copy for all who fetch it at once."""
    return (resources.files("pilothouse.gateway") / "files" / name).read_bytes()
