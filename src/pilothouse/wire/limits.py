"""How large a request may be. Most operations need little; four carry whole documents or inventories."""

from collections.abc import Mapping

BODY_LIMIT = 1 << 20
LARGE_BODY_LIMIT = 5 << 20
"""Bytes."""

MEMBER_LIMIT = 20_000
LARGE_MEMBER_LIMIT = 250_000
"""Members of all objects of a body together. PutComplianceItems may bring 10,000 items of three members and more."""

MAX_DEPTH = 32

LARGE = frozenset({"CreateDocument", "UpdateDocument", "PutInventory", "PutComplianceItems"})
"""The ssm operations whose documented limits exceed the usual body."""

IMPORT_BODY_LIMIT = 16 << 20
"""Bytes of an ImportParameters: 10,000 parameters, of which few are as large as they may be."""

EVENTS_BODY_LIMIT = 7 << 20
"""Bytes of a PutLogEvents: 1 MiB of messages, of which a character may take six bytes in JSON."""

REST_BODY_LIMIT = 5 << 20
"""Bytes of a REST request's XML: 10,000 parts or 1,000 keys. Contents are no part of it, they pass as streams."""

_LARGE_TARGETS = frozenset(f"AmazonSSM.{name}" for name in (*LARGE, "PutParameter"))
"""A parameter's value may have 1 MiB where the account has set it so, and more when it is written in JSON."""


def body_limit(headers: Mapping[str, str]) -> int:
    """Bytes that the body of a request with these headers may have."""
    if headers.get("x-amz-target") == "Pilothouse.ImportParameters":
        return IMPORT_BODY_LIMIT
    if headers.get("x-amz-target") == "Logs_20140328.PutLogEvents":
        return EVENTS_BODY_LIMIT
    return LARGE_BODY_LIMIT if headers.get("x-amz-target") in _LARGE_TARGETS else BODY_LIMIT


def member_limit(operation: str) -> int:
    """Members that a request of the operation may have."""
    large = operation in LARGE or operation in ("ImportParameters", "PutLogEvents")
    return LARGE_MEMBER_LIMIT if large else MEMBER_LIMIT
