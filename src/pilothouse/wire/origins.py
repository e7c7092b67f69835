"""Whether a browser sent a request from a page of another site, which acts for whoever looks at it, unknown to them.

Calls that are signed need no such look: what signs has the key. What is not signed and changes something does.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

_OURS = {"same-origin", "none"}
"""`none`: the person typed the address."""


def from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Browsers say it in Sec-Fetch-Site; where they do not (plain HTTP, old ones), the Origin must be the host asked.

    Programs send neither header.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OURS
    origin = headers.get("origin")
    return origin is not None and not is_of_host(origin, headers)


def is_of_host(origin: str, headers: Mapping[str, str]) -> bool:
    """Whether an Origin is the host that was asked; whatever is malformed is not."""
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False
