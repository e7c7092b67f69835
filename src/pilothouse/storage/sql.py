"""SQL text between the portable subset and an engine: list expansion, numbered parameters, column types."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_DDL = re.compile(r"^\s*(create\s+table|alter\s+table)", re.IGNORECASE)
_TEXT = re.compile(r"\btext\b", re.IGNORECASE)
_BLOB = re.compile(r"\bblob\b", re.IGNORECASE)


def expand(sql: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Spread list values over numbered parameters: `in (:names)` becomes `in (:names_0, :names_1)`.

    An empty list becomes `null`, which no row equals.
    """
    for value in values.values():
        if isinstance(value, (list, tuple)):
            break
    else:
        return sql, values
    lists = {name: value for name, value in values.items() if isinstance(value, list | tuple)}
    flat = {name: value for name, value in values.items() if name not in lists}
    for name, items in lists.items():
        flat.update({f"{name}_{index}": item for index, item in enumerate(items)})
    return _spread(sql, tuple((name, len(items)) for name, items in lists.items())), flat


@lru_cache(maxsize=1024)
def _spread(sql: str, counts: tuple[tuple[str, int], ...]) -> str:
    sizes = dict(counts)

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name not in sizes:
            return match[0]
        return ", ".join(f":{name}_{index}" for index in range(sizes[name])) or "null"

    return _PARAMETER.sub(put, sql)


@lru_cache(maxsize=2048)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """`:name` parameters as PostgreSQL's `$n`, and the names in the order of their numbers."""
    order: dict[str, int] = {}

    def put(match: re.Match[str]) -> str:
        return f"${order.setdefault(match[1], len(order) + 1)}"

    return _PARAMETER.sub(put, sql), tuple(order)


def arguments(order: tuple[str, ...], values: Mapping[str, Any]) -> list[Any]:
    """The values in the order of `numbered`; a missing one is a KeyError, as it is a bug of the store."""
    return [values[name] for name in order]


def postgresql_ddl(script: str) -> list[str]:
    """The statements of a migration for PostgreSQL: bytewise text order as on SQLite, and its name for blobs."""
    statements = []
    for statement in split_statements(script):
        if _DDL.match(statement):
            statement = _BLOB.sub("bytea", _TEXT.sub('text collate "C"', statement))
        statements.append(statement)
    return statements


def split_statements(script: str) -> list[str]:
    """The statements of a migration file; comments go, a statement ends with a semicolon at the end of a line."""
    lines = [re.sub(r"--.*$", "", line).rstrip() for line in script.splitlines()]
    statements = [statement.strip() for statement in re.split(r";[ \t]*(?:\n|$)", "\n".join(lines))]
    return [statement for statement in statements if statement]
