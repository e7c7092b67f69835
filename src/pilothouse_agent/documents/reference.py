"""How documents name other documents: `Name`, `Name:version`, or an ARN with or without a version."""

import re

_REFERENCE = re.compile(r"(?P<name>arn:[^/]+/[^:]+|[^:]+)(?::(?P<version>[^:]+))?\Z")


def request_for(reference: str) -> dict[str, str] | None:
    """The members of GetDocument that ask for it, as JSON; None if it names nothing."""
    found = _REFERENCE.match(reference)
    if found is None:
        return None
    version = {"DocumentVersion": found["version"]} if found["version"] else {}
    return {"Name": found["name"], "DocumentFormat": "JSON", **version}
