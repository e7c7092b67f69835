"""Pages with a form, for whoever has a link: plain HTML, which no browser needs a script for.

All text is escaped, the policy allows nothing but our one style sheet and sending the form here, nothing is kept by
caches, and no other site may show the page in a frame. The form proves itself by its fields, so it may come from
anywhere: who has them has the link.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import Final
from urllib.parse import parse_qsl

from pilothouse.by_link import AnswerVisit, Page, Visit
from pilothouse.call import House
from pilothouse.inside import Origin
from pilothouse.wire.http import Request, Response, RouteHandler

_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:40em;margin:3em auto;padding:0 1em}dt{font-weight:bold}"
    "dd{margin:0 0 .6em;overflow-wrap:anywhere}p{white-space:pre-wrap}textarea{display:block;width:100%}"
    "button{font:inherit;padding:.4em 1.2em;margin:1em 1em 0 0}"
)
_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}
_FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 10
_MOST_BYTES: Final = 16 << 10


def answering(house: House, visits: Mapping[str, AnswerVisit]) -> dict[str, RouteHandler]:
    """Path to the handler of the page there."""
    return {path: _handler(house, path, answer) for path, answer in visits.items()}


def _handler(house: House, path: str, answer: AnswerVisit) -> RouteHandler:
    async def handle(request: Request) -> Response:
        if request.method not in ("GET", "HEAD", "POST"):
            return Response(405, {"allow": "GET, HEAD, POST"}, b"This path answers GET and POST.\n")
        sent = request.method == "POST"
        if sent and request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            return Response(415, {}, b"The Content-Type must be that of a form.\n")
        if len(request.body) > _MOST_BYTES:
            return Response(413, {}, b"The form is too large.\n")
        try:
            fields = _fields(request.body.decode() if sent else request.query)
        except ValueError:
            return Response(400, {}, b"The form cannot be read.\n")
        origin = Origin(
            source_ip=request.peer, user_agent=request.headers.get("user-agent", ""), secure=request.secure
        )  # fmt: skip
        page = await answer(house, Visit(sent=sent, fields=fields, origin=origin))
        return Response(page.status, _HEADERS, _html(page, path).encode())

    return handle


def _fields(text: str) -> dict[str, str]:
    """Raises ValueError."""
    return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))


def _html(page: Page, path: str) -> str:
    title = escape(page.title)
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
    ]
    if page.text:
        parts.append(f"<p>{escape(page.text)}</p>")
    if page.facts:
        facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in page.facts.items())
        parts.append(f"<dl>{facts}</dl>")
    if page.buttons:
        parts.append(f'<form method=post action="{escape(path)}">')
        parts += [
            f'<input type=hidden name="{escape(name)}" value="{escape(value)}">'
            for name, value in page.hidden.items()
        ]  # fmt: skip
        if page.asks:
            parts.append(f"<label>{escape(page.asks)}<textarea name=comment rows=3 maxlength=1024></textarea></label>")
        parts += [
            f'<button name=decision value="{escape(value)}">{escape(text)}</button>'
            for value, text in page.buttons.items()
        ]  # fmt: skip
        parts.append("</form>")
    return "".join(parts) + "\n"
